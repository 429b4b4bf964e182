"""The table, the scaling exponents and the plot of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

NAMES = {
    "phasic": "phasic-xla",
    "peer": "phasic 0.32.1",
    "klujax": "klujax",
    "superlu": "scipy SuperLU",
    "dense": "jnp.linalg.solve",
}
COLUMNS = (
    "record",
    *(f"value {size}" for size in (1, 64, 1024, 16384)),
    *(f"gradient {size}" for size in (1, 64, 1024, 16384)),
    *(f"density {size}" for size in (1, 64)),
)
TOLERANCE = 1e-8


def text(results: dict[str, Any]) -> str:
    """Return everything as Markdown."""
    machine = results["machine"]
    peak = f"{machine['peak'] / 1e9:.1f} G multiply-adds/s" if machine["peak"] else "no compiler"
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, "
        f"Python {machine['python']}; revision {machine['revision']}; measured peak of a core: "
        f"{peak}; load average {machine['load']:.1f} at the start.",
        "",
        "CPU time of one core: median, and in brackets half the distance of the quartiles. `record`"
        " once, the rest for each parameter vector, by batch size; gradient: value and all"
        " derivatives; density: at 100 times.",
        "",
    ]
    for model in results["models"]:
        lines += _model_table(model)
    lines += _ratios(results["models"]) + _efficiency(results) + _scaling(results["families"])
    return "\n".join(lines) + "\n"


def _model_table(model: dict[str, Any]) -> list[str]:
    facts = model["facts"].get("phasic", {})
    lines = [
        f"### {model['title']}: {facts.get('states')} states, "
        f"{facts.get('operations', 0):,} multiply-adds",
        "",
        "| | " + " | ".join(COLUMNS) + " |",
        "|---" * (len(COLUMNS) + 1) + "|",
    ]
    for contender, seconds in model["seconds"].items():
        cells = _nearest_columns(seconds)
        lines.append(
            f"| {NAMES[contender]} | " + " | ".join(cells.get(key, "-") for key in COLUMNS) + " |"
        )
    worst = max((gap for gap in model["differences"].values() if gap <= TOLERANCE), default=0.0)
    lines += ["", f"Equal to within {worst:.0e} of the largest entry"]
    different = [
        f"{_spelled(key)} by {gap:.0e}"
        for key, gap in model["differences"].items()
        if not gap <= TOLERANCE
    ]
    lines[-1] += f", but {'; '.join(different)}." if different else "."
    lines += [f"{_spelled(key)}: {error}." for key, error in model["errors"].items()]
    return [*lines, ""]


def _spelled(key: str) -> str:
    contender, task = key.split(maxsplit=1)
    return f"{NAMES[contender]} ({task})"


def _nearest_columns(seconds: dict[str, list[float]]) -> dict[str, str]:
    """Return cells by column; a batch clipped to memory goes to the next larger column."""
    cells = {}
    for key, (median, low, high) in seconds.items():
        task, _, size = key.partition(" ")
        cell = f"{_time(median)} ({_percent((high - low) / 2 / median)})"
        if key not in COLUMNS:
            larger = [name for name in COLUMNS if name.startswith(f"{task} ")]
            key = next(name for name in larger if int(name.split()[1]) > int(size))
            cell += f" batch {size}"
        cells[key] = cell
    return cells


def _time(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.0f}%"


def best(model: dict[str, Any], contender: str, task: str) -> float:
    """Return the seconds of the best batch size of a contender, NaN if there is none."""
    seconds = model["seconds"].get(contender, {})
    medians = [value[0] for key, value in seconds.items() if key.startswith(f"{task} ")]
    return min(medians, default=float("nan"))


def _ratios(models: list[dict[str, Any]]) -> list[str]:
    if not models:
        return []
    others = [name for name in NAMES if name != "phasic"]
    lines = [
        "### Ratios",
        "",
        "How many times the CPU time of phasic-xla the others take, best batch size of each: value"
        " / value and gradient / density. The last column is phasic-xla's value and gradient over"
        " its value. Below 1 phasic-xla is slower.",
        "",
        "| model | " + " | ".join(NAMES[name] for name in others) + " | gradient / value |",
        "|---" * (len(others) + 2) + "|",
    ]
    for model in models:
        cells = []
        for other in others:
            ratios = [
                best(model, other, task) / best(model, "phasic", task)
                for task in ("value", "gradient", "density")
            ]
            cells.append(" / ".join("-" if np.isnan(ratio) else f"{ratio:.3g}" for ratio in ratios))
        own = best(model, "phasic", "gradient") / best(model, "phasic", "value")
        lines.append(f"| {model['title']} | " + " | ".join(cells) + f" | {own:.2f} |")
    return [*lines, ""]


def _efficiency(results: dict[str, Any]) -> list[str]:
    if not results["models"]:
        return []
    peak = results["machine"]["peak"]
    lines = [
        "### Fraction of the peak",
        "",
        "Multiply-adds of the elimination (not of loading rates and not of solving) over the time"
        " of a value at the best batch size, and the fraction of the measured peak.",
        "",
        "| model | multiply-adds | G/s | of peak |",
        "|---|---|---|---|",
    ]
    for model in results["models"]:
        operations = model["facts"].get("phasic", {}).get("operations", 0)
        rate = operations / best(model, "phasic", "value")
        share = _percent(rate / peak) if peak else "-"
        lines.append(f"| {model['title']} | {operations:,} | {rate / 1e9:.2f} | {share} |")
    return [*lines, ""]


def _scaling(families: dict[str, Any]) -> list[str]:
    if not families:
        return []
    lines = [
        "### Growth",
        "",
        "Exponents p of time ~ states^p, least squares over the larger half of each family.",
        "",
        "| family | states | " + " | ".join(NAMES.values()) + " | recording |",
        "|---" * (len(NAMES) + 3) + "|",
    ]
    for family, runs in families.items():
        states = [run["facts"]["phasic"]["states"] for run in runs]
        slopes = [_exponent(states, [best(run, name, "value") for run in runs]) for name in NAMES]
        recorded = [run["seconds"]["phasic"]["record"][0] for run in runs]
        slopes.append(_exponent(states, recorded))
        lines.append(f"| {family} | {states[0]} - {states[-1]} | " + " | ".join(slopes) + " |")
    return [*lines, ""]


def _exponent(states: list[int], seconds: list[float]) -> str:
    known = [(n, t) for n, t in zip(states, seconds, strict=True) if not np.isnan(t)]
    half = known[-max(2, (len(known) + 1) // 2) :]
    if len(half) < 2:
        return "-"
    x, y = np.log(np.array(half)).T
    return f"{np.polyfit(x, y, 1)[0]:.2f}"


def plot(results: dict[str, Any], path: Path) -> None:
    """Save the times of a value, by model and by size within families."""
    families = results["families"]
    figure, axes = plt.subplots(1, 1 + len(families), figsize=(6 + 4 * len(families), 5))
    axes = np.atleast_1d(axes)
    models = results["models"]
    for place, (name, label) in enumerate(NAMES.items()):
        heights = [best(model, name, "value") for model in models]
        axes[0].bar(np.arange(len(models)) + 0.16 * (place - 2), heights, 0.16, label=label)
        for axis, runs in zip(axes[1:], families.values(), strict=True):
            states = [run["facts"]["phasic"]["states"] for run in runs]
            axis.loglog(states, [best(run, name, "value") for run in runs], "o-", label=label)
    axes[0].set_yscale("log")
    axes[0].set_xticks(range(len(models)), [model["title"] for model in models], rotation=70)
    axes[0].set_ylabel("CPU seconds of one mean, best batch size")
    axes[0].legend(fontsize=8)
    for axis, family in zip(axes[1:], families, strict=True):
        axis.set_title(family)
        axis.set_xlabel("states")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
