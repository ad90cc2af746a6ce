"""``stain.backend: staintools`` against a real staintools, and what it says where there is none."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest

from wsiprep.errors import StainError, UsageError
from wsiprep.stain import REFERENCE, ReinhardFit, fit, histogram, normalise, normaliser
from wsiprep.stain.staintools_backend import METHODS, StaintoolsNormaliser, staintools_fit


@pytest.fixture
def staintools():
    pytest.importorskip("spams", reason="needs pip install 'wsiprep[bench]' (spams-bin)", exc_type=ImportError)
    return pytest.importorskip(
        "staintools", reason="needs pip install 'wsiprep[bench]' (staintools)", exc_type=ImportError
    )


@pytest.fixture(scope="module")
def histo(shared_data):
    return cv2.imread(str(shared_data / "stain" / "histo.jpg"))[:200, :260, ::-1].copy()


@pytest.fixture(scope="module")
def other(histo):
    """A second look: another picture's worth of stain, frozen."""
    rgb = normalise(histo, fit(histogram(histo), "macenko", 1000), REFERENCE["macenko"])[::-1].copy()
    rgb.flags.writeable = False
    return rgb


def test_without_staintools_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "staintools", None)
    for use in (lambda: staintools_fit(np.zeros((4, 4, 3), np.uint8), "macenko"), maker("macenko"), maker("reinhard")):
        with pytest.raises(UsageError, match="needs staintools and spams") as caught:
            use()
        assert "pip install 'wsiprep[bench]'" in str(caught.value)


def maker(method):
    return lambda: StaintoolsNormaliser(REFERENCE["macenko"], method)


@pytest.mark.parametrize("method", ["ramakrishnan", "hematoxylin", "none"])
def test_it_has_three_methods(method):
    with pytest.raises(UsageError, match="no such method"):
        staintools_fit(np.zeros((4, 4, 3), np.uint8), method)
    with pytest.raises(UsageError, match="no such method"):
        StaintoolsNormaliser(REFERENCE["macenko"], method)


def their_own(staintools, method):
    return staintools.ReinhardColorNormalizer() if method == "reinhard" else staintools.StainNormalizer(method)


@pytest.mark.parametrize("method", ["macenko", "reinhard"])
def test_patch_by_patch_it_is_staintools_itself(staintools, histo, other, method):
    theirs = their_own(staintools, method)
    theirs.fit(other.copy())
    expected = theirs.transform(histo.copy())
    target = staintools_fit(other, method)
    mapped = StaintoolsNormaliser(target, method).mapped(histo)
    assert mapped.status == "ok"
    # A fit is kept to eight decimals: a whole number may be cut on the other side.
    assert np.abs(mapped.rgb.astype(int) - expected).max() <= 1
    assert np.mean(mapped.rgb != expected) < 1e-3


def test_vahadane_searches_for_its_second(staintools, histo):
    target = REFERENCE["vahadane"]
    found = staintools_fit(histo, "vahadane")
    ours = fit(histogram(histo), "vahadane", 1000)
    angle = np.degrees(np.arccos(np.clip((found.matrix * ours.matrix).sum(axis=1), -1, 1)))
    assert angle.max() < 4  # it stops after a second: 0.05 to 2.5 degrees from the optimum
    mapped = StaintoolsNormaliser(target, "vahadane")(histo)
    expected = normalise(histo, found, target)
    assert np.abs(mapped.astype(int) - expected).mean() < 3


@pytest.mark.parametrize("method", ["macenko", "vahadane"])
def test_the_same_fit_gives_the_same_colours_as_ours(staintools, histo, method):
    source = fit(histogram(histo), method, 1000)
    theirs = StaintoolsNormaliser(REFERENCE[method], method, source)(histo)
    ours = normaliser(source, REFERENCE[method], method=method)(histo)
    assert np.abs(theirs.astype(int) - ours).max() <= 1


def test_reinhard_from_one_fit_is_ours_but_for_glass(staintools, histo, other):
    source, target = staintools_fit(histo, "reinhard"), staintools_fit(other, "reinhard")
    assert isinstance(source, ReinhardFit)
    lab = cv2.cvtColor(histo, cv2.COLOR_RGB2LAB).reshape(-1, 3)
    assert source.means == pytest.approx(lab.mean(axis=0), abs=1e-3)
    assert source.deviations == pytest.approx(lab.std(axis=0), abs=1e-3)
    theirs = StaintoolsNormaliser(target, "reinhard", source)(histo)
    ours = normaliser(source, target, method="reinhard")(histo)
    tissue = (histo < 250).any(axis=2)
    differing = (theirs != ours).any(axis=2) & tissue
    assert differing.mean() < 0.01  # it computes in float32, which cuts a few whole numbers of Lab the other way
    assert np.abs(theirs.astype(int) - ours)[tissue].max() <= 8


@pytest.mark.parametrize("method", METHODS)
def test_the_input_is_left_alone(staintools, histo, method):
    rgb = histo[:120, :120].copy()
    rgb[:3] = 0  # staintools writes 1 where it finds 0
    rgb.flags.writeable = False
    before = rgb.copy()
    target = staintools_fit(rgb[::-1], method)
    found = StaintoolsNormaliser(target, method)(rgb)
    assert np.array_equal(rgb, before)
    assert found.dtype == np.uint8
    assert found.flags.writeable
    assert not np.shares_memory(found, rgb)


@pytest.mark.parametrize(("method", "status"), [("macenko", "too_little_tissue"), ("vahadane", "too_little_tissue")])
@pytest.mark.parametrize("level", [255, 250])
def test_glass_stays_and_says_why(staintools, method, status, level):
    glass = np.full((30, 30, 3), level, np.uint8)
    mapped = StaintoolsNormaliser(REFERENCE[method], method).mapped(glass)
    assert mapped.status == status
    assert np.array_equal(mapped.rgb, glass)
    assert not np.shares_memory(mapped.rgb, glass)
    with pytest.raises(StainError, match=status):
        staintools_fit(glass, method)


@pytest.mark.parametrize("method", METHODS)
def test_what_has_one_colour_is_not_painted_black(staintools, histo, method):
    target = staintools_fit(histo, method)
    for colour in ((128, 128, 128), (0, 0, 0), (120, 60, 140)):
        rgb = np.full((40, 40, 3), colour, np.uint8)
        mapped = StaintoolsNormaliser(target, method).mapped(rgb)
        if mapped.status != "ok":
            assert np.array_equal(mapped.rgb, rgb)
        else:
            assert method == "vahadane"  # it makes two stains of one colour
            assert mapped.rgb.max() > 0


def test_fits_of_the_other_kind_are_refused(staintools, histo):
    lab = staintools_fit(histo, "reinhard")
    with pytest.raises(UsageError, match="own kind"):
        StaintoolsNormaliser(lab, "macenko")
    with pytest.raises(UsageError, match="own kind"):
        StaintoolsNormaliser(lab, "reinhard", REFERENCE["macenko"])
    with pytest.raises(UsageError, match="uint8"):
        StaintoolsNormaliser(lab, "reinhard")(histo[..., 0])
