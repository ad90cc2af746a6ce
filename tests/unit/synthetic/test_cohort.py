"""The cohort: who is in it, what is annotated, and that pixels and polygons agree."""

from __future__ import annotations

import csv
import hashlib
import itertools
from pathlib import Path

import numpy as np
import pytest
import shapely
from lxml import etree
from shapely.geometry import Polygon, box

from wsiprep.errors import StorageError, UsageError
from wsiprep.geometry import Size
from wsiprep.manifest import read_manifest
from wsiprep.synthetic import CohortFiles, render_cohort
from wsiprep.synthetic.cohort import cast_slides
from wsiprep.synthetic.layout import draw_layout, fill_rows


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> CohortFiles:
    return render_cohort(tmp_path_factory.mktemp("cohort"), side_px=1024, n_slides=4, jobs=1)


def rings_of(path: Path) -> list[tuple[str, list[tuple[float, float]]]]:
    tree = etree.parse(str(path))
    return [
        (a.get("PartOfGroup"), [(float(c.get("X")), float(c.get("Y"))) for c in a.iter("Coordinate")])
        for a in tree.iter("Annotation")
    ]


def digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_the_demo_has_the_slides_and_patients_that_it_promises() -> None:
    cast = [slide for slide, _ in cast_slides(12)]
    assert len({s.slide_id for s in cast}) == 12
    assert len({s.patient for s in cast}) == 8
    assert sum(s.normal for s in cast) == 2
    assert sum(s.padded for s in cast) == 1
    assert {s.style for s in cast} == {0, 1}
    assert all((s.annotation is None) == s.normal for s in cast)
    with_tumour = {s.patient for s in cast if not s.normal}
    assert with_tumour == {s.patient for s in cast}
    for _, slides in itertools.groupby(cast, key=lambda s: s.patient):
        assert len({(s.centre, s.style) for s in slides}) == 1


def test_the_manifest_is_one_that_wsiprep_reads(cohort: CohortFiles) -> None:
    rows = read_manifest(cohort.manifest)
    assert [r.slide_id for r in rows] == [s.slide_id for s in cohort.slides]
    assert {r.annotation_state for r in rows} == {"exhaustive", "normal"}
    assert all(Path(r.slide).is_file() for r in rows)
    assert all(Path(r.annotation).is_file() for r in rows if r.annotation)
    assert all(r.extra == {"synthetic": "yes"} for r in rows)
    with cohort.manifest.open() as stream:
        assert len(list(csv.reader(stream))) == 5


def test_the_bytes_depend_on_the_seed_alone(cohort: CohortFiles, tmp_path: Path) -> None:
    again = render_cohort(tmp_path / "again", side_px=1024, n_slides=4, jobs=2)
    assert digests(again.folder) == digests(cohort.folder)
    other = render_cohort(tmp_path / "other", side_px=1024, n_slides=1, jobs=1, seed=8)
    assert (other.folder / "slides/synthetic_01.tif").read_bytes() != (
        cohort.folder / "slides/synthetic_01.tif"
    ).read_bytes()


def test_a_cohort_that_is_there_is_left_alone_unless_a_file_is_missing(cohort: CohortFiles, tmp_path: Path) -> None:
    first = render_cohort(tmp_path, side_px=1024, n_slides=1, jobs=1)
    again = render_cohort(tmp_path, side_px=1024, n_slides=1, jobs=1)
    assert (first.rendered, again.rendered) == (1, 0)
    before = digests(tmp_path)
    (tmp_path / "slides/synthetic_01.tif").unlink()
    assert render_cohort(tmp_path, side_px=1024, n_slides=1, jobs=1).rendered == 1
    assert digests(tmp_path) == before


def test_annotations_are_valid_tumours_with_holes_inside(cohort: CohortFiles) -> None:
    holes = 0
    for slide in (s for s in cohort.slides if s.annotation):
        rings = rings_of(cohort.folder / str(slide.annotation))
        tumours = [Polygon(points) for group, points in rings if group == "Tumor"]
        cut = [Polygon(points) for group, points in rings if group == "Exclusion"]
        assert tumours
        assert len(tumours) + len(cut) == len(rings)
        assert all(p.is_valid for p in (*tumours, *cut))
        assert all(any(t.contains(hole) for t in tumours) for hole in cut)
        assert not any(a.intersects(b) for a, b in itertools.combinations(tumours, 2))
        holes += len(cut)
    assert holes >= 3


