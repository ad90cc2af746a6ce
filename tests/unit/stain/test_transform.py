"""Every way of the transform against its float64 definition, on pictures and on all colours there are."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import cv2
import numpy as np
import pytest

from wsiprep.errors import UsageError
from wsiprep.stain import REFERENCE, ReinhardFit, StainFit, fit, histogram, normalise, normaliser, way_of_own_fits
from wsiprep.stain.exponents import exponents
from wsiprep.stain.table import Table
from wsiprep.stain.transform import FUSED_FROM_PX, TABLE_FROM_PX

TWO_STAINS = ("macenko", "vahadane", "ramakrishnan", "hematoxylin")
WAYS = ("plain", "fused", "table")


@pytest.fixture(scope="module")
def histo(shared_data):
    return cv2.imread(str(shared_data / "stain" / "histo.jpg"))[..., ::-1].copy()


def two_stains(rows, amounts, **more):
    rows = np.array(rows, dtype=float)
    return StainFit("vahadane", rows / np.linalg.norm(rows, axis=1, keepdims=True), np.array(amounts), **more)


def moments(rgb):
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(float)
    return ReinhardFit(lab.mean(axis=0), lab.std(axis=0))


TARGET = REFERENCE["vahadane"]
SOURCES = {
    "usual": two_stains([[0.6, 0.7, 0.38], [0.2, 0.9, 0.38]], [1.5, 1.0]),
    "measured white": two_stains([[0.6, 0.7, 0.38], [0.2, 0.9, 0.38]], [1.5, 1.0], white=(240.5, 231.0, 236.0)),
    "close together": two_stains([[0.55, 0.72, 0.42], [0.46, 0.77, 0.44]], [0.7, 2.2]),
    "adding light": two_stains([[0.6, 0.75, 0.2], [-0.04, 0.9, 0.4]], [1.5, 0.8]),
    "apart": two_stains([[1.0, 0.0, 0.0], [0.0, 1.0, 0.3]], [1.0, 1.3]),
    "repelling": two_stains([[1.0, 0.0, 0.05], [-0.2, 1.0, 0.0]], [1.0, 1.3]),
}


def colours(stride):
    """Every ``stride``-th of the 2^24 colours, uint8 (1, n, 3)."""
    codes = np.arange(0, 1 << 24, stride, dtype=np.uint32)
    return np.stack([codes & 255, codes >> 8 & 255, codes >> 16], axis=1).astype(np.uint8)[None]


def one_level_at_most(source, method, rgb, target=TARGET):
    """The ways agree to the bit, and with the definition but for values that truncation puts on either side."""
    expected = normalise(rgb, source, target, method)
    plain, fused, table = (normaliser(source, target, method=method, way=way)(rgb) for way in WAYS)
    assert np.array_equal(plain, fused)
    assert np.array_equal(plain, table)
    assert_near(plain, expected)
    assert not np.array_equal(plain, rgb)


def assert_near(found, expected):
    """Within one level, and 98 of 100 values are equal: 0.04 level of rounding moves so few over a whole number."""
    differing = found != expected
    assert np.abs(found.astype(int) - expected)[differing].max(initial=0) <= 1
    assert differing.mean() < 0.02


@pytest.mark.parametrize("method", TWO_STAINS)
@pytest.mark.parametrize("source", SOURCES)
def test_all_ways_are_the_definition(source, method):
    one_level_at_most(SOURCES[source], method, colours(97))


@pytest.mark.long
@pytest.mark.parametrize("method", TWO_STAINS)
@pytest.mark.parametrize("source", SOURCES)
def test_all_ways_are_the_definition_for_every_colour(source, method):
    whole = colours(1)
    for part in np.array_split(whole, 16, axis=1):
        one_level_at_most(SOURCES[source], method, np.ascontiguousarray(part))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", TWO_STAINS)
def test_a_picture_with_its_own_fit(histo, method, way):
    source = fit(histogram(histo), "vahadane", 1000)
    found = normaliser(source, TARGET, method=method, way=way)
    assert found.way == found.asked == way
    assert_near(found(histo), normalise(histo, source, TARGET, method))


def test_stains_of_the_slide_itself_change_nothing_that_shows(histo):
    source = fit(histogram(histo), "vahadane", 1000)
    with_lasso = normaliser(source, source, method="vahadane", way="plain")(histo)
    expected = normalise(histo, source, source)
    assert np.abs(with_lasso.astype(int) - expected).max() <= 1  # whole numbers everywhere: truncation's worst case


def test_ramakrishnan_projects_without_a_penalty():
    source = SOURCES["usual"]
    rgb = colours(9973)
    density = np.maximum(-np.log(np.maximum(rgb.reshape(-1, 3) / 255, 1 / 255)), 1e-6)
    amounts = np.maximum(density @ np.linalg.pinv(source.matrix), 0)
    light = 255 * np.exp(-(amounts * TARGET.max_concentrations / source.max_concentrations) @ TARGET.matrix)
    expected = np.where(amounts.sum(axis=1, keepdims=True) > 0, light.astype(np.uint8), rgb.reshape(-1, 3))
    found = normaliser(source, TARGET, method="ramakrishnan")(rgb).reshape(-1, 3)
    assert_near(found, expected)


def drawn(source, amounts):
    return (np.array(source.white) * np.exp(-np.array(amounts) @ source.matrix)).round().astype(np.uint8)[None]


@pytest.mark.parametrize("method", TWO_STAINS)
@pytest.mark.parametrize("way", WAYS)
def test_white_stays_white(method, way):
    white = np.full((1, 2, 3), 255, np.uint8)  # its least density is no stain, nor a projection's
    assert np.array_equal(normaliser(SOURCES["usual"], TARGET, method=method, way=way)(white), white)
    assert np.array_equal(normalise(white, SOURCES["usual"], TARGET, method), white)


@pytest.mark.parametrize("way", WAYS)
def test_haematoxylin_is_drawn_alone(way):
    source = SOURCES["usual"]
    found = normaliser(source, TARGET, method="hematoxylin", way=way)
    only_eosin = drawn(source, [[0, a] for a in (0.3, 0.8, 1.5)])
    assert (found(only_eosin) >= 250).all()  # rounding to uint8 is a trace of haematoxylin
    with_eosin = found(drawn(source, [[0.9, a] for a in (0, 0.4, 0.8)]))[0].astype(int)
    assert np.abs(with_eosin - with_eosin[0]).max() <= 4
    density = -np.log(found(drawn(source, [[1.2, 0.7]]))[0, 0] / 255)
    assert density / np.linalg.norm(density) == pytest.approx(TARGET.matrix[0], abs=0.02)


def test_the_targets_eosin_is_nothing_to_haematoxylin():
    other = two_stains([TARGET.matrix[0], [0.3, 0.8, 0.5]], [TARGET.max_concentrations[0], 0.2])
    rgb = colours(9973)
    one, two = (normaliser(SOURCES["usual"], target, method="hematoxylin")(rgb) for target in (TARGET, other))
    assert np.array_equal(one, two)


@pytest.mark.parametrize("way", ["auto", "plain", "table"])
def test_reinhard_moves_the_moments_of_lab(histo, way):
    source, target = moments(histo), ReinhardFit(np.array([150.0, 160.0, 110.0]), np.array([40.0, 6.0, 5.0]))
    found = normaliser(source, target, method="reinhard", way=way)
    assert found.way == ("plain" if way == "auto" else way)
    lab = cv2.cvtColor(histo, cv2.COLOR_RGB2LAB).astype(float)
    moved = (lab - source.means) * (target.deviations / source.deviations) + target.means
    expected = cv2.cvtColor(np.clip(moved, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB)
    glass = (histo >= 250).all(axis=2)
    assert np.array_equal(found(histo), np.where(glass[..., None], histo, expected))
    after = moments(found(histo))
    # Colours outside of sRGB are cut, and the target's are truncated twice.
    assert np.abs(after.means - target.means).max() < 3
    assert after.deviations == pytest.approx(target.deviations, rel=0.2)


def test_reinhard_leaves_glass():
    source = ReinhardFit(np.array([150.0, 150.0, 110.0]), np.array([40.0, 8.0, 8.0]), white=(240.0, 238.0, 241.0))
    found = normaliser(source, moments(colours(9973)), method="reinhard")
    glass = np.array([[(240, 238, 241), (236, 234, 237), (255, 255, 255)]], np.uint8)
    assert np.array_equal(found(glass), glass)
    pale = np.array([[(230, 234, 237)]], np.uint8)
    assert not np.array_equal(found(pale), pale)


def test_what_has_no_kernel_is_computed_plainly_and_says_so(histo):
    found = normaliser(moments(histo), moments(histo), method="reinhard", way="fused")
    assert (found.way, found.asked) == ("plain", "fused")
    scaled = two_stains([[0.6, 0.7, 0.38], [0.2, 0.9, 0.38]], [0.002, 1.0])
    close = two_stains([[0.6, 0.7, 0.38], [0.603, 0.7, 0.38]], [0.01, 1.0])
    for source in (SOURCES["repelling"], scaled, close):
        assert exponents(source, TARGET, "vahadane") is None
        for way, used in (("fused", "plain"), ("plain", "plain"), ("table", "table")):
            found = normaliser(source, TARGET, method="vahadane", way=way)
            assert found.way == used
            assert np.array_equal(found(histo), normalise(histo, source, TARGET))


@pytest.mark.parametrize("source", ["usual", "measured white", "adding light"])
def test_a_target_that_adds_light_makes_nothing_brighter_than_white(source):
    target = two_stains([[0.6, 0.75, 0.2], [-0.05, 0.9, 0.4]], [1.5, 3.0])
    assert exponents(SOURCES[source], target, "macenko").flipped.any()
    one_level_at_most(SOURCES[source], "macenko", colours(97), target)
    eosin = drawn(SOURCES["usual"], [[0.0, a] for a in (0.5, 1.0, 1.4)])
    assert (normaliser(SOURCES["usual"], target, method="macenko")(eosin)[..., 0] == 255).all()


def test_colours_on_the_border_of_no_stain_are_on_the_side_of_the_definition():
    levels = np.stack(np.meshgrid(*[np.arange(205, 256)] * 3, indexing="ij"), axis=-1).reshape(1, -1, 3)
    for source in SOURCES.values():
        for method in TWO_STAINS:
            rgb = levels.astype(np.uint8)
            expected = normalise(rgb, source, TARGET, method).astype(int)
            found = normaliser(source, TARGET, method=method, way="plain")(rgb)
            assert np.abs(found - expected).max() <= 1


def test_auto_counts_the_pixels(histo):
    many, lab = FUSED_FROM_PX // 512**2, moments(histo)

    def way(**more):
        return normaliser(SOURCES["usual"], TARGET, method="vahadane", **more).way

    assert way() == way(n_patches=1) == way(n_patches=many - 1) == "plain"
    assert way(n_patches=many) == way(n_patches=4 * many, patch_size_px=256) == "fused"
    assert way(n_patches=4 * many - 1, patch_size_px=256) == "plain"
    assert way(n_patches=many, way="plain") == "plain"
    assert way_of_own_fits(many - 1) == "plain"
    assert way_of_own_fits(many) == "fused"
    assert way_of_own_fits(many, 256) == "plain"
    many = TABLE_FROM_PX // 512**2
    assert normaliser(lab, lab, method="reinhard", n_patches=many).way == "table"
    assert normaliser(lab, lab, method="reinhard", n_patches=many - 1).way == "plain"


@pytest.mark.parametrize("method", [*TWO_STAINS, "reinhard"])
@pytest.mark.parametrize("way", WAYS)
def test_any_strides_and_the_input_is_left_alone(histo, method, way):
    source, target = (moments(histo), moments(histo[:100])) if method == "reinhard" else (SOURCES["usual"], TARGET)
    found = normaliser(source, target, method=method, way=way)
    frozen = histo.copy()
    frozen.flags.writeable = False
    whole = found(frozen)
    assert np.array_equal(found(frozen[::2, ::-3]), whole[::2, ::-3])
    assert np.array_equal(found(frozen.transpose(1, 0, 2)), whole.transpose(1, 0, 2))
    assert np.array_equal(found(frozen[..., ::-1][..., ::-1]), whole)
    assert np.array_equal(found(histo.copy()), whole)
    assert np.array_equal(frozen, histo)
    assert whole.flags.writeable
    assert whole.flags.c_contiguous
    assert not np.shares_memory(whole, frozen)
    assert found(frozen[:0]).shape == (0, 500, 3)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "rgb",
    [
        np.zeros((4, 4, 3)),
        np.full((4, 4, 3), np.nan, np.float32),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3), np.int16),
        [[[1, 2, 3]]],
    ],
)
def test_other_images_are_refused(rgb, way):
    with pytest.raises(UsageError, match="uint8"):
        normaliser(SOURCES["usual"], TARGET, method="vahadane", way=way)(rgb)


def test_what_does_not_fit_together_is_refused(histo):
    lab = moments(histo)
    with pytest.raises(UsageError, match="unknown stain method"):
        normaliser(TARGET, TARGET, method="none")
    with pytest.raises(UsageError, match="unknown way"):
        normaliser(TARGET, TARGET, method="vahadane", way="fast")
    for pair, method in (((lab, lab), "vahadane"), ((TARGET, lab), "reinhard"), ((TARGET, TARGET), "reinhard")):
        with pytest.raises(UsageError, match="its own kind"):
            normaliser(*pair, method=method)


@pytest.mark.parametrize("way", WAYS)
def test_it_travels_with_its_fits(histo, way):
    found = normaliser(SOURCES["usual"], TARGET, method="vahadane", way=way)
    found(histo)
    sent = pickle.dumps(found)
    assert len(sent) < 5000
    again = pickle.loads(sent)
    assert (again.way, again.asked) == (way, way)
    assert np.array_equal(again(histo), found(histo))


def test_a_table_is_filled_by_many_threads_at_once(histo):
    calls = []

    def mapped(rgb):
        calls.append(rgb.shape[1])
        return 255 - rgb

    table = Table(mapped)
    rng = np.random.default_rng(0)
    pictures = [rng.permuted(histo.reshape(-1, 3)[: 60_000 + 997 * i], axis=0).reshape(1, -1, 3) for i in range(12)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(table, pictures))
    for before, after in zip(pictures, found, strict=True):
        assert np.array_equal(after, 255 - before)
    assert sum(calls) == table.n_filled  # no colour twice
    stacked = np.concatenate(pictures, axis=1).reshape(-1, 3).astype(np.uint32)
    assert table.n_filled == len(np.unique(stacked @ np.array([1, 1 << 8, 1 << 16], np.uint32)))
    done = len(calls)
    assert np.array_equal(table(pictures[0]), 255 - pictures[0])
    assert len(calls) == done


def test_black_and_white_are_colours_of_a_table():
    ends = np.array([[(0, 0, 0), (255, 255, 255), (0, 0, 1), (255, 0, 0)]], np.uint8)
    assert np.array_equal(Table(lambda rgb: rgb.copy())(ends), ends)


@pytest.mark.parametrize("way", WAYS)
def test_threads_share_a_normaliser(histo, way):
    found = normaliser(SOURCES["usual"], TARGET, method="vahadane", way=way)
    expected = found(histo)
    assert_near(expected, normalise(histo, SOURCES["usual"], TARGET))
    with ThreadPoolExecutor(6) as pool:
        assert all(np.array_equal(result, expected) for result in pool.map(found, [histo] * 12))


def in_a_process(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_few_patches_import_no_compiler_and_many_import_no_numba():
    code = """
