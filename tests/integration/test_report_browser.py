"""The report of a real (small, synthetic) dataset, opened in headless Chromium."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import cv2
import numpy as np
import pytest

from wsiprep.artifacts import DatasetTree
from wsiprep.config import recipe_from_mapping
from wsiprep.manifest import read_manifest
from wsiprep.progress import NullReporter
from wsiprep.report import render_report
from wsiprep.stages.pack import pack
from wsiprep.stages.plan import plan
from wsiprep.stages.seal import seal
from wsiprep.stages.survey import survey
from wsiprep.synthetic import render_cohort

pytestmark = pytest.mark.browser

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
RECIPE = {
    "name": "browser", "title": "A small synthetic cohort", "synthetic": True, "labels": ["tumour"], "downsample": 2,
    "annotations": {"groups": {"Tumor": "tumour", "Exclusion": "background"}},
    "sampling": {"patch_size_px": 64, "tumour_free_per_slide": 3},
    "keep": {"rules": [{"labels": ["tumour"]}]},
    "split": {"ratio": {"train": 1, "val": 1, "test": 1}},
}  # fmt: skip


@pytest.fixture(scope="module")
def chromium() -> str:
    """Chromium's path; WSIPREP_CHROMIUM names another one."""
    named = os.environ.get("WSIPREP_CHROMIUM")
    found = named or next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        pytest.skip("no Chromium here: install Debian's package chromium to open the report in a browser")
    return found


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetTree:
    """Four slides through survey, plan, pack, seal and report, with curves and a benchmark beside them."""
    place = tmp_path_factory.mktemp("report")
    cohort = render_cohort(place / "slides", side_px=1024, n_slides=4, jobs=1)
    tree, recipe, quiet = DatasetTree(place / "dataset"), recipe_from_mapping(RECIPE), NullReporter()
    rows = read_manifest(cohort.manifest)
    for row in rows:
        survey(row, recipe, tree, quiet)
    kept = plan(rows, recipe, tree, quiet)["kept_slides"]
    for row in rows:
        if row.slide_id in kept:
            pack(row, recipe, tree, quiet)
    seal(rows, recipe, tree, quiet)
    for seed in (0, 1):
        run = tree.runs / "unet" / f"seed{seed}"
        run.mkdir(parents=True)
        rows_text = "".join(f"{e},{1 / e:.4f},{1 - 1 / (e + seed + 1):.4f}\n" for e in range(1, 6))
        (run / "metrics.csv").write_text("epoch,train_loss,val_miou\n" + rows_text)
    tree.benchmark_table.write_text("model,miou\nall background,0.41\nunet,0.83\n")
    render_report(tree)
    return tree


def run_chromium(chromium: str, profile: Path, page: Path, *extra: str) -> str:
    """Open a page and give back its DOM once it has loaded."""
    command = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
        f"--user-data-dir={profile}", "--virtual-time-budget=5000", "--window-size=1200,1600", *extra,
        page.absolute().as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def findings(dom: str) -> dict[str, str]:
    """What the page noted about itself on its root element."""
    root = re.search(r"<html[^>]*>", dom)
    assert root is not None
    return {name: unescape(value) for name, value in re.findall(r'data-(\w+)="([^"]*)"', root.group())}


def test_the_page_has_no_script_error_and_shows_every_picture(
    chromium: str, dataset: DatasetTree, tmp_path: Path
) -> None:
    dom = run_chromium(chromium, tmp_path, dataset.report, "--dump-dom")
    found = findings(dom)
    assert found.get("checked") == "yes", found
    assert "error" not in found, found["error"]
    pictures = len(re.findall(r"<img ", dataset.report.read_text()))
    assert pictures == 8
    assert (found["pictures"], found["broken"]) == (str(pictures), "0")


def test_a_broken_picture_and_a_script_error_are_noticed(chromium: str, dataset: DatasetTree, tmp_path: Path) -> None:
    text = dataset.report.read_text()
    broken = re.sub(r"(data:image/jpeg;base64,)[^\"]{200}", r"\1AAAA", text, count=1)
    page = tmp_path / "broken.html"
    page.write_text(broken.replace("</body>", "<script>missing();</script></body>"))
    found = findings(run_chromium(chromium, tmp_path / "profile", page, "--dump-dom"))
    assert found["broken"] == "1"
    assert "missing" in found["error"] or "resource" in found["error"]


def test_the_layers_over_a_slide_are_drawn(chromium: str, dataset: DatasetTree, tmp_path: Path) -> None:
    screenshot = tmp_path / "page.png"
    page = tmp_path / "slides.html"
    # Only the slides, so that a screenshot of the top of the page has them.
    head = (
        "<style>header,nav,main>*:not(.slide):not(.legend){display:none}.slide:has(.sheet){display:none}</style></body>"
    )
    page.write_text(dataset.report.read_text().replace("</body>", head))
    run_chromium(chromium, tmp_path / "profile", page, f"--screenshot={screenshot}")
    image = cv2.imread(str(screenshot)).astype(int)
    assert image.shape[:2] == (1600, 1200)
    for blue, green, red in ((178, 114, 0), (0, 94, 213)):
        near = np.abs(image - (blue, green, red)).max(2) < 12
        assert near.sum() > 300, "the outline of the tissue or of the annotations is not there"
    keep = os.environ.get("WSIPREP_SCREENSHOTS")
    if keep:
        whole = Path(keep) / "report.png"
        run_chromium(chromium, tmp_path / "again", dataset.report, "--window-size=1200,7000", f"--screenshot={whole}")
