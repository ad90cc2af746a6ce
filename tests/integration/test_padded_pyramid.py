"""A padded pyramid, whose level sizes are not in the ratio of its downsamples: marker and label, 0 px off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pipelinecases import run

from wsiprep.artifacts import DatasetTree, read_json
from wsiprep.geometry import Size
from wsiprep.store import Dataset
from wsiprep.synthetic import write_pyramid

DOWNSAMPLES = (1, 2, 4, 8)
TILE_PX = 256
SIZE = Size(5 * TILE_PX, 3 * TILE_PX)
FAR_CORNER = (SIZE.width_px - 88, SIZE.height_px - 56, SIZE.width_px, SIZE.height_px)
INSIDE = (808, 328, 968, 408)
"""x, y, end of x, end of y of the marks in level-0 pixels: whole pixels of each level, not whole JPEG blocks."""
DARK = 128


def rectangle(name: str, place: tuple[int, int, int, int]) -> str:
    x, y, x_end, y_end = place
    corners = [(x, y), (x_end, y), (x_end, y_end), (x, y_end)]
    points = "".join(f'<Coordinate Order="{i}" X="{a}" Y="{b}" />' for i, (a, b) in enumerate(corners))
    return (
        f'<Annotation Name="{name}" Type="Rectangle" PartOfGroup="Tumor" Color="#F4FA58">'
        f"<Coordinates>{points}</Coordinates></Annotation>"
    )


@pytest.fixture(scope="module")
def padded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with slide.tif, white with two black marks, and slide.xml with a rectangle around each."""
    folder = tmp_path_factory.mktemp("padded")
    image = np.full((SIZE.height_px, SIZE.width_px, 3), 255, np.uint8)
    for x, y, x_end, y_end in (FAR_CORNER, INSIDE):
        image[y:y_end, x:x_end] = 0
    sizes = write_pyramid(
        folder / "slide.tif", image, spacing_um=0.25, tile_px=TILE_PX, downsamples=DOWNSAMPLES, quality=95, padded=True
    )
    ratios = [(SIZE.width_px / s.width_px, SIZE.height_px / s.height_px) for s in sizes]
    assert ratios[1:] != [(float(n), float(n)) for n in DOWNSAMPLES[1:]], "the padding must show"
    marks = rectangle("corner", FAR_CORNER) + rectangle("inside", INSIDE)
    (folder / "slide.xml").write_text(
        f"<ASAP_Annotations><Annotations>{marks}</Annotations><AnnotationGroups>"
        '<Group Name="Tumor" PartOfGroup="None" Color="#F4FA58"><Attributes /></Group>'
        "</AnnotationGroups></ASAP_Annotations>"
    )
    return folder


def whole_plane(
    dataset: Dataset, size: Size, downsample: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.uint8], list[dict[str, Any]]]:
    """All patches put back where their index says: where it is dark, the masks, the rows."""
    dark = np.zeros((size.height_px, size.width_px), np.bool_)
    labels = np.full((size.height_px, size.width_px), 7, np.uint8)
    rows = []
    for i in range(len(dataset)):
        image, mask, row = dataset.read(i)
        x, y = row["x_lv0"] // downsample, row["y_lv0"] // downsample
        height, width = min(mask.shape[0], size.height_px - y), min(mask.shape[1], size.width_px - x)
        dark[y : y + height, x : x + width] = image[:height, :width].max(axis=2) < DARK
        labels[y : y + height, x : x + width] = mask[:height, :width]
        beyond = np.ones(mask.shape, np.bool_)
        beyond[:height, :width] = False
        assert (mask[beyond] == 255).all()
        assert (image[beyond] == 255).all()
        rows.append(row)
    return dark, labels, rows


@pytest.mark.parametrize("pixels", ["stored", "level0"])
@pytest.mark.parametrize("downsample", DOWNSAMPLES)
def test_marker_and_label_come_back_at_their_place(padded: Path, tmp_path: Path, downsample: int, pixels: str) -> None:
    tree = DatasetTree(tmp_path / "out")
    run("tile", padded / "slide.tif", "-o", tree.root, "-a", padded / "slide.xml", "--downsample", downsample,
        "--patch-size-px", 48, "--set", f"pixels={pixels}", "--set", "sampling.edge=pad",
        "--set", "keep.min_tissue=0")  # fmt: skip
    run("seal", tree.root)
    record = read_json(tree.slide("slide").record)
    stored = pixels == "stored" or downsample == 1
    level = DOWNSAMPLES.index(downsample) if stored else 0
    assert record["pixels"] == {"from_stored": stored, "source_level": level, "dct_factor": 1}
    plane = SIZE.reduced(downsample)
    dark, labels, rows = whole_plane(Dataset(tree.root), plane, downsample)
    expected = np.zeros((plane.height_px, plane.width_px), np.bool_)
    for x, y, x_end, y_end in (FAR_CORNER, INSIDE):
        expected[y // downsample : y_end // downsample, x // downsample : x_end // downsample] = True
    np.testing.assert_array_equal(dark, expected)
    np.testing.assert_array_equal(labels, expected.astype(np.uint8))
    area = sum((x_end - x) * (y_end - y) for x, y, x_end, y_end in (FAR_CORNER, INSIDE))
    assert sum(row["tumour_px"] for row in rows) * downsample**2 == area
    assert {row["source_level"] for row in rows} == {level}
    assert {row["from_stored"] for row in rows} == {stored}
