"""Fit phase-type models to right-censored survival data, from the file to the picture.

1. Read the GBSG2 trial: recurrence-free survival of 686 breast-cancer patients, 387 right-censored.
2. Describe Coxian models with 1 to 5 phases as callbacks; record their elimination traces or load
   them from the cache.
3. Fit each by maximum likelihood from 256 starting points at once: BFGS on the logarithms of the
   rates, one batched call of the compiled kernel a step; then Newton steps with the exact Hessian.
4. Choose by AIC; intervals of the mean by the delta method.
5. Print a table beside the exponential and the Weibull model, and save the picture.

Run: python examples/gbsg2_survival.py [--starts 256] [--phases 5] [--output gbsg2.png]

References: Cox (1955), A use of complex probabilities in the theory of stochastic processes.
Asmussen, Nerman, Olsson (1996), Fitting phase-type distributions via the EM algorithm.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from scipy.optimize import brentq

import phasic
from phasic import hierarchical_trace_cache as trace_cache

DAYS_PER_YEAR = 365.25
LOWEST_RATE, HIGHEST_RATE = 1e-10, 30.0  # per year; no shorter phases than twelve days
ZERO_RATE = 1e-5  # per year; an estimate below it counts as zero
Z95 = 1.959963984540054
LogLikelihood = Callable[[jax.Array], jax.Array]


@dataclass(frozen=True)
class Survival:
    """Right-censored survival times in years."""

    events: np.ndarray  # (n_events,) times at which the event was observed
    censored: np.ndarray  # (n_censored,) times at which observation ended without it

    @property
    def times(self) -> np.ndarray:
        """All times, events first."""
        return np.concatenate([self.events, self.censored])


@dataclass(frozen=True)
class Fit:
    """A fitted model: what the table and the picture need."""

    name: str
    log_likelihood: float
    n_parameters: int
    mean: float
    mean_error: float
    survival: Callable[[np.ndarray], np.ndarray]
    hazard: Callable[[np.ndarray], np.ndarray]
    evaluations_per_second: float = math.nan
    log_rates: np.ndarray = field(default_factory=lambda: np.empty(0))
    log_rate_errors: np.ndarray = field(default_factory=lambda: np.empty(0))

    @property
    def aic(self) -> float:
        """Akaike's information criterion."""
        return 2.0 * (self.n_parameters - self.log_likelihood)


def read_survival(path: Path) -> Survival:
    """Read `time` (days) and `cens` (1 = event observed) and return sorted times in years."""
    with path.open(newline="") as file:
        table = [(float(row["time"]), row["cens"] == "1") for row in csv.DictReader(file)]
    events = np.array(sorted(days for days, observed in table if observed))
    censored = np.array(sorted(days for days, observed in table if not observed))
    return Survival(events / DAYS_PER_YEAR, censored / DAYS_PER_YEAR)


# --------------------------------------------------------------------------------- the models


def coxian(n_phases: int) -> phasic.Graph:
    """Return the Coxian model: from phase i either on to phase i + 1 or to the end.

    theta holds the n_phases - 1 rates onwards, then the n_phases rates to the end.
    """
    unit = np.eye(2 * n_phases - 1).tolist()

    def transitions(state: np.ndarray) -> list[tuple[list[int], list[float]]]:
        phase = int(state[0])
        if phase > n_phases:
            return []
        end = ([n_phases + 1], unit[n_phases - 2 + phase])
        return [end] if phase == n_phases else [([phase + 1], unit[phase - 1]), end]

    return phasic.Graph(transitions, ipv=[([1], 1.0)])


def record_traces(graph: phasic.Graph) -> str:
    """Record what the cache lacks and say what was found there."""
    missing, digests, _ = trace_cache.collect_missing_traces_batch(graph, min_size=1)
    trace_cache.compute_missing_traces_parallel(missing, min_size=1)
    found = len(set(digests)) - len(missing)
    return f"{len(set(digests))} distinct trace(s): {found} from the cache, {len(missing)} recorded"


def rates_of(log_rates: jax.Array) -> jax.Array:
    """Return the rates, within bounds that keep every step of the line search affordable."""
    return jnp.exp(jnp.clip(log_rates, math.log(LOWEST_RATE), math.log(HIGHEST_RATE)))


def log_likelihood_of(model: phasic.PhaseType, data: Survival) -> LogLikelihood:
    """Return the log-likelihood as a function of the logarithms of the rates."""

    def log_likelihood(log_rates: jax.Array) -> jax.Array:
        theta = rates_of(log_rates)
        return model.logpdf(theta, data.events).sum() + model.logsf(theta, data.censored).sum()

    return log_likelihood


# ------------------------------------------------------------------------------------ fitting


