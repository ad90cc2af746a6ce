"""The page as a whole: what it shows, what it leaves out, and that it stands on its own."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from wsiprep.artifacts import DatasetTree
from wsiprep.errors import StorageError, StoreError
from wsiprep.progress import LineReporter
from wsiprep.report import render_report
from wsiprep.report.page import MAX_PREVIEWS

Put = Callable[[Path, Any], None]
VOID = {"meta", "link", "img", "input", "br", "path", "rect", "circle"}


class Outline(HTMLParser):
    """Text, attributes and the nesting of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.text: list[str] = []
        self.links: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.links += [str(value) for name, value in attrs if name in ("src", "href", "action", "data")]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.stack or self.stack.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data: str) -> None:
        if not self.stack or self.stack[-1] not in ("style", "script"):
            self.text.append(data)


def outline(path: Path) -> Outline:
    page = Outline()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    return page


def words(path: Path) -> str:
    return re.sub(r"\s+", " ", " ".join(outline(path).text))


def test_every_section_is_there_and_the_page_is_well_nested(sealed: DatasetTree) -> None:
    path = render_report(sealed)
    assert path == sealed.report
    page = outline(path)
    assert page.faults == []
    assert page.stack == []
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert {"problems", "selection", "split", "patches", "training", "benchmark", "slides", "table"} <= ids
    anchors = {link[1:] for link in page.links if link.startswith("#")}
    assert anchors <= ids


def test_nothing_is_loaded_from_elsewhere(sealed: DatasetTree) -> None:
    text = render_report(sealed).read_text()
    page = outline(sealed.report)
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert "@import" not in text
    assert not re.search(r"url\(|https?://|<script src|<iframe", text)


def test_pictures_have_a_text_and_a_size(sealed: DatasetTree) -> None:
    pictures = [a for tag, a in outline(render_report(sealed)).tags if tag == "img"]
    assert len(pictures) == 3 + 2
    assert all(a["alt"] and a["width"] and a["height"] for a in pictures)


def test_figures_of_the_dataset_are_shown(sealed: DatasetTree) -> None:
    text = words(render_report(sealed))
    for expected in ("cd" * 32, "ef" * 32, "CC0-1.0", "123.5 kB", "Synthetic", "2 done", "1 failed", "1 excluded"):
        assert expected in text
    assert "not sealed yet" not in text
    # 5 cells a patch of 4e6 label px at 0.5 um: 1 mm2 a patch.
    assert re.search(r"train 1 1 3 3\.000", text)
    assert re.search(r"test 1 1 2 2\.000", text)


def test_what_keeps_nothing_is_named_with_its_reason(tree: DatasetTree) -> None:
    text = words(render_report(tree))
    assert re.search(r"gamma under min 1\.23 % p3", text)
    assert re.search(r"gamma 4 tumour 0\.000 1,234 10, 20", text)


def test_histograms_are_one_a_source_with_counts_of_all_its_slides(tree: DatasetTree) -> None:
    text = words(render_report(tree))
    assert "Source bach: 3 cells with a label, 2 kept. Not in the bars: 10 cells without one, 0 of them kept." in text
    assert "Source camelyon: 15 cells with a label, 3 kept. Not in the bars: 20 cells" in text
    assert "0.30 to 0.35: 4 before, 2 kept" in text


def test_failures_come_first_with_their_message(tree: DatasetTree) -> None:
    text = render_report(tree).read_text()
    assert "the slide does not say how large its pixels are\n  got: &lt;nothing&gt;" in text
    assert text.index('id="problems"') < text.index('id="selection"')
    assert "pen all over" in text


def test_texts_are_escaped(tree: DatasetTree, put: Put) -> None:
    plan = {
        "plan": None,
        "states": {"<script>alert(1)</script>": {"state": "failed", "reason": "<img src=x onerror=1>"}},
    }
    put(
        tree.plan_record,
        plan | {"plan": {"slides": [], "cells": 0, "kept": 0, "counts": {}, "keep_nothing": [], "lost_lesions": []}},
    )
    text = render_report(tree).read_text()
    assert "<dataset>" not in text
    assert "A trial &amp; error &lt;dataset&gt;" in text
    assert "<script>alert" not in text
    assert "<img src=x" not in text


