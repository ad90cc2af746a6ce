"""A real collection: H&E tiles of the Data Science Bowl 2018 with 16-bit instance maps."""

from __future__ import annotations

import cv2
import numpy as np

from wsiprep.annotations.raster_files import open_tile_labels
from wsiprep.config import recipe_from_mapping
from wsiprep.config.recipe import Collection
from wsiprep.geometry import Box, PixelGrid
from wsiprep.slides.collections import open_collection

RECIPE = recipe_from_mapping(
    {"name": "dsb", "labels": ["nucleus"], "downsample": 1,
     "annotations": {"raster": {"instances": True, "label": "nucleus"}}}
)  # fmt: skip


def test_every_tile_and_every_nucleus(shared_data):
    found = open_collection(
        shared_data / "dsb2018_he", Collection(images="images/{tile}.png", labels="labels/{tile}.png")
    )
    assert (found.unreadable, found.without_labels, found.labels_without_tile, found.extra) == ((), (), (), ())
    assert len(found.tiles) == 105
    nuclei = 0
    for tile in found.tiles:
        box = Box(0, 0, tile.size.width_px, tile.size.height_px)
        with found.open(tile) as slide:
            assert np.array_equal(slide.read_level(0, box), cv2.imread(str(tile.path), cv2.IMREAD_COLOR)[..., ::-1])
        stored = cv2.imread(str(tile.labels), cv2.IMREAD_UNCHANGED)
        labels = open_tile_labels(tile.labels, RECIPE, tile.size)
        grid = PixelGrid.of_plane(box, 1)
        assert np.array_equal(labels.mask(grid), stored > 0)
        assert labels.areas_px == {"nucleus": np.count_nonzero(stored)}
        instances = labels.instances(grid)
        expected = sum(
            cv2.connectedComponents((stored == k).astype(np.uint8), connectivity=4)[0] - 1
            for k in np.unique(stored[stored > 0])
        )
        assert instances.max() == expected
        assert len(np.unique(np.stack([stored[instances > 0], instances[instances > 0]]), axis=1).T) == expected
        nuclei += expected
    assert nuclei > 2000
