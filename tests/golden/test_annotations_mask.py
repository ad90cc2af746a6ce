"""A mask, byte for byte: whatever changes it changes datasets, and needs a new revision of the stages."""

from __future__ import annotations

import hashlib

import numpy as np

from wsiprep.annotations import LabelMap, read_asap, read_regions, write_regions
from wsiprep.config import recipe_from_mapping
from wsiprep.geometry import Box, PixelGrid, Size

SIZE = Size(3000, 2000)
LABELS = ("tumour", "stroma")
GROUPS = {"Tumor": "tumour", "Stroma": "stroma", "Exclusion": "background", "Blur": "ignore"}
MASK_SHA256 = "04ab0b4b5a43138493aa04255bedab031f4bb6d770fe3181d850d8eb8d0b9a12"


def document() -> str:
    """Eight rings of 41 points about fixed places, by integer arithmetic alone; every second one crosses itself."""
    rows, state = [], 7
    for k in range(8):
        group = list(GROUPS)[k % 4]
        rows.append(f'<Annotation Name="{k}" Type="Polygon" PartOfGroup="{group}"><Coordinates>')
        for n in range(41):
            state = (1103515245 * state + 12345) % 2**31
            turn = n if k % 2 else n * 19 % 41
            # A diamond walked at constant speed, with ragged radius in eighths of a pixel.
            along, side = divmod(turn * 4 * 100 // 41, 100)[::-1]
            radius = 2400 + state % 2400
            dx, dy = ((100 - along, along), (-along, 100 - along), (along - 100, -along), (along, along - 100))[side]
            x, y = 8 * (500 + 280 * k) + radius * dx // 100, 8 * (450 + 300 * (k % 4)) + radius * dy // 100
            rows.append(f'<Coordinate Order="{n}" X="{x / 8}" Y="{y / 8}" />')
        rows.append("</Coordinates></Annotation>")
    return "<ASAP_Annotations><Annotations>" + "\n".join(rows) + "</Annotations></ASAP_Annotations>"


def test_the_mask_is_what_it_was(tmp_path):
    recipe = recipe_from_mapping(
        {"name": "g", "labels": list(LABELS), "downsample": 2, "annotations": {"groups": GROUPS}}
    )
    path = tmp_path / "slide.xml"
    path.write_text(document())
    found = read_asap(path, recipe, SIZE)
    assert found.counts["repaired_rings"] == 4
    stored = tmp_path / "regions.geojson"
    stored.write_bytes(write_regions(found, LABELS))
    labels = LabelMap(read_regions(stored).regions, LABELS, "partial", SIZE)
    mask = labels.mask(PixelGrid.of_plane(Box(-10, -10, 1520, 1020), 2))
    assert set(np.unique(mask).tolist()) == {0, 1, 2, 255}
    assert hashlib.sha256(mask.tobytes()).hexdigest() == MASK_SHA256
