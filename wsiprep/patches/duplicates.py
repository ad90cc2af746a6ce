"""Slides that are one slide twice: the same bytes, or pictures so alike that one copy could test the other.

A slide's picture is known by 256 bits: the grey overview, cropped to its tissue and brought to 64 x 64, and
of its cosine transform the 16 x 16 lowest frequencies, each above or below their median. The transform is in
integers, so that it is the same on every machine.

Measured on 39 pictures (five real slides at 8 um/px, quarters of them, 18 histology images; 741 pairs): two
different ones are 126 bits apart on average (standard deviation 8.5, smallest 98). Copies of the five slides
are at most 4 bits from them as JPEG of quality 60, 36 at quality 30, 34 shifted, 30 scaled to 0.5 or 0.8, 4
with another gamma, 36 with 2 % cut off, 40 turned by a degree; what is over 10 is the tissue mask that moved.
``NEAR_BITS`` lies between, nine deviations below the mean: 10,000 slides make 5e7 pairs, whose smallest is
expected about 5.5 below. A slide turned by more, cut by a tenth, or stained anew may be over 80 bits away
and is not found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from wsiprep.errors import SplitError, UsageError
from wsiprep.manifest import AllowedPair
from wsiprep.manifest.names import lookalike

HASH_BITS = 256
NEAR_BITS = 48
SAME_NAME_BITS = 80
"""Two files of one name need to be this different to count as two slides whose names are no names (``image.tif``)."""

_SIDE_PX = 64
_FREQUENCIES = 16
_BLOCK_UNITS = 256
_LISTED = 8

Kind = Literal["identical", "near", "same-name"]
Verdict = Literal["error", "warning", "allowed"]


@dataclass(frozen=True, slots=True)
class SlideEntry:
    """One slide, or one tile of a collection, as far as duplicates are concerned.

    Attributes:
        slide_id: id, unique among the entries; of a tile, whatever names it in messages.
        patient: who it is of; slides of unknown patients are patients of their own.
        split: ``Place.key``: the split's name or the fold's number; "" before there is a split.
        identity: fingerprint of the file; equal means the same bytes. "" where unknown.
        thumbnail_hash: of ``thumbnail_hash``; None where there is no tissue or no picture.
        name: the file's own name, without folders and suffix; "" to compare no names.
        tissue_share: share of the overview that is tissue; for people who look at a pair.
        area_mm2: area of the slide; for people who look at a pair.
        sha256: full digest, where the manifest gives one; "" elsewhere.
    """

    slide_id: str
    patient: str
    split: str
    identity: str
    thumbnail_hash: str | None = None
    name: str = ""
    tissue_share: float | None = None
    area_mm2: float | None = None
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class DuplicatePair:
    """Two entries that may be one slide.

    Attributes:
        slide_a: the lower id.
        slide_b: the other.
        kind: ``identical`` bytes, ``near`` pictures, or ``same-name``: other bytes, pictures not clearly different.
        distance_bits: of 256; None where one of them has no hash.
        verdict: ``error`` stops the plan; ``warning`` is listed; ``allowed`` is listed with its reason.
        reason: why this verdict.
    """

    slide_a: str
    slide_b: str
    kind: Kind
    distance_bits: int | None
    same_patient: bool
    same_split: bool
    tissue_share_a: float | None
    tissue_share_b: float | None
    area_a_mm2: float | None
    area_b_mm2: float | None
    verdict: Verdict
    reason: str

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return asdict(self)


def thumbnail_hash(rgb: npt.NDArray[np.uint8], tissue: npt.NDArray[np.bool_] | None = None) -> str | None:
    """64 hexadecimal digits that differ little between pictures of one slide; None if there is nothing to see.

    Args:
        rgb: uint8 (h, w, 3), the whole slide.
        tissue: bool (h, w); the hash is of its bounding box, so that glass around it does not matter. None:
            of the whole picture.

    Raises:
        UsageError: not RGB, or a mask of another size.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise UsageError("a picture's hash is of RGB", got=f"{rgb.dtype} {rgb.shape}", expected="uint8 (h, w, 3)")
    if tissue is None:
        tissue = np.ones(rgb.shape[:2], np.bool_)
    if tissue.shape != rgb.shape[:2]:
        raise UsageError("the mask is not of the picture's size", got=tissue.shape, expected=rgb.shape[:2])
    rows, columns = np.flatnonzero(tissue.any(axis=1)), np.flatnonzero(tissue.any(axis=0))
    if rows.size == 0:
        return None
    cut = np.ascontiguousarray(rgb[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    grey = cv2.resize(cv2.cvtColor(cut, cv2.COLOR_RGB2GRAY), (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA)
    if int(grey.max()) - int(grey.min()) < 2:
        return None
    basis = _cosines()
    lowest = (basis @ grey.astype(np.int64) @ basis.T).ravel()
    middle = np.sort(lowest)[HASH_BITS // 2 - 1 : HASH_BITS // 2 + 1].sum()
    return np.packbits(2 * lowest > middle).tobytes().hex()


@cache
def _cosines() -> npt.NDArray[np.int64]:
    """int64 (16, 64): the lowest cosines, in units of 2 ** -14. The first row, the mean, is as long as the others."""
    k, n = np.arange(_FREQUENCIES)[:, None], np.arange(_SIDE_PX)[None, :]
    waves = np.cos(np.pi * k * (2 * n + 1) / (2 * _SIDE_PX)) * np.where(k == 0, np.sqrt(0.5), 1.0)
    whole: npt.NDArray[np.int64] = np.rint(waves * 2**14).astype(np.int64)
    return whole


def distance_bits(one: str, other: str) -> int:
    """How many of the 256 bits of two hashes differ."""
    return int(np.bitwise_count(_words([one]) ^ _words([other])).sum())


def find_duplicates(
    entries: Iterable[SlideEntry], allowed: Iterable[AllowedPair] = (), *, near_bits: int = NEAR_BITS
) -> tuple[DuplicatePair, ...]:
    """Every pair that may be one slide twice, sorted by ids; one finding a pair, the gravest kind.

    Identical bytes are an error wherever they are: nothing allows them, ``exclude.csv`` removes one; of
    several copies each is listed beside the first. Near pictures and equal names of other bytes are an error
    where two patients in two splits have them, unless allowed, and a warning elsewhere. Files of one name
    whose pictures differ by ``SAME_NAME_BITS`` are two slides and no finding.

    Args:
        entries: without the excluded ones.
        allowed: pairs that a person has looked at.
        near_bits: pictures are near up to this distance.

    Raises:
        UsageError: two entries have one id.
    """
    units = sorted(entries, key=lambda entry: entry.slide_id)
    if len({u.slide_id for u in units}) != len(units):
        raise UsageError("an entry stands twice among those to compare")
    reasons = {pair.slides: pair.reason for pair in allowed}
    kinds: dict[tuple[int, int], Kind] = {}
    for places in _equal([lookalike(u.name) for u in units]):
        kinds |= dict.fromkeys(_near(units, places, SAME_NAME_BITS - 1), "same-name")
        unseen = [place for place in places if units[place].thumbnail_hash is None]
        for place in unseen:
            other = next(p for p in places if p != place)
            kinds[min(place, other), max(place, other)] = "same-name"
    kinds |= dict.fromkeys(_near(units, range(len(units)), near_bits), "near")
    for values in ([u.identity for u in units], [u.sha256 for u in units]):
        for first, *others in _equal(values):
            kinds |= dict.fromkeys(((first, other) for other in others), "identical")
    return tuple(_judged(units[i], units[j], kind, reasons) for (i, j), kind in sorted(kinds.items()))


def require_no_duplicates(pairs: Iterable[DuplicatePair]) -> None:
    """Stop where a pair is an error.

    Raises:
        SplitError: with the first pairs, and what to do.
    """
    wrong = [pair for pair in pairs if pair.verdict == "error"]
    if wrong:
        listed = "; ".join(f"{p.slide_a} and {p.slide_b}: {p.reason}" for p in wrong[:_LISTED])
        raise SplitError(
            "slides are duplicates of one another", got=f"{len(wrong)} pair(s): {listed}",
            expected="every slide once, or both copies in one split",
            fix="list one of each pair in exclude.csv; if two slides only look alike, list the pair in "
            "allow_duplicates.csv (slide_a,slide_b,reason); if they are of one patient, say so in the manifest",
        )  # fmt: skip


def _judged(a: SlideEntry, b: SlideEntry, kind: Kind, reasons: dict[tuple[str, str], str]) -> DuplicatePair:
    same_patient, same_split = a.patient == b.patient, a.split == b.split
    bits = _distance(a, b)
    seen = {"identical": "the same bytes", "near": f"pictures differ in {bits} of {HASH_BITS} bits"}.get(
        kind, "one name, other bytes" + ("" if bits is None else f", {bits} of {HASH_BITS} bits of the picture differ")
    )
    verdict: Verdict = "warning"
    reason = seen
    if kind == "identical":
        verdict = "error"
    elif (a.slide_id, b.slide_id) in reasons:
        verdict, reason = "allowed", f"{seen}; {reasons[a.slide_id, b.slide_id]}"
    elif not same_patient and not same_split:
        verdict, reason = "error", f"{seen}, and they are in {a.split} and {b.split}"
    return DuplicatePair(
        a.slide_id, b.slide_id, kind, bits, same_patient, same_split,
        a.tissue_share, b.tissue_share, a.area_mm2, b.area_mm2, verdict, reason,
    )  # fmt: skip


def _distance(a: SlideEntry, b: SlideEntry) -> int | None:
    if a.thumbnail_hash is None or b.thumbnail_hash is None:
        return None
    return distance_bits(a.thumbnail_hash, b.thumbnail_hash)


def _near(units: Sequence[SlideEntry], chosen: Sequence[int], near_bits: int) -> Iterator[tuple[int, int]]:
    """Pairs of the chosen places in ``units`` whose hashes are at most ``near_bits`` apart, block by block."""
    places = [i for i in chosen if units[i].thumbnail_hash is not None]
    words = _words([units[i].thumbnail_hash or "" for i in places])
    for start in range(0, len(places), _BLOCK_UNITS):
        block = words[start : start + _BLOCK_UNITS]
        rest = words[start:]
        distance = np.zeros((len(block), len(rest)), np.uint16)
        for k in range(words.shape[1]):
            distance += np.bitwise_count(block[:, k, None] ^ rest[None, :, k])
        for i, j in np.argwhere(distance <= near_bits).tolist():
            if i < j:
                yield places[start + i], places[start + j]


def _equal(values: Sequence[str]) -> Iterator[list[int]]:
    """Places that hold the same text, two or more, in order; the empty text aside."""
    members: dict[str, list[int]] = defaultdict(list)
    for place, value in enumerate(values):
        if value:
            members[value].append(place)
    yield from (found for found in members.values() if len(found) > 1)


def _words(hashes: Sequence[str]) -> npt.NDArray[np.uint64]:
    """uint64 (n, 4): the hashes as numbers."""
    data = b"".join(bytes.fromhex(text) for text in hashes)
    if len(data) * 8 != HASH_BITS * len(hashes):
        raise UsageError("a picture's hash has another length", expected=f"{HASH_BITS // 4} hexadecimal digits")
    return np.frombuffer(data, np.uint64).reshape(-1, HASH_BITS // 64)
