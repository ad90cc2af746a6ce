"""Shapes -> regions: groups to labels, outlines to valid areas, everything else counted. One rule for all formats."""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import shapely

from wsiprep.annotations.edges import Floats
from wsiprep.annotations.negatives import cut_negatives
from wsiprep.annotations.regions import BACKGROUND_REGION, SPECIAL_LABELS, AnnotationSet, Area, Region, SlideFrame
from wsiprep.annotations.repair import repair_area
from wsiprep.annotations.shapes import ParsedFile, Shape
from wsiprep.config import Recipe
from wsiprep.errors import AnnotationError

_DROP = "drop"


def resolve(parsed: ParsedFile, path: str | Path, recipe: Recipe, frame: SlideFrame) -> AnnotationSet:
    """The regions of a file under a recipe.

    The group decides the label by ``recipe.group_map``; a group that is not mapped takes the mapping of its
    nearest mapped ancestor. Shapes without an area are left out, whatever their group. Outlines become areas
    by ``annotations.invalid_rings``; holes are cut after that. Negative shapes are cut from the others of
    their layer (:func:`cut_negatives`), whatever their own group.

    Counts (those that fired), beside those of the reader: ``annotations``; the ``no_area`` counters;
    ``dropped_groups`` (mapped to drop); ``dropped_unknown_groups``; ``repeated_vertices``;
    ``repaired_rings``, ``repaired_holes``, ``merged_parts`` (annotations with such a fault);
    ``dropped_degenerate`` (annotations without an area), ``dropped_parts`` and ``dropped_holes`` of others;
    ``outside_slide`` (vertices, kept); ``outside_regions`` (regions whose bounds lie off the slide, kept);
    ``negatives`` and what they did; ``islands_in_background`` (labelled regions wholly inside a background
    region, kept here, but background is cut after the union, so nothing of them shows).

    Args:
        parsed: what a reader found.
        path: the file, for messages.
        recipe: groups, labels and rules (``recipe.for_source`` applied).
        frame: the slide.

    Raises:
        AnnotationError: with file and line: unknown groups, shapes with a ``fault``, invalid rings where the
            recipe says ``error``.
    """
    return _Resolution(parsed, Path(path), recipe, frame).run()


