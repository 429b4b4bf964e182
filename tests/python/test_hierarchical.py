"""Work units, the cache between them, stitching; under every strategy and with bad units."""

from __future__ import annotations

import json
import logging
import os
import pickle
import signal
import threading
from pathlib import Path

import jax
import numpy as np
import pytest

import models
import phasic
from phasic import _core, _record_jax, _recording
from phasic.hierarchical_trace_cache import (
    collect_missing_traces_batch,
    compute_missing_traces_parallel,
    compute_trace_work_unit,
    get_scc_graphs,
    get_trace_hierarchical,
    stitch_scc_traces,
)
from phasic.trace_elimination import record_elimination_trace

STRATEGIES = ("auto", "vmap", "pmap", "sequential")
each_strategy = pytest.mark.parametrize("strategy", STRATEGIES)


def islands(n: int = 5) -> phasic.Graph:
    """A model with components of several sizes, some of them equal."""
    return phasic.Graph.from_serialized(models.two_islands(n))


def rings(*sizes: int) -> phasic.Graph:
    """Directed rings, one after the other; the last leads to absorption."""
    graph = phasic.Graph(2)
    heads = []
    for i, size in enumerate(sizes):
        ring = [graph.find_or_create_vertex([i, k]) for k in range(1, size + 1)]
        for k in range(size):
            ring[k].add_edge(ring[(k + 1) % size], [1.0])
        heads.append(ring[0])
    heads.append(graph.find_or_create_vertex([9, 9]))
    graph.starting_vertex().add_edge(heads[0], 1.0)
    for i in range(len(sizes)):
        heads[i].add_edge(heads[i + 1], 1.0)
    return graph


@pytest.fixture
def units(empty_cache_dir: Path) -> dict[str, str]:
    return collect_missing_traces_batch(islands(), min_size=2)[0]


# --------------------------------------------------------------------------------- work units


def test_work_units_are_the_distinct_large_components(empty_cache_dir: Path) -> None:
    graph = rings(3, 2, 4, 2, 3)
    units, digests, found = collect_missing_traces_batch(graph, min_size=3)
    sizes = {d: int(s) for d, s in zip(found.digests, found.sizes, strict=True)}
    assert digests == found.digests
    assert found.sizes.tolist() == [3, 2, 4, 2, 3]  # sinks first
    assert digests[0] == digests[4] and digests[1] == digests[3]
    assert list(units) == [digests[0], digests[2]]
    for digest, text in units.items():
        fields = json.loads(text)
        assert fields["n_vertices"] == sizes[digest] + 2
    covered = np.concatenate([found.vertices(i) for i in range(len(found))])
    assert len(covered) == len(set(covered.tolist())) == int(sum(found.sizes))
    assert not empty_cache_dir.exists()


