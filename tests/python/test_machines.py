"""State machines: any sequence of operations on graphs and caches, against plain dictionaries."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

import phasic
from phasic import TraceCache
from phasic._cache_files import stored_files

SETTINGS = settings(max_examples=30, stateful_step_count=25, derandomize=True, deadline=None)
THOROUGH = settings(max_examples=2000, stateful_step_count=50, derandomize=True, deadline=None)


class GraphMachine(RuleBasedStateMachine):
    """A graph built by hand, beside a dictionary of its vertices and edges."""

    vertices = Bundle("vertices")

    @initialize(n_params=st.integers(1, 3))
    def begin(self, n_params: int) -> None:
        self.graph = phasic.Graph(2)
        self.n_params = n_params
        self.states: list[tuple[int, int]] = [(0, 0)]
        self.constant: dict[tuple[int, int], float] = {}
        self.linear: dict[tuple[int, int], np.ndarray] = {}

    @rule(target=vertices, state=st.tuples(st.integers(1, 4), st.integers(0, 3)))
    def add_vertex(self, state: tuple[int, int]) -> int:
        vertex = self.graph.find_or_create_vertex(list(state))
        if state not in self.states:
            self.states.append(state)
        assert vertex.index() == self.states.index(state)
        return vertex.index()

    @rule(target_vertex=vertices, weight=st.sampled_from([0.0, 0.0625, 0.125]))
    def add_start_edge(self, target_vertex: int, weight: float) -> None:
        if sum(w for (u, _), w in self.constant.items() if u == 0) + weight <= 1:
            self.add(0, target_vertex, weight)

    @rule(source=vertices, target_vertex=vertices, weight=st.floats(0.0, 1e6))
    def add_edge(self, source: int, target_vertex: int, weight: float) -> None:
        self.add(source, target_vertex, weight)

    def add(self, source: int, target: int, weight: float) -> None:
        vertices = self.graph.vertices()
        vertices[source].add_edge(vertices[target], weight)
        self.constant[source, target] = self.constant.get((source, target), 0.0) + weight

    @rule(
        source=vertices,
        target_vertex=vertices,
        coefficients=st.lists(st.floats(-4.0, 4.0), min_size=3, max_size=3),
    )
    def add_linear_edge(self, source: int, target_vertex: int, coefficients: list[float]) -> None:
        row = coefficients[: self.n_params]
        vertices = self.graph.vertices()
        vertices[source].add_edge(vertices[target_vertex], row)
        pair = source, target_vertex
        self.linear[pair] = self.linear.get(pair, np.zeros(self.n_params)) + row

    @rule(source=vertices)
    def refuse_an_edge_into_the_start(self, source: int) -> None:
        vertices = self.graph.vertices()
        with pytest.raises(ValueError, match="starting vertex"):
            vertices[source].add_edge(vertices[0], 1.0)

    @rule(source=vertices, weight=st.sampled_from([-1.0, np.nan, np.inf]))
    def refuse_a_bad_weight(self, source: int, weight: float) -> None:
        vertices = self.graph.vertices()
        with pytest.raises(ValueError, match="expected"):
            vertices[source].add_edge(vertices[source], weight)

    @precondition(lambda self: any(u == 0 for u, _ in self.constant))
    @rule()
    def serialize(self) -> None:
        fields = self.graph.serialize()
        assert fields["states"].tolist() == [list(state) for state in self.states]
        found = {(int(u), int(v)): w for u, v, w in fields["edges"]}
        found |= {(0, int(v)): w for v, w in fields["start_edges"]}
        assert found == self.constant
        linear = {(int(u), int(v)): row for u, v, *row in fields["param_edges"]}
        assert linear.keys() == self.linear.keys()
        for pair, row in linear.items():
            np.testing.assert_array_equal(row, self.linear[pair])
        again = phasic.Graph.from_json(self.graph.to_json())
        assert again.to_json() == self.graph.to_json()
        assert phasic.Graph.from_serialized(fields).to_json() == self.graph.to_json()

    @invariant()
    def has_as_many_vertices(self) -> None:
        assert self.graph.vertices_length() == len(self.states)


class CacheMachine(RuleBasedStateMachine):
    """Two caches on one folder and one second level, beside dictionaries of what they hold."""

    digests = st.sampled_from([f"{i:064x}" for i in range(4)])

    @initialize()
    def begin(self) -> None:
        logging.getLogger("phasic").setLevel(logging.CRITICAL)
        self.root = Path(tempfile.mkdtemp())
        self.caches = [
            TraceCache(self.root / "folder", shared=str(self.root / "shared")) for _ in range(2)
        ]
        self.levels: dict[str, dict[str, bytes]] = {"folder": {}, "shared": {}}

    def teardown(self) -> None:
        logging.getLogger("phasic").setLevel(logging.NOTSET)
        shutil.rmtree(self.root)

    def path(self, level: str, digest: str) -> Path:
        return self.root / level / f"{digest}.2.trace"

    @rule(who=st.integers(0, 1), digest=digests, payload=st.binary(max_size=40))
    def store(self, who: int, digest: str, payload: bytes) -> None:
        assert self.caches[who].store(digest, payload)
        for level in self.levels.values():
            level[digest] = payload

    @rule(who=st.integers(0, 1), digest=digests)
    def load(self, who: int, digest: str) -> None:
        folder, shared = self.levels["folder"], self.levels["shared"]
        expected = folder.get(digest, shared.get(digest))
        assert self.caches[who].load(digest) == expected
        if expected is not None:
            folder[digest] = expected

    @rule(level=st.sampled_from(["folder", "shared"]), digest=digests, data=st.data())
    def damage(self, level: str, digest: str, data: Any) -> None:
        path = self.path(level, digest)
        if digest not in self.levels[level]:
            return
        content = bytearray(path.read_bytes())
        place = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[place] ^= 1 << data.draw(st.integers(0, 7))
        else:
            del content[place:]
        path.write_bytes(content)
        del self.levels[level][digest]

    @rule(digest=digests)
    def reject(self, digest: str) -> None:
        self.caches[0].reject(digest, "the test says so")
        self.levels["folder"].pop(digest, None)

    @rule()
    def lose_the_folder(self) -> None:
        shutil.rmtree(self.root / "folder", ignore_errors=True)
        self.levels["folder"].clear()

    @rule(max_bytes=st.integers(0, 600))
    def prune(self, max_bytes: int) -> None:
        self.caches[0].max_bytes = max_bytes
        self.caches[0].prune()
        files = stored_files(self.root / "folder")
        assert sum(file.size for file in files) <= max_bytes
        kept = {file.digest for file in files if file.kind == "entry"}
        folder = self.levels["folder"]
        for digest in folder.keys() - kept:
            del folder[digest]

    @invariant()
    def leaves_no_temporary_file(self) -> None:
        assert not list(self.root.rglob("*.tmp"))


def machine_test(machine: type[RuleBasedStateMachine], chosen: settings) -> Any:
    case = machine.TestCase
    return type(case.__name__, (case,), {"settings": chosen})


TestGraph = machine_test(GraphMachine, SETTINGS)
TestCache = machine_test(CacheMachine, SETTINGS)
TestGraphThoroughly = pytest.mark.extended(machine_test(GraphMachine, THOROUGH))
TestCacheThoroughly = pytest.mark.extended(machine_test(CacheMachine, THOROUGH))
