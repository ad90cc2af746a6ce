"""Manifests: what a row means, and errors with their line."""

from __future__ import annotations

import csv
import io
import os
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from wsiprep.errors import ManifestError
from wsiprep.manifest import (
    ID_PATTERN,
    KNOWN_COLUMNS,
    AllowedPair,
    check_files,
    read_allowed_duplicates,
    read_exclusions,
    read_manifest,
    slug,
)


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "manifest.csv"
    path.write_bytes(text.encode(encoding))
    return path


def table(folder: Path, *rows: dict[str, str]) -> Path:
    """A manifest with these rows, quoted as CSV quotes."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return written(folder, text.getvalue())


def refused(path: Path, *, confined: bool = False) -> ManifestError:
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, confined=confined)
    assert caught.value.exit_code == 65
    return caught.value


def test_a_row_has_resolved_paths_and_defaults(tmp_path: Path) -> None:
    path = written(tmp_path, "slide,annotation\nslides/tumor_001.tif,xml/tumor_001.xml\nslides/normal_001.tif,\n")
    first, second = read_manifest(path)
    assert first.slide_id == "tumor_001"
    assert first.slide == str(tmp_path / "slides" / "tumor_001.tif")
    assert first.slide_ref == "slides/tumor_001.tif"
    assert first.annotation == str(tmp_path / "xml" / "tumor_001.xml")
    assert (first.annotation_state, first.stain_type, first.group, first.line) == ("exhaustive", "he", "tumor_001", 2)
    assert (second.annotation, second.annotation_state, second.line) == (None, "none", 3)


def test_data_root_replaces_the_folder_and_urls_stay(tmp_path: Path) -> None:
    path = written(tmp_path, "slide\na.tif\nhttps://host/b.tif\n/abs/c.tif\n")
    rows = read_manifest(path, tmp_path / "data")
    assert [row.slide for row in rows] == [str(tmp_path / "data" / "a.tif"), "https://host/b.tif", "/abs/c.tif"]


def test_every_known_column_is_read(tmp_path: Path) -> None:
    values = {
        "slide_id": "s1", "slide": "a.tif", "annotation": "a.xml", "corrections": "c/1.geojson; c/2.geojson;",
        "annotators": "Reader 1=r1/a.xml; Dr. B = r2/a=b.xml", "annotation_state": "partial", "patient": "p1",
        "patient_provenance": "derived", "centre": "c1", "split": "train", "fold": "3", "source": "camelyon",
        "spacing_um": "0.25", "spacing_y_um": "0.26", "stain_type": "ihc", "tissue": "a.png", "sha256": "ABCDEF",
    }  # fmt: skip
    assert sorted(values) == sorted(KNOWN_COLUMNS)
    (row,) = read_manifest(table(tmp_path, values))
    assert (row.slide_id, row.annotation_state, row.patient, row.group) == ("s1", "partial", "p1", "p1")
    assert (row.centre, row.split, row.fold, row.source) == ("c1", "train", 3, "camelyon")
    assert (row.spacing_um, row.spacing_y_um, row.stain_type, row.sha256) == (0.25, 0.26, "ihc", "abcdef")
    assert (row.tissue, row.tissue_ref) == (str(tmp_path / "a.png"), "a.png")
    assert row.correction_refs == ("c/1.geojson", "c/2.geojson")
    assert row.corrections == (str(tmp_path / "c" / "1.geojson"), str(tmp_path / "c" / "2.geojson"))
    assert row.annotator_refs == (("Reader 1", "r1/a.xml"), ("Dr. B", "r2/a=b.xml"))
    assert row.annotators == (("Reader 1", str(tmp_path / "r1" / "a.xml")), ("Dr. B", str(tmp_path / "r2" / "a=b.xml")))
    # Known, but for people only: it goes to slides.parquet.
    assert row.extra == {"patient_provenance": "derived"}


def test_unknown_columns_pass_through_in_order(tmp_path: Path) -> None:
    (row,) = read_manifest(written(tmp_path, "stage,slide,scanner\npN1, a.tif ,3DHISTECH\n"))
    assert list(row.extra.items()) == [("stage", "pN1"), ("scanner", "3DHISTECH")]
    assert row.slide_ref == "a.tif"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_bom_and_line_ends_do_not_matter(tmp_path: Path, encoding: str, newline: str) -> None:
    (row,) = read_manifest(written(tmp_path, newline.join(["slide,patient", "ä.tif,p", ""]), encoding))
    assert (row.slide_ref, row.patient) == ("ä.tif", "p")


@pytest.mark.parametrize("state", ["normal", "none"])
def test_states_without_a_file(tmp_path: Path, state: str) -> None:
    (row,) = read_manifest(written(tmp_path, f"slide,annotation_state\na.tif,{state}\n"))
    assert row.annotation_state == state


@pytest.mark.parametrize(
    ("header", "values", "word"),
    [
        ("slide,annotation_state", "a.tif,exhaustive", "needs an annotation file"),
        ("slide,annotation_state", "a.tif,partial", "needs an annotation file"),
        ("slide,annotation,annotation_state", "a.tif,a.xml,normal", "excludes an annotation file"),
        ("slide,annotation,annotation_state", "a.tif,a.xml,none", "excludes an annotation file"),
        ("slide,annotation_state", "a.tif,unknown", "unknown annotation_state"),
        ("slide,spacing_um", "a.tif,abc", "spacing_um"),
        ("slide,spacing_um", "a.tif,0", "spacing_um"),
        ("slide,spacing_um", "a.tif,-0.25", "spacing_um"),
        ("slide,spacing_um", "a.tif,inf", "spacing_um"),
        ("slide,spacing_um", "a.tif,nan", "spacing_um"),
        ("slide,fold", "a.tif,-1", "fold"),
        ("slide,fold", "a.tif,1.5", "fold"),
        ("slide,fold", "a.tif,\u0663", "fold"),
        ("slide,spacing_um,spacing_y_um", "a.tif,0.5,zero", "spacing_y_um"),
        ("slide,spacing_um,spacing_y_um", "a.tif,0.5,0", "spacing_y_um"),
        ("slide,spacing_y_um", "a.tif,0.5", "needs spacing_um"),
        ("slide,corrections", "a.tif,c.xml", "need an annotation"),
        ("slide,annotation,corrections", "a.tif,a.xml,c.xml;c.xml", "twice"),
        ("slide,annotators", "a.tif,a.xml", "name=path"),
        ("slide,annotators", "a.tif,=a.xml", "name=path"),
        ("slide,annotators", "a.tif,me=", "name=path"),
        ("slide,annotators", "a.tif,me=a.xml;Me=b.xml", "twice"),
        ("slide,annotators,annotation_state", "a.tif,me=a.xml,normal", "excludes an annotation file"),
        ("slide,patient_provenance", "a.tif,guessed", "patient_provenance"),
        ("slide,patient_provenance", "a.tif,released", "needs a patient"),
        ("slide,stain_type", "a.tif,pas", "stain_type"),
        ("slide,patient", ",p1", "names no slide"),
        ("slide,patient", "a\x07.tif,p1", "control characters"),
        ("slide,patient", "a.tif,p1,extra", "more fields"),
        ("slide,patient", '"a.tif"x,p1', "CSV"),
    ],
)
def test_a_bad_value_names_its_line(tmp_path: Path, header: str, values: str, word: str) -> None:
    good = ",".join("ok.tif" if name == "slide" else "" for name in header.split(","))
    path = written(tmp_path, f"{header}\n{good}\n{values}\n")
    error = refused(path)
    assert word in str(error)
    assert error.file == str(path)
    if word != "CSV":
        assert error.line == 3


def test_annotators_alone_are_annotations(tmp_path: Path) -> None:
    (row,) = read_manifest(table(tmp_path, {"slide": "a.tif", "annotators": "me=a.xml", "corrections": "c.xml"}))
    assert (row.annotation, row.annotation_state) == (None, "exhaustive")


@pytest.mark.parametrize(
    ("header", "known"),
    [
        ("Patient", "patient"), ("patient_id", "patient"), ("Case ID", "patient"), ("center", "centre"),
        ("annotations", "annotation"), ("Spacing-um", "spacing_um"), ("mpp", "spacing_um"), ("SHA256", "sha256"),
    ],
)  # fmt: skip
def test_a_header_that_is_nearly_a_column_is_no_unknown_one(tmp_path: Path, header: str, known: str) -> None:
    error = refused(written(tmp_path, f"slide,{header}\na.tif,1\n"))
    assert (error.line, error.expected) == (1, known)
    (row,) = read_manifest(written(tmp_path, f" slide ,{header}, {known}\na.tif,1,2\n"))
    assert row.extra == {header: "1"}


def test_two_rows_of_one_id_name_both_lines(tmp_path: Path) -> None:
    error = refused(written(tmp_path, "slide\na/s1.tif\nb/s2.tif\nc/s1.svs\n"))
    assert "'s1'" in str(error)
    assert "lines 2 and 4" in str(error)


def test_an_id_of_ones_own_separates_equal_stems(tmp_path: Path) -> None:
    rows = read_manifest(written(tmp_path, "slide,slide_id\na/s1.tif,\nb/s1.tif,s1b\n"))
    assert [row.slide_id for row in rows] == ["s1", "s1b"]


def test_names_that_are_no_ids_are_slugged_and_kept(tmp_path: Path) -> None:
    (row,) = read_manifest(written(tmp_path, "slide\nTumor 001 (β).tif\n"))
    assert row.raw_id == "Tumor 001 (β)"
    assert ID_PATTERN.fullmatch(row.slide_id)
    assert row.slide_id.startswith("tumor-001-")


def test_a_row_of_dots_still_has_an_id(tmp_path: Path) -> None:
    (row,) = read_manifest(written(tmp_path, "slide\n.hidden.tif\n"))
    assert ID_PATTERN.fullmatch(row.slide_id)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no column 'slide'"),
        ("path,patient\na.tif,p\n", "no column 'slide'"),
        ("slide,slide\na,b\n", "stands twice"),
        ("slide\n", "no rows"),
    ],
)
def test_headers_that_are_refused(tmp_path: Path, text: str, word: str) -> None:
    assert word in str(refused(written(tmp_path, text)))


def test_files_that_are_no_manifest(tmp_path: Path) -> None:
    assert "no such manifest" in str(refused(tmp_path / "absent.csv"))
    assert "CSV" in str(refused(written(tmp_path, "slide\nä.tif\n", "latin-1")))
    assert "CSV" in str(refused(tmp_path))


def test_the_survey_digest_ignores_grouping_and_folders(tmp_path: Path) -> None:
    header = "slide,patient,centre,split,fold,stage,spacing_um\n"
    (plain,) = read_manifest(written(tmp_path, header + "a.tif,,,,,,\n"))
    (grouped,) = read_manifest(written(tmp_path, header + "a.tif,p,c,train,1,pN0,\n"), tmp_path / "moved")
    (scaled,) = read_manifest(written(tmp_path, header + "a.tif,,,,,,0.5\n"))
    assert plain.survey_digest() == grouped.survey_digest()
    assert plain.survey_digest() != scaled.survey_digest()


def test_the_survey_digest_has_all_that_survey_reads_and_no_folder(tmp_path: Path) -> None:
    (row,) = read_manifest(table(tmp_path, {"slide": "a.tif", "annotation": "a.xml", "tissue": "t.png"}))
    (moved,) = read_manifest(tmp_path / "manifest.csv", tmp_path / "elsewhere")
    assert moved.survey_digest() == row.survey_digest()
    changed = [
        replace(row, correction_refs=("c.xml",)),
        replace(row, annotator_refs=(("me", "b.xml"),)),
        replace(row, annotator_refs=(("you", "b.xml"),)),
        replace(row, spacing_y_um=0.5),
        replace(row, tissue_ref="u.png"),
    ]
    assert len({row.survey_digest(), *(other.survey_digest() for other in changed)}) == 6


# --- paths -----------------------------------------------------------------------------------------

PATH_COLUMNS = ("slide", "annotation", "tissue", "corrections", "annotators")


def naming(column: str, ref: str) -> dict[str, str]:
    """A row that names ``ref`` in one column."""
    row = {"slide": "a.tif", "annotation": "a.xml"}
    return row | {column: f"me={ref}" if column == "annotators" else ref}


@pytest.mark.parametrize("confined", [False, True])
@pytest.mark.parametrize("column", PATH_COLUMNS)
@pytest.mark.parametrize(
    ("ref", "word"),
    [
        ("C:\\slides\\x.tif", "drive letter"), ("c:/x.tif", "drive letter"), ("C:x.tif", "drive letter"),
        ("a\\b.tif", "backslash"), ("..\\b.tif", "backslash"), ("\\\\server\\share\\x.tif", "backslash"),
        ("a\nb.tif", "control characters"), ("a.tif\n", "control characters"), ("a\x00.tif", "control characters"),
        ("a\u2028.tif", "control characters"), ("n" * 256, "too long"), ("d/" + "é" * 128 + "/x.tif", "too long"),
    ],
)  # fmt: skip
def test_paths_that_are_never_meant(tmp_path: Path, column: str, ref: str, word: str, confined: bool) -> None:
    error = refused(table(tmp_path, {"slide": "ok.tif"}, naming(column, ref)), confined=confined)
    assert column in error.message
    assert word in error.message
    assert error.file == str(tmp_path / "manifest.csv")


@pytest.mark.parametrize("column", PATH_COLUMNS)
@pytest.mark.parametrize(
    ("ref", "word"),
    [
        ("../x", "outside"), ("a/../x", "outside"), ("a/..", "outside"), ("/etc/passwd", "outside"),
        ("\u00a0../x", "outside"), ("https://host/x.tif", "URL"), ("file:///etc/passwd", "URL"),
    ],
)  # fmt: skip
def test_a_confined_manifest_stays_in_its_folder(tmp_path: Path, column: str, ref: str, word: str) -> None:
    path = table(tmp_path, naming(column, ref))
    error = refused(path, confined=True)
    assert column in error.message
    assert word in error.message
    assert error.line == 2
    # One's own manifest may name any file.
    assert len(read_manifest(path)) == 1


@pytest.mark.parametrize("column", PATH_COLUMNS)
def test_links_out_of_a_confined_folder_are_refused(tmp_path: Path, column: str) -> None:
    data, other = tmp_path / "data", tmp_path / "data-2"
    for folder in (data / "in", other):
        folder.mkdir(parents=True)
        (folder / "x.tif").write_bytes(b"x")
    (data / "inside").symlink_to("in")
    (data / "linked.tif").symlink_to("in/x.tif")
    (data / "outside").symlink_to(other)
    (data / "file.tif").symlink_to(other / "x.tif")
    (tmp_path / "root").symlink_to(data)
    for ref in ("inside/x.tif", "linked.tif", "in/absent.tif", "in//./x.tif"):
        assert read_manifest(table(tmp_path, naming(column, ref)), tmp_path / "root", confined=True)
    for ref in ("outside/x.tif", "file.tif", "outside/absent.tif", "outside"):
        path = table(tmp_path, naming(column, ref))
        assert read_manifest(path, data)
        with pytest.raises(ManifestError, match="through a link") as caught:
            read_manifest(path, data, confined=True)
        assert caught.value.line == 2


NAMES = [
    "a slide with blanks.tif", "TCGA-AA-0001_[34061, 24725, 35279, 25785].png", "-rf.tif", "--help.svs", "'q'.tif",
    'say "x".tif', "a,b.tif", "#1 100%.tif", "*?.tif", "$HOME.tif", "~.tif", "café.tif",
    "cafe\u0301.tif", "\U0001f52c\U0001f468\u200d\u2695\ufe0f.tif", "玻片.tif", "CON.tif", "nul", "COM1.svs",
    "x" * 251 + ".tif", "é" * 125 + ".tif", "trailing..tif", ".hidden.tif", "a:b.tif", "=1+1.tif", "x&y;z.tif",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_odd_names_are_found_on_disk_and_have_plain_ids(tmp_path: Path, name: str) -> None:
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / name).write_bytes(b"x")
    for confined in (False, True):
        (row,) = read_manifest(table(tmp_path, {"slide": f"slides/{name}"}), confined=confined)
        assert Path(row.slide).read_bytes() == b"x"
        assert row.slide_ref == f"slides/{name}"
        assert row.located() == row
        assert ID_PATTERN.fullmatch(row.slide_id)
        assert not row.slide_id.endswith(".")
        assert row.slide_id.split(".")[0] not in ("con", "nul", "com1", "-rf")
        assert name.startswith(row.raw_id)


def test_odd_names_in_one_manifest_are_different_slides(tmp_path: Path) -> None:
    different = [name for name in NAMES if unicodedata.is_normalized("NFC", name)]
    rows = read_manifest(table(tmp_path, *({"slide": f"slides/{name}"} for name in different)))
    assert len({row.slide_id for row in rows}) == len(different)


@pytest.mark.parametrize("raw", ["con", "aux.1", "lpt9.x.y", "nul.", "a.", "prn-", "CON"])
def test_ids_that_windows_cannot_hold_are_slugged(raw: str) -> None:
    made = slug(raw)
    assert slug(made) == made
    assert made.split(".")[0] not in ("con", "aux", "lpt9", "nul", "prn")
    assert not made.endswith(".")


def test_a_path_in_another_normal_form_is_found(tmp_path: Path) -> None:
    composed, decomposed = "é/ö.tif", unicodedata.normalize("NFD", "é/ö.tif")
    for on_disk, named in ((composed, decomposed), (decomposed, composed)):
        place = tmp_path / ascii(on_disk).replace("/", "_")
        (place / on_disk).parent.mkdir(parents=True)
        (place / on_disk).write_bytes(b"x")
        (row,) = read_manifest(table(place, {"slide": named, "annotation": named, "corrections": named,
                                             "annotators": f"me={named}", "tissue": named}))  # fmt: skip
        if not os.path.lexists(row.slide):
            found = row.located()
            wanted = str(place / on_disk)
            assert (found.slide, found.annotation, found.tissue) == (wanted, wanted, wanted)
            assert (found.corrections, found.annotators) == ((wanted,), (("me", wanted),))
            # Records and digests have the manifest's own words.
            assert (found.slide_ref, found.survey_digest()) == (named, row.survey_digest())
    (absent,) = read_manifest(table(tmp_path, {"slide": "é/absent.tif"}))
    assert absent.located() == absent
    (remote,) = read_manifest(table(tmp_path, {"slide": "s3://bucket/é.tif"}))
    assert remote.located() == remote


def test_ids_of_the_same_characters_are_refused(tmp_path: Path) -> None:
    error = refused(table(tmp_path, {"slide": "a/caf\u00e9.tif"}, {"slide": "b/cafe\u0301.tif"}))
    assert "normal form" in error.message
    assert "line 2" in str(error.got)
    assert error.line == 3
    rows = read_manifest(
        table(tmp_path, {"slide": "a/caf\u00e9.tif", "slide_id": "a"}, {"slide": "b/cafe\u0301.tif", "slide_id": "b"})
    )
    assert [row.slide_id for row in rows] == ["a", "b"]


@pytest.mark.parametrize("column", ["patient", "centre"])
@pytest.mark.parametrize(
    ("one", "other"),
    [("P 01", "p 01"), ("M\u00fcller", "Mu\u0308ller"), ("A  1", "A 1"), ("P\uff11", "P1"), ("ß", "SS")],
)
def test_one_patient_written_in_two_ways_is_not_two(tmp_path: Path, column: str, one: str, other: str) -> None:
    error = refused(table(tmp_path, *({"slide": f"{i}.tif", column: v} for i, v in enumerate((one, one, other)))))
    assert column in error.message
    assert "(line 2)" in str(error.got)
    assert error.line == 4


@pytest.mark.parametrize("column", ["slide_id", "patient", "centre", "split", "source"])
@pytest.mark.parametrize("value", ["a\nb", "a\x1b[31m", "a\x7f", "a\u2029b", "a\x00"])
def test_names_have_no_control_characters(tmp_path: Path, column: str, value: str) -> None:
    error = refused(table(tmp_path, {"slide": "a.tif", column: value}))
    assert f"{column} has control characters" in error.message


def test_blanks_around_a_name_are_no_part_of_it(tmp_path: Path) -> None:
    rows = read_manifest(
        table(tmp_path, {"slide": "a.tif", "patient": "p1"}, {"slide": "b.tif", "patient": "p1\u00a0"})
    )
    assert [row.patient for row in rows] == ["p1", "p1"]


# --- one slide, one row ----------------------------------------------------------------------------


def test_one_path_in_two_rows_names_both_lines(tmp_path: Path) -> None:
    for other in ("a.tif", "./a.tif", str(tmp_path / "a.tif")):
        error = refused(table(tmp_path, {"slide": "a.tif", "slide_id": "x"}, {"slide": other, "slide_id": "y"}))
        assert "two rows" in error.message
        assert "x (line 2): a.tif; y (line 3)" in str(error.got)


@pytest.mark.parametrize("kind", ["symlink", "hardlink", "folder", "dots"])
def test_one_file_under_two_names_is_found_on_disk(tmp_path: Path, kind: str) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.tif").write_bytes(b"x")
    (tmp_path / "other.tif").write_bytes(b"x")
    names = {"symlink": "b.tif", "hardlink": "b.tif", "folder": "e/a.tif", "dots": "d/../d/a.tif"}
    if kind == "symlink":
        (tmp_path / "b.tif").symlink_to("d/a.tif")
    elif kind == "hardlink":
        (tmp_path / "b.tif").hardlink_to(tmp_path / "d" / "a.tif")
    elif kind == "folder":
        (tmp_path / "e").symlink_to("d")
    rows = read_manifest(
        table(tmp_path, {"slide": "d/a.tif", "slide_id": "x"}, {"slide": "other.tif", "slide_id": "o"},
              {"slide": names[kind], "slide_id": "y"}, {"slide": "absent.tif", "slide_id": "z"},
              {"slide": "https://host/a.tif", "slide_id": "u"}, {"slide": "gone.tif", "slide_id": "g"})
    )  # fmt: skip
    with pytest.raises(ManifestError, match="two rows") as caught:
        check_files(rows, tmp_path / "manifest.csv")
    assert "x (line 2)" in str(caught.value)
    assert "y (line 4)" in str(caught.value)
    check_files([row for row in rows if row.slide_id != "y"])


def test_allowed_duplicates(tmp_path: Path) -> None:
    path = tmp_path / "allow_duplicates.csv"
    assert read_allowed_duplicates(path) == ()
    path.write_text("slide_a,slide_b,reason\ns2,s1,serial sections\n")
    assert read_allowed_duplicates(path) == (AllowedPair(("s1", "s2"), "serial sections", 2),)
    for row in ("s1,s1,same", "s1,,why", "s1,s2,", "s1,s2,a,b"):
        path.write_text(f"slide_a,slide_b,reason\n{row}\n")
        with pytest.raises(ManifestError) as caught:
            read_allowed_duplicates(path)
        assert caught.value.line == 2
    path.write_text("slide_a,slide_b\n")
    with pytest.raises(ManifestError, match="no column 'reason'"):
        read_allowed_duplicates(path)


def test_exclusions(tmp_path: Path) -> None:
    path = tmp_path / "exclude.csv"
    assert read_exclusions(path) == {}
    path.write_text("slide_id,reason\nnormal_086,renamed\n Big Slide ,\n,nobody\n", encoding="utf-8-sig")
    assert read_exclusions(path) == {"normal_086": "renamed", slug("Big Slide"): ""}
    path.write_text("slide,reason\na,b\n")
    with pytest.raises(ManifestError, match="no column 'slide_id'"):
        read_exclusions(path)
    path.write_bytes(b"slide_id\n\xff\n")
    with pytest.raises(ManifestError, match="cannot be read"):
        read_exclusions(path)


def test_the_rows_of_one_slide_are_read_without_the_others(tmp_path: Path) -> None:
    """A job of a workflow is about one slide; Snakemake has read the whole manifest before."""
    path = tmp_path / "m.csv"
    path.write_text("slide,spacing_um\na.tif,\nÜ b.tif,\nc.tif,no number\n", encoding="utf-8")
    whole = {slide_id: read_manifest(path, only=slide_id) for slide_id in ("a", slug("Ü b"), "none")}
    assert [row.slide_ref for row in whole["a"]] == ["a.tif"]
    assert [row.raw_id for row in whole[slug("Ü b")]] == ["Ü b"]
    assert whole["none"] == ()
    for wanted in (None, "c"):
        with pytest.raises(ManifestError, match="positive number"):
            read_manifest(path, only=wanted)


def test_the_rows_of_one_slide_may_be_two(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("slide,slide_id\na.tif,x\nb.tif,y\nc.tif,x\n", encoding="utf-8")
    with pytest.raises(ManifestError):
        read_manifest(path, only="x")
    assert len(read_manifest(path, only="y")) == 1