@pytest.mark.parametrize("lesions", [1, 2])
@pytest.mark.parametrize("side_px", [1024, 2048, 8192, 8704])
def test_many_cells_are_partly_tumour(side_px: int, lesions: int) -> None:
    for seed in range(4):
        layout = draw_layout(np.random.default_rng(seed), Size(side_px, side_px), lesions=lesions)
        shares = []
        area = shapely.union_all([lesion.area for lesion in layout.lesions])
        cell = side_px / 8
        for row, column in itertools.product(range(8), repeat=2):
            square = box(column * cell, row * cell, (column + 1) * cell, (row + 1) * cell)
            shares.append(square.intersection(area).area / square.area)
        assert 15 <= sum(0.05 <= share <= 0.995 for share in shares) <= 30


def test_the_fill_is_exact_for_half_pixel_vertices_and_holes() -> None:
    outer = ((1.5, 1.0), (9.0, 1.5), (8.5, 8.5), (2.0, 9.0))
    hole = ((4.0, 4.0), (6.0, 4.0), (6.0, 6.0), (4.0, 6.0))
    got = np.concatenate([fill_rows((outer, hole), 12, y, y + 3) for y in range(0, 12, 3)])
    y, x = np.mgrid[0:12, 0:12] + 0.5
    # A hair to the right and below stands for "a centre on an edge belongs to what is right and below".
    want = shapely.contains_xy(Polygon(outer, [hole]), x.ravel() + 1e-9, y.ravel() + 1e-12).reshape(12, 12)
    assert np.array_equal(got.astype(bool), want)
    assert fill_rows((((2, 3), (7, 3), (7, 8), (2, 8)),), 12, 0, 12).sum() == 25


def test_the_pixels_follow_the_polygons(cohort: CohortFiles) -> None:
    import tifffile

    slide = cohort.slides[0]
    rings = [points for _, points in rings_of(cohort.folder / str(slide.annotation))]
    image = tifffile.imread(cohort.folder / slide.slide, key=0)
    inside = fill_rows(rings, 1024, 0, 1024).astype(bool)
    # Nuclei make tumour darker in red than the stroma of its holes and rim, slide by slide.
    red = image[..., 0].astype(float)
    assert red[inside].mean() < red[~inside].mean() - 30


def test_stain_styles_differ_and_brightness_alone_does_not_tell_tumour() -> None:
    from wsiprep.synthetic import texture

    luma: dict[str, list[float]] = {"inflamed": [], "tumour": [], "glands": []}
    colours = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        palette = texture.vary(texture.STYLES[seed % 2], rng)
        luma["inflamed"].append(float(texture.inflamed(rng, 512, palette, 0.4).mean()))
        luma["glands"].append(float(texture.tumour(rng, 512, palette, glands=True).mean()))
        colours.append(texture.tumour(rng, 512, palette, glands=False).mean((0, 1)))
        luma["tumour"].append(float(colours[-1].mean()))
    styles = np.array(colours[0::2]).mean(0), np.array(colours[1::2]).mean(0)
    assert np.abs(styles[0] - styles[1]).max() > 8
    # No threshold on brightness parts the crowded stroma of one slide from the tumour of another.
    assert min(luma["inflamed"]) < max(luma["tumour"] + luma["glands"])


def test_swatches_are_seamless() -> None:
    from wsiprep.synthetic import texture

    rng = np.random.default_rng(5)
    palette = texture.STYLES[0]
    for swatch in (
        texture.stroma(rng, 512, palette, 0.3),
        texture.tumour(rng, 512, palette, glands=True),
        texture.inflamed(rng, 512, palette, 1.0),
    ):
        smooth = swatch.astype(float)
        inner = np.abs(np.diff(smooth, axis=1)).mean()
        seam = np.abs(smooth[:, 0] - smooth[:, -1]).mean()
        assert seam < 1.6 * inner


@pytest.mark.parametrize("arguments", [{"side_px": 512}, {"n_slides": 0}, {"jobs": 0}, {"seed": -1}])
def test_arguments_out_of_range_are_refused(tmp_path: Path, arguments: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        render_cohort(tmp_path / "x", **{"side_px": 1024, "n_slides": 1, "jobs": 1, **arguments})
    assert not (tmp_path / "x").exists()


def test_an_unwritable_folder_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        render_cohort(tmp_path / "file", side_px=1024, n_slides=1, jobs=1)
