"""The benchmark: every contender on every model, checked first, then timed in turns.

1. For each model every contender gives its numbers for a few parameter vectors. They are compared
   with those of phasic-xla; a difference above 1e-8 (relative to the largest entry) is printed.
2. Rounds: in each one every contender times every task and batch size once, so that what disturbs
   the machine disturbs all of them. Reported are median and quartiles over rounds.
3. A batch size is left out where one call would take longer than ``--seconds-per-call``.

Numbers are CPU seconds of one core for one parameter vector. Results go to a folder:
``results.json``, ``table.md`` and ``benchmarks.png``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import peak
import report
from processes import ContenderError, Process

import models

OURS = "phasic"
CONTENDERS = (OURS, "peer", "klujax", "superlu", "dense")
TASKS = ("value", "gradient", "density")
SIZES = {"value": (1, 64, 1024, 16384), "gradient": (1, 64, 1024, 16384), "density": (1, 64)}
FAMILY_SIZES = {"value": (64,)}
N_TIMES = 100
CHECKED = {"value": 4, "gradient": 4, "density": 1}


class Comparison:
    """One model: its contenders prepared and checked, then timed round after round."""

    def __init__(self, name: str, processes: list[Process], options: argparse.Namespace) -> None:
        self._options = options
        self._processes = {process.contender: process for process in processes}
        self._plan: dict[str, dict[str, list[int]]] = {}  # contender, task: batch sizes
        self._samples: dict[str, dict[str, list[float]]] = {}
        self.result: dict[str, Any] = {"name": name, "title": models.find(name).title}
        self.result |= {"errors": {}, "differences": {}, "facts": {}}

    def _ask(self, contender: str, about: str, do: str, /, **arguments: Any) -> Any:
        """Return an answer, or None after noting that this contender failed at it."""
        try:
            return self._processes[contender].ask(do, **arguments)
        except ContenderError as error:
            self.result["errors"][f"{contender} {about}"] = str(error)
            return None

    def prepare(self, sizes: dict[str, tuple[int, ...]]) -> None:
        """Build the model in every process; batches are clipped to what a contender can do."""
        for contender in self._processes:
            largest = self._ask(contender, "prepare", "prepare", model=self.result["name"])
            self._plan[contender] = {
                task: sorted({min(size, largest[task]) for size in sizes[task]})
                for task in sizes
                if largest and largest[task] > 0
            }

    def check(self) -> None:
        """Compare what the contenders give with what phasic-xla gives."""
        mean = self._ask(OURS, "value", "numbers", task="value", size=1, times=[1.0])
        self._times = np.linspace(0, 2.5 * mean["numbers"][0][0], N_TIMES + 1)[1:].tolist()
        for task in self._plan[OURS]:
            arguments = {"task": task, "size": CHECKED[task], "times": self._times}
            for contender in self._processes:
                if task not in self._plan[contender]:
                    continue
                answer = self._ask(contender, task, "numbers", **arguments)
                if answer is None:
                    self._plan[contender].pop(task)
                    continue
                self.result["facts"].setdefault(contender, {}).update(answer["facts"])
                numbers = [np.array(part) for part in answer["numbers"]]
                if contender == OURS:
                    reference = numbers
                self.result["differences"][f"{contender} {task}"] = difference(numbers, reference)

    def round(self) -> None:
        """Time everything once."""
        for contender, plan in self._plan.items():
            if not plan:
                continue
            self._note(contender, "record", self._ask(contender, "record", "record"))
            for task in list(plan):
                for size in list(plan.get(task, [])):
                    self._time(contender, task, size)

    def _time(self, contender: str, task: str, size: int) -> None:
        """Time one batch size; leave out what takes too long from here on."""
        if size not in self._plan[contender].get(task, []):
            return
        seconds = self._ask(
            contender,
            f"{task} {size}",
            "measure",
            task=task,
            size=size,
            times=self._times,
            least=self._options.seconds_per_sample,
        )
        self._note(contender, f"{task} {size}", seconds)
        planned = self._plan[contender][task]
        if seconds is None:
            planned.remove(size)
        else:
            batched = 16.0 if size == 1 else 1.0  # how much less each may take in a batch
            most = batched * self._options.seconds_per_call / seconds
            self._plan[contender][task] = [other for other in planned if other <= most]

    def _note(self, contender: str, key: str, seconds: float | None) -> None:
        samples = self._samples.setdefault(contender, {}).setdefault(key, [])
        if seconds is not None:
            samples.append(seconds)

    def finish(self) -> dict[str, Any]:
        """Return the results: quartiles of the seconds of each contender and task."""
        self.result["seconds"] = {
            contender: {
                key: np.quantile(samples, (0.5, 0.25, 0.75)).tolist()
                for key, samples in by_key.items()
                if samples and not np.isnan(samples).any()
            }
            for contender, by_key in self._samples.items()
        }
        return self.result


def difference(numbers: list[np.ndarray], reference: list[np.ndarray]) -> float:
    """Return the largest difference, relative to the largest entry of a row."""
    worst = 0.0
    for found, expected in zip(numbers, reference, strict=True):
        rows = expected.reshape(len(expected), -1)
        gap = np.abs(found.reshape(rows.shape) - rows).max(axis=1) / np.abs(rows).max(axis=1)
        worst = max(worst, float(gap.max()))
    return worst


def run_model(
    name: str,
    processes: list[Process],
    options: argparse.Namespace,
    sizes: dict[str, tuple[int, ...]],
) -> dict[str, Any]:
    """Return the results of one model."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    comparison = Comparison(name, processes, options)
    comparison.prepare(sizes)
    comparison.check()
    for _ in range(options.repeats):
        comparison.round()
    return comparison.finish()


