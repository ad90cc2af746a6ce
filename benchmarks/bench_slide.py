"""The slide that most benchmarks are about: 40,960 x 40,960 px at 0.25 um/px, a third tissue, 18 outlines.

    python benchmarks/bench_slide.py MAKER     # MAKER: make_slide.py; makes it in the folder, 100 CPU s

MAKER is the script that makes it byte for byte (it says which packages it needs and which real slide it takes its
texture from). The tissue mask beside it is the truth that MAKER saves, at 1/32. At 512 px and 1.0 um/px 157 of 400
cells have at least 10 % tissue and 65 have 5 to 99.5 % tumour; at level 0 it is 2,106 of 6,400 with 10 % tissue.

``--smoke`` takes a tiny slide instead, made here in a moment.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from wsiprep.synthetic import write_pyramid

SMOKE_SIDE_PX = 2048


@dataclass(frozen=True, slots=True)
class BenchSlide:
    """A slide with what is known of it.

    Attributes:
        slide: the file.
        tissue: picture of where there is tissue, or None: then the recipe's own rule decides.
        annotations: its outlines, or None.
        spacing_um: um/px that patches at 4x are asked for with.
        patch_size_px: side of the patches.
    """

    slide: Path
    tissue: Path | None
    annotations: Path | None
    spacing_um: float = 1.0
    patch_size_px: int = 512


def folder_of_slides() -> Path:
    """Where the slide is looked for by default: the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wsiprep-benchmarks"


def add_slide(parser: argparse.ArgumentParser) -> None:
    """``--slide`` and what belongs to it."""
    default = folder_of_slides() / "slide.tif"
    parser.add_argument(
        "--slide", type=Path, default=default, help="tiled JPEG TIFF with the 4x level (default: the user's cache)"
    )
    parser.add_argument("--tissue", type=Path, help="its tissue mask (default: tissue.png beside it, if there is one)")
    parser.add_argument("--annotations", type=Path, help="its outlines (default: beside it, .xml, if there are any)")
    parser.add_argument("--spacing-um", type=float, default=1.0, help="um/px of the 4x level (default: %(default)s)")
    parser.add_argument("--patch-size-px", type=int, default=512)


def slide_of(options: argparse.Namespace, folder: Path) -> BenchSlide:
    """The slide that was asked for; for a smoke run a tiny one, made in ``folder``.

    Raises:
        SystemExit: there is none.
    """
    if options.smoke:
        return smoke_slide(folder)
    slide: Path = options.slide.absolute()
    if not slide.is_file():
        raise SystemExit(f"no slide at {slide}: make it with benchmarks/bench_slide.py, or name one with --slide")
    beside = slide.with_name("tissue.png"), slide.with_suffix(".xml")
    tissue, annotations = (
        asked.absolute() if asked is not None else (found if found.is_file() else None)
        for asked, found in zip((options.tissue, options.annotations), beside, strict=True)
    )
    return BenchSlide(slide, tissue, annotations, options.spacing_um, options.patch_size_px)


def smoke_slide(folder: Path) -> BenchSlide:
    """2,048 px a side at 0.25 um/px with levels 1, 2, 4: at 128 px and 1.0 um/px half of the 16 cells are tissue."""
    rng = np.random.default_rng(0)
    side = SMOKE_SIDE_PX
    coarse = rng.integers(90, 240, (side // 32, side // 32, 3), dtype=np.uint8)
    image = np.kron(coarse, np.ones((32, 32, 1), np.uint8)) + rng.integers(0, 15, (side, side, 1), dtype=np.uint8)
    image[:, side // 2 :] = 243
    slide = folder / "slide.tif"
    write_pyramid(slide, image, spacing_um=0.25, downsamples=(1, 2, 4))
    tissue = np.zeros((side // 32, side // 32), np.uint8)
    tissue[:, : side // 64] = 255
    cv2.imwrite(str(folder / "tissue.png"), tissue)
    # One square of 256 px in the corner of the first cell: a quarter of it.
    points = "".join(
        f'<Coordinate Order="{i}" X="{x}" Y="{y}" />'
        for i, (x, y) in enumerate([(0, 0), (256, 0), (256, 256), (0, 256)])
    )
    (folder / "slide.xml").write_text(
        "<ASAP_Annotations><Annotations>"
        '<Annotation Name="a" Type="Polygon" PartOfGroup="tumor" Color="#F4FA58">'
        f"<Coordinates>{points}</Coordinates></Annotation></Annotations>"
        '<AnnotationGroups><Group Name="tumor" PartOfGroup="None" Color="#F4FA58"><Attributes /></Group>'
        "</AnnotationGroups></ASAP_Annotations>"
    )
    return BenchSlide(slide, folder / "tissue.png", folder / "slide.xml", patch_size_px=128)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("maker", type=Path, help="make_slide.py")
    parser.add_argument("--folder", type=Path, default=folder_of_slides())
    parser.add_argument("--python", default=sys.executable, help="an interpreter with the maker's packages")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    stem = options.folder / "slide"
    subprocess.run([options.python, options.maker, stem], check=True)
    with np.load(f"{stem}_masks.npz") as masks:
        cv2.imwrite(str(options.folder / "tissue.png"), masks["tissue"].astype(np.uint8) * 255)
    print(options.folder)


if __name__ == "__main__":
    main()
