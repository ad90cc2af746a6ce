"""The pixels of a patch: any whole box of level 0 at any number of pixels."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from wsiprep.errors import UsageError
from wsiprep.geometry import Box, PixelGrid, Size
from wsiprep.slides.plane import MAX_DOWNSAMPLE, Decode, Pixels, Plane, dct_factor
from wsiprep.slides.protocol import RGB, LevelRead, Slide, TileCounts, TileSlide
from wsiprep.slides.resampled import axes_of, resampled

MAX_GRID_PX = 2**29
"""Pixels of one patch that are allocated (1.6 GB)."""

LEAST_DCT_SCALE = 3
"""Reduced pixels per pixel of a grid that cuts them: with 1 to 1.5 it is 31 to 43 dB to the exact mean (three slides,
scales 2.06 to 16.5), with 2 from 39 on, with 3 from 43 on."""


@dataclass(frozen=True, slots=True)
class PixelSource:
    """Where the pixels of a patch come from.

    Attributes:
        source_level: index of the level that is read.
        from_stored: True where the pixels are that level's as stored, False where they are computed.
        dct_factor: how much its JPEG tiles were reduced while they were decoded; 1 is not at all.
    """

    source_level: int
    from_stored: bool
    dct_factor: int = 1

    def to_dict(self) -> dict[str, int | bool]:
        """Ready for JSON."""
        return {"from_stored": self.from_stored, "source_level": self.source_level, "dct_factor": self.dct_factor}


@dataclass(slots=True, eq=False)
class _Planned:
    """A patch of the plan.

    Attributes:
        reads: what it is made of.
        left: how often it will still be read.
        patch: the one read whose pixels are those of the patch, None where something is to be done to them.
    """

    reads: Sequence[LevelRead]
    left: int = 0
    patch: LevelRead | None = None


class PatchReader:
    """Reads patches of one slide.

    Three cases, by the grid alone:

    - the grid is that of the plane at an integer downsample N (``PixelGrid.downsample``): ``Plane``'s pixels,
      that is the stored level with factor N with ``pixels="stored"``, else the area mean of level 0;
    - any other grid whose pixels are at least a level-0 pixel long along an axis: the exact area mean of
      level 0 along that axis, with fractional weights at the edges. No stored level is used, also where the
      scale is an integer N but the corner is no multiple of N: the stored pixels lie elsewhere;
    - along an axis with pixels shorter than those of level 0 (a declared zoom): linear interpolation between
      the centres of level-0 pixels, the outermost ones repeated beyond the slide. One axis may be averaged
      while the other is interpolated.

    All sums are of integers and rounded half up once, so that a pixel does not depend on the patch that it is
    read for. A pixel whose centre lies outside the slide is ``fill``; one that the border cuts is the mean of
    its part on the slide. (On an aligned grid, partial pixels of the plane's border count as inside, whatever
    their centre: there ``Plane.read_padded`` decides.)

    Memory stays bounded whatever the box is: the source is read in blocks of 2048 x 2048 to 4096 x 4096 px, for which
    a thread holds at most 150 MB beside the patch and the tiles that the slide keeps. Thread-safe.

    Args:
        slide: an open slide.
        pixels: see ``Plane``.
        decode: ``exact``, or ``dct``: where no stored level is taken and level 0 is made of JPEG tiles, their decoder
            reduces them by the largest of 2, 4 and 8 that divides N, or, for any other grid, that leaves a scale of
            ``LEAST_DCT_SCALE``; the rest is the exact mean. 44 to 66 dB to the exact mean of all. Which patches
            were read so is told by ``source_of``: not those that the border of the slide cuts within such a pixel.

    Raises:
        UsageError: no such kind of pixels or way of decoding.
    """

    def __init__(self, slide: Slide, pixels: Pixels = "stored", decode: Decode = "exact") -> None:
        if pixels not in ("stored", "level0"):
            raise UsageError("no such kind of pixels", got=pixels, expected="stored or level0")
        if decode not in ("exact", "dct"):
            raise UsageError("no such way of decoding", got=decode, expected="exact or dct")
        self.slide = slide
        self.pixels = pixels
        self.decode = decode
        # A slide that converts the colours of another one leaves the tiles to it.
        tiles = getattr(slide, "beneath", slide)
        self._tiles: TileSlide | None = tiles if isinstance(tiles, TileSlide) else None
        self._planes: dict[tuple[int, Decode], Plane] = {}
        self._planned: dict[PixelGrid, _Planned] = {}
        self._lock = threading.Lock()

    @property
    def tile_counts(self) -> TileCounts | None:
        """What the slide has decoded so far, None where its tiles are not decoded here."""
        return None if self._tiles is None else self._tiles.tile_counts

    def plan(self, grids: Sequence[PixelGrid]) -> None:
        """Announce all patches in the order in which they will be read; earlier ones are forgotten.

        Each compressed tile is then decoded once and dropped with the last patch that needs it, unless the tiles
        that are needed at a time exceed what the slide may keep (``TiledTiff``): ``tile_counts`` tells. Any order
        and any other patches may still be read. One reader of a slide plans at a time. Where tiles are not decoded
        here it does nothing.
        """
        if self._tiles is None:
            return
        planned: dict[PixelGrid, _Planned] = {}
        for grid in grids:
            known = planned.get(grid)
            if known is None:
                known = planned[grid] = _Planned(self._reads(grid))
                known.patch = self._patch(grid, known.reads)
            known.left += 1
        self._planned = planned
        self._tiles.plan([planned[grid].reads for grid in grids])

    def read(self, grid: PixelGrid, fill: int = 255) -> RGB:
        """The pixels of ``grid``, (H, W, 3) uint8.

        Raises:
            UsageError: the grid is too large to allocate or to sum exactly.
            SlideError: the pixels cannot be decoded.
        """
        if grid.width_px * grid.height_px > MAX_GRID_PX:
            raise UsageError(
                "the patch is too large", got=f"{grid.width_px} x {grid.height_px} px", expected=f"{MAX_GRID_PX} px"
            )
        planned = self._planned.get(grid)
        if planned is None or self._tiles is None:
            return self._read(grid, fill)
        try:
            return self._read(grid, fill) if planned.patch is None else self._tiles.read_reduced(planned.patch)
        finally:
            with self._lock:
                finished = planned.left > 0
                planned.left -= 1
            if finished:
                self._tiles.finish(planned.reads)

    def source_of(self, grid: PixelGrid) -> PixelSource:
        """Where ``read`` takes the pixels of this grid from."""
        plane = self._plane(grid)
        if plane is None:
            return PixelSource(0, False, self._dct(grid))
        return PixelSource(plane.source_level, plane.from_stored, plane.dct_factor)

    def _read(self, grid: PixelGrid, fill: int) -> RGB:
        plane = self._plane(grid)
        if plane is None:
            return resampled(self.slide, grid, fill, self._dct(grid))
        return plane.read_padded(_plane_box(grid, plane.downsample), fill)

    def _reads(self, grid: PixelGrid) -> Sequence[LevelRead]:
        """The boxes of levels that ``read`` reads for a grid."""
        plane = self._plane(grid)
        if plane is not None:
            return plane.reads(_plane_box(grid, plane.downsample))
        found = axes_of(self.slide, grid, self._dct(grid))
        return () if found is None else (found.source,)

    def _patch(self, grid: PixelGrid, reads: Sequence[LevelRead]) -> LevelRead | None:
        """The read that gives the pixels of a grid of a plane as they are, or None."""
        plane = self._plane(grid)
        if len(reads) != 1 or self._tiles is not self.slide or plane is None:
            return None
        # Where the patch reaches over the border, a part of it may need as many stored pixels as it has itself.
        box = _plane_box(grid, plane.downsample)
        return reads[0] if box.within(plane.size) and reads[0].box == box else None

    def _plane(self, grid: PixelGrid) -> Plane | None:
        n = grid.downsample
        if n is None or n > MAX_DOWNSAMPLE:
            return None
        plane = self._plane_at(n, self.decode)
        if plane.dct_factor > 1 and not _is_whole(grid, self.slide.info.size, plane.dct_factor):
            return self._plane_at(n, "exact")
        return plane

    def _plane_at(self, downsample: int, decode: Decode) -> Plane:
        plane = self._planes.get((downsample, decode))
        if plane is None:
            plane = self._planes[downsample, decode] = Plane(self.slide, downsample, self.pixels, decode)
        return plane

    def _dct(self, grid: PixelGrid) -> int:
        """How far the decoder may reduce the tiles for a grid that is no plane's."""
        if self.decode == "exact":
            return 1
        scale = min(grid.scale_x, grid.scale_y) / LEAST_DCT_SCALE
        factor = dct_factor(self.slide, 0, scale, dividing=False)
        return factor if _is_whole(grid, self.slide.info.size, factor) else 1


def _plane_box(grid: PixelGrid, downsample: int) -> Box:
    return Box(grid.box_lv0.x // downsample, grid.box_lv0.y // downsample, grid.width_px, grid.height_px)


def _is_whole(grid: PixelGrid, size: Size, factor: int) -> bool:
    """Whether the part of a grid on the slide ends before the reduced pixels that the slide's border cuts."""
    ends = (grid.box_lv0.x_end, size.width_px), (grid.box_lv0.y_end, size.height_px)
    return all(min(end, length) <= length // factor * factor for end, length in ends)


def read_grid(
    slide: Slide, grid: PixelGrid, *, pixels: Pixels = "stored", fill: int = 255, decode: Decode = "exact"
) -> RGB:
    """The pixels of one grid; see ``PatchReader``, which saves work when there are many.

    Raises:
        UsageError: the grid is too large to allocate or to sum exactly.
        SlideError: the pixels cannot be decoded.
    """
    return PatchReader(slide, pixels, decode).read(grid, fill)


def sources_of(slide: Slide, grid: PixelGrid, *, pixels: Pixels = "stored", decode: Decode = "exact") -> PixelSource:
    """Where ``read_grid`` takes the pixels from."""
    return PatchReader(slide, pixels, decode).source_of(grid)
