"""inspect --overlay: outlines, labels and grid lie where level-0 coordinates say, to a fraction of a pixel."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from pipelinecases import run
from slide_files import Writing, mean_of_blocks, padded, write_pyramid

from wsiprep.cli import main
from wsiprep.errors import AnnotationError, ManifestError, SlideError, SpacingError, UsageError
from wsiprep.geometry import Box, PixelGrid, Size
from wsiprep.patches import CellScale
from wsiprep.stages import overlay_picture as draw
from wsiprep.stages.inspect import OverlayOptions, draw_overlay
from wsiprep.stages.overlay_subjects import Asked, slide_subject
from wsiprep.stages.overlay_view import Window, off_slide, overview_downsample, window_grid

SIZE = Size(1000, 700)
TILE = 64
MARK = (808, 528, 888, 600)
"""x, y, end of x, end of y of a black mark far from the origin: whole pixels at 1, 2, 4 and 8."""
RECIPE = """\
name: overlay
labels: [tumour, stroma]
downsample: 4
annotations:
  groups: {Tumor: tumour, Exclusion: background, Ignore: ignore, Roi: roi}
"""


def rectangle(group: str, place: tuple[float, float, float, float]) -> str:
    x, y, x_end, y_end = place
    corners = [(x, y), (x_end, y), (x_end, y_end), (x, y_end)]
    points = "".join(f'<Coordinate Order="{i}" X="{a}" Y="{b}" />' for i, (a, b) in enumerate(corners))
    return (
        f'<Annotation Name="a" Type="Polygon" PartOfGroup="{group}" Color="#F4FA58">'
        f"<Coordinates>{points}</Coordinates></Annotation>"
    )


def asap(*marks: str) -> str:
    groups = "".join(
        f'<Group Name="{g}" PartOfGroup="None" Color="#F4FA58"><Attributes /></Group>'
        for g in ("Tumor", "Exclusion", "Ignore", "Roi")
    )
    return (
        f"<ASAP_Annotations><Annotations>{''.join(marks)}</Annotations>"
        f"<AnnotationGroups>{groups}</AnnotationGroups></ASAP_Annotations>"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """slide.tif: a padded pyramid, white with one black mark; slide.xml around it; recipe.yaml; mask.png."""
    place = tmp_path_factory.mktemp("overlay")
    image = np.full((SIZE.height_px, SIZE.width_px, 3), 255, np.uint8)
    x, y, x_end, y_end = MARK
    image[y:y_end, x:x_end] = 0
    levels = [image, *(padded(mean_of_blocks(image, n), TILE) for n in (2, 4, 8))]
    ratio = SIZE.width_px / levels[-1].shape[1]
    assert abs(x_end / ratio - x_end / 8) > 1, "the padding must show"
    write_pyramid(place / "slide.tif", levels, Writing(tile=TILE, resolution_um=0.25))
    (place / "slide.xml").write_text(asap(rectangle("Tumor", MARK)))
    (place / "recipe.yaml").write_text(RECIPE)
    values = np.zeros((SIZE.height_px // 4, SIZE.width_px // 4), np.uint8)
    values[y // 4 : y_end // 4, x // 4 : x_end // 4] = 255
    cv2.imwrite(str(place / "mask.png"), values)
    return place


def centre_of(profile: np.ndarray, near: float) -> float:
    """Centre of mass of a line's profile within 4 px of where it should be."""
    places = np.arange(len(profile))
    weight = np.where(np.abs(places - near) <= 4, profile.astype(np.float64), 0)
    return float((weight * places).sum() / weight.sum())


