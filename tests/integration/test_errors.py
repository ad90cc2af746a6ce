"""What goes wrong is said: the exit code, the file and line, what was got and expected, what to do. No traceback."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
from pipelinecases import build, run, snakemake, temporaries, tree_bytes, write_rows
from small_recipe import SMALL_RECIPE

from wsiprep.artifacts import DatasetTree, read_json
from wsiprep.cli import main
from wsiprep.synthetic import CohortFiles, write_pyramid

TUMOUR_SLIDE = "synthetic_01"


@dataclass(frozen=True)
class Place:
    """A good slide and its annotations, an empty output, and files to make wrong."""

    folder: Path
    slide: Path
    xml: Path
    out: Path

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def tile(self, *words: object, slide: Path | None = None) -> list[str]:
        return [str(w) for w in ("tile", slide or self.slide, "-o", self.out, "--patch-size-px", 64, *words)]

    def annotated(self, text: str) -> list[str]:
        return self.tile("-a", self.write("wrong.xml", text))


@pytest.fixture
def place(cohort: CohortFiles, tmp_path: Path) -> Place:
    slide, xml = (
        cohort.folder / f"{kind}/{TUMOUR_SLIDE}.{end}" for kind, end in (("slides", "tif"), ("annotations", "xml"))
    )
    return Place(tmp_path, slide, xml, tmp_path / "out")


def white_slide(place: Place) -> Path:
    write_pyramid(place.folder / "white.tif", np.full((1024, 1024, 3), 255, np.uint8), spacing_um=0.25,
                  downsamples=(1, 2, 4))  # fmt: skip
    return place.folder / "white.tif"


def slide_without_spacing(place: Place) -> Path:
    tifffile.imwrite(place.folder / "plain.tif", np.zeros((512, 512, 3), np.uint8), tile=(256, 256), metadata=None)
    return place.folder / "plain.tif"


def blocked(place: Place) -> list[str]:
    """A file where the output folder's parent should be: it stops root as well."""
    words = place.tile()
    words[words.index("-o") + 1] = str(place.write("file", "in the way") / "out")
    return words


def asap(body: str) -> str:
    return f"<ASAP_Annotations>\n<Annotations>\n{body}\n</Annotations>\n<AnnotationGroups/>\n</ASAP_Annotations>\n"


CORNERS = "".join(f'<Coordinate Order="{i}" X="{x}" Y="{y}"/>' for i, (x, y) in enumerate([(0, 0), (9, 0), (0, 9)]))


def polygon(group: str, corners: str = CORNERS) -> str:
    head = f'<Annotation Name="a" Type="Polygon" PartOfGroup="{group}" Color="#0">'
    return asap(f"{head}\n<Coordinates>{corners}</Coordinates></Annotation>")


@dataclass(frozen=True)
class Fault:
    """One mistake: the command, its exit code, and what the message must have.

    Attributes:
        words: the command line that makes it.
        exit_code, code: as in ``wsiprep.errors``.
        said: regular expressions that the message must match.
    """

    words: Callable[[Place], list[str]]
    exit_code: int
    code: str
    said: tuple[str, ...] = field(default=())


