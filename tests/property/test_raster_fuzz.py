"""Damaged label rasters end in a mask or an annotation error, whatever byte is wrong."""

from __future__ import annotations

import io
import random
import resource
import time

import cv2
import numpy as np
import pytest
import tifffile
from collection_files import mat5, nuclei, palette_png

from wsiprep.annotations.raster_files import open_raster
from wsiprep.annotations.regions import SlideFrame
from wsiprep.config import recipe_from_mapping
from wsiprep.errors import AnnotationError
from wsiprep.geometry import Box, PixelGrid, Size

SIZE = Size(70, 50)
GRID = PixelGrid(Box(0, 0, 70, 50), 70, 50)
RECIPE = recipe_from_mapping(
    {"name": "t", "labels": ["tumour"], "downsample": 1,
     "annotations": {"raster": {"instances": True, "label": "tumour"}}}
)  # fmt: skip
IDS = nuclei(70, seed=1)[:50].astype(np.uint8)
INTERESTING = (0, 1, 2, 7, 8, 16, 32, 64, 127, 128, 255)


def tiff(**writing):
    stream = io.BytesIO()
    tifffile.imwrite(stream, IDS, **writing)
    return stream.getvalue()


def npy():
    stream = io.BytesIO()
    np.save(stream, IDS.astype(np.int32))
    return stream.getvalue()


SEEDS = {
    "png": palette_png(IDS, np.arange(768).reshape(256, 3) % 256),
    "bmp": cv2.imencode(".bmp", IDS)[1].tobytes(),
    "tiled": tiff(tile=(32, 32), compression="zlib", predictor=True),
    "strips": tiff(rowsperstrip=9, compression="lzw"),
    "plain": tiff(tile=(16, 16)),
    "npy": npy(),
    "mat": mat5("inst_map", IDS.astype(np.int32), compressed=False),
    "packed-mat": mat5("inst_map", IDS.astype(np.float64)),
}


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, cut out, doubled or cut off, most of them in the first 300, where the header is."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(min(len(out), 300)) if rng.random() < 0.7 else rng.randrange(len(out))
        match rng.randrange(5):
            case 0:
                out[place] = rng.choice(INTERESTING)
            case 1:
                out[place] ^= 1 << rng.randrange(8)
            case 2:
                del out[place : place + rng.randrange(1, 9)]
            case 3:
                out[place:place] = out[place : place + rng.randrange(1, 9)]
            case _:
                del out[max(20, place) :]
        if not out:
            return bytes(data[:1])
    return bytes(out)


def outcomes(path, data, count, first=0):
    """How many ended in a mask, how many in an annotation error; seconds of the slowest."""
    masks, errors, unnamed, slowest = 0, 0, 0, 0.0
    for seed in range(first, first + count):
        path.write_bytes(mutated(data, random.Random(seed)))
        start = time.process_time()
        try:
            labels = open_raster(path, RECIPE, SlideFrame(SIZE))
            mask = labels.mask(GRID)
            assert set(np.unique(mask).tolist()) <= {0, 1, 255}
            assert labels.instances(GRID).shape == mask.shape
            masks += 1
        except AnnotationError as error:
            unnamed += error.file != str(path)
            errors += 1
        slowest = max(slowest, time.process_time() - start)
    assert not unnamed
    return masks, errors, slowest


@pytest.mark.parametrize("kind", SEEDS)
def test_mutations_end_in_a_mask_or_an_annotation_error(tmp_path, kind):
    path = tmp_path / "m.bin"
    path.write_bytes(SEEDS[kind])
    assert np.array_equal(open_raster(path, RECIPE, SlideFrame(SIZE)).mask(GRID), IDS > 0)
    masks, errors, _ = outcomes(path, SEEDS[kind], 100)
    assert masks + errors == 100
    assert errors > 10


@pytest.mark.long
@pytest.mark.parametrize("kind", SEEDS)
def test_two_thousand_mutations(tmp_path, kind):
    masks, errors, slowest = outcomes(tmp_path / "m.bin", SEEDS[kind], 2000, first=1000)
    assert masks + errors == 2000
    assert slowest < 2.0
    # Kilobytes on Linux; the whole process, this suite's other tests included.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2 * 2**20
