"""Snakemake surveys and packs again what an edited correction or an edited tile touches, and nothing else."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from collection_files import write_png
from pipelinecases import snakemake, write_rows
from slide_files import texture
from stagecases import BASE, asap, box, write_slide

from wsiprep.artifacts import DatasetTree

pytestmark = pytest.mark.long


def made(folder: Path) -> None:
    """Two slides, one of them with a correction, and a folder of tiles, in one recipe."""
    for k, name in enumerate(("one", "two")):
        write_slide(folder / f"{name}.tif", texture(128, 128, seed=k), 0.5)
        asap(folder / f"{name}.xml", [("Tumor", box(0, 0, 90, 90))])
    asap(folder / "fix.xml", [("Tumor", box(80, 80, 100, 100))])
    for k, name in enumerate(("a", "b")):
        write_png(folder / "tiles" / "images" / f"{name}.png", texture(32, 32, seed=5 + k))
        write_png(folder / "tiles" / "labels" / f"{name}.png", np.eye(32, dtype=np.uint8))
    write_rows(
        folder / "manifest.csv",
        [
            {
                "slide_id": "one",
                "slide": "one.tif",
                "annotation": "one.xml",
                "corrections": "fix.xml",
                "spacing_um": "",
            },
            {"slide_id": "two", "slide": "two.tif", "annotation": "two.xml", "corrections": "", "spacing_um": ""},
            {"slide_id": "c", "slide": "tiles", "annotation": "tiles", "corrections": "", "spacing_um": 0.5},
        ],
    )
    recipe = BASE | {
        "downsample": 1, "sampling": {"patch_size_px": 32}, "manifest": "manifest.csv",
        "annotations": {"groups": {"Tumor": "tumour"}, "raster": {"values": {0: "background", 1: "tumour"}}},
        "collection": {"images": "images/{tile}.png", "labels": "labels/{tile}.png"},
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))


def jobs(repository: Path, project: Path) -> Counter[str]:
    """The jobs that one run did: the rule, and the slide of those that have one."""
    result = snakemake(repository, project)
    assert result.returncode == 0, result.stdout + result.stderr
    found: Counter[str] = Counter()
    for message in re.findall(r"^Job \d+: (.*)$", result.stdout + result.stderr, flags=re.MULTILINE):
        words = message.split()
        found[" ".join(words[:2]) if words[0] in ("survey", "pack") else words[0].rstrip(":")] += 1
    return found


def test_edited_corrections_and_tiles(tmp_path: Path, repository: Path) -> None:
    made(tmp_path)
    names = ("one", "two", "c")
    everything = {*(f"survey {n}" for n in names), *(f"pack {n}" for n in names), "plan", "seal"}
    assert set(jobs(repository, tmp_path)) == everything
    assert jobs(repository, tmp_path) == Counter()
    asap(tmp_path / "fix.xml", [("Tumor", box(80, 80, 101, 101))])
    assert set(jobs(repository, tmp_path)) == {"survey one", "plan", "pack one", "seal"}
    # The label moves within its tile: no share of any cell tells of it, and the folder's own time stays.
    write_png(tmp_path / "tiles" / "labels" / "b.png", np.eye(32, dtype=np.uint8)[::-1].copy())
    before = DatasetTree(tmp_path / "dataset").receipt("c").read_bytes()
    assert set(jobs(repository, tmp_path)) == {"survey c", "plan", "pack c", "seal"}
    assert DatasetTree(tmp_path / "dataset").receipt("c").read_bytes() != before
    assert jobs(repository, tmp_path) == Counter()