@pytest.mark.parametrize("zoom", [1, 2, 5])
@pytest.mark.parametrize(
    "grid",
    [
        PixelGrid(Box(40, 60, 300, 200), 300, 200),
        PixelGrid(Box(40, 60, 1200, 800), 300, 200),
        PixelGrid(Box(41, 63, 1321, 877), 300, 200),
    ],
    ids=["1", "4", "4.403 x 4.385"],
)
@pytest.mark.parametrize("inside", [(0.3, 0.2, 0.6, 0.7), (0.251, 0.333, 0.777, 0.618)])
def test_a_rectangle_lands_where_its_coordinates_say(
    grid: PixelGrid, zoom: int, inside: tuple[float, float, float, float]
) -> None:
    box = grid.box_lv0
    x, x_end = (box.x + box.width_px * v for v in inside[0::2])
    y, y_end = (box.y + box.height_px * v for v in inside[1::2])
    ring = np.array([[x, y], [x_end, y], [x_end, y_end], [x, y_end], [x, y]])
    alpha = draw.stroke([ring], grid, zoom, 1)
    assert alpha.shape == (grid.height_px * zoom, grid.width_px * zoom)
    height, width = alpha.shape
    for v in inside[0::2]:
        # A corner at share v of the box is v * width screen pixels from the left; pixel 0 has its centre at 1/2.
        assert centre_of(alpha[round(0.5 * height)], v * width - 0.5) == pytest.approx(v * width - 0.5, abs=0.1)
    for v in inside[1::2]:
        assert centre_of(alpha[:, round(0.5 * width)], v * height - 0.5) == pytest.approx(v * height - 0.5, abs=0.1)


def test_an_outline_that_reaches_far_beyond_has_no_line_along_the_border() -> None:
    grid = PixelGrid(Box(50_000, 50_000, 200, 200), 200, 200)
    ring = np.array([[-1e6, -1e6], [50_100, -1e6], [50_100, 1e6], [-1e6, 1e6], [-1e6, -1e6]])
    alpha = draw.stroke([ring], grid, 1, 1)
    assert centre_of(alpha[100], 99.5) == pytest.approx(99.5, abs=0.1)
    alpha[:, 96:104] = 0
    assert not alpha.any()


def picture_of(out: Path) -> np.ndarray:
    return np.asarray(cv2.imread(str(out)))[..., ::-1].astype(int)


def origin_of(picture: np.ndarray, width: int, height: int) -> tuple[int, int]:
    """Row and column of the drawing's first pixel: right and below of the corner of the frame around it."""
    dark = (picture == 25).all(axis=2)
    rows = np.flatnonzero(dark.sum(axis=1) >= width + 2)
    columns = np.flatnonzero(dark.sum(axis=0) >= height + 2)
    assert (rows[-1] - rows[0], columns[-1] - columns[0]) == (height + 1, width + 1)
    return int(rows[0]) + 1, int(columns[0]) + 1


