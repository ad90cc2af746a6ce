"""What ``wsiprep tile`` imports: a stage that runs once a slide pays for its imports once a slide.

Which modules, never how long. A module on the list costs 15 ms to 2 s of CPU time, as much as dozens of patches.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from wsiprep.synthetic import write_pyramid

TOO_HEAVY = {
    "dask", "distributed", "fsspec", "http.client", "jinja2", "lightning", "llvmlite", "matplotlib", "numba",
    "numpy.ma", "openslide", "pandas", "pyarrow.compute", "pyarrow.dataset", "rich", "ruamel.yaml", "scipy", "skimage",
    "snakemake", "tiffslide", "torch", "urllib.request", "wsiprep.report", "wsiprep.training", "xml.sax", "zarr",
}  # fmt: skip
"""Of those that the package needs somewhere; ``tile`` of a plain TIFF without a recipe file needs none."""


def modules_after(code: str) -> set[str]:
    """Names of all modules, submodules too, that a fresh interpreter has after ``code``."""
    script = f"{code}\nimport sys, json\nprint('MODULES', json.dumps(sorted(sys.modules)))"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COV_CORE")}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    line = next(line for line in done.stdout.splitlines() if line.startswith("MODULES "))
    return set(json.loads(line.removeprefix("MODULES ")))


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stained blotches in which tissue is found, with the levels that patches are read from."""
    rng = np.random.default_rng(0)
    image = np.full((1024, 1024, 3), 240, np.uint8)
    image[200:800, 200:800] = np.array([170, 70, 150], np.uint8) + rng.integers(0, 30, (600, 600, 1), dtype=np.uint8)
    path = tmp_path_factory.mktemp("slide") / "slide.tif"
    write_pyramid(path, image, spacing_um=0.5, downsamples=(1, 2, 4, 8))
    return path


@pytest.mark.parametrize("kind", ["found", "annotated"])
def test_tile_imports_what_it_uses_and_nothing_else(slide: Path, tmp_path: Path, kind: str) -> None:
    words = ["tile", str(slide), "-o", str(tmp_path / "out"), "--patch-size-px", "64", "--log-format", "none"]
    if kind == "annotated":
        points = "".join(
            f'<Coordinate Order="{i}" X="{x}" Y="{y}"/>'
            for i, (x, y) in enumerate([(250, 250), (700, 250), (500, 700)])
        )
        xml = tmp_path / "slide.xml"
        xml.write_text(
            '<ASAP_Annotations><Annotations><Annotation Name="a" Type="Polygon" PartOfGroup="tumor" Color="#F4FA58">'
            f"<Coordinates>{points}</Coordinates></Annotation></Annotations>"
            '<AnnotationGroups><Group Name="tumor" PartOfGroup="None" Color="#F4FA58"><Attributes/></Group>'
            "</AnnotationGroups></ASAP_Annotations>"
        )
        words += ["--annotations", str(xml)]
    modules = modules_after(f"from wsiprep.cli import main\nassert main({words!r}) == 0")
    assert (tmp_path / "out" / "plan" / "slide.parquet").is_file()
    assert sorted(modules & TOO_HEAVY) == []


def test_the_list_names_modules_as_python_does(slide: Path, tmp_path: Path) -> None:
    """A misspelt name would never be found: what is loaded is found."""
    modules = modules_after("import zarr, rich, ruamel.yaml, pyarrow.compute, urllib.request, numpy.ma")
    assert {"zarr", "rich", "ruamel.yaml", "pyarrow.compute", "urllib.request", "http.client", "numpy.ma"} <= modules
