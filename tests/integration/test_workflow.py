"""The Snakemake workflow redoes what a change touches, and nothing else: by the list of jobs that ran."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from small_recipe import SMALL_RECIPE

from wsiprep.artifacts import DatasetTree
from wsiprep.geometry import Box
from wsiprep.slides import open_slide
from wsiprep.synthetic import write_pyramid

Snakemake = Callable[..., Counter[str]]


def snakemake_environment() -> dict[str, str]:
    """PATH with this interpreter's scripts first, so that jobs run the package under test."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def jobs_of(output: str) -> Counter[str]:
    """``rule slide`` -> how often it ran, from Snakemake's own messages."""
    jobs: Counter[str] = Counter()
    for message in re.findall(r"^Job \d+: (.*)$", output, flags=re.MULTILINE):
        words = message.split()
        jobs[" ".join(words[:2]) if words[0] in ("survey", "pack") else words[0].rstrip(":")] += 1
    return jobs


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workflow")


@pytest.fixture(scope="module")
def project(place: Path, cohort: object) -> Path:
    """The cohort and the recipe; tests of this module change it one after the other."""
    folder = place / "project"
    shutil.copytree(cohort.folder, folder / "slides")  # type: ignore[attr-defined]
    (folder / "recipe.yaml").write_text(SMALL_RECIPE)
    return folder


@pytest.fixture(scope="module")
def snakemake(project: Path, repository: Path) -> Snakemake:
    def call(cores: int = 2, out: str = "dataset", snakefile: Path = repository / "Snakefile") -> Counter[str]:
        command = [
            sys.executable, "-m", "snakemake", "--cores", str(cores), "--snakefile", str(snakefile),
            "--directory", str(project),
            "--config", "recipe=recipe.yaml", f"out={out}", "pack_threads=1", "--", "dataset",
        ]  # fmt: skip
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=snakemake_environment())
        assert result.returncode == 0, result.stdout + result.stderr
        return jobs_of(result.stdout + result.stderr)

    return call


@pytest.fixture(scope="module")
def first_run(snakemake: Snakemake) -> Counter[str]:
    return snakemake()


@pytest.fixture
def tree(project: Path) -> DatasetTree:
    return DatasetTree(project / "dataset")


def digests(tree: DatasetTree) -> tuple[str, str]:
    record = json.loads(tree.dataset_record.read_text())
    return record["pixels_digest"], record["dataset_digest"]


def slides_of(jobs: Counter[str], rule: str) -> list[str]:
    return sorted(name.split()[1] for name in jobs if name.startswith(f"{rule} "))


def test_first_run_does_every_slide_once(first_run: Counter[str], tree: DatasetTree) -> None:
    assert slides_of(first_run, "survey") == tree.slide_ids()
    assert slides_of(first_run, "pack") == json.loads(tree.plan_record.read_text())["kept_slides"]
    assert first_run["plan"] == 1
    assert first_run["seal"] == 1
    assert max(first_run.values()) == 1


def test_second_run_does_nothing(first_run: Counter[str], snakemake: Snakemake) -> None:
    assert snakemake() == Counter()


def test_touching_a_file_does_nothing(first_run: Counter[str], snakemake: Snakemake, project: Path) -> None:
    next((project / "slides" / "annotations").glob("*.xml")).touch()
    assert snakemake() == Counter()


def test_other_core_count_gives_the_same_bytes(
    first_run: Counter[str], snakemake: Snakemake, tree: DatasetTree, project: Path
) -> None:
    serial = DatasetTree(project / "serial")
    snakemake(cores=1, out="serial")
    assert digests(serial) == digests(tree)
    names = [sorted(str(p.relative_to(t.root)) for p in (t.root / "shards").rglob("*")) for t in (serial, tree)]
    assert names[0] == names[1]
    for path in (tree.root / "shards").rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (serial.root / path.relative_to(tree.root)).read_bytes()


def test_editing_one_xml_redoes_that_slide(
    first_run: Counter[str], snakemake: Snakemake, project: Path, tree: DatasetTree
) -> None:
    xml = sorted((project / "slides" / "annotations").glob("*.xml"))[0]
    text = xml.read_text()
    match = re.search(r'X="([0-9.]+)"', text)
    assert match is not None
    xml.write_text(text.replace(match.group(0), f'X="{float(match.group(1)) + 8}"', 1))
    before = digests(tree)
    jobs = snakemake()
    assert slides_of(jobs, "survey") == [xml.stem]
    assert slides_of(jobs, "pack") == [xml.stem]
    assert (jobs["plan"], jobs["seal"]) == (1, 1)
    assert digests(tree)[0] != before[0]


