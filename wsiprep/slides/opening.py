"""Open a slide with the backend asked for, or with the first one that reads it exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from wsiprep.errors import SlideError, UsageError
from wsiprep.guards.tiff_chain import check_chain
from wsiprep.slides.icc import InSrgb
from wsiprep.slides.identity import is_url
from wsiprep.slides.image_backend import SUFFIXES, PlainImage
from wsiprep.slides.protocol import BackendRefusalError, ForeignLayoutError, Slide
from wsiprep.slides.tiff import CACHE_BYTES, TiledTiff

Icc = Literal["ignore", "srgb"]
"""What to do with a slide's ICC profile."""

_COPY = "copy the slide to a disk first, or let --stage DIR do it: more backends read files"

BACKENDS = ("auto", "tiff", "openslide", "tiffslide", "image")


def open_slide(
    path: str | Path, backend: str = "auto", *, cache_bytes: int = CACHE_BYTES, icc: Icc = "ignore"
) -> Slide:
    """Open a slide for reading.

    ``auto`` takes the plain TIFF reader where it can read the file exactly, else OpenSlide, else
    tiffslide (never for the vendors' layouts of ``tiff_layouts``: what OpenSlide refuses there is damaged);
    files named .png, .jpg or .jpeg go to ``image``. ``info.backend_note`` says why it moved on. A backend
    named explicitly is used or the call fails: it never falls back. Of a URL ``auto`` tries the plain TIFF reader and
    tiffslide, by the same rules; the others read files alone.

    Args:
        path: a file, or a URL that fsspec opens.
        backend: one of ``BACKENDS``.
        cache_bytes: decoded tiles that the ``tiff`` backend keeps.
        icc: ``srgb`` converts every pixel from the file's ICC profile to sRGB, ``ignore`` gives them as stored.

    Raises:
        UsageError: no such backend.
        SlideError: the file is missing, no slide, damaged, truncated or absurd, or has no ICC profile where one is
            to be applied.
    """
    slide = _open(path, backend, cache_bytes)
    if icc == "ignore":
        return slide
    try:
        return InSrgb(slide, file=path)
    except SlideError:
        slide.close()
        raise


def _open(path: str | Path, backend: str, cache_bytes: int) -> Slide:
    if backend not in BACKENDS:
        raise UsageError("no such slide backend", got=backend, expected=", ".join(BACKENDS))
    if is_url(path):
        return _open_url(str(path), backend, cache_bytes)
    place = Path(path)
    _check_file(place)
    with place.open("rb") as handle:
        check_chain(handle, place)
    openers: dict[str, Callable[[str], Slide]] = {
        "tiff": lambda _: TiledTiff(place, requested=backend, cache_bytes=cache_bytes),
        "openslide": lambda note: _openslide(place, backend, note),
        "tiffslide": lambda note: _tiffslide(place, backend, note),
        "image": lambda note: PlainImage(place, requested=backend, note=note),
    }
    if backend != "auto":
        return _only(openers[backend], backend)
    image = openers.pop("image")
    if place.suffix.lower() in SUFFIXES:
        openers = {"image": image} | openers
    return _first(
        openers,
        expected="a whole-slide image in a format of OpenSlide, or a tiled 8-bit RGB TIFF",
        fix="fetch the file again, or convert it to a tiled pyramidal TIFF",
        file=place,
    )


def _open_url(url: str, backend: str, cache_bytes: int) -> Slide:
    openers: dict[str, Callable[[str], Slide]] = {
        "tiff": lambda _: TiledTiff(url, requested=backend, cache_bytes=cache_bytes),
        "tiffslide": lambda note: _tiffslide(url, backend, note),
    }
    if backend == "auto":
        return _first(openers, expected="an 8-bit RGB TIFF", fix=_COPY, file=url)
    if backend not in openers:
        expected = "auto, tiff or tiffslide"
        raise UsageError("this slide backend opens no URLs", got=f"{backend} for {url}", expected=expected, fix=_COPY)
    return _only(openers[backend], backend)


def _first(openers: dict[str, Callable[[str], Slide]], *, expected: str, fix: str, file: Path | str) -> Slide:
    """The slide through the first backend that reads it exactly."""
    reasons: list[str] = []
    foreign = False
    for name, opener in openers.items():
        if foreign and name == "tiffslide":
            # What OpenSlide refused of its own layouts is damaged; tiffslide would show white, or the label.
            break
        try:
            return opener("; ".join(reasons))
        except BackendRefusalError as refusal:
            reasons.append(_reason(name, refusal))
            foreign = foreign or isinstance(refusal, ForeignLayoutError)
    raise SlideError("no backend can read this slide", got="; ".join(reasons), expected=expected, fix=fix, file=file)


def _only(opener: Callable[[str], Slide], backend: str) -> Slide:
    try:
        return opener("")
    except BackendRefusalError as refusal:
        raise SlideError(
            f"the {backend} backend cannot read this slide: {refusal.message}",
            got=refusal.got,
            expected=f"a slide that {backend} reads exactly",
            fix="use backend: auto, which takes the first backend that reads the slide exactly",
            file=refusal.file,
        ) from refusal


def _reason(backend: str, refusal: BackendRefusalError) -> str:
    return (
        f"{backend}: {refusal.message} ({refusal.got})" if refusal.got is not None else f"{backend}: {refusal.message}"
    )


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise SlideError(
            "this is a folder, not a slide",
            expected="a slide file",
            fix="name the file; the folder of a MIRAX slide belongs to the .mrxs beside it",
            file=path,
        )
    if not path.is_file():
        raise SlideError("there is no such slide", got=str(path), expected="a file", fix="check the path", file=path)
    # OpenSlide reads nothing of an .mrxs but its name: the slide is the folder beside it.
    if not path.stat().st_size and not (path.suffix.lower() == ".mrxs" and path.with_suffix("").is_dir()):
        raise SlideError("the slide is empty", got="0 bytes", expected="a slide", fix="fetch it again", file=path)


def _openslide(path: Path, requested: str, note: str) -> Slide:
    from wsiprep.slides.openslide_backend import ViaOpenSlide

    return ViaOpenSlide(path, requested=requested, note=note)


def _tiffslide(path: str | Path, requested: str, note: str) -> Slide:
    # Costs about a second (zarr, fsspec): only for slides that nothing else reads.
    from wsiprep.slides.tiffslide_backend import ViaTiffSlide

    return ViaTiffSlide(path, requested=requested, note=note)