import sys
from wsiprep.stain import REFERENCE, normaliser
import numpy as np
target = REFERENCE["vahadane"]
heavy = ("numba", "llvmlite", "scipy", "torch", "pandas", "dask")
for n_patches in (1, 10_000):
    found = normaliser(target, target, method="vahadane", n_patches=n_patches)
    found(np.zeros((8, 8, 3), np.uint8))
    print(found.way, [name for name in heavy if name in sys.modules])
"""
    assert in_a_process(code).splitlines() == ["plain []", "fused ['llvmlite']"]


def test_a_forked_process_has_the_kernel(histo):
    found = normaliser(SOURCES["usual"], TARGET, method="vahadane", way="fused")
    expected = found(histo)
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        assert np.array_equal(pool.submit(found, histo).result(60), expected)


def test_without_llvmlite_the_kernel_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "wsiprep.stain.fused", None)
    with pytest.raises(UsageError, match="needs llvmlite"):
        normaliser(SOURCES["usual"], TARGET, method="vahadane", way="fused")
    monkeypatch.setattr("wsiprep.stain.transform.find_spec", lambda name: None)
    assert normaliser(SOURCES["usual"], TARGET, method="vahadane", n_patches=10**6).way == "plain"


def test_the_kernel_neither_reads_nor_writes_beyond_its_pixels():
    found = normaliser(SOURCES["usual"], TARGET, method="vahadane", way="fused")
    expected = found(colours(9973))[0]
    for n in range(1, 20):
        assert np.array_equal(found(colours(9973)[:, :n])[0], expected[:n])