class _Resolution:
    """One file on its way to regions: the counters and notes that all steps add to."""

    def __init__(self, parsed: ParsedFile, path: Path, recipe: Recipe, frame: SlideFrame) -> None:
        self._parsed = parsed
        self._path = path
        self._recipe = recipe
        self._map = recipe.group_map
        self._size = frame.size
        self._counts: Counter[str] = Counter(parsed.counts)
        self._notes: list[str] = list(parsed.notes)

    def run(self) -> AnnotationSet:
        positives: list[tuple[Region, Shape]] = []
        negatives: list[tuple[Area, Shape]] = []
        for shape in self._parsed.shapes:
            if shape.no_area:
                self._counts[shape.no_area] += 1
            elif shape.negative:
                self._counts["negatives"] += 1
                if (area := self._area(shape)) is not None:
                    negatives.append((area, shape))
            elif (region := self._region(shape)) is not None:
                positives.append((region, shape))
        regions = [region for region, _ in positives]
        if negatives:
            regions = self._without_negatives(positives, negatives)
        self._count_lost_islands(regions)
        self._counts["annotations"] = len(self._parsed.shapes)
        counts = {name: self._counts[name] for name in sorted(self._counts) if self._counts[name]}
        counts.setdefault("annotations", 0)
        return AnnotationSet(tuple(regions), counts, tuple(self._notes))

    def _region(self, shape: Shape) -> Region | None:
        group = self._deciding_group(shape)
        if group is None or self._map[group] == _DROP:
            self._counts["dropped_unknown_groups" if group is None else "dropped_groups"] += 1
            return None
        area = self._area(shape)
        if area is None:
            return None
        return Region(
            self._map[group], area, group, shape.name, shape.kind, shape.line, author=shape.author, date=shape.date
        )

    def _deciding_group(self, shape: Shape) -> str | None:
        """The shape's group or its nearest mapped ancestor; None for an unknown one that may be dropped."""
        chain = (shape.group, *shape.ancestors)
        for group in chain:
            if group in self._map:
                return group
        if len(set(chain)) < len(chain):
            got = " -> ".join(chain)[:200]
            raise AnnotationError("groups that are part of each other", got=got, file=self._path, line=shape.line)
        if self._recipe.annotations.unknown_group == _DROP:
            self._note(shape, f"left out, its group {shape.group!r} is not mapped")
            return None
        close = [name for group in chain for name in difflib.get_close_matches(group, self._map, n=1)]
        above = f" (in {', '.join(repr(name[:80]) for name in shape.ancestors[:4])})" if shape.ancestors else ""
        meant = f" (did you mean {close[0]!r}?)" if close else ""
        raise self._error(
            "a group that the recipe does not map", shape, got=repr(shape.group[:80]) + above + meant,
            expected=", ".join(repr(name) for name in self._map),
            fix="add it to annotations.groups: a label, background, ignore, roi or drop",
        )  # fmt: skip

    def _area(self, shape: Shape) -> Area | None:
        """The shape as a valid area; None, counted, where it encloses nothing."""
        if shape.fault is not None:
            raise shape.fault
        for mark in shape.marks:
            self._counts[mark.counter] += 1
            if mark.note:
                self._notes.append(f"{_at(shape)}{mark.note}")
        rule = self._recipe.annotations.invalid_rings
        try:
            found = repair_area(shape.polygons, "even-odd" if rule == "error" else rule)
        except shapely.errors.GEOSException as error:
            raise self._error("a ring that crosses itself and cannot be repaired", shape, got=str(error)[:200],
                              fix="redraw it") from error  # fmt: skip
        self._counts["repeated_vertices"] += found.repeated
        points = np.concatenate([ring for polygon in shape.polygons for ring in polygon] or [np.empty((0, 2))])
        if found.area is None:
            self._counts["dropped_degenerate"] += 1
            self._note(shape, f"left out, {len(points)} points enclose no area")
            return None
        if found.invalid and rule == "error":
            raise self._error("a ring that crosses or touches itself or another", shape, got=found.invalid[0][1],
                              fix="redraw it, or set annotations.invalid_rings to even-odd or non-zero")  # fmt: skip
        for counter in dict.fromkeys(name for name, _ in found.invalid):
            reason = next(why for name, why in found.invalid if name == counter)
            self._counts[counter] += 1
            self._note(shape, f"repaired by {rule} ({reason})")
        for counter, reason in found.lost:
            self._counts[counter] += 1
            self._note(shape, reason)
        self._count_outside(points, found.area, shape)
        return found.area

    def _count_outside(self, points: Floats, area: Area, shape: Shape) -> None:
        limit = (self._size.width_px, self._size.height_px)
        outside = int(((points < 0) | (points > limit)).any(axis=1).sum())
        if outside == 0:
            return
        self._counts["outside_slide"] += outside
        self._note(shape, f"has {outside} of {len(points)} points outside the slide")
        left, top, right, bottom = area.bounds
        if right <= 0 or bottom <= 0 or left >= limit[0] or top >= limit[1]:
            self._counts["outside_regions"] += 1

    def _without_negatives(
        self, positives: list[tuple[Region, Shape]], negatives: list[tuple[Area, Shape]]
    ) -> list[Region]:
        """The positive regions less the negative areas of their layers."""
        cut: dict[int, Area | None] = {}
        for layer in dict.fromkeys(shape.layer for _, shape in negatives):
            here = [k for k, (_, shape) in enumerate(positives) if shape.layer == layer]
            cutters = [(area, shape) for area, shape in negatives if shape.layer == layer]
            try:
                result = cut_negatives([positives[k][0].geometry for k in here], [area for area, _ in cutters])
            except shapely.errors.GEOSException as error:
                raise self._error("negative areas that cannot be cut out", cutters[0][1], got=str(error)[:200],
                                  fix="redraw them") from error  # fmt: skip
            for k, area in result.changed.items():
                cut[here[k]] = area
            self._counts["negative_islands"] += result.islands
            for k in result.idle:
                self._counts["idle_negatives"] += 1
                self._note(cutters[k][1], "is negative and cuts nothing: no positive area of its layer reaches over it")
        regions = []
        for k, (region, shape) in enumerate(positives):
            area = cut.get(k, region.geometry)
            if area is None:
                self._counts["dropped_by_negatives"] += 1
                self._note(shape, "left out, negative areas leave nothing of it")
                continue
            self._counts["cut_by_negatives"] += k in cut
            regions.append(replace(region, geometry=area))
        return regions

    def _count_lost_islands(self, regions: list[Region]) -> None:
        grounds = [region.geometry for region in regions if region.label == BACKGROUND_REGION]
        labelled = [region for region in regions if region.label not in SPECIAL_LABELS]
        if not grounds or not labelled:
            return
        tree = shapely.STRtree(grounds)
        inside = tree.query([region.geometry for region in labelled], predicate="covered_by")[0]
        for k in np.unique(inside).tolist():
            region = labelled[k]
            self._counts["islands_in_background"] += 1
            at = f"line {region.line}: " if region.line is not None else ""
            self._notes.append(f"{at}annotation {region.name[:60]!r} lies inside a background region and is cut away")

    def _note(self, shape: Shape, text: str) -> None:
        self._notes.append(f"{_at(shape)}{shape.called} {text}")

    def _error(self, message: str, shape: Shape, **details: object) -> AnnotationError:
        text = f"{message}: {shape.called}"
        return AnnotationError(text, file=self._path, line=shape.line, **details)  # type: ignore[arg-type]


def _at(shape: Shape) -> str:
    return f"line {shape.line}: " if shape.line is not None else ""
