"""The pictures of docs/check-your-slide.md, from a synthetic slide: ``python benchmarks/overlay_pictures.py``.

A padded pyramid is drawn twice around a far corner of a lesion: once as wsiprep reads it, and once as a program
does that divides coordinates by ``level_downsamples``, the ratio of the stored sizes.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np
import shapely
from PIL import Image

from wsiprep.config import recipe_from_mapping
from wsiprep.geometry import Box, PixelGrid, Size
from wsiprep.slides import open_slide
from wsiprep.stages import overlay_picture as draw
from wsiprep.stages.overlay import labelled_picture, outlines_of, write_overlay
from wsiprep.stages.overlay_subjects import Asked, slide_subject
from wsiprep.stages.overlay_view import Subject, Window
from wsiprep.synthetic import render_cohort, write_pyramid

SIDE_PX, TILE_PX, DOWNSAMPLE, ZOOM = 4420, 64, 4, 4
VIEW = Size(180, 130)
COLOURS = 256
RECIPE = {
    "name": "docs",
    "labels": ["tumour"],
    "downsample": DOWNSAMPLE,
    "annotations": {"groups": {"Tumor": "tumour", "Exclusion": "background"}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent.parent / "docs" / "images")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as name:
        slide, annotation = make_slide(Path(name))
        recipe = recipe_from_mapping(RECIPE)
        with slide_subject(str(slide), annotation, Asked(recipe, downsample=8)) as subject:
            write_overlay(subject, out / "overlay-whole.png", Window(grid_lv0=500))
        with slide_subject(str(slide), annotation, Asked(recipe)) as subject:
            grid = window_of(subject)
            n = DOWNSAMPLE
            right = subject.slide.read_level(2, Box(grid.box_lv0.x // n, grid.box_lv0.y // n, *sides(grid)))
            save(
                subject, grid, right, "right: coordinates divided by the true downsample, 4", out / "overlay-right.png"
            )
            naive = naive_downsample(slide, 2)
            x, y = round(grid.box_lv0.x / naive), round(grid.box_lv0.y / naive)
            wrong = subject.slide.read_level(2, Box(x, y, *sides(grid)))
            title = f"wrong: divided by level_downsamples[2] = {naive:.4f}"
            save(subject, grid, wrong, title, out / "overlay-wrong.png")
    smaller(out / "overlay-whole.png")


def make_slide(folder: Path) -> tuple[Path, Path]:
    """A slide whose lower levels are padded to whole tiles, and its annotation."""
    cohort = render_cohort(folder / "cohort", n_slides=1, side_px=4096, jobs=1)
    made = cohort.slides[0]
    with open_slide(cohort.folder / made.slide) as slide:
        image = slide.read_level(0, Box(0, 0, SIDE_PX, SIDE_PX))
    path = folder / "synthetic_slide.tif"
    write_pyramid(path, image, spacing_um=0.25, tile_px=TILE_PX, downsamples=(1, 2, 4, 8), quality=92, padded=True)
    assert made.annotation is not None
    return path, cohort.folder / made.annotation


def naive_downsample(slide: Path, level: int) -> float:
    """What OpenSlide calls the level's downsample: the mean of the two ratios of the stored sizes."""
    with open_slide(slide) as opened:
        first, stored = opened.info.levels[0].stored_size, opened.info.levels[level].stored_size
    return (first.width_px / stored.width_px + first.height_px / stored.height_px) / 2


def window_of(subject: Subject) -> PixelGrid:
    """Around the annotated point that is farthest from the origin."""
    points = np.concatenate([shapely.get_coordinates(region.geometry) for region in subject.regions])
    x, y = points[np.argmax(points.sum(axis=1))]
    n = DOWNSAMPLE
    left, top = int(x / n - 0.65 * VIEW.width_px), int(y / n - 0.55 * VIEW.height_px)
    return PixelGrid.of_plane(Box(left, top, VIEW.width_px, VIEW.height_px), n)


def sides(grid: PixelGrid) -> tuple[int, int]:
    return grid.width_px, grid.height_px


def save(subject: Subject, grid: PixelGrid, image: np.ndarray, title: str, path: Path) -> None:
    picture = labelled_picture(subject, image, grid, ZOOM, 100)
    page = draw.framed(picture, grid, ZOOM, 100, [title], (0.25, 0.25))
    cv2.imwrite(str(path), page[..., ::-1])
    smaller(path)
    print(path.name, len(outlines_of(subject)), "labels")


def smaller(path: Path) -> None:
    """The picture with a palette: a third of the bytes."""
    with Image.open(path) as image:
        few = image.convert("RGB").quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    print(path.name, path.stat().st_size // 1000, "kB")


if __name__ == "__main__":
    main()
