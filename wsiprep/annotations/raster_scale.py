"""How large a pixel of a label raster is, in level-0 pixels: an exact ratio, or an error."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from wsiprep.errors import AnnotationError
from wsiprep.geometry import SPACING_TOLERANCE, Size, Spacing

Ratio = tuple[Fraction, Fraction]

_DENOMINATOR = 4096
"""Ratios of spacings are rounded to a fraction of this denominator: 6e-8, a hundredth of a pixel over 100,000."""

_MOST_FACTORS = 4096


def raster_scale(
    raster: Size,
    slide: Size,
    *,
    raster_spacing: Spacing | None = None,
    slide_spacing: Spacing | None = None,
    tile: Size | None = None,
    file: str | Path | None = None,
) -> Ratio:
    """Level-0 pixels per pixel of a raster that covers the whole slide, along x and y.

    The sizes decide, because they are exact: the integer that takes the slide to the raster, border pixels
    cut off, rounded up or padded to whole tiles. Where there is no single one, the ratio of the spacings
    is taken if the sizes allow it, else the ratio of the sizes, axis by axis. Spacings, where both are
    known, must agree with the result within 2 %.

    Args:
        raster, slide: sizes of both.
        raster_spacing, slide_spacing: um/px of both, where known.
        tile: of a tiled TIFF, whose sides may be padded to whole tiles.
        file: for the message.

    Raises:
        AnnotationError: the sizes differ by more than one pixel of the raster from every common ratio, or
            the spacings contradict the sizes.
    """
    ratio = None
    if raster_spacing is not None and slide_spacing is not None:
        ratio = (raster_spacing.x_um / slide_spacing.x_um, raster_spacing.y_um / slide_spacing.y_um)
    if tile is not None and (raster.width_px % tile.width_px or raster.height_px % tile.height_px):
        tile = None
    whole = _whole(raster, slide, tile, ratio, file)
    found = _fractional(raster, slide, tile, ratio, file) if whole is None else (whole, whole)
    if ratio is not None and not all(_agree(float(f), r) for f, r in zip(found, ratio, strict=True)):
        raise AnnotationError(
            "the spacing of the label raster contradicts its size",
            got=f"{raster.width_px} x {raster.height_px} px at {ratio[0]:.4g} x the slide's spacing",
            expected=f"{float(found[0]):.4g} x, as {slide.width_px} x {slide.height_px} px of the slide ask for",
            fix="set annotations.raster.spacing_um, or export the mask of the whole slide",
            file=file,
        )
    return found


def _agree(got: float, expected: float) -> bool:
    return abs(got - expected) <= SPACING_TOLERANCE * expected


def _whole(
    raster: Size, slide: Size, tile: Size | None, ratio: tuple[float, float] | None, file: str | Path | None
) -> Fraction | None:
    """An integer, or one over an integer, that the sizes leave no doubt about; None where no single one is."""
    fitting = [Fraction(f) for f in _possible(raster, slide, tile) if _fits(raster, slide, tile, f)]
    finer, rest = divmod(raster.width_px, slide.width_px)
    if finer > 1 and not rest and raster.height_px == finer * slide.height_px:
        fitting.append(Fraction(1, finer))
    if ratio is not None:
        near = [f for f in fitting if all(_agree(float(f), r) for r in ratio)]
        return min(near, key=lambda f: abs(float(f) - ratio[0]), default=None)
    if len(fitting) == 1:
        return fitting[0]
    exact = [f for f in fitting if raster.width_px * f == slide.width_px and raster.height_px * f == slide.height_px]
    if len(exact) == 1 and exact[0] >= 1:
        return exact[0]
    powers = [f for f in fitting if f >= 1 and f.numerator & (f.numerator - 1) == 0]
    if len(powers) == 1:
        return powers[0]
    if tile is not None and fitting:
        raise AnnotationError(
            "the scale of the label raster is not certain, because its sides may be padded to whole tiles",
            got=f"{raster.width_px} x {raster.height_px} px in tiles of {tile.width_px} x {tile.height_px}",
            expected=f"one ratio to {slide.width_px} x {slide.height_px} px; possible are "
            + ", ".join(str(f) for f in fitting[:5]),
            fix="set annotations.raster.spacing_um, and give the slide's spacing",
            file=file,
        )
    return None


def _possible(raster: Size, slide: Size, tile: Size | None) -> range:
    """Integers worth a look: from the raster's own ratio down, to what padding would allow."""
    pad = tile.width_px if tile else 1
    least = slide.width_px // (raster.width_px + 1)
    most = slide.width_px // max(1, raster.width_px - pad) + 1
    return range(max(1, least), min(most, least + _MOST_FACTORS) + 1)


def _fits(raster: Size, slide: Size, tile: Size | None, factor: int) -> bool:
    up, down = slide.reduced(factor), slide.whole(factor)
    for got, least, most, side in (
        (raster.width_px, down.width_px, up.width_px, tile.width_px if tile else 1),
        (raster.height_px, down.height_px, up.height_px, tile.height_px if tile else 1),
    ):
        if got not in (least, most, -(-most // side) * side):
            return False
    return True


def _fractional(
    raster: Size, slide: Size, tile: Size | None, ratio: tuple[float, float] | None, file: str | Path | None
) -> Ratio:
    sides = (
        (slide.width_px, raster.width_px, tile.width_px if tile else 1),
        (slide.height_px, raster.height_px, tile.height_px if tile else 1),
    )
    if ratio is not None:
        exact = [Fraction(r).limit_denominator(_DENOMINATOR) for r in ratio]
        if all(
            scale > 0 and -1 < count - whole / scale < pad
            for scale, (whole, count, pad) in zip(exact, sides, strict=True)
        ):
            return exact[0], exact[1]
    # One ratio must give both sides up to one pixel of the raster (the border pixel is cut, kept or rounded).
    lowest = max(Fraction(whole, count + 1) for whole, count, _ in sides)
    highest = min(Fraction(whole, count - 1) if count > 1 else Fraction(whole + 1) for whole, count, _ in sides)
    if lowest >= highest:
        raise AnnotationError(
            "the label raster has another aspect than the slide",
            got=f"{raster.width_px} x {raster.height_px} px",
            expected=f"the aspect of {slide.width_px} x {slide.height_px} px, up to one pixel of the raster",
            fix="export the mask of the whole slide, not of a part of it",
            file=file,
        )
    return Fraction(slide.width_px, raster.width_px), Fraction(slide.height_px, raster.height_px)
