"""Macenko, Vahadane and the lasso against plain implementations of their definitions."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
import tifffile

from wsiprep.stain import histogram
from wsiprep.stain.density import is_tissue, optical_density, tissue_px, weighted_percentile
from wsiprep.stain.lasso import concentrations
from wsiprep.stain.macenko import macenko_matrix
from wsiprep.stain.vahadane import MAX_ITERATIONS, PENALTY, START, vahadane_matrix


def real_image(shared_data, name):
    if name == "instanseg":
        return tifffile.imread(shared_data / "stain" / "instanseg_HE_example.tif")[:512, :512]
    return cv2.imread(str(shared_data / "stain" / "histo.jpg"))[..., ::-1].copy()


def angles_deg(first, second):
    return np.degrees(np.arccos(np.clip((first * second).sum(axis=1), -1, 1)))


def tissue_of(rgb):
    """(density (3, k), counts (k,)) of the tissue colours of an image."""
    hist = histogram(rgb)
    colours = hist.centres()
    tissue = is_tissue(colours)
    return optical_density(colours[:, tissue]), hist.counts[tissue]


def plain_macenko(rgb):
    """Macenko per pixel, as the definition reads, with OpenCV's 8-bit Lab for the tissue."""
    lightness = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2LAB)[..., 0]
    light = np.maximum(rgb[lightness < 0.8 * 255], 1) / 255
    density = np.maximum(-np.log(light), 1e-6)
    _, vectors = np.linalg.eigh(np.cov(density, rowvar=False))
    plane = vectors[:, [2, 1]]
    plane = plane * np.where(plane[0] < 0, -1, 1)
    projected = density @ plane
    angle = np.arctan2(projected[:, 1], projected[:, 0])
    rows = np.array([plane @ [np.cos(a), np.sin(a)] for a in np.percentile(angle, [1, 99])])
    rows = rows[np.argsort(-rows[:, 0])]
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def best_codes(density, atoms, penalty):
    """The non-negative lasso by trying every set of active stains: float (2, n), and its objective (n,)."""
    candidates = [np.zeros((2, density.shape[1]))]
    for active in itertools.chain(itertools.combinations(range(2), 1), [(0, 1)]):
        part = atoms[list(active)]
        code = np.zeros((2, density.shape[1]))
        code[list(active)] = np.linalg.solve(part @ part.T, part @ density - penalty)
        candidates.append(code)
    costs = []
    for code in candidates:
        cost = ((density - atoms.T @ code) ** 2).sum(axis=0) / 2 + penalty * code.sum(axis=0)
        costs.append(np.where((code < 0).any(axis=0), np.inf, cost))
    best = np.argmin(costs, axis=0)
    return np.choose(best, np.stack(candidates, axis=0)), np.min(costs, axis=0)


def plain_dictionary(density, weights, start, steps=3000):
    """Projected gradient on the dictionary with brute-force codes, for long."""
    atoms = start.copy()
    for _ in range(steps):
        codes, _ = best_codes(density, atoms, PENALTY)
        weighted = codes * weights
        second = weighted @ codes.T
        gradient = second @ atoms - weighted @ density.T
        atoms = np.maximum(atoms - gradient / max(np.linalg.eigvalsh(second)[-1], 1e-9), 0)
        atoms /= np.maximum(np.linalg.norm(atoms, axis=1, keepdims=True), 1)
    return atoms


def objective(density, weights, atoms):
    return float(best_codes(density, atoms, PENALTY)[1] @ weights)


@pytest.mark.parametrize("name", ["histo", "instanseg"])
def test_macenko_equals_the_per_pixel_definition(shared_data, name):
    rgb = real_image(shared_data, name)
    assert angles_deg(macenko_matrix(*tissue_of(rgb)), plain_macenko(rgb)).max() < 0.3


def test_macenko_does_not_wrap_where_pc1_has_less_red():
    rng = np.random.default_rng(0)
    amounts = np.stack([rng.gamma(1, 0.1, 5000), rng.gamma(2, 0.6, 5000)])
    stains = np.array([[0.5, 0.75, 0.43], [0.02, 0.9, 0.43]])
    stains /= np.linalg.norm(stains, axis=1, keepdims=True)
    density = stains.T @ amounts
    density[0] = np.maximum(density[0] - 0.06 * amounts[1], 0)  # red falls where eosin rises
    found = macenko_matrix(density, np.ones(5000, np.int64))
    assert (found @ density.mean(axis=1) > 0).all()
    assert angles_deg(found[:1], found[1:])[0] > 5


@pytest.mark.parametrize("name", ["histo", "instanseg"])
def test_vahadane_is_no_worse_than_long_projected_gradient(shared_data, name):
    density, counts = tissue_of(real_image(shared_data, name)[:64, :64])
    keep = np.random.default_rng(0).permutation(counts.size)[:300]
    density, counts = density[:, keep], counts[keep]
    weights = counts / counts.sum()
    ours = vahadane_matrix(density, counts, START)
    reached = objective(density, weights, ours.matrix)
    rng = np.random.default_rng(1)
    for _ in range(2):
        start = rng.uniform(0.1, 1, (2, 3))
        oracle = plain_dictionary(density, weights, start / np.linalg.norm(start, axis=1, keepdims=True), 800)
        assert reached <= objective(density, weights, oracle) + 1e-6
    assert ours.converged
    assert ours.iterations < MAX_ITERATIONS
    assert ours.objective == pytest.approx(reached, abs=1e-6)
    assert np.allclose(np.linalg.norm(ours.matrix, axis=1), 1)


