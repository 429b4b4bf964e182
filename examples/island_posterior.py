"""Draw from the posterior of a two-island coalescent: thousands of parameter vectors a call.

1. Read and project the joint spectrum as island_spectrum.py does, and record the same model.
2. Prior: the four rates are independent and log-normal, around the rate of a single population.
3. Sequential Monte Carlo (BlackJAX): particles go from the prior to the posterior through powers of
   the likelihood, chosen as they go; after each, all particles take random-walk Metropolis steps
   with the covariance of the particles. A step of all of them is one call of the native kernel.
4. Print medians and intervals of the rates, and of the expected spectrum.

Run: pip install "phasic-xla[examples]"; python examples/island_posterior.py [--particles 2048]

Reference: Del Moral, Doucet, Jasra (2006), Sequential Monte Carlo samplers, J. R. Stat. Soc. B
68:411.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from blackjax.smc import extend_params, resampling
from island_spectrum import RATES, SpectrumModel, project, read_spectrum

PRIOR_SPREAD = 2.0  # standard deviation of the logarithms
KEPT_AT_LEAST = 0.5  # of the effective particles, by each step to a higher power
QUANTILES = (0.025, 0.5, 0.975)


@dataclass(frozen=True)
class Posterior:
    """Draws, all of the same weight, and what they cost."""

    log_rates: np.ndarray  # (n_particles, 4)
    log_evidence: float
    powers: list[float]
    n_evaluations: int
    seconds: float


def tempered_step(
    log_prior: Callable[[jax.Array], jax.Array],
    log_likelihood: Callable[[jax.Array], jax.Array],
    n_steps: int,
) -> Callable[[jax.Array, Any], tuple[Any, Any]]:
    """Return the compiled function that takes all particles to the next power of the likelihood."""
    walk = blackjax.additive_step_random_walk.build_kernel()

    def move(
        key: jax.Array, state: Any, log_density: Callable[..., jax.Array], factor: jax.Array
    ) -> tuple[Any, Any]:
        def proposal(key: jax.Array, position: jax.Array) -> jax.Array:
            return factor @ jax.random.normal(key, position.shape)

        return walk(key, state, log_density, proposal)

    def step(key: jax.Array, state: Any) -> tuple[Any, Any]:
        size = 2.38 / math.sqrt(len(RATES))  # Gelman, Roberts, Gilks (1996)
        factor = size * jnp.linalg.cholesky(jnp.cov(state.particles, rowvar=False))
        sampler = blackjax.adaptive_tempered_smc(
            log_prior,
            log_likelihood,
            move,
            blackjax.additive_step_random_walk.init,
            extend_params({"factor": factor}),
            resampling.systematic,
            target_ess=KEPT_AT_LEAST,
            num_mcmc_steps=n_steps,
        )
        return sampler.step(key, state)

    return jax.jit(step)


def sample(
    model: SpectrumModel, observed: np.ndarray, n_particles: int, n_steps: int, seed: int = 0
) -> Posterior:
    """Return draws from the posterior of the logarithms of the rates."""
    centre = math.log(len(model.types) / observed.sum())

    def log_prior(log_rates: jax.Array) -> jax.Array:
        return jax.scipy.stats.norm.logpdf(log_rates, centre, PRIOR_SPREAD).sum()

    def log_likelihood(log_rates: jax.Array) -> jax.Array:
        return model.log_likelihood(log_rates, observed)

    begin = time.perf_counter()
    key, start = jax.random.split(jax.random.key(seed))
    state = blackjax.smc.tempered.init(
        centre + PRIOR_SPREAD * jax.random.normal(start, (n_particles, len(RATES)))
    )
    step = tempered_step(log_prior, log_likelihood, n_steps)
    powers = [0.0]
    log_evidence = 0.0
    while powers[-1] < 1.0:
        key, now = jax.random.split(key)
        state, info = step(now, state)
        powers.append(float(state.tempering_param))
        log_evidence += float(info.log_likelihood_increment)
    return Posterior(
        log_rates=np.asarray(state.particles),
        log_evidence=log_evidence,
        powers=powers[1:],
        n_evaluations=(len(powers) - 1) * (n_steps + 1) * n_particles,
        seconds=time.perf_counter() - begin,
    )


def print_report(model: SpectrumModel, observed: np.ndarray, posterior: Posterior) -> None:
    """Print what the draws say."""
    print(
        f"{posterior.n_evaluations} likelihoods in {posterior.seconds:.1f} s with compilation; "
        f"{len(posterior.powers)} powers; log evidence {posterior.log_evidence:.2f}\n"
    )
    print(f"{'rate per expected mutation':30s} {'median':>12s} {'95% interval':>26s}")
    for i, name in enumerate(RATES):
        low, median, high = np.exp(np.quantile(posterior.log_rates[:, i], QUANTILES))
        print(f"{name:30s} {median:12.4g} {f'{low:.4g} .. {high:.4g}':>26s}")
    expected = np.asarray(model.expected(posterior.log_rates))
    print(f"\n{'YRI':>4s} {'CEU':>4s} {'observed':>10s} {'expected, 95% interval':>26s}")
    for k in np.argsort(-observed, kind="stable")[:8]:
        i, j = model.types[k]
        low, _, high = np.quantile(expected[:, k], QUANTILES)
        print(f"{i:4d} {j:4d} {observed[k]:10.1f} {f'{low:.1f} .. {high:.1f}':>26s}")


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chromosomes", type=int, default=4, help="of each population")
    parser.add_argument("--particles", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=10, help="of all particles at each power")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)

    n = options.chromosomes
    spectrum = project(read_spectrum(Path(__file__).parent / "data" / "YRI_CEU.fs"), n, n)
    model = SpectrumModel(n, n)
    observed = spectrum[tuple(model.types.T)]
    print(f"{model.distribution.n_vertices} vertices, {len(observed)} entries of the spectrum")
    print_report(model, observed, sample(model, observed, options.particles, options.steps))


if __name__ == "__main__":
    main()
