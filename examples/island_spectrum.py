"""Fit a two-island coalescent to the joint site-frequency spectrum of two human populations.

1. Read the spectrum of 20 Yoruba (YRI) and 20 European (CEU) chromosomes; project it down to a few
   chromosomes of each.
2. Describe the structured coalescent as a batched callback. A state counts the lineages of every
   island and type (i, j): ancestors of i sampled YRI and j sampled CEU chromosomes.
3. Expected spectrum = expected accumulated rewards, one reward vector a type: all entries and all
   derivatives come from one elimination. Time is counted in expected mutations of one lineage.
4. Maximise the Poisson likelihood from many starting points at once; Newton steps finish.
5. Print rates with errors, observed beside expected counts, and save a picture.

Sites are counted as independent, which makes the errors too small where sites are linked, and an
island model at equilibrium knows no split: this is an example of use, not human history.

Run: python examples/island_spectrum.py [--chromosomes 4] [--starts 32] [--output spectrum.png]

References: Gutenkunst et al. (2009), PLoS Genetics 5:e1000695 (data). Notohara (1990), The
coalescent and the genealogical process in geographically structured populations.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from scipy.stats import hypergeom

import phasic

RATES = ("coalescence YRI", "coalescence CEU", "migration YRI > CEU", "migration CEU > YRI")
LOWEST_RATE, HIGHEST_RATE = 1e-7, 1e2  # per expected mutation of a lineage
Transitions = tuple[np.ndarray, np.ndarray, np.ndarray]


# --------------------------------------------------------------------------------- the data


def read_spectrum(path: Path) -> np.ndarray:
    """Return the spectrum (n1 + 1, n2 + 1); masked entries are 0."""
    with path.open() as file:
        shape = [int(size) for size in file.readline().split()]
        counts = np.array(file.readline().split(), float).reshape(shape)
    return np.nan_to_num(counts)


def project(spectrum: np.ndarray, n1: int, n2: int) -> np.ndarray:
    """Return the expected spectrum of n1 and n2 chromosomes drawn without replacement."""
    for axis, n in (0, n1), (1, n2):
        full = spectrum.shape[axis] - 1
        draws = hypergeom.pmf(np.arange(n + 1)[:, None], full, np.arange(full + 1), n)
        spectrum = np.moveaxis(np.tensordot(draws, spectrum, (1, axis)), 0, axis)
    return spectrum


# --------------------------------------------------------------------------------- the model


def types_of(n1: int, n2: int) -> np.ndarray:
    """Return the types (i, j) a lineage can have, (n_types, 2), without (0, 0)."""
    return np.argwhere(np.ones((n1 + 1, n2 + 1)))[1:]


def two_islands(n1: int, n2: int) -> phasic.Graph:
    """Return the structured coalescent of n1 and n2 chromosomes; theta is ordered as RATES.

    States are counts (2, n_types), flattened; all states with one lineage are one absorbing state.
    """
    types = types_of(n1, n2)
    n_types = len(types)
    number = {tuple(kind): k for k, kind in enumerate(types.tolist())}
    start = np.zeros((2, n_types), int)
    start[0, number[1, 0]] += n1
    if n2:
        start[1, number[0, 1]] += n2

    def coefficients(values: np.ndarray, parameter: int) -> np.ndarray:
        return values[:, None] * np.eye(4)[parameter]

    def migrations(states: np.ndarray) -> Iterator[Transitions]:
        for island in (0, 1):
            for k in range(n_types):
                (rows,) = np.nonzero(states[:, island, k])
                moved = states[rows]
                moved[:, island, k] -= 1
                moved[:, 1 - island, k] += 1
                yield rows, moved, coefficients(states[rows, island, k], 2 + island)

    def coalescences(states: np.ndarray) -> Iterator[Transitions]:
        for island in (0, 1):
            for a in range(n_types):
                for b in range(a, n_types):
                    merged = number.get(tuple((types[a] + types[b]).tolist()))
                    if merged is None:
                        continue
                    first, second = states[:, island, a], states[:, island, b]
                    pairs = first * second if a < b else first * (first - 1) // 2
                    (rows,) = np.nonzero(pairs)
                    joined = states[rows]
                    joined[:, island, a] -= 1
                    joined[:, island, b] -= 1
                    joined[:, island, merged] += 1
                    last = joined.sum(axis=(1, 2)) == 1
                    joined[last] = 0
                    joined[last, 0, -1] = 1
                    yield rows, joined, coefficients(pairs[rows], island)

    @phasic.callback(ipv=[(start.ravel().tolist(), 1.0)], batched=True)
    def transitions(flat: np.ndarray) -> list[Transitions]:
        states = flat.reshape(-1, 2, n_types)
        (going,) = np.nonzero(states.sum(axis=(1, 2)) > 1)
        found = [*migrations(states[going]), *coalescences(states[going])]
        return [(going[rows], to.reshape(len(to), -1), w) for rows, to, w in found if len(rows)]

    return phasic.Graph(transitions)


class SpectrumModel:
    """The expected spectrum as a JAX function of the logarithms of the rates."""

    def __init__(self, n1: int, n2: int) -> None:
        graph = two_islands(n1, n2)
        self.types = types_of(n1, n2)[:-1]  # the last type is the common ancestor of all
        counts = graph.states().reshape(-1, 2, len(self.types) + 1)
        self.rewards = jnp.asarray(counts.sum(axis=1).T[:-1].astype(float))
        self.distribution = phasic.PhaseType(graph)

    def expected(self, log_rates: jax.Array) -> jax.Array:
        """Return expected counts, (..., n_types)."""
        bounded = jnp.clip(log_rates, math.log(LOWEST_RATE), math.log(HIGHEST_RATE))
        return self.distribution.expectation(jnp.exp(bounded), self.rewards)

    def log_likelihood(self, log_rates: jax.Array, observed: np.ndarray) -> jax.Array:
        """Return the Poisson log-likelihood of observed counts, (n_types,), without constants."""
        expected = self.expected(log_rates)
        return jnp.sum(observed * jnp.log(expected) - expected)


# --------------------------------------------------------------------------------- the fit


@dataclass(frozen=True)
class Fit:
    """The best of all fits."""

    log_rates: np.ndarray  # (4,)
    errors: np.ndarray  # (4,) of the logarithms, from the exact Hessian
    log_likelihood: float
    expected: np.ndarray  # (n_types,)
    agreeing: int  # number of starting points that led there
    seconds: float


def fit(model: SpectrumModel, observed: np.ndarray, n_starts: int, seed: int = 0) -> Fit:
    """Maximise the likelihood from ``n_starts`` points, all in one batch."""
    total = observed.sum()

    def loss(log_rates: jax.Array, _: object = None) -> jax.Array:
        return -model.log_likelihood(log_rates, observed) / total

    def search(start: jax.Array) -> tuple[jax.Array, jax.Array]:
        solver = optx.BFGS(rtol=1e-9, atol=1e-9)
        point = optx.minimise(loss, solver, start, max_steps=400, throw=False).value
        return point, loss(point)

    begin = time.perf_counter()
    scale = math.log(len(model.types) / total)
    starts = scale + np.random.default_rng(seed).normal(0.0, 1.5, (n_starts, 4))
    points, losses = jax.jit(jax.vmap(search))(starts)
    best = points[jnp.nanargmin(losses)]
    hessian = jax.jit(jax.hessian(loss))
    for _ in range(3):
        best = best - jnp.linalg.solve(hessian(best), jax.grad(loss)(best))
    covariance = jnp.linalg.inv(hessian(best) * total)
    return Fit(
        log_rates=np.asarray(best),
        errors=np.sqrt(np.diag(covariance)),
        log_likelihood=float(model.log_likelihood(best, observed)),
        expected=np.asarray(model.expected(best)),
        agreeing=int(jnp.sum(losses < loss(best) + 1e-6)),
        seconds=time.perf_counter() - begin,
    )


# --------------------------------------------------------------------------------- the report


def print_report(model: SpectrumModel, observed: np.ndarray, result: Fit, n_starts: int) -> None:
    """Print rates and the largest entries of the spectrum."""
    print(
        f"{result.agreeing} of {n_starts} starting points reached the log-likelihood "
        f"{result.log_likelihood:.3f} ({result.seconds:.1f} s)\n"
    )
    print(f"{'rate per expected mutation':30s} {'estimate':>12s} {'95% interval':>26s}")
    for name, log_rate, error in zip(RATES, result.log_rates, result.errors, strict=True):
        low, high = np.exp(log_rate + np.array([-1.96, 1.96]) * error)
        print(f"{name:30s} {math.exp(log_rate):12.4g} {f'{low:.4g} .. {high:.4g}':>26s}")
    print(f"\n{'YRI':>4s} {'CEU':>4s} {'observed':>10s} {'expected':>10s}")
    for k in np.argsort(-observed, kind="stable")[:12]:
        i, j = model.types[k]
        print(f"{i:4d} {j:4d} {observed[k]:10.1f} {result.expected[k]:10.1f}")


def save_picture(model: SpectrumModel, observed: np.ndarray, result: Fit, output: Path) -> None:
    """Save observed and expected spectrum and the residuals in Poisson standard deviations."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    n1, n2 = model.types.max(axis=0)

    def table(values: np.ndarray) -> np.ndarray:
        full = np.full((n1 + 1, n2 + 1), np.nan)
        full[tuple(model.types.T)] = values
        return full

    residuals = (observed - result.expected) / np.sqrt(result.expected)
    limit = np.abs(residuals).max()
    top = math.log10(max(observed.max(), result.expected.max()))
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    panels = [
        ("observed, log10", np.log10(observed), "viridis", (0.0, top)),
        ("expected, log10", np.log10(result.expected), "viridis", (0.0, top)),
        ("residual, standard deviations", residuals, "RdBu_r", (-limit, limit)),
    ]
    for axis, (title, values, colours, (low, high)) in zip(axes, panels, strict=True):
        image = axis.imshow(table(values), origin="lower", cmap=colours, vmin=low, vmax=high)
        axis.set(title=title, xlabel="derived alleles, CEU", ylabel="derived alleles, YRI")
        figure.colorbar(image, ax=axis)
    figure.savefig(output, dpi=120)
    plt.close(figure)


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chromosomes", type=int, default=4, help="of each population")
    parser.add_argument("--starts", type=int, default=32)
    parser.add_argument("--output", type=Path, default=Path("spectrum.png"))
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)

    n = options.chromosomes
    spectrum = project(read_spectrum(Path(__file__).parent / "data" / "YRI_CEU.fs"), n, n)
    begin = time.perf_counter()
    model = SpectrumModel(n, n)
    seconds = time.perf_counter() - begin
    print(f"{model.distribution.n_vertices} vertices, ready in {seconds:.2f} s")
    observed = spectrum[tuple(model.types.T)]
    result = fit(model, observed, options.starts)
    print_report(model, observed, result, options.starts)
    save_picture(model, observed, result, options.output)
    print(f"\nsaved {options.output}")


if __name__ == "__main__":
    main()
