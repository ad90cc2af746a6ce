"""The benchmarks' arithmetic, and that each script still runs: --help and the smallest run of it."""

from __future__ import annotations

import csv
import importlib
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = ("pack_floor", "peers_tile", "workers", "tumour_cells", "growth", "dag", "huge_slide", "remote")
"""Those of this file; the others' tests stand with what they measure."""


@pytest.fixture(autouse=True)
def benchmarks(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder is on the path, as when one of its scripts is run."""
    folder = repository / "benchmarks"
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture
def harness() -> ModuleType:
    return importlib.import_module("harness")


def used(harness: ModuleType, *seconds: float) -> list[object]:
    return [harness.Used(cpu_s=s, wall_s=2 * s, peak_mb=10.0) for s in seconds]


class TestRounds:
    def test_interleaved_in_turn_with_a_warm_up_that_does_not_count(self, harness: ModuleType) -> None:
        order: list[str] = []
        contestants = [
            harness.Contestant(name, lambda name=name: order.append(name), before=lambda: order.append("clean"))
            for name in "ab"
        ]
        runs = harness.interleaved(contestants, rounds=2)
        assert order == ["clean", "a", "clean", "b"] * 3
        assert {name: len(found) for name, found in runs.items()} == {"a": 2, "b": 2}

    def test_two_of_one_name_are_refused(self, harness: ModuleType) -> None:
        twice = [harness.Contestant("a", print), harness.Contestant("a", print)]
        with pytest.raises(ValueError, match="same name"):
            harness.interleaved(twice, rounds=1)

    def test_ratios_are_taken_round_by_round(self, harness: ModuleType) -> None:
        # The machine slows down fourfold; the ratio of each round stays, that of the medians would not.
        ours, peer = used(harness, 1.0, 2.0, 4.0), used(harness, 2.0, 6.0, 8.0)
        spread = harness.quotients(harness.cpu(peer), harness.cpu(ours))
        assert (spread.median, spread.low, spread.high) == (2.0, 2.0, 3.0)
        assert harness.wall(ours) == [2.0, 4.0, 8.0]

    def test_rounds_that_do_not_pair_are_refused(self, harness: ModuleType) -> None:
        with pytest.raises(ValueError):
            harness.quotients([1.0, 2.0], [1.0])
        with pytest.raises(ValueError):
            harness.differences([1.0], [1.0, 2.0])

    def test_differences(self, harness: ModuleType) -> None:
        assert harness.differences([3.0, 4.0], [1.0, 1.5]) == [2.0, 2.5]


class TestProcesses:
    def test_cpu_of_children_counts(self) -> None:
        processes = importlib.import_module("processes")
        # Each of two grandchildren works until its own CPU clock says a fifth of a second.
        burn = f"{sys.executable} -S -c 'import time\nwhile time.process_time() < 0.2: pass'"
        assert processes.of_command(["sh", "-c", f"{burn} & {burn} & wait"]).cpu_s >= 0.4
        assert processes.of_call(lambda: processes.of_command(["sh", "-c", burn])).cpu_s >= 0.2

    def test_peak_is_the_commands_own(self) -> None:
        processes = importlib.import_module("processes")
        ballast = bytearray(300_000_000)
        ballast[::4096] = b"x" * len(ballast[::4096])
        small = processes.of_command([sys.executable, "-c", "pass"])
        large = processes.of_command([sys.executable, "-c", "x = b'x' * 120_000_000"])
        del ballast
        assert small.peak_mb < 100 < 120 < large.peak_mb < 200

    def test_failure_is_told_with_its_output(self) -> None:
        processes = importlib.import_module("processes")
        with pytest.raises(SystemExit, match=r"(?s)exit code 3.*went wrong"):
            processes.of_command(["sh", "-c", "echo went wrong; exit 3"])

    def test_no_such_command(self) -> None:
        processes = importlib.import_module("processes")
        with pytest.raises(SystemExit, match="exit code"):
            processes.of_command(["no-such-command-here"])


class TestMeasure:
    @pytest.mark.parametrize(
        ("value", "target", "sense", "met"),
        [
            (2.0, 2.0, "at least", True),
            (1.99, 2.0, "at least", False),
            (1000.0, 1000.0, "at most", True),
            (1000.1, 1000.0, "at most", False),
            (65.0, 65.0, "exactly", True),
            (64.0, 65.0, "exactly", False),
            (1.0, None, "at least", None),
            (math.nan, 2.0, "at least", None),
        ],
    )
    def test_met(self, harness: ModuleType, value: float, target: float | None, sense: str, met: bool | None) -> None:
        assert harness.Measure("m", value, "s", target=target, sense=sense).met is met

    def test_the_ratio_is_judged_where_there_is_one(self, harness: ModuleType) -> None:
        ratio = harness.Spread(2.5, 1.0, 4.0)
        assert harness.Measure("m", 0.1, "s", ratio, target=2.0).met is True
        assert harness.Measure("m", 9.9, "s", ratio, target=3.0).met is False

    def test_report_appends_rows_with_versions_and_hardware(
        self, harness: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        measure = harness.Measure("a / b", 12.0, "MP/s", harness.Spread(2.5, 2.0, 3.0), 2.0, subject="slide.tif")
        for _ in range(2):
            harness.report(
                "x", [measure], libraries=["tifffile"], others=["peer=1.0"], results=tmp_path / "r", rounds=5
            )
        with (tmp_path / "r" / "x.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert len(rows) == 2
        row = rows[0]
        assert (row["ratio"], row["low"], row["high"]) == ("2.5", "2", "3")
        assert (row["target"], row["met"], row["rounds"]) == (">= 2", "yes", "5")
        assert row["cpu"]
        assert row["wsiprep"]
        assert {word.split("=")[0] for word in row["libraries"].split()} == {"numpy", "tifffile", "peer"}
        assert str(tmp_path) not in str(rows)
        assert "2.5 [2, 3]" in capsys.readouterr().out

    def test_no_file_without_a_folder(self, harness: ModuleType, tmp_path: Path) -> None:
        harness.report("x", [harness.Measure("m", 1.0, "s")], results=None, rounds=1)
        assert not list(tmp_path.iterdir())


class TestGrowth:
    def test_line(self) -> None:
        growth = importlib.import_module("growth")
        line = growth.Line.through([1, 4, 16], [5.0, 11.0, 35.0])
        assert (line.slope, line.intercept, line.r2) == pytest.approx((2.0, 3.0, 1.0))

    def test_a_parabola_is_no_line(self) -> None:
        growth = importlib.import_module("growth")
        assert growth.Line.through([1, 4, 16], [1.0, 16.0, 256.0]).r2 < growth.LEAST_R2

    def test_one_size_is_no_line(self) -> None:
        growth = importlib.import_module("growth")
        with pytest.raises(ValueError, match="two different"):
            growth.Line.through([4, 4], [1.0, 2.0])


class TestSummary:
    def test_last_run_and_missed_target(
        self, harness: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        every = importlib.import_module("all")
        for value in (1.0, 3.0):
            harness.report("growth", [harness.Measure("m", value, "s", target=2.0)], results=tmp_path, rounds=1)
        assert [row["value"] for row in every.last_run(tmp_path, "growth")] == ["3"]
        assert every.main(["--summary", "--results", str(tmp_path)]) == 0
        harness.report("growth", [harness.Measure("m", 1.0, "s", target=2.0)], results=tmp_path, rounds=1)
        assert every.main(["--summary", "--results", str(tmp_path)]) == 1
        assert ">= 2" in capsys.readouterr().out

    def test_every_listed_measure_has_a_command_in_the_readme(self, benchmarks: Path) -> None:
        every = importlib.import_module("all")
        text = (benchmarks / "README.md").read_text()
        assert [entry.script for entry in every.ENTRIES if f"`{entry.script}.py" not in text] == []


class TestFloor:
    def test_tiles_under_cells_on_an_odd_grid(self, tmp_path: Path) -> None:
        bench_slide, floor = importlib.import_module("bench_slide"), importlib.import_module("tile_floor")
        geometry = importlib.import_module("wsiprep.geometry")
        slide = bench_slide.smoke_slide(tmp_path).slide
        # Level 1 is 1024 px a side in 4 x 4 tiles of 256: columns 0 and 1, rows 1 and 2 of it.
        cells = [geometry.Box(256, 900, 512, 512)]
        assert floor.touched(slide, cells, 2).indices == (4, 5, 8, 9)
        assert floor.touched(slide, cells, 2).area_px == 4 * 256 * 256
        with pytest.raises(SystemExit, match="no level"):
            floor.touched(slide, cells, 3)


@pytest.mark.parametrize("name", SCRIPTS)
def test_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        importlib.import_module(name).main(["--help"])
    assert done.value.code == 0
    assert "--smoke" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["pack_floor", "tumour_cells", "growth"])
def test_smallest_run(
    name: str, benchmarks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    results = tmp_path / "results"
    importlib.import_module(name).main(["--smoke", "--rounds", "1", "--results", str(results)])
    assert "target" in capsys.readouterr().out
    assert not results.exists()


@pytest.mark.long
@pytest.mark.parametrize("name", ["peers_tile", "workers", "dag", "huge_slide"])
def test_smallest_run_of_whole_processes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    importlib.import_module(name).main(["--smoke", "--rounds", "1", "--results", str(tmp_path / "results")])
    assert "target" in capsys.readouterr().out


def test_tumour_cells_are_exact_and_their_tiles_alone_are_decoded(capsys: pytest.CaptureFixture[str]) -> None:
    importlib.import_module("tumour_cells").main(["--smoke"])
    lines = [line for line in capsys.readouterr().out.splitlines() if " = " in line]
    assert len(lines) == 5
    assert all(line.rstrip().endswith("yes") for line in lines)
