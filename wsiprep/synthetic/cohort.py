"""A whole synthetic cohort: slides, ASAP annotations and the manifest, the same bytes for the same seed."""

from __future__ import annotations

import csv
import io
import json
import math
import multiprocessing
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

import cv2
import numpy as np

from wsiprep.errors import UsageError, from_os_error
from wsiprep.geometry import Size
from wsiprep.progress import NullReporter, Reporter
from wsiprep.synthetic import texture
from wsiprep.synthetic.layout import Layout, Lesion, Ring, draw_layout
from wsiprep.synthetic.painting import Painting, make_swatches
from wsiprep.synthetic.pyramid import make_folder, write_pyramid

REVISION = 1
"""Raised when the pixels or polygons of a seed change, so that an older cohort is made anew."""

SPACING_UM = 0.25
TUMOUR_GROUP = "Tumor"
EXCLUSION_GROUP = "Exclusion"
MANIFEST_COLUMNS = ("slide_id", "slide", "annotation", "annotation_state", "patient", "centre", "synthetic")


@dataclass(frozen=True, slots=True)
class SyntheticSlide:
    """One slide of a cohort: who it is from, how it is stored, and where its files lie."""

    slide_id: str
    patient: str
    centre: str
    style: int
    normal: bool
    padded: bool
    slide: str
    annotation: str | None


@dataclass(frozen=True, slots=True)
class CohortFiles:
    """What :func:`render_cohort` wrote; the slides' paths are relative to ``folder``."""

    folder: Path
    manifest: Path
    slides: tuple[SyntheticSlide, ...]
    rendered: int


@dataclass(frozen=True, slots=True)
class _Job:
    folder: str
    seed: int
    index: int
    patient_index: int
    side_px: int
    quality: int
    slide: SyntheticSlide


