"""Slides that are one slide twice: what is found, what it means, and how far real pictures are apart."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsiprep.config import Tissue
from wsiprep.errors import SplitError, UsageError
from wsiprep.manifest import AllowedPair
from wsiprep.patches.duplicates import (
    HASH_BITS,
    NEAR_BITS,
    SAME_NAME_BITS,
    DuplicatePair,
    SlideEntry,
    distance_bits,
    find_duplicates,
    require_no_duplicates,
    thumbnail_hash,
)
from wsiprep.slides import open_slide, read_overview
from wsiprep.synthetic import render_cohort
from wsiprep.tissue import find_tissue

OVERVIEW_UM = 8.0


def blobs(seed: int, height: int = 200, width: int = 260) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A picture with structure of its own at low frequencies."""
    noise = np.random.default_rng(seed).normal(size=(height // 20, width // 20))
    smooth = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    grey = np.clip(140 + 50 * smooth, 0, 255).astype(np.uint8)
    return np.stack([grey, grey // 2, grey], axis=-1)


def flipped(text: str, bits: int) -> str:
    """The hash with its first ``bits`` bits inverted."""
    mask = ((1 << bits) - 1) << (HASH_BITS - bits)
    return f"{int(text, 16) ^ mask:064x}"


HASH = thumbnail_hash(blobs(0)) or ""
FAR = flipped(HASH, HASH_BITS // 2)


def entry(slide_id: str, picture: str | None = None, **more: Any) -> SlideEntry:
    known = {"patient": f"p-{slide_id}", "split": "train", "identity": f"id-{slide_id}"} | more
    return SlideEntry(slide_id, thumbnail_hash=picture, **known)


def only(*entries: SlideEntry, **more: Any) -> DuplicatePair:
    (pair,) = find_duplicates(entries, **more)
    return pair


def test_the_hash_is_of_the_tissue_and_not_of_the_glass_around_it() -> None:
    picture = blobs(1)
    wide = np.full((500, 700, 3), 243, np.uint8)
    wide[111:311, 300:560] = picture
    tissue = np.zeros(wide.shape[:2], np.bool_)
    tissue[111:311, 300:560] = True
    assert thumbnail_hash(wide, tissue) == thumbnail_hash(picture)
    assert thumbnail_hash(wide) != thumbnail_hash(picture)


def test_the_first_hash_is_pinned() -> None:
    # Recorded in slide.json: a change here needs a new revision of survey.
    y, x = np.mgrid[:120, :200]
    grey = (((x - 90) ** 2 + 2 * (y - 30) ** 2 + x * y) // 150 % 200).astype(np.uint8)
    assert thumbnail_hash(np.stack([grey] * 3, axis=-1)) == PINNED


PINNED = "bbba2ec8daaab555eb1056aaed559ad565aa1b55a4b51b6a64951b2924d25125"


@pytest.mark.parametrize("value", [0, 128, 255])
def test_nothing_to_see_has_no_hash(value: int) -> None:
    assert thumbnail_hash(np.full((50, 60, 3), value, np.uint8)) is None
    assert thumbnail_hash(blobs(0), np.zeros((200, 260), np.bool_)) is None


def test_bad_arguments_of_the_hash() -> None:
    with pytest.raises(UsageError, match="RGB"):
        thumbnail_hash(np.zeros((5, 5), np.uint8))
    with pytest.raises(UsageError, match="size"):
        thumbnail_hash(blobs(0), np.ones((5, 5), np.bool_))
    with pytest.raises(UsageError, match="length"):
        distance_bits("00", HASH)


def test_half_of_the_bits_are_set_and_distances_are_those_of_the_bits() -> None:
    for seed in range(20):
        made = thumbnail_hash(blobs(seed)) or ""
        assert int(made, 16).bit_count() == HASH_BITS // 2
        assert distance_bits(made, HASH) == (int(made, 16) ^ int(HASH, 16)).bit_count()


@given(st.lists(st.integers(0, 2**HASH_BITS - 1), max_size=12), st.integers(0, HASH_BITS), st.integers(1, 5))
def test_near_pairs_are_those_of_a_plain_loop(values: list[int], near_bits: int, block: int) -> None:
    units = [entry(f"s{i:02}", f"{value:064x}") for i, value in enumerate(values)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wsiprep.patches.duplicates._BLOCK_UNITS", block)
        found = [(p.slide_a, p.slide_b) for p in find_duplicates(reversed(units), near_bits=near_bits)]
    assert found == [
        (f"s{i:02}", f"s{j:02}")
        for i, j in combinations(range(len(values)), 2)
        if (values[i] ^ values[j]).bit_count() <= near_bits
    ]


def test_identical_bytes_are_an_error_whoever_has_them_and_nothing_allows_them() -> None:
    allowed = [AllowedPair(("a", "b"), "a replicate", 2)]
    pair = only(entry("b", identity="x", patient="p"), entry("a", identity="x", patient="p"), allowed=allowed)
    assert (pair.slide_a, pair.slide_b, pair.kind, pair.verdict) == ("a", "b", "identical", "error")
    assert (pair.same_patient, pair.same_split, pair.distance_bits) == (True, True, None)
    assert only(entry("a", sha256="f"), entry("b", sha256="f")).kind == "identical"
    with pytest.raises(SplitError, match="duplicates") as caught:
        require_no_duplicates([pair])
    assert caught.value.exit_code == 65
    assert "a and b: the same bytes" in str(caught.value)


def test_each_copy_is_listed_beside_the_first() -> None:
    copies = [entry(f"s{i}", identity="x") for i in range(5)]
    assert [(p.slide_a, p.slide_b) for p in find_duplicates(copies)] == [("s0", f"s{i}") for i in range(1, 5)]


@pytest.mark.parametrize(
    ("patient", "split", "verdict"),
    [("p1", "train", "warning"), ("p1", "test", "warning"), ("p2", "train", "warning"), ("p2", "test", "error")],
)
def test_near_pictures_are_an_error_for_two_patients_in_two_splits(patient: str, split: str, verdict: str) -> None:
    a = entry("a", HASH, patient="p1", tissue_share=0.5, area_mm2=100.0)
    b = entry("b", flipped(HASH, NEAR_BITS), patient=patient, split=split)
    pair = only(a, b)
    assert (pair.kind, pair.distance_bits, pair.verdict) == ("near", NEAR_BITS, verdict)
    assert (pair.tissue_share_a, pair.area_a_mm2, pair.tissue_share_b) == (0.5, 100.0, None)
    assert pair.to_dict()["verdict"] == verdict
    allowed = only(a, b, allowed=[AllowedPair(("a", "b"), "serial sections, looked at", 2)])
    assert allowed.verdict == "allowed"
    assert "serial sections" in allowed.reason
    require_no_duplicates([allowed])
    assert find_duplicates([a, entry("b", flipped(HASH, NEAR_BITS + 1))]) == ()


def test_an_error_names_both_splits_and_what_to_do() -> None:
    pair = only(entry("a", HASH), entry("b", HASH, split="test"))
    with pytest.raises(SplitError) as caught:
        require_no_duplicates([pair])
    message = str(caught.value)
    assert "0 of 256 bits" in message
    assert "train and test" in message
    assert "allow_duplicates.csv" in message


def test_one_name_with_other_bytes_is_found_unless_the_pictures_are_clearly_different() -> None:
    a = entry("kumar-1", HASH, name="TCGA-18-5592-01Z-00-DX1")
    for picture, bits in ((flipped(HASH, SAME_NAME_BITS - 1), SAME_NAME_BITS - 1), (None, None)):
        pair = only(a, entry("monuseg-1", picture, name="tcga-18-5592-01z-00-dx1", split="test"))
        assert (pair.kind, pair.distance_bits, pair.verdict) == ("same-name", bits, "error")
    assert find_duplicates([a, entry("other", FAR, name=a.name, split="test")]) == ()
    assert find_duplicates([entry("x"), entry("y")]) == ()
    both = [entry("p", name="n"), entry("q", name="n"), entry("r", name="n", split="test")]
    assert {(p.slide_a, p.slide_b): p.verdict for p in find_duplicates(both)} == {
        ("p", "q"): "warning", ("p", "r"): "error",
    }  # fmt: skip


def test_slides_without_a_picture_are_near_to_nobody() -> None:
    assert find_duplicates([entry("a"), entry("b"), entry("c", HASH)]) == ()
    assert find_duplicates([]) == ()
    with pytest.raises(UsageError, match="twice"):
        find_duplicates([entry("a"), entry("a")])


def test_ten_thousand_slides_are_compared_in_blocks() -> None:
    """Random hashes are far apart; the planted pair is the only one, wherever it is."""
    random = np.random.default_rng(3)
    units = [entry(f"s{i:05}", random.bytes(HASH_BITS // 8).hex()) for i in range(10_000)]
    units[9_999] = entry("s09999", flipped(units[255].thumbnail_hash or "", 20))
    assert [(p.slide_a, p.slide_b, p.distance_bits) for p in find_duplicates(units)] == [("s00255", "s09999", 20)]


# --- real pictures ---------------------------------------------------------------------------------


def overview_of(path: Path, spacing_um: float = OVERVIEW_UM) -> tuple[Any, float]:
    with open_slide(path) as slide:
        # One of the files does not say; 20x is what it looks like, and only the scale of its tissue mask depends on it.
        file_um = 0.5 if slide.info.spacing is None else slide.info.spacing.mean_um
        image, downsample = read_overview(slide, max(1, int(spacing_um / file_um)))
    return image, file_um * downsample


def hash_of(image: Any, spacing_um: float) -> str:
    tissue = find_tissue(np.ascontiguousarray(image), 1, spacing_um, Tissue())
    made = thumbnail_hash(np.ascontiguousarray(image), tissue.mask)
    assert made is not None
    return made


@pytest.fixture(scope="module")
def real(shared_data: Path) -> dict[str, tuple[Any, float]]:
    paths = [*sorted((shared_data / "slides").glob("*.tif")), *sorted((shared_data / "slides_svs").glob("*.svs"))]
    if not paths:
        pytest.skip("the shared data folder has no slides")
    return {path.stem: overview_of(path) for path in paths}


def test_real_slides_and_their_quarters_are_far_apart(real: dict[str, tuple[Any, float]]) -> None:
    hashes = {}
    for name, (image, spacing) in real.items():
        hashes[name] = hash_of(image, spacing)
        height, width = (side // 2 for side in image.shape[:2])
        for row, column in np.ndindex(2, 2):
            part = image[row * height : (row + 1) * height, column * width : (column + 1) * width]
            if find_tissue(np.ascontiguousarray(part), 1, spacing, Tissue()).share > 0.05:
                hashes[f"{name} {row}{column}"] = hash_of(part, spacing)
    assert len(hashes) >= 15
    distances = [distance_bits(a, b) for a, b in combinations(hashes.values(), 2)]
    assert min(distances) > SAME_NAME_BITS
    assert 120 < float(np.mean(distances)) < 132


def encoded(image: Any, quality: int) -> Any:
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def shifted(image: Any) -> Any:
    height, width = image.shape[:2]
    wide = np.empty((height + 60, width + 90, 3), np.uint8)
    wide[:] = image[0, 0]
    wide[37 : 37 + height, 53 : 53 + width] = image
    return encoded(wide, 80)


COPIES: dict[str, Callable[[Any], Any]] = {
    "jpeg 60": lambda image: encoded(image, 60),
    "shifted": shifted,
    "half size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "gamma": lambda image: (255 * (image / 255.0) ** 1.3).astype(np.uint8),
}


@pytest.mark.parametrize("change", list(COPIES))
def test_copies_of_real_slides_are_near_and_nearer_than_any_other(
    real: dict[str, tuple[Any, float]], change: str
) -> None:
    originals = {name: hash_of(image, spacing) for name, (image, spacing) in real.items()}
    for name, (image, spacing) in real.items():
        copy = hash_of(COPIES[change](image), spacing)
        distances = {other: distance_bits(copy, made) for other, made in originals.items()}
        assert distances.pop(name) <= NEAR_BITS, name
        assert min(distances.values()) > SAME_NAME_BITS, name


def test_synthetic_slides_are_no_duplicates(tmp_path: Path) -> None:
    """The rendered cohorts go through the same plan as real ones."""
    cohort = render_cohort(tmp_path, n_slides=4, side_px=2048, jobs=1)
    slides = [overview_of(cohort.folder / s.slide, 16.0) for s in cohort.slides]
    hashes = [hash_of(image, spacing) for image, spacing in slides]
    assert min(distance_bits(a, b) for a, b in combinations(hashes, 2)) > NEAR_BITS
