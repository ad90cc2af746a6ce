"""One slide from reading to the published shard, beside decoding alone."""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
from pathlib import Path

from measure import interleaved, show

from wsiprep.artifacts import DatasetTree
from wsiprep.config import recipe_from_mapping
from wsiprep.geometry import Box
from wsiprep.manifest import SlideRow
from wsiprep.progress import NullReporter
from wsiprep.slides import Plane, open_slide
from wsiprep.stages.pack import pack, read_slice
from wsiprep.stages.plan import plan
from wsiprep.stages.survey import survey


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--codec", choices=["zstd", "blosc-lz4", "none"], default="zstd")
    parser.add_argument("--stain", choices=["none", "macenko", "vahadane"], default="none")
    options = parser.parse_args()
    recipe = recipe_from_mapping(
        {
            "name": "packing",
            "downsample": 1,
            "split": {"kind": "none"},
            "store": {"codec": options.codec},
            "stain": {"method": options.stain},
        }
    )
    slide = str(options.slide.absolute())
    row = SlideRow(slide_id="slide", raw_id="slide", slide=slide, slide_ref=options.slide.name)
    quiet = NullReporter()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        tree = DatasetTree(Path(folder))
        survey(row, recipe, tree, quiet)
        plan([row], recipe, tree, quiet, cohort_fallback=False)
        cells = read_slice(tree, "slide").cells.to_pylist()
        size = recipe.sampling.patch_size_px

        def decode() -> None:
            with open_slide(slide) as opened:
                plane = Plane(opened, 1, "stored")
                for cell in cells:
                    plane.read(Box(cell["x_lv0"], cell["y_lv0"], size, size))

        def whole() -> None:
            shutil.rmtree(tree.shard_folder("slide"), ignore_errors=True)
            pack(row, recipe, tree, quiet)

        contestants = {"decode alone": decode, f"pack ({options.codec}, stain {options.stain})": whole}
        show(interleaved(contestants, options.rounds), len(cells), "patches", "decode alone")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
