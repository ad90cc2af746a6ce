"""Layers of annotations: corrections painted over a base, and several people's readings made into one.

What a layer has not outlined it does not speak of: there, earlier layers stay. Every result is an
ordinary ``AnnotationSet`` whose regions of different layers do not overlap, so that each reader of it
(mask, lesions, report, export) sees what holds in the end and nothing that was superseded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import shapely

from wsiprep.annotations.labelspec import LabelSpec
from wsiprep.annotations.overlay import Readings, fit_for_masks, overlay, read_together
from wsiprep.annotations.regions import BACKGROUND_REGION, IGNORE_REGION, ROI_REGION, AnnotationSet, Region
from wsiprep.config import BACKGROUND, IGNORE
from wsiprep.errors import AnnotationError, UsageError
from wsiprep.manifest import AnnotationState

Rule = Literal["choose", "union", "majority"]


def apply_corrections(
    base: AnnotationSet, corrections: Sequence[tuple[str, AnnotationSet]], labels: Sequence[str]
) -> AnnotationSet:
    """A base with corrections painted over it, the oldest first.

    Where a later layer has any region (a label, background or ignore) it decides; elsewhere earlier layers
    stay. An earlier region is cut there, or is left out where nothing of it remains; what stays keeps its
    author, date, name, group and line. Within one layer the precedence of ``LabelMap`` holds. Regions of
    interest are no statement about a place but about the slide: the last layer that has any replaces those
    of all earlier layers.

    Counts of the base keep their names, those of a correction get its name and a colon before them; on top
    of them each correction counts ``cut_regions``, ``replaced_regions`` and ``replaced_rois`` of earlier layers.

    Args:
        base: the annotation file of the slide.
        corrections: (name of the layer, its regions), in the order of their application.
        labels: of the recipe.

    Raises:
        UsageError: a region of an unknown label, or two layers of one name.
        AnnotationError: an overlay that cannot be computed.
    """
    _check_names([name for name, _ in corrections])
    for found in (base, *(layer for _, layer in corrections)):
        _check_labels(found, labels)
    regions, counts, notes = base.regions, Counter(base.counts), list(base.notes)
    for name, layer in corrections:
        regions, events = _painted(regions, tuple(replace(region, layer=name) for region in layer.regions))
        counts.update({f"{name}:{rule}": count for rule, count in (*layer.counts.items(), *sorted(events.items()))})
        notes += [f"{name}: {note}" for note in layer.notes]
        notes += [f"{name}: {count} {rule} of earlier layers" for rule, count in sorted(events.items())]
    return AnnotationSet(regions, dict(counts), tuple(notes))


def _painted(below: tuple[Region, ...], above: tuple[Region, ...]) -> tuple[tuple[Region, ...], Counter[str]]:
    """Regions of two layers, the lower ones without what the upper ones cover; what happened to the lower."""
    events: Counter[str] = Counter()
    if any(region.label == ROI_REGION for region in above):
        events["replaced_rois"] += sum(region.label == ROI_REGION for region in below)
        below = tuple(region for region in below if region.label != ROI_REGION)
    low, high = _meeting(below, above)
    # Both sides get the vertices where they cross, so that they go on sharing every edge to the last bit.
    areas = [below[i].geometry for i in low] + [above[i].geometry for i in high]
    cut = fit_for_masks(overlay(areas), areas)
    decided = cut.covered(range(len(low), len(low) + len(high)))
    result: list[Region] = []
    place = {index: k for k, index in enumerate(low)}
    for index, region in enumerate(below):
        if index not in place:
            result.append(region)
            continue
        own = cut.covered([place[index]])
        rest = cut.dissolved(own & ~decided)
        if rest is None:
            events["replaced_regions"] += 1
            continue
        if (own & decided).any():
            events["cut_regions"] += 1
        result.append(replace(region, geometry=rest))
    place = {index: k for k, index in enumerate(high, start=len(low))}
    for index, region in enumerate(above):
        whole = cut.dissolved(cut.covered([place[index]])) if index in place else None
        result.append(region if whole is None else replace(region, geometry=whole))
    return tuple(result), +events


def _meeting(below: Sequence[Region], above: Sequence[Region]) -> tuple[list[int], list[int]]:
    """Indices of the regions of two layers that meet one of the other; regions of interest meet nothing."""
    low = [i for i, region in enumerate(below) if region.label != ROI_REGION]
    high = [i for i, region in enumerate(above) if region.label != ROI_REGION]
    tree = shapely.STRtree([below[i].geometry for i in low])
    geometries = np.array([above[i].geometry for i in high], dtype=object)
    upper, lower = tree.query(geometries, predicate="intersects") if high else (np.empty(0, int), np.empty(0, int))
    return [low[i] for i in np.unique(lower).tolist()], [high[i] for i in np.unique(upper).tolist()]


def combine_readings(
    readings: Mapping[str, AnnotationSet],
    rule: Rule,
    annotator: str | None,
    labels: Sequence[str],
    state: AnnotationState = "exhaustive",
) -> AnnotationSet:
    """What several people's readings of one slide become.

    A reading says of every place what ``LabelMap`` says: a label, background, or nothing (inside an ignore
    region, outside its regions of interest, and in state ``partial`` outside all regions).

    - ``choose``: the reading of ``annotator``, or the first one.
    - ``union``: the first label in the order of the recipe that anybody gives; else ignore where somebody
      drew an ignore region; else background where anybody says background.
    - ``majority``: what more than half of those say who say anything; ignore where no class has so many.

    Where every reading has regions of interest the result has all of them; where one has none, its author
    looked everywhere, and the result has none (counted ``dropped_rois``). Results of the last two rules are
    the connected pieces of each label; a piece's ``author`` lists the readings that gave its label there.

    Counts of each reading get its name and a colon before them; ``majority`` adds ``no_majority_px``, the
    area without one, rounded to whole level-0 pixels.

    Args:
        readings: name -> regions; the first is the annotation column's.
        rule: see above.
        annotator: for ``choose``.
        labels: of the recipe, in order.
        state: what places outside all regions of a reading mean, for all readings alike.

    Raises:
        UsageError: an unknown rule, no reading, a region of an unknown label.
        AnnotationError: ``annotator`` is none of the readings; an overlay that cannot be computed.
    """
    if rule not in get_args(Rule) or not readings:
        raise UsageError("readings cannot be combined so", got=f"{rule} of {len(readings)}", expected=get_args(Rule))
    for found in readings.values():
        _check_labels(found, labels)
    if rule == "choose":
        return _chosen(readings, annotator)
    counts = Counter({f"{name}:{what}": n for name, reading in readings.items() for what, n in reading.counts.items()})
    notes = [f"{name}: {note}" for name, reading in readings.items() for note in reading.notes]
    if len(readings) == 1:
        (only,) = readings.values()
        return AnnotationSet(only.regions, dict(counts), tuple(notes))
    outside = LabelSpec(tuple(labels), state).outside
    together = read_together([r.regions for r in readings.values()], labels, [outside] * len(readings))
    rois = _common_rois([reading.regions for reading in readings.values()])
    dropped = 0 if rois else sum(r.label == ROI_REGION for reading in readings.values() for r in reading.regions)
    if dropped:
        counts["dropped_rois"] += dropped
        notes.append(f"{dropped} regions of interest without effect, a reading of the whole slide is among the others")
    values, undecided = _union(together) if rule == "union" else _majority(together, len(labels))
    if undecided.any():
        area = float(together.areas_px[undecided].sum())
        counts["no_majority_px"] += round(area)
        notes.append(f"no majority on {area:.1f} px of level 0: ignored there")
    regions = (*rois, *_pieces(together, values, undecided, tuple(labels), outside, tuple(readings)))
    counts["annotations"] = len(regions)
    return AnnotationSet(regions, dict(counts), tuple(notes))


def _chosen(readings: Mapping[str, AnnotationSet], annotator: str | None) -> AnnotationSet:
    name = next(iter(readings)) if annotator is None else annotator
    if name not in readings:
        raise AnnotationError(
            "the reader that the recipe chooses has not read this slide", got=name, expected=", ".join(readings),
            fix="correct annotations.annotator, or the manifest's annotators column",
        )  # fmt: skip
    return readings[name]


def _union(together: Readings) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Class of each face, and no undecided face."""
    found = together.classes
    named = (found != BACKGROUND) & (found != IGNORE)
    first = np.where(named, found, IGNORE).min(axis=0)
    background = (found == BACKGROUND).any(axis=0) & ~together.ignored.any(axis=0)
    result = np.where(first != IGNORE, first, np.where(background, BACKGROUND, IGNORE)).astype(np.uint8)
    return result, np.zeros(len(result), dtype=bool)


