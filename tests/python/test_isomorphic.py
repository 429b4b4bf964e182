"""Isomorphic components share one trace, whatever order their vertices came in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import model_cases
import models
import phasic
from conformance import CASES, assert_near, native, record, truth
from models import State, Weight
from phasic.hierarchical_trace_cache import collect_missing_traces_batch, get_trace_hierarchical


def block_islands(n: int) -> dict[str, Any]:
    """Coalescent of n lineages on two islands: blocks of each size on each, three parameters."""

    def step(state: State) -> dict[State, Weight]:
        if sum(state) == 1:
            return {}
        found: dict[State, Weight] = {}
        for island in (0, 1):
            here = range(island * n, (island + 1) * n)
            for i in here:
                for j in here:
                    pairs = state[i] * (state[j] - (i == j)) / (1 + (i == j))
                    if j < i or pairs == 0:
                        continue
                    child = list(state)
                    child[i] -= 1
                    child[j] -= 1
                    child[i + j + 1 - island * n] += 1
                    found[tuple(child)] = [pairs * (1 - island), pairs * island, 0.0]
                if state[i]:
                    child = list(state)
                    child[i] -= 1
                    child[(i + n) % (2 * n)] += 1
                    found[tuple(child)] = [0.0, 0.0, float(state[i])]
        return found

    return models.explored({(n, *[0] * (2 * n - 1)): 1.0}, step, param_length=3)


def partitions(n: int, largest: int) -> Iterator[list[int]]:
    if n == 0:
        yield []
    for part in range(min(n, largest), 0, -1):
        for rest in partitions(n - part, part):
            yield [part, *rest]


def test_the_block_model_of_16_lineages_needs_81_traces() -> None:
    # A component holds the ways to spread the blocks of one partition of 16 over the islands: a box
    # whose sides are how often each block size occurs. Boxes are isomorphic if their sides agree.
    boxes = {
        tuple(sorted(Counter(partition).values()))
        for partition in partitions(16, 16)
        if len(partition) > 1
    }
    assert len(boxes) == 81
    graph = phasic.Graph.from_serialized(block_islands(16))
    units, digests, found = collect_missing_traces_batch(graph, min_size=1)
    assert len(digests) == len(found) == 230
    assert len(set(digests)) == len(units) == 81


@pytest.mark.parametrize("name", CASES)
def test_a_renumbered_model_has_the_same_components(name: str, empty_cache_dir: object) -> None:
    case = CASES[name]
    other, place = model_cases.permuted(case, seed=11)
    graph, renumbered = (phasic.Graph.from_serialized(c.graph) for c in (case, other))
    _, digests, found = collect_missing_traces_batch(graph, min_size=1)
    _, digests_again, found_again = collect_missing_traces_batch(renumbered, min_size=1)
    assert sorted(digests) == sorted(digests_again)
    members = {(d, frozenset(place[found.vertices(i)])) for i, d in enumerate(digests)}
    assert members == {
        (d, frozenset(found_again.vertices(i))) for i, d in enumerate(digests_again)
    }


def test_one_recording_serves_components_in_any_order(empty_cache_dir: object) -> None:
    graph = block_islands(7)
    case = model_cases.Case(
        name="block islands",
        family=model_cases.Family("block islands"),
        graph=graph,
        thetas=np.array([[1.0, 0.5, 0.25], [3.0, 1e-4, 40.0]]),
        rewards=np.random.default_rng(5).uniform(0.5, 2.0, (2, graph["n_vertices"])),
        times=np.ones(1),
    )
    (exact,) = truth(case, "moments", rewards=case.rewards, k=3)
    whole = record(case)
    found = native(whole, case, "moments", rewards=case.rewards, k=3)
    assert_near(found.reshape(exact.shape), exact, 1e-12)
    for min_size in (1, 4, 1000):
        trace = get_trace_hierarchical(
            phasic.Graph.from_serialized(graph), min_size=min_size, strategy="sequential")
        assert trace.to_bytes() == whole.to_bytes()
        again = phasic.hierarchical_trace_cache.Trace.from_bytes(trace.to_bytes())
        assert again.to_bytes() == whole.to_bytes()
