"""Write the seeds of the fuzz targets: small valid inputs, from which mutation starts.

usage: python tests/fuzz/make_seeds.py

Run it when a format changes. Inputs that once crashed are kept beside them, under other names.
"""

from __future__ import annotations

import random
from pathlib import Path

import phasic
from phasic import _core
from phasic.hierarchical_trace_cache import collect_missing_traces_batch
from phasic.trace_elimination import record_elimination_trace

SEEDS = Path(__file__).parent / "seeds"
HEADER, CHECKSUM = 19, 64  # of Trace.to_bytes(), see cpp/src/trace/codec.cpp


def graphs() -> dict[str, phasic.Graph]:
    """Return small graphs: a chain, a ring with parameters, a discrete one, two components."""
    found = {}
    chain = phasic.Graph(1)
    a, b = (chain.find_or_create_vertex([i]) for i in (1, 2))
    chain.starting_vertex().add_edge(a, 0.5)
    a.add_edge(b, 2.0)
    found["chain"] = chain

    ring = phasic.Graph(2)
    v = [ring.find_or_create_vertex([i, 1]) for i in range(1, 6)]
    ring.starting_vertex().add_edge(v[0], 1.0)
    for i in range(4):
        v[i].add_edge(v[(i + 1) % 4], [1.0, 0.5])
        v[i].add_edge(v[(i + 2) % 4], 0.25)
    v[1].add_edge(v[4], [0.0, 1e-3])
    found["ring"] = ring

    discrete = phasic.Graph(1, discrete=True)
    v = [discrete.find_or_create_vertex([i]) for i in range(1, 5)]
    discrete.starting_vertex().add_edge(v[0], 1.0)
    for i in range(3):
        v[i].add_edge(v[(i + 1) % 3], 0.25)
        v[i].add_edge(v[i], 0.25)
    v[2].add_edge(v[3], [0.125])
    found["discrete"] = discrete

    two = phasic.Graph(1)
    v = [two.find_or_create_vertex([i]) for i in range(1, 8)]
    two.starting_vertex().add_edge(v[0], 0.5)
    two.starting_vertex().add_edge(v[3], 0.5)
    for first in (0, 3):
        for i in range(3):
            v[first + i].add_edge(v[first + (i + 1) % 3], 1.0 + i)
            v[first + i].add_edge(v[first + (i + 2) % 3], 0.5)
    v[0].add_edge(v[3], 0.1)
    v[4].add_edge(v[6], 1e-6)
    found["two"] = two
    return found


def write(target: str, name: str, content: bytes) -> None:
    """Write one seed."""
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def main() -> None:
    """Write all seeds."""
    for name, graph in graphs().items():
        write("json", f"{name}.json", graph.to_json().encode())
        units, _, _ = collect_missing_traces_batch(graph, min_size=1, cache_dir=SEEDS / "none")
        for i, (digest, text) in enumerate(units.items()):
            write("json", f"{name}-unit-{i}.json", text.encode())
            trace = _core.record_work_unit(digest, text).to_bytes()
            write("trace", f"{name}-component-{i}", b"\1" + trace[HEADER:-CHECKSUM])
        program = record_elimination_trace(graph).to_bytes()
        write("trace", f"{name}-program", b"\2" + program[HEADER:-CHECKSUM])
        write("trace", f"{name}-sealed", b"\0" + program)
    generator = random.Random(2026)
    for quantity in range(12):
        for variant in range(2):
            content = bytes([quantity]) + generator.randbytes(70)
            write("kernels", f"quantity-{quantity}-{variant}", content)
    for draws in range(2):
        for variant in range(8):
            content = bytes([draws]) + generator.randbytes(70)
            write("draws", f"{'draws' if draws else 'quantiles'}-{variant}", content)


if __name__ == "__main__":
    main()