def test_an_empty_folder_gives_a_page_that_says_what_is_missing(tmp_path: Path) -> None:
    text = words(render_report(DatasetTree(tmp_path)))
    for stage in ("survey", "plan", "pack", "train", "benchmark"):
        assert f"run wsiprep {stage}" in text


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such dataset"):
        render_report(DatasetTree(tmp_path / "nowhere"))


def test_before_sealing_the_planned_split_is_shown(tree: DatasetTree) -> None:
    text = words(render_report(tree))
    assert "As planned; the dataset is not sealed yet." in text
    assert re.search(r"train 1 1 3 60\.0 % 50\.0 %", text)


@pytest.mark.parametrize(
    "damage",
    ["plan.json", "plan.parquet", "index.parquet", "slides/alpha/slide.json", "slides/alpha/tissue.png",
     "slides/alpha/regions.geojson", "slides/alpha/overview.jpg", "benchmark.csv", "runs/unet/seed0/metrics.csv"],
)  # fmt: skip
def test_a_damaged_file_costs_its_section_and_is_named(sealed: DatasetTree, put: Put, damage: str) -> None:
    put(sealed.root / damage, b"\xff\x00 not what it was")
    stream = io.StringIO()
    page = outline(render_report(sealed, LineReporter(stream)))
    assert page.faults == []
    if damage.endswith("overview.jpg"):
        assert "No overview" in " ".join(page.text)
    else:
        assert damage in " ".join(page.text)
        assert damage in stream.getvalue()


def test_json_of_another_kind_is_damage(sealed: DatasetTree, put: Put) -> None:
    put(sealed.plan_record, "[1, 2]")
    put(sealed.slide("beta").regions, '{"features": [3]}')
    text = words(render_report(sealed))
    assert "plan.json: not a JSON object" in text
    assert "slides/beta/regions.geojson" in text


def test_the_same_inputs_give_the_same_bytes(sealed: DatasetTree) -> None:
    first = render_report(sealed).read_bytes()
    assert render_report(sealed).read_bytes() == first


def test_many_slides_are_folded_and_their_pictures_small(sealed: DatasetTree, put: Put) -> None:
    source = sealed.slide("alpha")
    for k in range(30):
        for name in ("slide.json", "overview.jpg", "tissue.png"):
            data = (source.root / name).read_bytes().replace(b'"alpha"', f'"many{k:02d}"'.encode())
            put(sealed.slide(f"many{k:02d}").root / name, data)
    slides = [a for tag, a in outline(render_report(sealed)).tags if str(a.get("id")).startswith("slide-")]
    assert len(slides) == 34
    assert [a["id"] for a in slides if "open" in a] == ["slide-delta"]


def test_previews_are_bounded_and_what_is_left_out_is_said(sealed: DatasetTree, put: Put) -> None:
    data = sealed.preview("alpha").read_bytes()
    record = (sealed.slide("alpha").record).read_text()
    for k in range(20):
        put(sealed.slide(f"more{k:02d}").record, record.replace('"alpha"', f'"more{k:02d}"'))
        put(sealed.preview(f"more{k:02d}"), data)
    path = render_report(sealed)
    shown = [a for tag, a in outline(path).tags if tag == "img" and str(a["alt"]).startswith("Patches")]
    assert len(shown) == MAX_PREVIEWS
    assert f"{MAX_PREVIEWS} slides are shown, {22 - MAX_PREVIEWS} more are in previews/" in words(path)


def test_normalised_patches_are_explained(tree: DatasetTree, put: Put) -> None:
    assert "Stains are normalised (macenko)" in words(render_report(tree))


def test_a_leaking_split_is_said_loudly(sealed: DatasetTree, put: Put) -> None:
    record = json.loads(sealed.dataset_record.read_text())
    put(sealed.dataset_record, record | {"split": {"kind": "ratio", "by": "patch", "leaks": True}})
    assert "The split leaks" in words(render_report(sealed))


def test_an_unwritable_folder_is_a_storage_error(sealed: DatasetTree, put: Put) -> None:
    put(sealed.root / "report", "a file is in the way")
    with pytest.raises(StorageError):
        render_report(sealed)