GOT, EXPECTED, DO = r"\n  got:      \S", r"\n  expected: \S", r"\n  do:       \S"
FAULTS = {
    "missing slide": Fault(
        lambda p: p.tile(slide=p.folder / "gone.tif"), 65, "bad-slide", ("there is no such slide", "gone.tif", DO)
    ),
    "not a slide": Fault(
        lambda p: p.tile(slide=p.write("text.tif", "this is no slide")), 65, "bad-slide", ("text.tif", GOT, DO)
    ),
    "empty slide": Fault(lambda p: p.tile(slide=p.write("empty.tif", "")), 65, "bad-slide", ("empty.tif", DO)),
    "half a slide": Fault(
        lambda p: p.tile(slide=p.write("half.tif", p.slide.read_bytes()[: p.slide.stat().st_size // 2])),
        65, "bad-slide", ("half.tif", GOT, DO),
    ),
    "a folder for a slide": Fault(lambda p: p.tile(slide=p.folder), 65, "bad-slide", ("expected|do",)),
    "no spacing": Fault(
        lambda p: p.tile(slide=slide_without_spacing(p)), 65, "bad-spacing",
        ("plain.tif", GOT, EXPECTED, DO, "--slide-spacing-um"),
    ),
    "another spacing": Fault(
        lambda p: p.tile("--set", "expect_um=[0.5]"), 65, "bad-spacing", (r"0\.25 um/px", r"0\.5 um/px", DO)
    ),
    "no integer step": Fault(lambda p: p.tile("--spacing-um", 0.6), 65, "bad-spacing", (GOT, EXPECTED, DO)),
    "finer than the file": Fault(lambda p: p.tile("--spacing-um", 0.1), 65, "bad-spacing", (r"0\.25 um/px", DO)),
    "no tissue": Fault(
        lambda p: p.tile(slide=white_slide(p)), 65, "bad-plan", ("no cell of the slide is kept", "no_tissue", DO)
    ),
    "nothing kept": Fault(
        lambda p: p.tile("-a", p.xml, "--set", "keep.rules=[{labels: [tumour], min: 0.9999, max: 0.9999}]"),
        65, "bad-plan", ("no cell of the slide is kept", "under_min", EXPECTED, DO),
    ),
    "smaller than a cell": Fault(
        lambda p: p.tile("--patch-size-px", 4096), 65, "bad-plan", ("no cell fits into the slide", DO)
    ),
    "missing annotations": Fault(
        lambda p: p.tile("-a", p.folder / "gone.xml"), 65, "bad-annotation", ("missing|no such", "gone.xml", DO)
    ),
    "XML of another program": Fault(
        lambda p: p.annotated('<?xml version="1.0"?>\n<Drawing scale="0.5"/>\n'), 65, "bad-annotation",
        (r"wrong\.xml:[12]", "Drawing", "ImageScope", EXPECTED, DO),
    ),
    "no XML": Fault(lambda p: p.annotated("Order,X,Y\n0,1,2\n"), 65, "bad-annotation", (r"wrong\.xml", EXPECTED, DO)),
    "malformed XML": Fault(
        lambda p: p.annotated(asap("<Annotation>")), 65, "bad-annotation",
        (r"wrong\.xml:3: <Annotation> has no Type", EXPECTED),
    ),
    "XML cut short": Fault(
        lambda p: p.annotated(p.xml.read_text()[:-200]), 65, "bad-annotation", (r"xml:\d+:\d+: not well-formed", DO)
    ),
    "entities": Fault(
        lambda p: p.annotated('<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]>\n' + asap("&e;")),
        65, "bad-annotation", ("DOCTYPE", DO),
    ),
    "unknown group": Fault(
        lambda p: p.annotated(polygon("Lymph node")), 65, "bad-annotation",
        (r"wrong\.xml:3: ", "Lymph node", EXPECTED, DO),
    ),
    "decimal comma": Fault(
        lambda p: p.annotated(polygon("Tumor", CORNERS.replace('"9"', '"12,5"'))), 65, "bad-annotation",
        (r"wrong\.xml:4: ", "12,5"),
    ),
    "unwritable output": Fault(blocked, 74, "storage", ("cannot write: a part of the path is a file", GOT, DO)),
    "both spacing and downsample": Fault(
        lambda p: p.tile("--spacing-um", 1, "--downsample", 4), 64, "usage", ("exclude each other",)
    ),
    "unknown key": Fault(
        lambda p: p.tile("--set", "sampling.size=3"), 65, "bad-recipe", (r"sampling\.size", "from --set", DO)
    ),
}  # fmt: skip


def nothing_published(out: Path) -> bool:
    """No receipt, no shard under a final name, no temporary."""
    if not out.exists():
        return True
    found = [p for p in out.rglob("*") if p.parent.name == "receipts" or p.suffix == ".zarr"]
    return not found and not temporaries(out)


@pytest.mark.parametrize("name", FAULTS)
def test_tile_says_what_is_wrong(place: Place, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    fault = FAULTS[name]
    code = main(fault.words(place))
    error = capsys.readouterr().err
    assert code == fault.exit_code, error
    assert "Traceback" not in error
    last = error[error.rindex("error: ") :]
    for pattern in fault.said:
        assert re.search(pattern, last), f"{pattern!r} is not in:\n{last}"
    assert nothing_published(place.out)


@pytest.mark.parametrize("name", ["missing slide", "unknown group", "unwritable output", "unknown key"])
def test_the_same_as_json(place: Place, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    fault = FAULTS[name]
    assert main([*fault.words(place), "--log-format", "json"]) == fault.exit_code
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["level"] for line in lines].count("error") == 1
    last = lines[-1]
    assert (last["level"], last["code"], last["exit_code"]) == ("error", fault.code, fault.exit_code)
    assert "\n" not in last["message"]
    assert {"got", "fix"} <= last.keys()


@pytest.mark.parametrize("name", ["malformed XML", "unwritable output"])
def test_the_same_in_a_process_of_its_own(
    place: Place, name: str, wsiprep: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    fault = FAULTS[name]
    result = wsiprep(*fault.words(place))
    assert result.returncode == fault.exit_code
    assert result.stderr.count("error: ") == 1
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("name", ["broken.svs", "unreadable.svs", "unopenable.tiff"])
def test_real_files_that_are_no_slides(
    place: Place, shared_data: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(place.tile(slide=shared_data / "bad" / name)) == 65
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert name in error
    assert nothing_published(place.out)


def test_the_right_command_works_after_all_of_that(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(place.annotated(polygon("Lymph node"))) == 65
    assert main(place.tile("--set", "expect_um=[0.5]")) == 65
    run(*place.tile("-a", place.xml, "--downsample", 4))
    assert "Traceback" not in capsys.readouterr().err
    assert not nothing_published(place.out)


# Recipes and manifests: the place of the mistake in the file.

RECIPES = {
    "unknown key": (
        "sampling: {patch_size_px: 64,",
        "sampling: {patch_size: 64,",
        r"yaml:9:12: sampling\.patch_size",
    ),
    "not a number": ("downsample: 4", "downsample: four", r"recipe\.yaml:5:1: "),
    "unknown label": ("{labels: [tumour], min", "{labels: [tumor], min", "'tumor'"),
    "not YAML": ("labels: [tumour]\n", "labels: [tumour\n", r"recipe\.yaml:\d+:\d+: not valid YAML"),
    "both scales": ("downsample: 4", "downsample: 4\nspacing_um: 1.0", "exactly one of"),
}


@pytest.mark.parametrize("name", RECIPES)
def test_bad_recipe(place: Place, cohort: CohortFiles, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    old, new, said = RECIPES[name]
    recipe = place.write("recipe.yaml", SMALL_RECIPE.replace(old, new))
    assert main(["survey", TUMOUR_SLIDE, "-r", str(recipe), "-m", str(cohort.manifest), "-o", str(place.out)]) == 65
    error = capsys.readouterr().err
    assert re.search(said, error), error
    assert "recipe.yaml" in error
    assert "Traceback" not in error


MANIFESTS = {
    "no slide column": ("id,path\na,b.tif\n", r"manifest\.csv:1: "),
    "bad state": ("slide,annotation_state\na.tif,maybe\n", r"manifest\.csv:2: "),
    "one id twice": ("slide_id,slide\na,a.tif\nb,b.tif\na,c.tif\n", r"manifest\.csv:4: "),
    "bad spacing": ("slide,spacing_um\nb.tif,0.25\na.tif,half\n", r"manifest\.csv:3: "),
    "too many fields": ("slide,patient\na.tif,p,q\n", r"manifest\.csv:2: "),
    "no rows": ("slide\n", "no rows"),
    "tumour slide without its file": ("slide,annotation_state\na.tif,exhaustive\n", r"manifest\.csv:2: "),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_bad_manifest(place: Place, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text, said = MANIFESTS[name]
    recipe, manifest = place.write("recipe.yaml", SMALL_RECIPE), place.write("manifest.csv", text)
    assert main(["survey", "a", "-r", str(recipe), "-m", str(manifest), "-o", str(place.out)]) == 65
    error = capsys.readouterr().err
    assert re.search(said, error), error
    assert "Traceback" not in error


def test_a_bad_row_of_another_slide_stops_what_is_about_all(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """survey and pack read their own row; plan, and Snakemake before any job, read them all."""
    recipe = place.write("recipe.yaml", SMALL_RECIPE)
    manifest = place.write("manifest.csv", "slide,spacing_um\na.tif,0.25\nb.tif,half\n")
    assert main(["plan", "-r", str(recipe), "-m", str(manifest), "-o", str(place.out)]) == 65
    assert "manifest.csv:3: " in capsys.readouterr().err


@pytest.mark.parametrize("stage", ["survey", "pack"])
def test_unknown_slide(place: Place, cohort: CohortFiles, stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = place.write("recipe.yaml", SMALL_RECIPE)
    assert main([stage, "nobody", "-r", str(recipe), "-m", str(cohort.manifest), "-o", str(place.out)]) == 65
    error = capsys.readouterr().err
    assert re.search(r"no such slide\n  got:      nobody\n  expected: synthetic_01", error), error


# Stages out of order, and what only a cohort can get wrong.


@pytest.fixture
def options(project: Path) -> list[str]:
    return ["-r", str(project / "recipe.yaml")]


@pytest.fixture
def tree(tmp_path: Path) -> DatasetTree:
    return DatasetTree(tmp_path / "dataset")


ALL = tuple(f"synthetic_{i:02d}" for i in range(1, 5))


def test_stages_out_of_order(tree: DatasetTree, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    commands = {
        "plan": ["plan", "-o", str(tree.root), *options],
        "pack": ["pack", TUMOUR_SLIDE, "-o", str(tree.root), "--strict", *options],
        "seal": ["seal", str(tree.root), *options],
    }
    for words in commands.values():
        assert main(words) == 65
    build(tree, options, ALL, through="survey")
    assert main(commands["pack"]) == 65
    assert main(commands["seal"]) == 65
    build(tree, options, ALL, through="plan")
    assert main(commands["seal"]) == 65
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert error.count("\n  do:       ") == 6
    build(tree, options, ALL)


def test_too_few_patients(tree: DatasetTree, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    # synthetic_01 and _02 are of one patient, _03 of another; _04 is left out.
    build(tree, options, ALL, through="survey")
    tree.exclusions.write_text("slide_id,reason\nsynthetic_04,a test\n")
    three = ["--set", "split.ratio={train: 2, val: 1, test: 1}"]
    assert main(["plan", "-o", str(tree.root), *options, *three]) == 65
    error = capsys.readouterr().err
    assert re.search(r"fewer groups than splits\n  got:      2 to draw .*\n  expected: at least 3\n  do: ", error), (
        error
    )
    assert main(["seal", str(tree.root), *options, *three]) == 65
    assert "Traceback" not in capsys.readouterr().err
    run("plan", "-o", tree.root, *options)


def test_nothing_kept_of_a_whole_cohort(
    tree: DatasetTree, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    harsh = ["--set", "keep.rules=[{labels: [tumour], min: 1.0, max: 1.0}]",
             "--set", "sampling={patch_size_px: 256, tumour_free_per_slide: 0}"]  # fmt: skip
    build(tree, [*options, *harsh], ALL, through="survey")
    assert main(["plan", "-o", str(tree.root), *options, *harsh]) == 65
    error = capsys.readouterr().err
    assert re.search(r"no cell of any slide is kept\n  got:      synthetic_01: .*\n  do: ", error), error
    # What keeps nothing is listed by name even so.
    listed = [item["slide_id"] for item in read_json(tree.plan_record)["plan"]["keep_nothing"]]
    assert listed == list(ALL)


def test_a_failed_plan_leaves_no_half_dataset(
    tree: DatasetTree, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A plan that stops after an earlier one that did not: seal must not join the two."""
    build(tree, options, ALL)
    record = tree.dataset_record.read_bytes()
    many = ["--set", "split.ratio={a: 1, b: 1, c: 1, d: 1}"]
    assert main(["plan", "-o", str(tree.root), *options, *many]) == 65
    assert main(["seal", str(tree.root), *options, *many]) == 65
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert "plan" in error[error.rindex("error: ") :]
    assert tree.dataset_record.read_bytes() == record


# A broken slide in a cohort.


def test_bad_slides_are_recorded(
    tree: DatasetTree, place: Place, cohort: CohortFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    good = {"slide_id": "good", "slide": str(place.slide), "annotation": str(place.xml), "patient": "p1"}
    bad = {"slide_id": "bad", "slide": str(place.write("bad.tif", "no slide")), "annotation": "", "patient": "p2"}
    white = {"slide_id": "white", "slide": str(white_slide(place)), "annotation": "", "patient": "p3"}
    manifest = write_rows(place.folder / "manifest.csv", [good, bad, white])
    options = ["-r", str(place.write("recipe.yaml", SMALL_RECIPE)), "-m", str(manifest), "--set", "split.kind=none"]
    for slide_id in ("good", "bad", "white"):
        run("survey", slide_id, "-o", tree.root, *options)
    assert read_json(tree.slide("bad").record)["error"]["code"] == "bad-slide"
    assert main(["plan", "-o", str(tree.root), *options]) == 65
    error = capsys.readouterr().err
    assert re.search(r"1 of 3 slides failed\n  got:      bad: .*bad\.tif", error), error
    assert "max_failed" in error
    lenient = [*options, "--set", "max_failed=0.5"]
    run("plan", "-o", tree.root, *lenient)
    run("pack", "good", "-o", tree.root, *lenient)
    run("seal", tree.root, *lenient)
    states = {row["slide_id"]: row for row in pq.read_table(tree.slides_table).to_pylist()}
    assert {name: row["state"] for name, row in states.items()} == {"good": "done", "bad": "failed", "white": "empty"}
    assert "bad.tif" in states["bad"]["reason"]
    assert states["white"]["reason"] == "no_tissue"
    run("verify", tree.root, "--deep")


def test_a_broken_slide_in_the_workflow(place: Place, repository: Path) -> None:
    project = place.folder / "project"
    project.mkdir()
    bad = project / "bad.tif"
    bad.write_bytes(place.slide.read_bytes()[:5000])
    rows = [
        {"slide_id": "good", "slide": str(place.slide), "annotation": str(place.xml), "patient": "p1"},
        {"slide_id": "bad", "slide": "../bad.tif", "annotation": "", "patient": "p2"},
    ]
    write_rows(project / "slides" / "manifest.csv", rows)
    (project / "recipe.yaml").write_text(
        SMALL_RECIPE.replace("split: {by: patient, ratio: {train: 1, test: 1}}", "split: {kind: none}")
    )
    tree = DatasetTree(project / "dataset")
    stopped = snakemake(repository, project)
    assert stopped.returncode != 0
    log = (tree.root / "logs" / "plan.log").read_text()
    assert re.search(r"1 of 2 slides failed\n  got:      bad: .*bad\.tif(.|\n)*\n  do:  ", log), log
    assert "Traceback" not in log
    assert not tree.dataset_record.exists()
    gone_on = snakemake(repository, project, "set=max_failed=0.5")
    assert gone_on.returncode == 0, gone_on.stdout + gone_on.stderr
    assert "survey" not in re.findall(r"^Job \d+: (\w+)", gone_on.stdout + gone_on.stderr, flags=re.MULTILINE)
    states = {row["slide_id"]: row for row in pq.read_table(tree.slides_table).to_pylist()}
    assert (states["good"]["state"], states["bad"]["state"]) == ("done", "failed")
    assert "bad.tif" in states["bad"]["reason"]


def test_a_slide_that_breaks_after_its_survey(
    tree: DatasetTree, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    slide = place.folder / "slide.tif"
    shutil.copy(place.slide, slide)
    rows = [{"slide_id": "one", "slide": str(slide), "annotation": str(place.xml)}]
    options = ["-r", str(place.write("recipe.yaml", SMALL_RECIPE)), "-m",
               str(write_rows(place.folder / "m.csv", rows)), "--set", "split.kind=none"]  # fmt: skip
    build(tree, options, ["one"], through="plan")
    data = bytearray(slide.read_bytes())
    data[-70_000:] = bytes(70_000)
    slide.write_bytes(data)
    assert main(["pack", "one", "-o", str(tree.root), "--strict", *options]) == 65
    assert "not the file that was surveyed" in capsys.readouterr().err
    assert nothing_published(tree.root)
    # In the workflow it becomes a state, and seal counts it.
    run("pack", "one", "-o", tree.root, *options)
    assert read_json(tree.receipt("one"))["state"] == "failed"
    assert main(["seal", str(tree.root), *options]) == 65
    assert re.search(r"1 of 1 slides failed\n  got:      one: ", capsys.readouterr().err)


# The disk.


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB, where this user may mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root can mount a small file system")
    made = subprocess.run([mount, "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {made.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_full_disk(small_disk: Path, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    tree = DatasetTree(small_disk / "dataset")
    words = ["-a", str(place.xml), "--patch-size-px", "64", "--downsample", "2"]
    whole = DatasetTree(place.folder / "whole")
    run("tile", place.slide, "-o", whole.root, *words)
    # Everything but the shard has room.
    filler = small_disk / "filler"
    filler.write_bytes(bytes(3 * 2**20 - needed(whole, without="shards") - 100_000))
    assert main(["tile", str(place.slide), "-o", str(tree.root), *words]) == 74
    error = capsys.readouterr().err
    assert re.search(
        r"cannot write: the disk is full.*\n  got:      .*\n  expected: at most \d+ bytes.*\n  do: ", error
    ), error
    assert "Traceback" not in error
    assert nothing_published(tree.root)
    filler.unlink()
    run("tile", place.slide, "-o", tree.root, *words)
    assert tree_bytes(tree.root) == tree_bytes(whole.root)


def fill(path: Path) -> None:
    """Take all the room that is left."""
    handle = os.open(path, os.O_CREAT | os.O_WRONLY)
    with suppress(OSError):
        while os.write(handle, bytes(4096)):
            pass
    os.close(handle)
    assert shutil.disk_usage(path.parent).free == 0


def needed(tree: DatasetTree, *, without: str) -> int:
    """Bytes of a tree in pages of 4 KiB, leaving out one folder."""
    files = [p for p in tree.root.rglob("*") if without not in p.relative_to(tree.root).parts]
    return sum(-(-p.stat().st_size // 4096) * 4096 if p.is_file() else 4096 for p in files)


@pytest.mark.parametrize("stage", ["survey", "plan", "seal"])
def test_full_disk_in_the_other_stages(
    small_disk: Path, project: Path, options: list[str], stage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {"survey": None, "plan": "survey", "seal": "pack"}[stage]
    tree = DatasetTree(small_disk / "dataset")
    tree.root.mkdir()
    if before is not None:
        build(tree, [*options, "--set", "downsample=8"], ALL, through=before)
    published = tree_bytes(tree.root)
    fill(small_disk / "filler")
    commands = {"survey": ["survey", TUMOUR_SLIDE, "-o"], "plan": ["plan", "-o"], "seal": ["seal"]}
    words = [*commands[stage], str(tree.root), *options, "--set", "downsample=8"]
    assert main(words) == 74
    error = capsys.readouterr().err
    assert re.search(r"cannot write: the disk is full", error), error
    assert "Traceback" not in error
    assert temporaries(tree.root) == []
    assert {name: data for name, data in tree_bytes(tree.root).items() if name in published} == published
    (small_disk / "filler").unlink()
    assert main(words) == 0
