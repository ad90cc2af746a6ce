"""Slides whose names are hard on tools go through every stage, and their raw names come out again."""

from __future__ import annotations

import csv
import unicodedata
from pathlib import Path

import pytest
from small_recipe import SMALL_RECIPE

from wsiprep.artifacts import DatasetTree
from wsiprep.cli import main
from wsiprep.manifest import ID_PATTERN, read_manifest
from wsiprep.store import Dataset
from wsiprep.store.tables import read_parquet
from wsiprep.synthetic import CohortFiles

STEMS = (
    "TCGA-AA-0001_[34061, 24725, 35279, 25785]",
    unicodedata.normalize("NFD", "-rf Präparat 'é' #1 100%"),
    "CON",
    "\U0001f52c" + "x" * 247,
)


def test_odd_names_go_through_every_stage(
    cohort: CohortFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my [slides], 1"
    folder.mkdir()
    rows = []
    for slide, stem in zip(cohort.slides, STEMS, strict=True):
        (folder / f"{stem}.tif").hardlink_to(cohort.folder / slide.slide)
        if slide.annotation:
            (folder / f"{stem}.xml").write_bytes((cohort.folder / slide.annotation).read_bytes())
        rows.append(
            {
                "slide": f"{folder.name}/{stem}.tif",
                "annotation": f"{folder.name}/{stem}.xml" if slide.annotation else "",
                "annotation_state": "exhaustive" if slide.annotation else "normal",
                "patient": slide.patient,
            }
        )
    manifest = tmp_path / "manifest.csv"
    with manifest.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "out"
    recipe.write_text(SMALL_RECIPE.replace("manifest: slides/manifest.csv", "manifest: manifest.csv"))
    ids = [row.slide_id for row in read_manifest(manifest, confined=True)]
    assert all(ID_PATTERN.fullmatch(slide_id) for slide_id in ids)
    for slide_id in ids:
        assert main(["survey", slide_id, "-r", str(recipe), "-o", str(out), "--strict"]) == 0, capsys.readouterr().err
    assert main(["plan", "-r", str(recipe), "-o", str(out)]) == 0
    for slide_id in ids:
        assert main(["pack", slide_id, "-r", str(recipe), "-o", str(out), "--strict"]) == 0, capsys.readouterr().err
    assert main(["seal", str(out), "-r", str(recipe)]) == 0
    assert main(["report", str(out)]) == 0
    assert main(["verify", str(out), "--deep"]) == 0
    assert len(Dataset(out)) > 0
    table = read_parquet(DatasetTree(out).slides_table)
    assert dict(zip(table["slide_id"].to_pylist(), table["raw_id"].to_pylist(), strict=True)) == dict(
        zip(ids, STEMS, strict=True)
    )
