"""Damage to a sealed dataset is found and named, and the workflow repairs what verify --repair gave up."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from pipelinecases import build, differing, run, snakemake, tree_bytes
from small_recipe import SMALL_RECIPE

from wsiprep.artifacts import DatasetTree
from wsiprep.cli import main
from wsiprep.synthetic import CohortFiles

SLIDES = tuple(f"synthetic_{i:02d}" for i in range(1, 5))


@pytest.fixture(scope="module")
def sound(cohort: CohortFiles, tmp_path_factory: pytest.TempPathFactory) -> DatasetTree:
    folder = tmp_path_factory.mktemp("repair")
    recipe = folder / "recipe.yaml"
    recipe.write_text(SMALL_RECIPE)
    return build(DatasetTree(folder / "dataset"), ["-r", recipe, "-m", cohort.manifest], SLIDES)


@pytest.fixture
def tree(sound: DatasetTree, tmp_path: Path) -> DatasetTree:
    """A copy to damage."""
    shutil.copytree(sound.root, tmp_path / "dataset")
    return DatasetTree(tmp_path / "dataset")


def shard_files(tree: DatasetTree, slide_id: str, array: str = "image") -> list[Path]:
    """The shard files of one array, in order; every slide but the second has more than two."""
    found = [p for p in tree.shard_folder(slide_id).glob(f"*.zarr/{array}/*") if p.name != "zarr.json"]
    assert found
    return sorted(found)


def deleted(tree: DatasetTree) -> list[Path]:
    path = shard_files(tree, "synthetic_01")[1]
    path.unlink()
    return [path]


def deleted_table(tree: DatasetTree) -> list[Path]:
    tree.index.unlink()
    return [tree.index]


def truncated(tree: DatasetTree) -> list[Path]:
    path = shard_files(tree, "synthetic_03", "mask")[0]
    path.write_bytes(path.read_bytes()[:-1])
    return [path]


def bit_flipped(tree: DatasetTree) -> list[Path]:
    path = shard_files(tree, "synthetic_04")[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 16
    path.write_bytes(data)
    return [path]


def bit_flipped_metadata(tree: DatasetTree) -> list[Path]:
    path = next(tree.shard_folder("synthetic_04").glob("*.zarr/zarr.json"))
    before = path.read_text()
    path.write_text(before.replace('"ignore": 255', '"ignore": 254'))
    assert path.read_text() != before
    return [path]


def swapped(tree: DatasetTree) -> list[Path]:
    """Two shard files of one shard: each is sound by itself."""
    one, other = shard_files(tree, "synthetic_03")[:2]
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)
    return [one, other]


def swapped_shards(tree: DatasetTree) -> list[Path]:
    one, other = (next(tree.shard_folder(s).glob("*.zarr")) for s in ("synthetic_01", "synthetic_04"))
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)
    return [one, other]


def stray_file(tree: DatasetTree) -> list[Path]:
    path = shard_files(tree, "synthetic_01")[0].with_name("9.0.0.0")
    path.write_bytes(b"stray")
    return [path]


def stray_shard(tree: DatasetTree) -> list[Path]:
    source = next(tree.shard_folder("synthetic_01").glob("*.zarr"))
    shutil.copytree(source, source.with_name("0123456789ab.zarr"))
    return [source.with_name("0123456789ab.zarr")]


DAMAGE = (deleted, deleted_table, truncated, bit_flipped, bit_flipped_metadata, swapped, swapped_shards, stray_file,
          stray_shard)  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda d: d.__name__)
def test_damage_is_found_and_named(
    tree: DatasetTree, damage: Callable[[DatasetTree], list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    run("verify", tree.root, "--deep")
    assert "no faults" in capsys.readouterr().out
    paths = damage(tree)
    before = tree_bytes(tree.root)
    assert main(["verify", str(tree.root), "--deep"]) == 2
    out, error = capsys.readouterr()
    for path in paths:
        assert re.search(rf"^\w+: {re.escape(path.relative_to(tree.root).as_posix())}", out, flags=re.MULTILINE), out
    assert re.search(r"\d+ fault\(s\) in .*\n  do:  ", error)
    assert "Traceback" not in error
    assert tree_bytes(tree.root) == before, "verify changes nothing"


def test_a_leftover_is_no_fault(tree: DatasetTree, capsys: pytest.CaptureFixture[str]) -> None:
    left = tree.shard_folder("synthetic_01") / ".tmp-host-1-2-abcdef"
    left.mkdir()
    run("verify", tree.root, "--deep")
    assert "leftover: shards/synthetic_01/.tmp-host-1-2-abcdef" in capsys.readouterr().out
    run("clean", tree.root)
    assert not left.exists()


def test_verify_in_a_process_of_its_own(
    tree: DatasetTree, wsiprep: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (path,) = bit_flipped(tree)
    result = wsiprep("verify", tree.root, "--deep")
    assert result.returncode == 2
    assert path.relative_to(tree.root).as_posix() in result.stdout
    run("verify", tree.root)  # sizes and names are as they were


def test_the_workflow_repairs_what_verify_gave_up(
    project: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = DatasetTree(project / "dataset")
    build(tree, ["-r", project / "recipe.yaml"], SLIDES)
    sound = tree_bytes(tree.root)
    damaged = [*deleted(tree), *bit_flipped(tree), *swapped(tree), *stray_file(tree)]
    assert main(["verify", str(tree.root), "--deep", "--repair"]) == 2
    error = capsys.readouterr().err
    gone = ["synthetic_01", "synthetic_03", "synthetic_04"]
    assert [s for s in SLIDES if not tree.receipt(s).exists()] == gone
    assert "run snakemake again" in error
    assert len({p.relative_to(tree.root).parts[1] for p in damaged}) == len(gone)
    result = snakemake(repository, project)
    output = result.stdout + result.stderr
    assert result.returncode == 0, output
    assert sorted(re.findall(r"^Job \d+: pack (\S+)", output, flags=re.MULTILINE)) == gone
    assert "survey" not in re.findall(r"^Job \d+: (\w+)", output, flags=re.MULTILINE)
    run("clean", tree.root)
    run("verify", tree.root, "--deep")
    found = {n: data for n, data in tree_bytes(tree.root).items() if n.split("/")[0] not in ("logs", "benchmarks")}
    assert differing(sound, found) == []