@pytest.mark.parametrize("option", [("--downsample", 1), ("--downsample", 4), ("--spacing-um", 1.1)])
def test_the_marker_of_a_padded_pyramid_lies_inside_its_outline(
    folder: Path, tmp_path: Path, option: tuple[str, float]
) -> None:
    """Drawn without annotations, the black pixels are where the outline's rectangle is expected, to a pixel."""
    out = tmp_path / "o.png"
    x, y, x_end, y_end = MARK
    run("inspect", folder / "slide.tif", "--overlay", out, *option, "--at", f"{x},{y}", "--size-px", "128,128",
        "--grid-lv0", 100_000)  # fmt: skip
    with slide_subject(str(folder / "slide.tif"), folder / "slide.xml", Asked(**asked_of(option))) as subject:
        grid = window_grid((x, y), Size(128, 128), subject.scale, SIZE)
        assert subject.labels is not None
        labelled = subject.labels.mask(grid) == 1
    zoom = max(1, 1024 // max(grid.width_px, grid.height_px))
    picture = picture_of(out)
    row, column = origin_of(picture, grid.width_px * zoom, grid.height_px * zoom)
    part = picture[row : row + grid.height_px * zoom, column : column + grid.width_px * zoom]
    black = (part < 64).all(axis=2)
    ring = np.array([[x, y], [x_end, y], [x_end, y_end], [x, y_end], [x, y]], np.float64)
    places = draw.screen_places(ring, grid, zoom) + 0.5
    low, high = places.min(axis=0), places.max(axis=0)
    ys, xs = np.nonzero(black)
    tolerance = 0 if subject.scale.downsample else zoom  # a pixel that the mark's edge cuts is grey
    assert abs(xs.min() - low[0]) <= tolerance
    assert abs(ys.min() - low[1]) <= tolerance
    assert abs(min(xs.max() + 1, part.shape[1]) - min(high[0], part.shape[1])) <= tolerance
    # The label is where the dark pixels are.
    dark = black[zoom // 2 :: zoom, zoom // 2 :: zoom]
    assert (labelled == dark).mean() > (0.999999 if subject.scale.downsample else 0.98)


def asked_of(option: tuple[str, float]) -> dict[str, float]:
    return {option[0].removeprefix("--").replace("-", "_"): option[1]}


def test_the_whole_slide_shows_outline_around_marker(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "whole.png"
    run("inspect", folder / "slide.tif", "--overlay", out, "-a", folder / "slide.xml", "-r", folder / "recipe.yaml",
        "--grid-lv0", 100_000)  # fmt: skip
    picture = picture_of(out)
    row, column = origin_of(picture, 250, 175)
    part = picture[row : row + 175, column : column + 250]  # the plane at the working spacing fits
    orange = np.abs(part - np.array(draw.colour_of(0))).sum(axis=2) < 60
    ys, xs = np.nonzero(orange)
    x, y, x_end, y_end = (v // 4 for v in MARK)
    assert (abs(xs.min() - x) <= 1, abs(ys.min() - y) <= 1) == (True, True)
    assert (abs(xs.max() - x_end) <= 1, abs(ys.max() - y_end) <= 1) == (True, True)
    inside = part[y + 3 : y_end - 3, x + 3 : x_end - 3]
    assert inside.max() < 100, "the mark is under its outline, tinted"


def test_facts_name_what_is_shown(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["inspect", str(folder / "slide.tif"), "--overlay", str(tmp_path / "o.jpg"), "--json",
                 "-a", str(folder / "slide.xml"), "-r", str(folder / "recipe.yaml"), "--at", "848,564",
                 "--size-px", "64,32"]  # fmt: skip
    assert main(arguments) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["pixels"] == "level 2 as stored"
    assert facts["shown_lv0"] == "x 720 to 976, y 500 to 628"
    assert facts["working_um"] == [1.0, 1.0]
    assert facts["annotation"] == "slide.xml, ASAP XML"
    (row,) = facts["labels"]
    assert (row["name"], row["outlines"], row["area_px"]) == ("tumour", 1, 80.0 * 72.0)
    assert facts["counts"] == {"annotations": 1}
    assert cv2.imread(str(tmp_path / "o.jpg")) is not None


def test_without_a_recipe_every_group_is_drawn_and_the_smaller_lies_on_top(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(
        asap(rectangle("Tumor", (100, 100, 500, 500)), rectangle("Exclusion", (200, 200, 300, 300)))
    )
    with slide_subject(str(folder / "slide.tif"), tmp_path / "a.xml", Asked()) as subject:
        assert subject.labels is not None
        assert [subject.names[label] for label in subject.labels.spec.labels] == ["Exclusion", "Tumor"]
        mask = subject.labels.mask(PixelGrid(Box(0, 0, 1000, 700), 1000, 700))
        assert (mask[250, 250], mask[150, 150], mask[600, 600]) == (1, 2, 0)
    facts = draw_overlay(
        str(folder / "slide.tif"), tmp_path / "o.png", OverlayOptions(annotations=tmp_path / "a.xml", at="200,200")
    )
    assert {row["name"]: row["area_px"] for row in facts["labels"]} == {"Exclusion": 10_000.0, "Tumor": 150_000.0}


def test_holes_ignore_and_the_outside_of_rois(folder: Path, tmp_path: Path) -> None:
    """A hole keeps its pixels, ignore and what is outside the region of interest are greyed, off the slide is white."""
    (tmp_path / "a.xml").write_text(
        asap(
            rectangle("Roi", (0, 0, 600, 700)), rectangle("Tumor", (100, 100, 300, 300)),
            rectangle("Exclusion", (150, 150, 250, 250)), rectangle("Ignore", (350, 100, 450, 300)),
        )
    )  # fmt: skip
    out = tmp_path / "o.png"
    run("inspect", folder / "slide.tif", "--overlay", out, "-a", tmp_path / "a.xml", "-r", folder / "recipe.yaml",
        "--set", "downsample=2", "--at", "500,350", "--size-px", "512,400", "--grid-lv0", 100_000)  # fmt: skip
    picture = picture_of(out)
    row, column = origin_of(picture, 1024, 800)
    x0, y0, n, zoom = 500 - 512, 350 - 400, 2, 2

    def colours_in(x: int, y: int) -> np.ndarray:
        y1, x1 = row + (y - y0) // n * zoom, column + (x - x0) // n * zoom
        return picture[y1 : y1 + 16, x1 : x1 + 16].reshape(-1, 3)

    white = np.array([255, 255, 255])
    assert (colours_in(190, 190) == white).all(), "a hole"
    assert (colours_in(500, 500) == white).all(), "background"
    assert (colours_in(-8, 300)[::16] == white).all(), "off the slide"
    tumour = colours_in(120, 120)
    assert (tumour == tumour[0]).all()
    assert (tumour[0] != white).any()
    for place in ((400, 200), (800, 300)):
        grey = colours_in(*place)
        assert (grey.max(axis=1) - grey.min(axis=1) <= 1).all()
        assert grey.max() < 230
        assert len(np.unique(grey)) > 1, "hatched"


def test_off_slide_by_the_rule_of_masks() -> None:
    outside = off_slide(PixelGrid(Box(-8, 0, 32, 16), 8, 4), Size(21, 9))
    assert outside[0].tolist() == [True, True, False, False, False, False, False, False]
    assert outside[:, 3].tolist() == [False, False, False, True]


def test_label_rasters_are_drawn_with_and_without_a_recipe(folder: Path, tmp_path: Path) -> None:
    options = OverlayOptions(annotations=folder / "mask.png")
    facts = draw_overlay(str(folder / "slide.tif"), tmp_path / "o.png", options)
    assert [(row["name"], row["area_px"]) for row in facts["labels"]] == [("value 255", 80.0 * 72.0)]
    rules = ("annotations.raster.values.255=tumour", "annotations.raster.values.0=background")
    options = OverlayOptions(annotations=folder / "mask.png", recipe_path=folder / "recipe.yaml", overrides=rules)
    facts = draw_overlay(str(folder / "slide.tif"), tmp_path / "p.png", options)
    assert [(row["name"], row["area_px"]) for row in facts["labels"]] == [("tumour", 80.0 * 72.0)]


def test_a_slide_of_a_dataset_is_drawn_from_what_was_surveyed(folder: Path, tmp_path: Path) -> None:
    run("tile", folder / "slide.tif", "-o", tmp_path / "out", "-a", folder / "slide.xml", "--downsample", 4,
        "--patch-size-px", 48, "--set", "sampling.edge=pad", "--set", "keep.min_tissue=0")  # fmt: skip
    facts = draw_overlay(str(tmp_path / "out"), tmp_path / "o.png", OverlayOptions(slide_id="slide", at="848,564"))
    assert facts["pixels"] == "level 2 as stored"
    assert [(row["name"], row["area_px"]) for row in facts["labels"]] == [("tumour", 80.0 * 72.0)]
    regions = tmp_path / "out" / "slides" / "slide" / "regions.geojson"
    moved = regions.read_text().replace("888.0", "890.0")
    assert moved != regions.read_text()
    regions.write_text(moved)
    with pytest.raises(AnnotationError, match="not the ones that survey wrote"):
        draw_overlay(str(tmp_path / "out"), tmp_path / "o.png", OverlayOptions(slide_id="slide"))
    record = json.loads((regions.parent / "slide.json").read_text())
    record["annotation"]["digest"] = hashlib.sha256(regions.read_bytes()).hexdigest()
    (regions.parent / "slide.json").write_text(json.dumps(record))
    facts = draw_overlay(str(tmp_path / "out"), tmp_path / "o.png", OverlayOptions(slide_id="slide"))
    assert facts["labels"][0]["area_px"] == 82.0 * 72.0
    with pytest.raises(UsageError, match="no such slide"):
        draw_overlay(str(tmp_path / "out"), tmp_path / "o.png", OverlayOptions(slide_id="other"))
    with pytest.raises(UsageError, match="one of its slides"):
        draw_overlay(str(tmp_path / "out"), tmp_path / "o.png", OverlayOptions())


def test_paths_of_a_manifest_are_found_through_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "manifest.csv").write_text("slide_id,slide,annotation\nfar,slide.tif,slide.xml\n")
    out = tmp_path / "out"
    run("survey", "far", "-o", out, "-r", folder / "recipe.yaml", "-m", folder / "manifest.csv", "--strict")
    (out / "recipe.json").write_text(json.dumps({"name": "overlay", "labels": ["tumour", "stroma"], "downsample": 4}))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ManifestError, match="not where"):
        draw_overlay(str(out), tmp_path / "o.png", OverlayOptions(slide_id="far"))
    asked = OverlayOptions(slide_id="far", manifest=folder / "manifest.csv")
    facts = draw_overlay(str(out), tmp_path / "o.png", asked)
    assert facts["annotation"] == "slide.xml, as it was surveyed"
    record = out / "slides" / "far" / "slide.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"identity": "0" * 64}))
    with pytest.raises(SlideError, match="not the one that was surveyed"):
        draw_overlay(str(out), tmp_path / "o.png", asked)


def test_tiles_that_cannot_be_decoded_are_white_and_counted(folder: Path, tmp_path: Path) -> None:
    """In the picture of the whole slide; a window over one is an error."""
    path = tmp_path / "damaged.tif"
    image = np.full((256, 256, 3), 30, np.uint8)
    write_pyramid(path, [image], Writing(tile=64, resolution_um=0.25, compression="jpeg"))
    with tifffile.TiffFile(path) as tif:
        offset, count = (values[5] for values in (tif.pages[0].dataoffsets, tif.pages[0].databytecounts))
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = b"\0" * count
    path.write_bytes(bytes(data))
    facts = draw_overlay(str(path), tmp_path / "o.png", OverlayOptions())
    assert facts["damaged_share"] == 1 / 16
    with pytest.raises(SlideError, match="decode"):
        draw_overlay(str(path), tmp_path / "p.png", OverlayOptions(at="96,96", size_px="32,32"))
    assert not (tmp_path / "p.png").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"at": "5000,5000"}, "off the slide"),
        ({"at": "nowhere"}, "two numbers"),
        ({"at": "nan,4"}, "two numbers"),
        ({"at": "1,2", "size_px": "0,8"}, "out of range"),
        ({"size_px": "64,64"}, "size of a window"),
        ({"grid_lv0": 1}, "too many grid lines"),
        ({"spacing_um": 1.0, "downsample": 2}, "exclude each other"),
        ({"slide_id": "x"}, "dataset folder"),
    ],
)
def test_bad_options_are_usage_errors(folder: Path, tmp_path: Path, options: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        draw_overlay(str(folder / "slide.tif"), tmp_path / "o.png", OverlayOptions(**options))
    assert not (tmp_path / "o.png").exists()


def test_exit_codes(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slide = str(folder / "slide.tif")
    assert main(["inspect", slide, "--overlay", str(tmp_path / "o.txt")]) == 64
    assert main(["inspect", slide, "--at", "1,1"]) == 64
    assert main(["inspect", slide, "--overlay", str(tmp_path / "o.png"), "-a", str(tmp_path / "none.xml")]) == 65
    assert main(["inspect", str(tmp_path / "none.tif"), "--overlay", str(tmp_path / "o.png")]) == 65
    assert main(["inspect", slide, "--overlay", str(folder / "slide.tif" / "o.png")]) == 74
    assert "Traceback" not in capsys.readouterr().err


def test_a_group_that_the_recipe_does_not_map_is_an_error_as_in_survey(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(asap(rectangle("Other", MARK)))
    options = OverlayOptions(annotations=tmp_path / "a.xml", recipe_path=folder / "recipe.yaml")
    with pytest.raises(AnnotationError, match="does not map"):
        draw_overlay(str(folder / "slide.tif"), tmp_path / "o.png", options)
    facts = draw_overlay(str(folder / "slide.tif"), tmp_path / "o.png", OverlayOptions(annotations=tmp_path / "a.xml"))
    assert [row["name"] for row in facts["labels"]] == ["Other"]


def test_a_slide_without_spacing_needs_one_only_for_micrometres(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "s.tif", np.full((128, 128, 3), 200, np.uint8), tile=(64, 64), photometric="rgb")
    facts = draw_overlay(str(tmp_path / "s.tif"), tmp_path / "o.png", OverlayOptions(downsample=2))
    assert facts["spacing_um"] is None
    with pytest.raises(SpacingError, match="does not say"):
        draw_overlay(str(tmp_path / "s.tif"), tmp_path / "o.png", OverlayOptions(spacing_um=1.0))
    asked = OverlayOptions(spacing_um=1.0, slide_spacing_um=0.5, at="60,60", size_px="32,32")
    assert draw_overlay(str(tmp_path / "s.tif"), tmp_path / "o.png", asked)["scale"] == [2.0, 2.0]


def test_windows_begin_on_pixels_of_the_plane() -> None:
    grid = window_grid((501, 333.7), Size(100, 50), CellScale.square(4), SIZE)
    assert grid.downsample == 4
    assert abs(grid.box_lv0.x + 200 - 501) <= 4
    assert Window().grid_lv0 is None
    with pytest.raises(UsageError):
        Window(grid_lv0=0)


@pytest.mark.parametrize(
    ("factors", "size", "expected"),
    [
        ((1, 2, 4, 8, 16, 32, 64), Size(97_792, 221_184), 108),
        ((1, 4, 16), Size(100_000, 80_000), 49),
        ((1,), Size(5000, 100), 3),
        ((1, None, 9), Size(9000, 9000), 5),
    ],
)
def test_an_overview_is_never_larger_than_asked_for(factors: tuple[int | None, ...], size: Size, expected: int) -> None:
    n = overview_downsample(factors, size, 2048)
    coarsest = max(f for f in factors if f and f <= n)
    true = coarsest * (n // coarsest)
    assert max(size.width_px, size.height_px) / true <= 2048
    assert n >= expected


@pytest.mark.parametrize(("length", "step"), [(7, 1), (80, 10), (81, 20), (2048, 500), (221_184, 50_000)])
def test_steps_are_round(length: int, step: int) -> None:
    assert draw.nice_step(length) == step


def test_names_that_the_font_lacks_are_spelled_out(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(asap(rectangle("Tumör ✓", MARK)), encoding="utf-8")
    facts = draw_overlay(str(folder / "slide.tif"), tmp_path / "o.png", OverlayOptions(annotations=tmp_path / "a.xml"))
    assert facts["labels"][0]["name"] == "Tumör ✓"


def test_twelve_labels_have_colours_of_their_own() -> None:
    assert len({draw.colour_of(k) for k in range(12)}) == 12