def starting_points(
    n_phases: int, n_starts: int, data: Survival, previous: np.ndarray, seed: int
) -> np.ndarray:
    """Return (n_starts, 2 * n_phases - 1) log-rates: random, and the previous optimum embedded.

    A last phase that ends at rate m is the same as two phases that both end at rate m, whatever the
    rate between them. So the smaller model's optimum is a point of the larger one, the first start,
    and the larger fit cannot be worse. Further starts lie near it, none of their rates at zero.
    """
    rng = np.random.default_rng([seed, n_phases])
    typical = math.log(n_phases * data.events.size / data.times.sum())
    starts = rng.normal(typical + 0.7, 1.2, (n_starts, 2 * n_phases - 1))
    if previous.size:
        embedded = np.insert(np.append(previous, previous[-1]), n_phases - 2, typical)
        n_near = max(1, n_starts // 8)
        near = np.maximum(embedded, math.log(0.01)) + rng.normal(0, 0.5, (n_near, embedded.size))
        starts[:n_near] = near
        starts[0] = embedded
    return starts


def maximise(log_likelihood: LogLikelihood, starts: np.ndarray, max_steps: int = 100) -> np.ndarray:
    """Return the best of the local maxima that BFGS reaches from all starts, climbing in step."""
    solver = optx.BFGS(rtol=1e-6, atol=1e-6)

    def climb(start: jax.Array) -> tuple[jax.Array, jax.Array]:
        def loss(point: jax.Array, _: None) -> jax.Array:
            return -log_likelihood(point)

        found = optx.minimise(loss, solver, start, max_steps=max_steps, throw=False).value
        return found, log_likelihood(found)

    points, values = jax.jit(jax.vmap(climb))(jnp.asarray(starts))
    candidates = [starts[0], np.asarray(points)[np.nanargmax(values)]]
    return max(candidates, key=jax.jit(log_likelihood))


def free_rates(log_rates: np.ndarray) -> np.ndarray:
    """Return which rates are off the boundary, that is, not estimated as zero (or boundless)."""
    rates = np.exp(log_rates)
    return (rates > ZERO_RATE) & (rates < HIGHEST_RATE)


def polish(log_likelihood: LogLikelihood, point: np.ndarray, max_steps: int = 20) -> np.ndarray:
    """Return the local maximum by Newton's method with the exact Hessian, never going down.

    Rates on the boundary are set to their bound and stay there.
    """
    value, gradient = jax.jit(log_likelihood), jax.jit(jax.grad(log_likelihood))
    hessian = jax.jit(jax.hessian(log_likelihood))
    free = free_rates(point)
    bound = np.where(point < math.log(ZERO_RATE), math.log(LOWEST_RATE), math.log(HIGHEST_RATE))
    trial = np.where(free, point, bound)
    for _ in range(max_steps):
        if not value(trial) >= value(point) - 1e-10:  # rounding of a sum of hundreds of terms
            break
        point = trial
        slope = np.asarray(gradient(point))[free]
        if np.abs(slope).max() < 1e-9:
            break
        trial = point.copy()
        trial[free] -= np.linalg.solve(np.asarray(hessian(point))[np.ix_(free, free)], slope)
    return point


def delta_method(
    log_likelihood: LogLikelihood, quantity: LogLikelihood, point: np.ndarray, free: np.ndarray
) -> tuple[float, float, np.ndarray]:
    """Return a quantity at the maximum, its standard error, and those of the free parameters.

    Parameters that are not free lie on the boundary and are held there.
    """
    information = -np.asarray(jax.jit(jax.hessian(log_likelihood))(point))[np.ix_(free, free)]
    covariance = np.linalg.inv(information)
    value, slope = jax.jit(jax.value_and_grad(quantity))(point)
    slope = np.asarray(slope)[free]
    errors = np.full(point.size, math.nan)
    errors[free] = np.sqrt(np.diag(covariance))
    return float(value), math.sqrt(slope @ covariance @ slope), errors


def evaluations_per_second(log_likelihood: LogLikelihood, starts: np.ndarray) -> float:
    """Return how many values with gradients a second batched calls give (median of five)."""
    batched = jax.jit(jax.vmap(jax.value_and_grad(log_likelihood)))
    points = jnp.asarray(starts)
    jax.block_until_ready(batched(points))
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        jax.block_until_ready(batched(points))
        seconds.append(time.perf_counter() - begin)
    return len(starts) / float(np.median(seconds))


def fit_coxian(
    n_phases: int, data: Survival, previous: np.ndarray, n_starts: int = 256, seed: int = 1
) -> Fit:
    """Fit the Coxian model with the given number of phases, showing progress."""
    begin = time.perf_counter()
    graph = coxian(n_phases)
    print(f"{n_phases} phase{'s' * (n_phases > 1)}: {record_traces(graph)}", flush=True)
    model = phasic.PhaseType(graph, min_size=1)
    log_likelihood = log_likelihood_of(model, data)
    starts = starting_points(n_phases, n_starts, data, previous, seed)
    print(f"  {2 * n_phases - 1} rates from {n_starts} starts ...", end="", flush=True)
    point = polish(log_likelihood, maximise(log_likelihood, starts))
    mean, error, errors = delta_method(
        log_likelihood, lambda x: model.expectation(rates_of(x)), point, free_rates(point)
    )
    theta = rates_of(jnp.asarray(point))
    fit = Fit(
        name=f"Coxian, {n_phases} phase{'s' * (n_phases > 1)}",
        log_likelihood=float(jax.jit(log_likelihood)(point)),
        n_parameters=2 * n_phases - 1,
        mean=mean,
        mean_error=error,
        survival=lambda t: np.asarray(model.sf(theta, t)),
        hazard=lambda t: np.asarray(model.hazard(theta, t)),
        evaluations_per_second=evaluations_per_second(log_likelihood, starts),
        log_rates=point,
        log_rate_errors=errors,
    )
    seconds = time.perf_counter() - begin
    print(f" log-likelihood {fit.log_likelihood:.4f} ({seconds:.1f} s)", flush=True)
    return fit


def fit_exponential(data: Survival) -> Fit:
    """Fit the exponential model in closed form: events divided by time at risk."""
    n, rate = data.events.size, data.events.size / data.times.sum()
    return Fit(
        name="exponential",
        log_likelihood=n * math.log(rate) - n,
        n_parameters=1,
        mean=1 / rate,
        mean_error=1 / rate / math.sqrt(n),
        survival=lambda t: np.exp(-rate * t),
        hazard=lambda t: np.full_like(t, rate),
    )


def fit_weibull(data: Survival) -> Fit:
    """Fit the Weibull model: the scale in closed form, the shape as a root of its score."""
    n, events, times = data.events.size, data.events, data.times

    def score(shape: float) -> float:
        powers = times**shape
        return 1 / shape + np.log(events).mean() - powers @ np.log(times) / powers.sum()

    def log_likelihood(point: jax.Array) -> jax.Array:
        shape, scale = jnp.exp(point)
        log_hazard = jnp.log(shape / scale) + (shape - 1) * jnp.log(events / scale)
        return log_hazard.sum() - ((times / scale) ** shape).sum()

    def mean_of(point: jax.Array) -> jax.Array:
        shape, scale = jnp.exp(point)
        return scale * jax.scipy.special.gamma(1 + 1 / shape)

    shape = brentq(score, 0.1, 10.0, xtol=1e-14)
    scale = ((times**shape).sum() / n) ** (1 / shape)
    point = np.log([shape, scale])
    mean, error, _ = delta_method(log_likelihood, mean_of, point, np.array([True, True]))
    return Fit(
        name="Weibull",
        log_likelihood=float(log_likelihood(jnp.asarray(point))),
        n_parameters=2,
        mean=mean,
        mean_error=error,
        survival=lambda t: np.exp(-((t / scale) ** shape)),
        hazard=lambda t: shape / scale * (t / scale) ** (shape - 1),
    )


# ---------------------------------------------------------------------------------- reporting


def kaplan_meier(data: Survival) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return event times, survival after each, and its pointwise 95% band (Greenwood).

    The band is built on log(-log S), so that it stays within 0 and 1.
    """
    times, deaths = np.unique(data.events, return_counts=True)
    at_risk = (data.times[:, None] >= times).sum(axis=0)
    survival = np.cumprod(1 - deaths / at_risk)
    relative_error = np.sqrt(np.cumsum(deaths / (at_risk * (at_risk - deaths))))
    width = np.exp(Z95 * relative_error / np.abs(np.log(survival)))
    return times, survival, survival**width, survival ** (1 / width)


def observed_hazard(data: Survival, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return events per time at risk between consecutive edges, and the standard errors."""
    events, _ = np.histogram(data.events, edges)
    at_risk = np.clip(data.times[:, None] - edges[:-1], 0, np.diff(edges)).sum(axis=0)
    return events / at_risk, np.sqrt(events) / at_risk


def table(fits: Sequence[Fit], best: Fit) -> str:
    """Return the comparison of all fits as text; an asterisk marks the choice."""
    lines = [
        f"{'model':<20}{'rates':>6}{'log-likelihood':>16}{'AIC':>11}"
        f"{'mean (95% interval), years':>30}{'evaluations/s':>15}"
    ]
    for fit in fits:
        half = Z95 * fit.mean_error
        interval = f"{fit.mean:.2f} ({fit.mean - half:.2f} to {fit.mean + half:.2f})"
        speed = fit.evaluations_per_second
        lines.append(
            f"{fit.name:<20}{fit.n_parameters:>6}{fit.log_likelihood:>16.4f}{fit.aic:>11.2f}"
            f"{interval:>30}{'' if math.isnan(speed) else f'{speed:,.0f}':>15}"
            + (" *" if fit is best else "")
        )
    return "\n".join(lines)


def rate_lines(fit: Fit) -> str:
    """Return the rates of a Coxian fit with their 95% intervals (on the log scale)."""
    n_phases = (fit.n_parameters + 1) // 2
    names = [f"{i} -> {i + 1}" for i in range(1, n_phases)]
    names += [f"{i} -> end" for i in range(1, n_phases + 1)]
    lines = [f"Rates of the model with {n_phases} phases, per year (95% interval):"]
    for name, log_rate, error in zip(names, fit.log_rates, fit.log_rate_errors, strict=True):
        low, high = np.exp(log_rate - Z95 * error), np.exp(log_rate + Z95 * error)
        estimate = f"{np.exp(log_rate):.4f} ({low:.4f} to {high:.4f})"
        lines.append(f"  {name:<9}" + ("0 (boundary)" if math.isnan(error) else estimate))
    return "\n".join(lines)


def save_picture(data: Survival, fits: Sequence[Fit], best: Fit, output: Path) -> None:
    """Save survival (left) and hazard (right): the chosen model over the data."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    times, survival, low, high = kaplan_meier(data)
    end = data.times.max()
    grid = np.linspace(1e-3, end, 400)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    steps = np.concatenate([[0], times, [end]])
    survival, low, high = (np.concatenate([[1], y, y[-1:]]) for y in (survival, low, high))
    left.step(steps, survival, where="post", color="0.35", linewidth=1.2, label="Kaplan-Meier")
    left.fill_between(steps, low, high, step="post", color="0.86", label="Kaplan-Meier, 95% band")
    edges = np.append(np.arange(0, 5.01, 0.5), [6, end])
    rate, error = observed_hazard(data, edges)
    right.errorbar(
        (edges[1:] + edges[:-1]) / 2,
        rate,
        yerr=Z95 * error,
        xerr=np.diff(edges) / 2,
        fmt="o",
        color="0.45",
        markersize=3,
        elinewidth=0.9,
        label="events / time at risk, 95%",
    )
    styles = {"exponential": ("#7a7a7a", ":"), "Weibull": ("#d08a00", "--")}
    styles[best.name] = ("#0b5cad", "-")
    for fit in fits:
        if fit.name in styles:
            color, line = styles[fit.name]
            style = {"color": color, "linestyle": line, "linewidth": 2.2 if fit is best else 1.5}
            left.plot(grid, fit.survival(grid), label=f"{fit.name} (AIC {fit.aic:.1f})", **style)
            right.plot(grid, fit.hazard(grid), label=fit.name, **style)
    left.set(xlim=(0, end), ylim=(0, 1), xlabel="years", ylabel="recurrence-free survival")
    right.set(
        xlim=(0, end),
        ylim=(0, 1.15 * (rate + Z95 * error).max()),
        xlabel="years",
        ylabel="hazard, per year",
    )
    left.legend(frameon=False, loc="lower left")
    right.legend(frameon=False, loc="upper left")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        f"GBSG2 breast cancer trial: {data.times.size} patients, {data.events.size} events"
    )
    figure.savefig(output, dpi=150)
    plt.close(figure)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the command line's options."""
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description="Fit phase-type models to the GBSG2 data.")
    parser.add_argument("--data", type=Path, default=here / "data" / "gbsg2.csv")
    parser.add_argument("--phases", type=int, default=5, help="largest number of phases")
    parser.add_argument("--starts", type=int, default=256, help="starting points of each fit")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("gbsg2.png"))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> list[Fit]:
    """Run everything and return the fits, Coxian ones first."""
    options = parse_arguments(arguments)
    jax.config.update("jax_enable_x64", True)
    data = read_survival(options.data)
    print(
        f"{data.times.size} patients: {data.events.size} events, {data.censored.size} censored, "
        f"{data.times.sum():.0f} years at risk\n"
    )
    fits: list[Fit] = []
    for n_phases in range(1, options.phases + 1):
        previous = fits[-1].log_rates if fits else np.empty(0)
        fits.append(fit_coxian(n_phases, data, previous, options.starts, options.seed))
    best = min(fits, key=lambda fit: fit.aic)
    fits += [fit_exponential(data), fit_weibull(data)]
    print(f"\n{table(fits, best)}\n\n{rate_lines(best)}")
    save_picture(data, fits, best, options.output)
    print(f"\nSaved {options.output}")
    return fits


if __name__ == "__main__":
    main()
