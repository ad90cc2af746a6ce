"""Are exactly the cells with 5 to 99.5 % tumour packed, and only their tiles decoded, each once? Counted, not timed.

    python benchmarks/tumour_cells.py

The truth is counted here from the outlines alone: union of the tumour polygons less the exclusions, by shapely, cut
with each cell of the grid. The tiles are counted by the slide that ``pack`` opened.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import mock
from xml.etree import ElementTree

import shapely
from bench_slide import add_slide, slide_of
from harness import Measure, arguments, report, results_of
from planned import GROUPS, TUMOUR, Planned, of_slide
from tile_floor import touched

from wsiprep.geometry import Box
from wsiprep.slides import Slide, open_slide
from wsiprep.slides.protocol import TileSlide
from wsiprep.stages import scene


def tumour_of(annotations: Path) -> shapely.Geometry:
    """The outlines of an ASAP file as one area, exclusions cut out."""
    parts: dict[str, list[shapely.Geometry]] = {"tumour": [], "background": []}
    for outline in ElementTree.parse(annotations).iter("Annotation"):
        points = [(float(c.attrib["X"]), float(c.attrib["Y"])) for c in outline.iter("Coordinate")]
        parts[GROUPS[outline.attrib["PartOfGroup"]]].append(shapely.make_valid(shapely.Polygon(points)))
    return shapely.difference(shapely.union_all(parts["tumour"]), shapely.union_all(parts["background"]))


def true_cells(annotations: Path, width_px: int, height_px: int, side_px: int) -> set[tuple[int, int]]:
    """Corners of the whole cells of the grid with 5 to 99.5 % tumour, level-0 pixels."""
    area = tumour_of(annotations)
    shapely.prepare(area)
    found = set()
    for y in range(0, height_px - side_px + 1, side_px):
        for x in range(0, width_px - side_px + 1, side_px):
            share = shapely.intersection(area, shapely.box(x, y, x + side_px, y + side_px)).area / side_px**2
            if TUMOUR["min"] - 1e-9 <= share <= TUMOUR["max"] + 1e-9:
                found.add((x, y))
    return found


def packed_slide(way: Planned) -> TileSlide:
    """Pack it, and hand back the slide that was opened for that, closed: it still tells its counts."""
    opened: list[Slide] = []

    def recording(*given: object, **named: object) -> Slide:
        opened.append(open_slide(*given, **named))  # type: ignore[arg-type]
        return opened[-1]

    with mock.patch.object(scene, "open_slide", recording):
        way.pack()
    (slide,) = opened
    if not isinstance(slide, TileSlide):
        raise SystemExit(f"the tiles of this slide are decoded by {slide.info.backend}, which does not count them")
    return slide


def main(words: list[str] | None = None) -> None:
    parser = arguments(__doc__, rounds=1)
    add_slide(parser)
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subject = slide_of(options, folder)
        if subject.annotations is None:
            raise SystemExit("the slide has no outlines: name them with --annotations")
        way = of_slide(subject, folder / "dataset", tumour=True)
        record = way.survey()
        way.plan()
        cells = way.cells()
        size, side_px = record["size"], cells[0].width_px
        truth = true_cells(subject.annotations, size["width_px"], size["height_px"], side_px)
        slide = packed_slide(way)
        found = counted(subject.slide, cells, truth, slide, side_px // subject.patch_size_px)
    report("tumour_cells", found, libraries=("shapely",), results=results_of(options), rounds=1)


def counted(
    path: Path, cells: list[Box], truth: set[tuple[int, int]], slide: TileSlide, downsample: int
) -> list[Measure]:
    """The kept cells against the true ones, the decoded tiles against those under the cells."""
    kept = {(cell.x, cell.y) for cell in cells}
    theirs = set(touched(path, cells, downsample).indices)
    level = slide.info.level_at(downsample)
    assert level is not None  # touched() found it
    decoded = {int(i) for i in slide.decoded_tiles(level.index)}
    elsewhere = sum(len(slide.decoded_tiles(v.index)) for v in slide.info.levels if v is not level)
    subject = f"{path.name}, {len(truth)} cells by shapely, {len(theirs)} tiles under them"

    def exactly(name: str, value: int, unit: str, target: int) -> Measure:
        return Measure(name, value, unit, target=target, sense="exactly", subject=subject)

    return [
        exactly("patches with 5 to 99.5 % tumour", len(cells), "patches", len(truth)),
        exactly("patches that are not among the true ones, or the reverse", len(kept ^ truth), "patches", 0),
        exactly("tiles decoded", slide.tile_counts.decoded, "tiles", len(theirs)),
        exactly("tiles decoded that no patch touches, or the reverse", len(decoded ^ theirs) + elsewhere, "tiles", 0),
        exactly("tiles decoded again", slide.tile_counts.redecoded, "tiles", 0),
    ]


if __name__ == "__main__":
    main()
