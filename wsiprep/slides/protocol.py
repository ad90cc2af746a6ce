"""What every slide reader offers, whichever library decodes the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from wsiprep.errors import SlideError, UsageError
from wsiprep.geometry import Box, Size, Spacing

RGB = npt.NDArray[np.uint8]
"""Pixels (H, W, 3) uint8."""

MAX_SIDE_PX = 2**31 - 1
"""Longest side of a level that is believed."""

MAX_TILE_SIDE_PX = 16384
"""Longest side of a tile that is believed; one of this size already takes 805 MB."""


class BackendRefusalError(SlideError):
    """This backend cannot read the file exactly, but another one may; ``auto`` then moves on.

    A plain SlideError is final: the file itself is missing, damaged or absurd.
    """


class DamagedRegionError(SlideError):
    """The file holds bytes for this region that cannot be decoded; the rest of the slide can still be read.

    Never raised for a closed slide (UsageError) or a disk that fails (StorageError).
    """

    code = "damaged-region"


class ForeignLayoutError(BackendRefusalError):
    """A vendor's layout that only OpenSlide may read, and only as that vendor's: ``auto`` tries nothing after it."""


@dataclass(frozen=True, slots=True)
class Level:
    """One level of the pyramid.

    Attributes:
        index: position in ``SlideInfo.levels``.
        size: pixels of the level that show the slide. Where the factor is known, padding to whole tiles
            is cropped off. Writers that round down (Aperio) leave out the partial border pixel, so a side
            is ``min(stored, ceil(level 0 / factor))``.
        stored_size: pixels that the file holds.
        factor: integer downsample from level 0, None where it is not certain, or where the backend does not give
            the pixels of the file (the level is then unused).
        tile: size of a tile in pixels; None for strips or where the backend does not say.
        shown_factor: downsample of a level without a factor that the backend can show: resampled, or up to a pixel
            of the level beside its place. Good enough to find tissue and for pictures; overviews alone use it.
    """

    index: int
    size: Size
    stored_size: Size
    factor: int | None
    tile: Size | None
    shown_factor: int | None = None


@dataclass(frozen=True, slots=True)
class SlideInfo:
    """What is known of an open slide.

    Attributes:
        size: level 0, in pixels.
        levels: from the finest on; ``levels[0]`` is level 0 with factor 1.
        spacing: um/px at level 0 as the file says, None where it says nothing credible. Never derived
            from the objective power.
        backend_requested: one of ``BACKENDS``.
        backend: the one in use.
        vendor: ``aperio``, ``generic-tiff``, ... as OpenSlide names them.
        objective_power: as the file says; for display only.
        identity: ``slide_identity`` of the file, 64 hexadecimal digits.
        compression: codec of level 0 (``jpeg``, ``deflate``, ...), ``unknown`` behind OpenSlide and tiffslide.
        backend_note: why ``auto`` did not take an earlier backend, or ``""``.
        properties: facts of the header under OpenSlide's names, from the list of ``properties.py`` alone: never
            names, labels, dates or anything else that could tell a patient.
        bounds: the part of level 0 that was scanned (``openslide.bounds-*``), None where the file names none.
        icc_digest: sha256 (hexadecimal) of the ICC profile of level 0, ``""`` where there is none.
    """

    size: Size
    levels: tuple[Level, ...]
    spacing: Spacing | None
    backend_requested: str
    backend: str
    vendor: str
    objective_power: float | None
    identity: str
    compression: str
    backend_note: str
    properties: Mapping[str, str] = field(default_factory=dict, hash=False)
    bounds: Box | None = None
    icc_digest: str = ""

    def level_at(self, factor: int) -> Level | None:
        """The level with exactly this integer downsample, or None."""
        return next((level for level in self.levels if level.factor == factor), None)


class Slide(Protocol):
    """An open slide. Reading is thread-safe; open one per process (never share across a fork)."""

    @property
    def info(self) -> SlideInfo: ...

    def read_level(self, level: int, box: Box) -> RGB:
        """The pixels of ``box``, given in the level's own pixels, as a fresh (H, W, 3) uint8 array.

        Raises:
            UsageError: no such level, or the box reaches over ``Level.size``, or the slide is closed.
            DamagedRegionError: a tile under the box cannot be decoded. Other regions can still be read, and
                have exactly their pixels.
            StorageError: the disk or the network failed.
        """
        ...

    def show_level(self, level: int, box: Box) -> RGB:
        """Like ``read_level``, also for a level that has a ``shown_factor`` alone: for overviews, never for patches."""
        ...

    def icc_profile(self) -> bytes | None:
        """The ICC profile of level 0 as stored, None where the file has none."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class LevelRead:
    """A box of one level that a patch is made of.

    Attributes:
        level: index of the level.
        box: in the pixels of the level reduced by ``factor``.
        factor: each pixel is the mean of ``factor`` x ``factor`` of the level, rounded half up; 1 is as stored.
        dct: 1, or the part of ``factor`` (2, 4 or 8) that the JPEG decoder does.
    """

    level: int
    box: Box
    factor: int = 1
    dct: int = 1