def test_only_what_the_folder_in_force_lacks_is_a_unit(
    units: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = units
    compute_trace_work_unit((first, units[first]))
    assert set(collect_missing_traces_batch(islands(), min_size=2)[0]) == set(others)
    compute_missing_traces_parallel(units)
    assert collect_missing_traces_batch(islands(), min_size=2)[0] == {}
    missing, _, _ = collect_missing_traces_batch(islands(), min_size=2, cache_dir=tmp_path / "b")
    assert set(missing) == set(units)
    monkeypatch.setenv("PHASIC_CACHE_DIR", str(tmp_path / "c"))
    assert set(collect_missing_traces_batch(islands(), min_size=2)[0]) == set(units)


def test_a_damaged_entry_is_a_unit_again(
    units: dict[str, str], empty_cache_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    traces = compute_missing_traces_parallel(units)
    digest, other, *_ = units
    path = empty_cache_dir / f"{digest}.2.trace"
    path.write_bytes(path.read_bytes()[:-1])
    swapped = empty_cache_dir / f"{other}.2.trace"
    cache = phasic.TraceCache(empty_cache_dir)
    cache.store(other, traces[digest].to_bytes())  # intact bytes of another trace
    with caplog.at_level(logging.WARNING, "phasic"):
        missing, _, found = collect_missing_traces_batch(islands(), min_size=2, cache_dir=cache)
    assert set(missing) == {digest, other}
    assert cache.counts.damaged == 2
    assert str(path) in caplog.text and str(swapped) in caplog.text
    with pytest.raises(KeyError) as error:
        stitch_scc_traces(found, {})
    assert digest in str(error.value) and other in str(error.value)
    again = compute_missing_traces_parallel(missing)
    assert again[digest].to_bytes() == traces[digest].to_bytes()


def test_scc_graphs_are_the_components(empty_cache_dir: Path) -> None:
    listed = get_scc_graphs(islands(), min_size=2)
    _, _, found = collect_missing_traces_batch(islands(), min_size=2)
    large = [(d, s) for d, s in zip(found.digests, found.sizes, strict=True) if s >= 2]
    assert [(d, g.vertices_length() - 2) for d, g in listed] == large
    assert all(isinstance(g, phasic.Graph) for _, g in listed)


@pytest.mark.parametrize("min_size", [0, -1, 2.0, "2", None])
def test_min_size_is_checked(min_size: object) -> None:
    with pytest.raises(ValueError, match=r"min_size is .*, expected an integer >= 1"):
        collect_missing_traces_batch(islands(), min_size=min_size)  # type: ignore[arg-type]


def test_param_length_and_graph_are_checked() -> None:
    for function in (collect_missing_traces_batch, get_trace_hierarchical):
        with pytest.raises(ValueError, match=r"param_length is 9, but the graph has"):
            function(islands(), 9)
        with pytest.raises(TypeError, match=r"graph is of type dict, expected phasic\.Graph"):
            function({})  # type: ignore[operator]


# --------------------------------------------------------------------------------- strategies


@each_strategy
def test_recording_and_stitching(units: dict[str, str], strategy: str) -> None:
    traces = compute_missing_traces_parallel(units, strategy)
    assert list(traces) == list(units)
    for digest, trace in traces.items():
        assert (trace.kind, trace.digest) == ("component", digest)
        assert trace.to_bytes() == _core.record_work_unit(digest, units[digest]).to_bytes()
    _, _, found = collect_missing_traces_batch(islands(), min_size=2)
    whole = record_elimination_trace(islands())
    for given in (traces, {}, dict(list(traces.items())[:1])):
        assert stitch_scc_traces(found, given).to_bytes() == whole.to_bytes()
    assert get_trace_hierarchical(islands(), strategy=strategy).digest == whole.digest


@each_strategy
def test_a_bad_unit_is_named_and_the_others_are_kept(
    units: dict[str, str], strategy: str, empty_cache_dir: Path
) -> None:
    (digest, text), *others = units.items()
    for bad, cause in (
        (text[:-5], "JSON"),
        ("", "JSON"),
        ("\ud800", "surrogates not allowed"),
        (others[0][1], "digest"),
    ):
        ran = ("vmap", "pmap") if strategy == "auto" else (strategy,)
        with pytest.raises(RuntimeError) as error:
            compute_missing_traces_parallel({**units, digest: bad}, strategy)
        assert any(f"strategy '{name}'" in str(error.value) for name in (*ran, "auto"))
        assert digest in str(error.value) and cause in str(error.value)
        assert f"{len(bad)} characters of JSON" in str(error.value)
        assert isinstance(error.value.__cause__, ValueError)
        kept = {path.name[:64] for path in empty_cache_dir.iterdir()}
        assert kept == {other for other, _ in others}


def test_several_bad_units_are_all_named(units: dict[str, str]) -> None:
    with pytest.raises(RuntimeError) as error:
        compute_missing_traces_parallel(dict.fromkeys(units, "[]"), "vmap")
    assert all(digest in str(error.value) for digest in units)
    assert f"{len(units) - 1} more failed" in str(error.value)


def test_one_unit_by_itself(units: dict[str, str], empty_cache_dir: Path) -> None:
    digest, text = next(iter(units.items()))
    found, trace = compute_trace_work_unit((digest, text))
    assert found == trace.digest == digest
    assert (empty_cache_dir / f"{digest}.2.trace").exists()
    again, cached = compute_trace_work_unit((digest, "not read any more"))
    assert again == digest and cached.to_bytes() == trace.to_bytes()
    with pytest.raises(RuntimeError, match=f"recording work unit {'0' * 64}"):
        compute_trace_work_unit(("0" * 64, text))
    with pytest.raises(ValueError, match="expected 64 lower-case hexadecimal digits"):
        compute_trace_work_unit(("../../x", text))
    with pytest.raises(ValueError, match=r"work_unit is .* expected a pair"):
        compute_trace_work_unit(digest)
    with pytest.raises(TypeError, match=f"{digest} is of type int, expected str"):
        compute_missing_traces_parallel({digest: 7})  # type: ignore[dict-item]


def test_unknown_strategies_and_worker_counts(units: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="'fast', expected one of auto, vmap, pmap, sequential"):
        compute_missing_traces_parallel(units, "fast")
    for n in (0, -2, 1.5, True):
        with pytest.raises(ValueError, match=r"n_workers is .*, expected an integer >= 1 or None"):
            compute_missing_traces_parallel(units, n_workers=n)
    with pytest.raises(ValueError, match="n_workers is 3, expected 2 to 2"):
        compute_missing_traces_parallel(units, "pmap", n_workers=3)
    assert compute_missing_traces_parallel(units, "vmap", n_workers=1).keys() == units.keys()


def test_pmap_needs_two_devices(units: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_record_jax, "cpu_devices", lambda: jax.local_devices()[:1])
    with pytest.raises(RuntimeError, match=r"pmap.*only 1 device available.*'vmap'.*'sequential'"):
        compute_missing_traces_parallel(units, "pmap")


@pytest.mark.parametrize(("n_devices", "choice"), [(1, "vmap"), (2, "pmap")])
def test_auto_says_what_it_chose(
    units: dict[str, str],
    n_devices: int,
    choice: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    devices = jax.local_devices()[:n_devices]
    monkeypatch.setattr(_record_jax, "cpu_devices", lambda: devices)
    with caplog.at_level(logging.INFO, "phasic"):
        compute_missing_traces_parallel(units)
    assert f"strategy 'auto': {n_devices} CPU devices, using '{choice}'" in caplog.messages


@each_strategy
def test_what_is_logged(
    units: dict[str, str], strategy: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "phasic"):
        traces = compute_missing_traces_parallel(units, strategy)
    levels = {record.getMessage(): record.levelno for record in caplog.records}
    (counts,) = [text for text in levels if "0 hits" in text]
    assert counts.endswith(f"{len(units)} misses") and levels[counts] == logging.INFO
    for digest, trace in traces.items():
        (line,) = [text for text in levels if text.startswith(f"recorded {digest}")]
        assert f"{len(trace.to_bytes())} bytes" in line and levels[line] == logging.DEBUG
    caplog.clear()
    with caplog.at_level(logging.INFO, "phasic"):
        get_trace_hierarchical(islands(), min_size=2, verbose=True)
    assert f"{len(units)} hits, 0 misses" in caplog.text
    assert all(f"trace {digest}: cached" in caplog.text for digest in units)


def test_the_largest_unit_comes_first(
    units: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "phasic"):
        compute_missing_traces_parallel(dict(reversed(units.items())), "sequential")
    lines = [text for text in caplog.messages if text.startswith("recorded")]
    lengths = [len(units[text.split()[1]]) for text in lines]
    assert len(lengths) > 2 and lengths == sorted(lengths, reverse=True)


@each_strategy
def test_a_folder_that_cannot_be_used_costs_one_warning(
    units: dict[str, str], strategy: str, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.warns(RuntimeWarning, match=f"cache folder {blocked}") as record:
        traces = compute_missing_traces_parallel(units, strategy, cache_dir=blocked)
    assert traces.keys() == units.keys()
    assert len(record) == 1


def test_nothing_to_do_is_no_choice(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "phasic"):
        assert compute_missing_traces_parallel({}) == {}
    assert "using" not in caplog.text


def test_recording_inside_a_transformation(units: dict[str, str]) -> None:
    @jax.jit
    def function(x: jax.Array) -> jax.Array:
        assert compute_missing_traces_parallel(units, "vmap").keys() == units.keys()
        return x

    assert function(1.0) == 1.0


@pytest.mark.parametrize("min_free", [0, 1 << 30])
@pytest.mark.parametrize("n_shards", [1, 2])
def test_batches_hold_every_unit_once_and_bound_the_padding(
    min_free: int, n_shards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_record_jax, "_FREE_PADDING_BYTES", min_free)
    rng = np.random.default_rng(3)
    lengths = sorted((int(2**x) for x in rng.uniform(0, 20, 60)), reverse=True)
    listed = [(f"{i:064x}", b"x" * n) for i, n in enumerate(lengths)]
    batches = list(_record_jax._batches(listed, n_shards))
    assert [unit for batch in batches for unit in batch] == listed
    assert (len(batches) == 1) == (min_free > 0)
    for batch in batches:
        padded = len(batch) * len(batch[0][1])
        total = sum(len(text) for _, text in batch)
        assert min_free or len(batch) <= n_shards or padded <= 8 * total


# ------------------------------------------------------------------------------------- Ctrl-C


def test_ctrl_c_waits_for_what_is_under_way() -> None:
    stopped, finished = threading.Event(), threading.Event()

    def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        assert stopped.wait(60)
        finished.set()

    with pytest.raises(KeyboardInterrupt):
        _recording._run_interruptibly(work, stopped.set)
    assert finished.is_set()


@pytest.mark.parametrize("strategy", ["vmap", "pmap", "sequential"])
def test_ctrl_c_keeps_what_was_finished(
    units: dict[str, str],
    strategy: str,
    empty_cache_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The signal comes when one unit is recorded; the stop is seen before the next."""
    seen = threading.Event()
    run = _recording._run_interruptibly

    def watched(work: object, stop: object) -> None:
        def noted() -> None:
            stop()  # type: ignore[operator]
            seen.set()

        run(work, noted)

    def after_one(name: str, function: object) -> None:
        def call(*args: object) -> object:
            result = function(*args)  # type: ignore[operator]
            if not seen.is_set():
                os.kill(os.getpid(), signal.SIGINT)
                assert seen.wait(60)
            return result

        monkeypatch.setattr(_core if name == "record_work_unit" else _record_jax, name, call)

    monkeypatch.setattr(_recording, "_run_interruptibly", watched)
    if strategy == "sequential":
        after_one("record_work_unit", _core.record_work_unit)
    else:
        # One unit a batch, so that the native side is called again after the signal.
        monkeypatch.setattr(_record_jax, "_FREE_PADDING_BYTES", 0)
        monkeypatch.setattr(_record_jax, "_batches", lambda listed, _: ([unit] for unit in listed))
        after_one("_pad", _record_jax._pad)
    with pytest.raises(KeyboardInterrupt):
        compute_missing_traces_parallel(units, strategy)
    kept = list(empty_cache_dir.glob("*.trace")) if empty_cache_dir.exists() else []
    assert len(kept) == (1 if strategy == "sequential" else 0)
    missing, _, _ = collect_missing_traces_batch(islands(), min_size=2)
    assert len(missing) == len(units) - len(kept)
    assert compute_missing_traces_parallel(missing, strategy).keys() == missing.keys()


def test_a_stopped_call_records_nothing_more(units: dict[str, str]) -> None:
    listed = [(digest, text.encode()) for digest, text in units.items()]
    with _record_jax.tickets.one() as ticket:
        _core.stop_recording(ticket)
        _record_jax.record_vmap(listed, ticket, 1)
        with pytest.raises(KeyError):
            _core.take_recorded(ticket, listed[0][0])


def test_tickets_are_used_again() -> None:
    with _record_jax.tickets.one() as first, _record_jax.tickets.one() as second:
        assert first != second
    with _record_jax.tickets.one() as third:
        assert third == min(first, second)


# ------------------------------------------------------------------------------------- traces


def test_stitching_checks_what_it_is_given(units: dict[str, str]) -> None:
    traces = compute_missing_traces_parallel(units)
    first, second, *_ = traces
    _, _, found = collect_missing_traces_batch(islands(), min_size=2)
    with pytest.raises(ValueError, match=f"{first}.* holds the trace of another component"):
        stitch_scc_traces(found, {**traces, first: traces[second]})
    whole = stitch_scc_traces(found, traces)
    with pytest.raises(ValueError, match="expected a component's trace"):
        stitch_scc_traces(found, {**traces, first: whole})
    unrelated = {"0" * 64: traces[first]}
    assert stitch_scc_traces(found, unrelated).digest == whole.digest


def test_traces_pickle_as_their_bytes(units: dict[str, str]) -> None:
    traces = compute_missing_traces_parallel(units)
    for trace in (*traces.values(), get_trace_hierarchical(islands())):
        again = pickle.loads(pickle.dumps(trace))
        assert again.to_bytes() == trace.to_bytes()
        assert again.digest == trace.digest