def cast_slides(n_slides: int) -> tuple[tuple[SyntheticSlide, int], ...]:
    """Who is who in a cohort of ``n_slides``: (slide, number of its patient).

    Two thirds of the number of slides are patients; the first ones have a second slide, and the first two
    second slides are normal. Patients alternate between two centres, each with its own stain style. The
    third slide (the last of a smaller cohort) is a padded pyramid.
    """
    if n_slides < 1:
        raise UsageError("a cohort needs at least one slide", got=n_slides)
    patients = -(-2 * n_slides // 3)
    seconds = n_slides - patients
    order = [(p, turn) for p in range(patients) for turn in ((0, 1) if p < seconds else (0,))]
    cast: list[tuple[SyntheticSlide, int]] = []
    for index, (patient, turn) in enumerate(order):
        name, style = f"synthetic_{index + 1:02d}", patient % 2
        normal = turn == 1 and patient < 2
        slide = SyntheticSlide(
            slide_id=name,
            patient=f"patient_{patient + 1:02d}",
            centre=f"centre_{'ab'[style]}",
            style=style,
            normal=normal,
            padded=index == min(2, n_slides - 1),
            slide=f"slides/{name}.tif",
            annotation=None if normal else f"annotations/{name}.xml",
        )
        cast.append((slide, patient))
    return tuple(cast)


def render_cohort(
    out: str | os.PathLike[str],
    *,
    seed: int = 7,
    n_slides: int = 12,
    side_px: int = 8192,
    jobs: int = 2,
    quality: int = 80,
    reporter: Reporter | None = None,
) -> CohortFiles:
    """Render a synthetic cohort under ``out``: ``slides/``, ``annotations/``, ``manifest.csv``, ``cohort.json``.

    Every slide has 0.25 um/px at level 0, a side of ``side_px`` (the padded one is an odd number of whole
    tiles wide) and, where it is not normal, one or two tumours with holes. The annotation file has exactly the
    polygons that the pixels were made from: tumours in group ``Tumor``, holes in group ``Exclusion``. The same
    arguments give the same bytes, whatever ``jobs`` is. A cohort that is already there, of the same
    arguments, is left alone.

    Args:
        out: folder to write to.
        seed: of everything random.
        n_slides: at least 1; 12 slides are of 8 patients.
        side_px: level-0 side, at least 1024.
        jobs: processes; 1 renders in this one.
        quality: JPEG quality.
        reporter: hears of each slide that is done.

    Raises:
        UsageError: an argument is out of range.
        StorageError: ``out`` cannot be written.
    """
    if side_px < 1024:
        raise UsageError("side_px must be at least 1024", got=side_px)
    if jobs < 1 or seed < 0:
        raise UsageError("jobs must be at least 1 and seed not negative", got=(jobs, seed))
    folder, reporter = Path(out), reporter or NullReporter()
    cast = cast_slides(n_slides)
    files = tuple(slide for slide, _ in cast)
    stamp = {"revision": REVISION, "seed": seed, "side_px": side_px, "quality": quality, "n_slides": n_slides}
    if _is_there(folder, files, stamp):
        reporter.say("the synthetic cohort is there already", slides=n_slides, folder=str(folder))
        return CohortFiles(folder, folder / "manifest.csv", files, 0)
    work = [_Job(str(folder), seed, i, p, side_px, quality, slide) for i, (slide, p) in enumerate(cast)]
    with reporter.task("rendering synthetic slides", total=n_slides) as task:
        for done in _run(work, jobs):
            reporter.say("rendered a synthetic slide", slide=done)
            task.advance()
    _publish(folder / "manifest.csv", _manifest(files))
    record = {**stamp, "synthetic": True, "slides": [asdict(slide) for slide in files]}
    _publish(folder / "cohort.json", (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())
    return CohortFiles(folder, folder / "manifest.csv", files, n_slides)


def _is_there(folder: Path, slides: Iterable[SyntheticSlide], stamp: dict[str, int]) -> bool:
    try:
        found = json.loads((folder / "cohort.json").read_bytes())
    except (OSError, ValueError):
        return False
    wanted = [folder / ref for s in slides for ref in (s.slide, s.annotation) if ref is not None]
    wanted.append(folder / "manifest.csv")
    return stamp.items() <= found.items() and all(path.is_file() for path in wanted)


def _run(work: list[_Job], jobs: int) -> Iterator[str]:
    if jobs == 1 or len(work) == 1:
        yield from map(_render, work)
        return
    # A fresh interpreter each: forking a process that has threads (OpenCV, pytest) can hang.
    with ProcessPoolExecutor(min(jobs, len(work)), mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_render, work)


def _render(job: _Job) -> str:
    """One slide and its annotations; all randomness is of (seed, patient) and (seed, slide)."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        slide, folder = job.slide, Path(job.folder)
        patient = np.random.default_rng([job.seed, 1, job.patient_index])
        rng = np.random.default_rng([job.seed, 2, job.index])
        palette = texture.vary(texture.vary(texture.STYLES[slide.style], patient), rng, amount=0.2)
        tile_px = 512 if slide.padded and job.side_px >= 4096 else 256
        size = _size(job.side_px, tile_px if slide.padded else None)
        make_folder((folder / slide.slide).parent)
        layout = draw_layout(rng, size, lesions=0 if slide.normal else int(rng.integers(1, 3)))
        painting = Painting(rng, layout, make_swatches(rng, palette, large=job.side_px >= 4096))
        if slide.annotation is not None:
            _publish(folder / slide.annotation, asap_xml(layout))
        write_pyramid(
            folder / slide.slide, painting, spacing_um=SPACING_UM, tile_px=tile_px, padded=slide.padded,
            downsamples=_downsamples(job.side_px), quality=job.quality,
        )  # fmt: skip
    finally:
        cv2.setNumThreads(threads)
    return slide.slide_id


def _size(side_px: int, tile_px: int | None) -> Size:
    if tile_px is None:
        return Size(side_px, side_px)
    # An odd number of tiles: from downsample 2 on the level is no whole number of tiles, so its padding shows.
    odd = (-(-side_px // tile_px) | 1) * tile_px
    return Size(odd, odd)


def _downsamples(side_px: int) -> tuple[int, ...]:
    """1, 2, 4, ... down to a last level of 256 px or so a side."""
    return tuple(2**n for n in range(max(1, int(math.log2(side_px / 256)))))


def asap_xml(layout: Layout) -> bytes:
    """The tumours of a layout as an ASAP file; coordinates are written exactly (half pixels)."""
    entries: list[str] = []
    for lesion in layout.lesions:
        entries.append(_annotation(f"Tumour {len(entries)}", TUMOUR_GROUP, "#F4FA58", lesion.outline))
        entries += [_annotation(f"Hole {len(entries) + i}", EXCLUSION_GROUP, "#64FE2E", hole)
                    for i, hole in enumerate(lesion.holes)]  # fmt: skip
    groups = "".join(
        f'\t\t<Group Name="{name}" PartOfGroup="None" Color="{shade}">\n\t\t\t<Attributes />\n\t\t</Group>\n'
        for name, shade in ((TUMOUR_GROUP, "#F4FA58"), (EXCLUSION_GROUP, "#64FE2E"))
    )
    return (
        '<?xml version="1.0"?>\n<ASAP_Annotations>\n\t<Annotations>\n'
        + "".join(entries)
        + "\t</Annotations>\n\t<AnnotationGroups>\n"
        + groups
        + "\t</AnnotationGroups>\n</ASAP_Annotations>\n"
    ).encode()


def _annotation(name: str, group: str, shade: str, points: Ring) -> str:
    rows = "".join(f'\t\t\t\t<Coordinate Order="{i}" X="{x:.1f}" Y="{y:.1f}" />\n' for i, (x, y) in enumerate(points))
    head = f'Name={quoteattr(name)} Type="Polygon" PartOfGroup={quoteattr(group)} Color="{shade}"'
    return f"\t\t<Annotation {head}>\n\t\t\t<Coordinates>\n{rows}\t\t\t</Coordinates>\n\t\t</Annotation>\n"


def _manifest(slides: Iterable[SyntheticSlide]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(MANIFEST_COLUMNS)
    for s in slides:
        state = "normal" if s.normal else "exhaustive"
        writer.writerow([s.slide_id, s.slide, s.annotation or "", state, s.patient, s.centre, "yes"])
    return text.getvalue().encode()


def _publish(path: Path, data: bytes) -> None:
    make_folder(path.parent)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        raise from_os_error(error, path=path) from error


__all__ = ["CohortFiles", "Lesion", "SyntheticSlide", "asap_xml", "cast_slides", "render_cohort"]