@dataclass(frozen=True, slots=True)
class TileCounts:
    """What reading a slide has cost so far.

    Attributes:
        decoded: compressed tiles that were decoded, each as often as it was.
        redecoded: how many of these had been decoded before.
        fetched_bytes: compressed bytes of them.
        probed: tiles that were tried when the slide was opened; counted nowhere else.
    """

    decoded: int = 0
    redecoded: int = 0
    fetched_bytes: int = 0
    probed: int = 0


@runtime_checkable
class TileSlide(Slide, Protocol):
    """A slide whose compressed tiles are decoded here: they can be counted, planned and reduced one by one."""

    @property
    def tile_counts(self) -> TileCounts: ...

    def decoded_tiles(self, level: int) -> npt.NDArray[np.int64]:
        """Indices (row by row) of the tiles of a level that were decoded at least once, ascending."""
        ...

    def can_reduce(self, level: int, factor: int, dct: int = 1) -> bool:
        """Whether ``read_reduced`` takes these: tiles are whole multiples of ``factor``, and JPEG where ``dct`` > 1."""
        ...

    def read_reduced(self, read: LevelRead, out: RGB | None = None) -> RGB:
        """The pixels of ``read.box``; raises as ``read_level`` does.

        Tiles are reduced one by one, so that neighbouring boxes share the work. At the right and lower border the
        exact mean is that of the pixels that exist; with ``dct`` a partial pixel there holds padding as well.

        Args:
            out: (H, W, 3) uint8 to write to, of any strides; else a new array is returned.
        """
        ...

    def plan(self, patches: Sequence[Sequence[LevelRead]]) -> None:
        """Announce all that will be read, patch by patch in order. An earlier plan is forgotten."""
        ...

    def finish(self, patch: Sequence[LevelRead]) -> None:
        """A patch of the plan was read, or never will be."""
        ...


def level_for(info: SlideInfo, level: int, box: Box) -> Level:
    """The level that a read addresses, after checking that the box lies within it."""
    if not 0 <= level < len(info.levels):
        raise UsageError("the slide has no such level", got=level, expected=f"0 to {len(info.levels) - 1}")
    found = info.levels[level]
    if not box.within(found.size):
        raise UsageError(
            "the box reaches over the border of the level",
            got=f"x {box.x} to {box.x_end}, y {box.y} to {box.y_end} at level {level}",
            expected=f"within {found.size.width_px} x {found.size.height_px} px",
            fix="crop the box, or use Plane.read_padded",
        )
    return found


def cropped_size(level_0: Size, stored: Size, factor: int | None) -> Size:
    """``Level.size``: the stored size without padding, where the factor tells how much that is."""
    if factor is None:
        return stored
    true = level_0.reduced(factor)
    return Size(min(stored.width_px, true.width_px), min(stored.height_px, true.height_px))


def check_sides(size: Size, what: str, limit_px: int, path: str) -> None:
    """Refuse empty and absurd sizes before anything is allocated for them."""
    if min(size.width_px, size.height_px) < 1 or max(size.width_px, size.height_px) > limit_px:
        raise SlideError(
            f"the size of {what} is not believable",
            got=f"{size.width_px} x {size.height_px} px",
            expected=f"1 to {limit_px} px a side",
            fix="the header is damaged, or this is no slide: fetch the file again or leave it out",
            file=path,
        )


def composite_on_white(rgba: npt.NDArray[np.uint8], *, premultiplied: bool = False) -> RGB:
    """Transparent pixels show the white of the glass: c a + 255 (1 - a), rounded half up.

    Args:
        rgba: (H, W, 4) uint8.
        premultiplied: the colours are multiplied by alpha already (TIFF's associated alpha).
    """
    alpha = rgba[..., 3:]
    if alpha.min(initial=255) == 255:
        return np.ascontiguousarray(rgba[..., :3])
    weight = alpha.astype(np.uint32)
    colour = rgba[..., :3].astype(np.uint32)
    if premultiplied:
        # Colours above their alpha are invalid; clip them rather than wrap around.
        clipped: RGB = np.minimum(colour + (255 - weight), 255).astype(np.uint8)
        return clipped
    blended: RGB = ((colour * weight + 255 * (255 - weight) + 127) // 255).astype(np.uint8)
    return blended