def _majority(together: Readings, labels: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Class of each face, and the faces where the readings disagree without a majority."""
    votes = np.stack([(together.classes == value).sum(axis=0) for value in range(labels + 1)])
    total = votes.sum(axis=0)
    decided = 2 * votes.max(axis=0) > total
    result = np.where(decided, votes.argmax(axis=0), IGNORE).astype(np.uint8)
    return result, ~decided & (total > 0)


def _pieces(
    together: Readings,
    values: npt.NDArray[np.uint8],
    undecided: npt.NDArray[np.bool_],
    labels: Sequence[str],
    outside: int,
    names: Sequence[str],
) -> Iterable[Region]:
    """The connected pieces of each class that places in no region would not have anyway."""
    # Places that all leave open lie outside every region of interest, or the state says so of them.
    open_places = (values == IGNORE) & ~(together.ignored.any(axis=0) | undecided)
    order = [*((label, value) for value, label in enumerate(labels, start=1))]
    for label, value in (*order, (BACKGROUND_REGION, BACKGROUND), (IGNORE_REGION, IGNORE)):
        if value == outside == BACKGROUND:
            continue
        chosen = np.flatnonzero((values == value) & ~open_places)
        whole = together.cut.dissolved(chosen)
        if whole is None:
            continue
        parts = shapely.get_parts(whole)
        inside = shapely.point_on_surface(together.cut.faces[chosen])
        part, face = shapely.STRtree(inside).query(parts, predicate="contains")
        said = np.zeros((len(names), len(parts)), dtype=bool)
        for row, reading in zip(said, together.classes, strict=True):
            row[part[reading[chosen[face]] == value]] = True
        for index, piece in enumerate(parts):
            author = ", ".join(name for name, so in zip(names, said[:, index].tolist(), strict=True) if so)
            yield Region(label, piece, author=author)


def _common_rois(readings: Sequence[Sequence[Region]]) -> tuple[Region, ...]:
    """All regions of interest, equal ones once, where every reading has some; else none."""
    rois = [[region for region in reading if region.label == ROI_REGION] for reading in readings]
    if not all(rois):
        return ()
    once: dict[bytes, Region] = {}
    for region in (region for reading in rois for region in reading):
        once.setdefault(shapely.normalize(region.geometry).wkb, region)
    return tuple(once.values())


def _check_labels(found: AnnotationSet, labels: Sequence[str]) -> None:
    known = (*labels, BACKGROUND_REGION, IGNORE_REGION, ROI_REGION)
    for region in found.regions:
        if region.label not in known:
            raise UsageError("a region of an unknown label", got=region.label, expected=", ".join(known))


def _check_names(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError("two corrections of one name", got=", ".join(twice), expected="a name for each layer")