def test_vahadane_does_not_depend_on_its_start(shared_data):
    density, counts = tissue_of(real_image(shared_data, "histo")[:150, :150])
    first = vahadane_matrix(density, counts, START).matrix
    other = vahadane_matrix(density, counts, np.array([[0.9, 0.4, 0.17], [0.1, 0.7, 0.7]])).matrix
    assert angles_deg(first, other).max() < 0.05


def test_vahadane_finds_the_stains_that_sparse_colours_were_made_of():
    stains = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
    stains /= np.linalg.norm(stains, axis=1, keepdims=True)
    rng = np.random.default_rng(2)
    amounts = rng.gamma(2, 0.6, (2, 4000)) * (rng.random(4000) < 0.5)[None, :] ** np.array([[1], [0]])
    amounts[1] *= amounts[0] == 0  # one stain a pixel
    found = vahadane_matrix(stains.T @ amounts, np.ones(4000, np.int64), START)
    assert angles_deg(found.matrix, stains).max() < 0.5


def test_vahadane_stops_where_its_two_stains_become_one():
    colour = np.array([[0.6], [0.7], [0.4]])
    colour /= np.linalg.norm(colour)
    start = np.repeat(colour.T, 2, axis=0)
    start[:, 0] += (2e-5, -2e-5)
    start /= np.linalg.norm(start, axis=1, keepdims=True)
    found = vahadane_matrix(np.tile(colour, 9), np.ones(9, np.int64), start)
    assert found.iterations < MAX_ITERATIONS
    assert np.isfinite(found.matrix).all()
    assert angles_deg(found.matrix, np.repeat(colour.T, 2, axis=0)).max() < 0.01


@pytest.mark.parametrize("penalty", [0.0, 0.01, 0.1, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_lasso_equals_trying_every_active_set(seed, penalty):
    rng = np.random.default_rng(seed)
    # Seed 3 has stains that are more than 90 degrees apart, which needs the other branch.
    atoms = rng.uniform(0, 1, (2, 3)) if seed < 3 else np.array([[0.9, 0.3, -0.3], [-0.8, 0.5, 0.3]])
    density = rng.uniform(-0.5, 3, (3, 2000))
    codes, costs = best_codes(density, atoms, penalty)
    found = concentrations(density, atoms, penalty)
    assert (found >= 0).all()
    cost = ((density - atoms.T @ found) ** 2).sum(axis=0) / 2 + penalty * found.sum(axis=0)
    assert np.allclose(cost, costs, atol=1e-10)
    assert np.allclose(found, codes, atol=1e-7)


def test_tissue_equals_opencv_s_lab():
    levels = np.arange(0, 256, 5, dtype=np.uint8)
    rgb = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 1, 3)
    expected = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)[:, 0, 0] < 0.8 * 255
    found = is_tissue(rgb[:, 0].T.astype(np.float64))
    assert np.mean(found == expected) > 0.999
    assert tissue_px(histogram(np.full((3, 3, 3), 100, np.uint8))) == 9
    assert tissue_px(histogram(np.full((3, 3, 3), 250, np.uint8))) == 0


def test_density_is_bounded():
    levels = np.tile(np.array([0, 1, 254, 255], np.uint8), (3, 1))
    for row in optical_density(levels):
        assert row.tolist() == pytest.approx([np.log(255), np.log(255), -np.log(254 / 255), 1e-6])


def test_density_counts_from_the_white_of_each_channel():
    density = optical_density(np.tile(np.array([1, 120, 240, 250], np.uint8), (3, 1)), (240.0, 200.0, 120.0))
    assert density[0].tolist() == pytest.approx([np.log(240), np.log(2), 1e-6, 1e-6])
    assert density[1].tolist() == pytest.approx([np.log(200), np.log(200 / 120), 1e-6, 1e-6])
    assert density[2].tolist() == pytest.approx([np.log(120), 1e-6, 1e-6, 1e-6])


def test_lightness_counts_from_the_white():
    colours = np.random.default_rng(0).integers(0, 256, (3, 500)).astype(np.float64)
    white = (230.0, 240.0, 210.0)
    lit = colours / np.array(white)[:, None] * 255
    assert np.array_equal(is_tissue(colours, white), is_tissue(lit))
    assert is_tissue(np.full((3, 1), 195.0)).all()  # glass as dim as that would be tissue on a white of 255
    assert not is_tissue(np.full((3, 1), 195.0), (200.0, 200.0, 200.0)).any()


@pytest.mark.parametrize("percent", [0, 1, 50, 99, 100])
def test_weighted_percentile_equals_numpy_on_repeats(percent):
    rng = np.random.default_rng(percent)
    values, counts = rng.normal(size=50), rng.integers(1, 9, 50)
    expected = np.percentile(np.repeat(values, counts), percent)
    assert weighted_percentile(values, counts, percent) == pytest.approx(expected, abs=1e-12)
    assert weighted_percentile(values[:1], np.ones(1, np.int64), percent) == values[0]