def test_new_split_packs_nothing(
    first_run: Counter[str], snakemake: Snakemake, project: Path, tree: DatasetTree
) -> None:
    recipe = project / "recipe.yaml"
    before = digests(tree)
    recipe.write_text(recipe.read_text().replace("ratio: {train: 1, test: 1}", "ratio: {train: 1, test: 1}, seed: 5"))
    jobs = snakemake()
    assert slides_of(jobs, "survey") == []
    assert slides_of(jobs, "pack") == []
    assert (jobs["plan"], jobs["seal"]) == (1, 1)
    assert digests(tree)[0] == before[0]
    assert digests(tree)[1] != before[1]


def test_excluding_a_slide_packs_nothing(first_run: Counter[str], snakemake: Snakemake, tree: DatasetTree) -> None:
    gone = json.loads(tree.plan_record.read_text())["kept_slides"][0]
    tree.exclusions.write_text(f"slide_id,reason\n{gone},a test\n")
    try:
        jobs = snakemake()
        assert slides_of(jobs, "pack") == []
        assert (jobs["plan"], jobs["seal"]) == (1, 1)
        assert json.loads(tree.plan_record.read_text())["states"][gone]["state"] == "excluded"
    finally:
        tree.exclusions.unlink()
    jobs = snakemake()
    assert slides_of(jobs, "pack") == []
    assert jobs["seal"] == 1


def test_adding_a_slide_packs_one(
    first_run: Counter[str], snakemake: Snakemake, project: Path, tree: DatasetTree
) -> None:
    manifest = project / "slides" / "manifest.csv"
    lines = manifest.read_text().splitlines()
    columns = lines[0].split(",")
    first = dict(zip(columns, next(row for row in lines[1:] if ".xml" in row).split(","), strict=True))
    source = project / "slides" / first["slide"]
    with open_slide(source) as slide:
        # Turned by half: a copy would be refused as the same slide twice.
        size, spacing = slide.info.size, slide.info.spacing
        pixels = slide.read_level(0, Box(0, 0, size.width_px, size.height_px))[::-1, ::-1]
    assert spacing is not None
    write_pyramid(source.with_name("added.tif"), pixels.copy(), spacing_um=spacing.x_um)
    added = first | {"slide_id": "added", "slide": "slides/added.tif"}
    places = dict(row.split(",")[:2] for row in tree.splits.read_text().splitlines()[1:])
    manifest.write_text("\n".join([*lines, ",".join(added[c] for c in columns)]) + "\n")
    jobs = snakemake()
    assert slides_of(jobs, "survey") == ["added"]
    assert slides_of(jobs, "pack") == ["added"]
    assert jobs["seal"] == 1
    after = dict(row.split(",")[:2] for row in tree.splits.read_text().splitlines()[1:])
    assert {g: after[g] for g in places} == places


def test_missing_shard_is_packed_again(first_run: Counter[str], snakemake: Snakemake, tree: DatasetTree) -> None:
    before = digests(tree)
    gone = json.loads(tree.plan_record.read_text())["kept_slides"][0]
    shutil.rmtree(tree.shard_folder(gone))
    jobs = snakemake()
    assert slides_of(jobs, "pack") == [gone]
    assert slides_of(jobs, "survey") == []
    assert digests(tree) == before


def test_stage_revision_redoes_its_stage(
    first_run: Counter[str], snakemake: Snakemake, tree: DatasetTree, project: Path, repository: Path
) -> None:
    kept = json.loads(tree.plan_record.read_text())["kept_slides"]
    before = digests(tree)
    bumped = project / "Snakefile"
    bumped.write_text(
        "import wsiprep.stages.revisions as revisions\n"
        "revisions.REVISION = {**revisions.REVISION, 'pack': 1001}\n"
        f"include: '{repository / 'Snakefile'}'\n"
    )
    jobs = snakemake(snakefile=bumped)
    assert slides_of(jobs, "pack") == kept
    assert slides_of(jobs, "survey") == []
    assert jobs["plan"] == 0
    assert digests(tree) == before


def test_workflow_passes_its_own_linter(repository: Path, project: Path) -> None:
    command = [sys.executable, "-m", "snakemake", "--lint", "--snakefile", str(repository / "Snakefile"),
               "--directory", str(project), "--config", "recipe=recipe.yaml"]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=snakemake_environment())
    assert "Traceback" not in result.stderr