def machine() -> dict[str, Any]:
    """Return what the numbers depend on."""
    with open("/proc/cpuinfo") as lines:
        name = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    return {
        "processor": name or platform.processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "revision": revision.stdout.strip(),
        "peak": peak.multiply_adds_per_second(),
        "load": os.getloadavg()[1],
    }


def options_from(arguments: list[str]) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="fewer models, about two minutes")
    parser.add_argument("--models", nargs="*", help="names of models.MODELS")
    parser.add_argument("--families", nargs="*", choices=tuple(models.FAMILIES))
    parser.add_argument("--contenders", nargs="*", default=CONTENDERS, choices=CONTENDERS)
    parser.add_argument("--tasks", nargs="*", default=TASKS, choices=TASKS)
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--seconds-per-call", type=float)
    parser.add_argument("--seconds-per-sample", type=float)
    parser.add_argument("--seconds-to-answer", type=float)
    options = parser.parse_args(arguments)
    if options.families is None:
        options.families = tuple(models.FAMILIES) if options.models is None else ()
    if options.models is None:
        options.models = models.QUICK if options.quick else tuple(models.MODELS)
    options.repeats = options.repeats or (3 if options.quick else 7)
    options.seconds_per_call = options.seconds_per_call or (0.5 if options.quick else 5.0)
    options.seconds_to_answer = options.seconds_to_answer or (20.0 if options.quick else 120.0)
    options.seconds_per_sample = options.seconds_per_sample or (0.02 if options.quick else 0.1)
    return options


def save(results: dict[str, Any], folder: Path) -> str:
    """Write the files, as far as results go; return the table."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    text = report.text(results)
    (folder / "table.md").write_text(text)
    report.plot(results, folder / "benchmarks.png")
    return text


def main() -> None:
    """Run, print the table and save the files."""
    options = options_from(sys.argv[1:])
    pythons = {"peer": options.peer_python}
    processes = [
        Process(name, pythons.get(name, Path(sys.executable)), options.seconds_to_answer)
        for name in CONTENDERS
        if name in options.contenders or name == OURS
    ]
    results: dict[str, Any] = {"machine": machine(), "models": [], "families": {}}
    sizes = {task: SIZES[task] for task in options.tasks}
    for name in options.models:
        results["models"].append(run_model(name, processes, options, sizes))
        save(results, options.output)
    for family in options.families:
        members = models.FAMILIES[family][1]
        chosen = members[:-1] if options.quick else members
        results["families"][family] = [
            run_model(f"{family}:{size}", processes, options, FAMILY_SIZES) for size in chosen
        ]
    for process in processes:
        process.close()
    print(save(results, options.output))


if __name__ == "__main__":
    main()
