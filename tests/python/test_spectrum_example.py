"""The example on the joint site-frequency spectrum: the model against closed forms; a small run."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "examples" / "data" / "YRI_CEU.fs"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return load("island_spectrum")


def load(name: str) -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "examples"))
        return importlib.import_module(name)


def test_projecting_twice_is_projecting_once(example: ModuleType) -> None:
    spectrum = example.read_spectrum(DATA)
    assert spectrum.shape == (21, 21)
    direct = example.project(spectrum, 4, 3)
    np.testing.assert_allclose(example.project(example.project(spectrum, 9, 7), 4, 3), direct)
    assert direct.sum() == pytest.approx(spectrum.sum(), rel=1e-12)
    derived = example.project(spectrum, 1, 1)  # a derived allele of one chromosome: the mean
    mean = np.arange(21) @ spectrum.sum(axis=1) / 20
    assert derived[1].sum() == pytest.approx(mean, rel=1e-12)


def test_one_island_has_the_spectrum_of_fu_and_li(example: ModuleType) -> None:
    """Without migration and with one sample: Kingman's coalescent, E[length i] = 2 / (i rate)."""
    model = example.SpectrumModel(6, 0)
    theta = jnp.array([0.25, 1.0, 0.0, 0.0])
    found = model.distribution.expectation(theta, model.rewards)
    np.testing.assert_allclose(found, 2 / (0.25 * np.arange(1, 6)), rtol=1e-13)


@pytest.mark.parametrize("migration", [1e-3, 0.2, 50.0])
def test_two_lineages_coalesce_as_strobeck_found(example: ModuleType, migration: float) -> None:
    """Symmetric islands: 2 / rate within one, whatever the migration; 1 / (2 m) more between."""
    rate = 0.5
    theta = jnp.array([rate, rate, migration, migration])
    for chromosomes, mean in ((2, 0), 2 / rate), ((1, 1), 2 / rate + 1 / (2 * migration)):
        model = example.SpectrumModel(*chromosomes)
        lengths = model.distribution.expectation(theta, model.rewards)
        assert float(lengths.sum()) == pytest.approx(2 * mean, rel=1e-13)


def test_exchanging_the_islands_transposes_the_spectrum(example: ModuleType) -> None:
    theta = jnp.array([0.7, 1.9, 0.3, 0.05])
    one, other = example.SpectrumModel(3, 2), example.SpectrumModel(2, 3)
    found = dict(
        zip(map(tuple, one.types), one.distribution.expectation(theta, one.rewards), strict=True)
    )
    exchanged = other.distribution.expectation(theta[jnp.array([1, 0, 3, 2])], other.rewards)
    for (j, i), length in zip(other.types, exchanged, strict=True):
        assert float(found[i, j]) == pytest.approx(float(length), rel=1e-13)


def test_the_fit_is_a_maximum_and_the_run_reports_it(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    model = example.SpectrumModel(2, 2)
    observed = example.project(example.read_spectrum(DATA), 2, 2)[tuple(model.types.T)]
    result = example.fit(model, observed, n_starts=4)
    gradient = jax.grad(lambda x: model.log_likelihood(x, observed))(jnp.asarray(result.log_rates))
    assert np.abs(gradient).max() < 1e-6
    assert np.all(result.errors > 0)
    # The total is fitted exactly: changing all rates by one factor changes it alone.
    assert result.expected.sum() == pytest.approx(observed.sum(), rel=1e-9)

    picture = tmp_path / "spectrum.png"
    options = ["--chromosomes", "2", "--starts", "4", "--output", str(picture)]
    monkeypatch.setattr("sys.argv", ["island_spectrum.py", *options])
    example.main()
    text = capsys.readouterr().out
    assert "46 vertices" in text and f"{math.exp(result.log_rates[0]):.4g}" in text
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_posterior_agrees_with_the_fit(
    example: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """A hundred times the data: nearly normal, with the curvature of the likelihood."""
    posterior = load("island_posterior")
    model = example.SpectrumModel(2, 2)
    observed = 100 * example.project(example.read_spectrum(DATA), 2, 2)[tuple(model.types.T)]
    fit = example.fit(model, observed, n_starts=4)
    draws = posterior.sample(model, observed, n_particles=1000, n_steps=8).log_rates
    assert np.abs((draws.mean(axis=0) - fit.log_rates) / fit.errors).max() < 0.2
    np.testing.assert_allclose(draws.std(axis=0), fit.errors, rtol=0.2)

    options = ["--chromosomes", "2", "--particles", "200", "--steps", "2"]
    monkeypatch.setattr("sys.argv", ["island_posterior.py", *options])
    posterior.main()
    text = capsys.readouterr().out
    assert "46 vertices" in text and all(rate in text for rate in example.RATES)
