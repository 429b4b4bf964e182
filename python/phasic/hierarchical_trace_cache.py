"""Recording a graph component by component, with a disk cache, in parallel.

1. `collect_missing_traces_batch` cuts a graph into strongly connected components and returns the
   work units whose traces the cache folder lacks; equal components appear once.
2. `compute_missing_traces_parallel` records them, by one of four strategies, and caches them.
3. `stitch_scc_traces` links the component traces into the trace of the whole graph.

`get_trace_hierarchical` does all three. A component's trace depends only on which internal edges it
has, so traces are shared between models, parameters and machines.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phasic import _core
from phasic._cache import CacheLike, TraceCache, as_cache
from phasic._graphs import native_graph
from phasic._recording import load_trace, log_counts, record, telling_others
from phasic.graph import Graph

logger = logging.getLogger("phasic")

Trace = _core.Trace


@dataclass(frozen=True)
class SccDecomposition:
    """The strongly connected components of one graph, sinks first.

    Parameters
    ----------
    core : object
        The native decomposition.
    min_size : int
        Components with fewer vertices are recorded when they are stitched, never cached.
    cache : TraceCache
        Where stitching looks for traces that it is not given.
    """

    core: _core.Decomposition
    min_size: int
    cache: TraceCache

    @property
    def digests(self) -> list[str]:
        """Digest of each component."""
        return self.core.digests

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Vertices of each component, shape (n_components,)."""
        return self.core.sizes

    def __len__(self) -> int:
        return self.core.n_components

    def vertices(self, component: int) -> npt.NDArray[np.int64]:
        """Return the graph's vertices of a component in canonical order, shape (size,)."""
        return self.core.vertices(component)

    def large(self) -> dict[str, int]:
        """Map each digest of a component of at least ``min_size`` vertices to the first of them."""
        first: dict[str, int] = {}
        for i, (digest, size) in enumerate(zip(self.digests, self.sizes, strict=True)):
            if size >= self.min_size:
                first.setdefault(digest, i)
        return first


def _decompose(
    graph: Graph, param_length: int | None, min_size: int, cache_dir: CacheLike
) -> SccDecomposition:
    if type(min_size) is not int or min_size < 1:
        raise ValueError(f"min_size is {min_size!r}, expected an integer >= 1")
    core = _core.decompose(native_graph(graph, param_length))
    found = SccDecomposition(core, min_size, as_cache(cache_dir))
    logger.debug(
        "decomposed %d vertices into %d components, %d distinct ones of at least %d vertices",
        core.graph.n_vertices,
        len(found),
        len(found.large()),
        min_size,
    )
    return found


def _look_up(found: SccDecomposition, verbose: bool) -> tuple[dict[str, str], dict[str, Trace]]:
    """Return the work units that the cache lacks and the traces that it holds."""
    level = logging.INFO if verbose else logging.DEBUG
    units: dict[str, str] = {}
    hits: dict[str, Trace] = {}
    for digest, component in found.large().items():
        trace = load_trace(found.cache, digest)
        logger.log(level, "trace %s: %s", digest, "missing" if trace is None else "cached")
        if trace is None:
            units[digest] = found.core.work_unit(component)
        else:
            hits[digest] = trace
    log_counts(found.cache, len(hits), len(units))
    return units, hits


def collect_missing_traces_batch(
    graph: Graph,
    param_length: int | None = None,
    min_size: int = 50,
    verbose: bool = False,
    *,
    cache_dir: CacheLike = None,
) -> tuple[dict[str, str], list[str], SccDecomposition]:
    """Return the work units of a graph whose traces the cache folder now in force lacks.

    Parameters
    ----------
    graph : Graph
        The model.
    param_length : int, optional
        Must equal the graph's own number of parameters.
    min_size : int
        Smaller components are never work units; stitching records them. No number depends on it.
    verbose : bool
        Log the hits and misses of every unit at INFO instead of DEBUG.
    cache_dir : path or TraceCache, optional
        The cache; without it ``PHASIC_CACHE_DIR``, else the user's cache folder.

    Returns
    -------
    work_units : dict of str to str
        Digest to JSON text of the component's enhanced subgraph; equal components appear once.
    all_scc_hashes : list of str
        The digest of every component, sinks first.
    scc_decomposition : SccDecomposition
        What `stitch_scc_traces` needs.

    Raises
    ------
    ValueError
        If ``param_length`` differs from the graph's or ``min_size`` is not an integer >= 1.
    """
    found = _decompose(graph, param_length, min_size, cache_dir)
    units, _ = _look_up(found, verbose)
    return units, found.digests, found


def compute_trace_work_unit(
    work_unit: tuple[str, str], *, cache_dir: CacheLike = None
) -> tuple[str, Trace]:
    """Return (digest, trace) of one work unit, from the cache or recorded and cached.

    Parameters
    ----------
    work_unit : tuple of str and str
        Digest and JSON text, an item of what `collect_missing_traces_batch` returns.
    cache_dir : path or TraceCache, optional
        The cache; without it ``PHASIC_CACHE_DIR``, else the user's cache folder.

    Raises
    ------
    ValueError
        If the work unit is not a pair of two strings.
    RuntimeError
        If the text is malformed or has another digest; names digest, size and cause.
    """
    if not (isinstance(work_unit, tuple) and len(work_unit) == 2):
        raise ValueError(
            f"work_unit is {work_unit!r:.200}, expected a pair (digest, JSON string), an item of "
            "collect_missing_traces_batch(graph)[0].items()"
        )
    digest, text = work_unit
    return digest, record({digest: text}, "sequential", as_cache(cache_dir))[digest]


def compute_missing_traces_parallel(
    work_units: Mapping[str, str],
    strategy: str = "auto",
    min_size: int = 50,
    verbose: bool = False,
    n_workers: int | None = None,
    *,
    cache_dir: CacheLike = None,
    executor: Executor | None = None,
) -> dict[str, Trace]:
    """Return the traces of all work units; those the cache lacks are recorded and cached.

    Parameters
    ----------
    work_units : mapping of str to str
        Digest to JSON text.
    strategy : str
        ``sequential``: one after another. ``vmap``: one native call, many threads. ``pmap``: one
        native call a device, at the same time. ``auto``: pmap with several devices, else vmap, and
        sequential without JAX. All give the same bytes. With several processes of
        `jax.distributed`, pmap and auto share the work between all of them, and all must make the
        same call.
    min_size : int
        Accepted so that all functions here take the same options; every given unit is recorded.
    verbose : bool
        Log every recorded unit at INFO instead of DEBUG.
    n_workers : int, optional
        Native threads (vmap) or devices (pmap); without it all of them, or for threads
        ``PHASIC_NUM_THREADS``.
    cache_dir : path or TraceCache, optional
        The cache; without it ``PHASIC_CACHE_DIR``, else the user's cache folder.
    executor : concurrent.futures.Executor, optional
        Records in the place of a strategy: texts go out, bytes come back and are cached here. Its
        workers need phasic, but neither JAX nor the cache.

    Raises
    ------
    ValueError
        If the strategy is unknown, or an executor is given with a strategy or ``n_workers``.
    ImportError
        If vmap or pmap is asked for without JAX.
    RuntimeError
        If pmap is asked for with one device, or a unit fails; the other units' traces are cached.
        If other processes are to take part and one has ended or was interrupted.

    Notes
    -----
    Ctrl-C stops before the next component; what was finished is in the cache.
    """
    return record(
        work_units, strategy, as_cache(cache_dir), n_workers, verbose, executor=executor
    )


def stitch_scc_traces(scc_decomposition: SccDecomposition, traces: Mapping[str, Trace]) -> Trace:
    """Return the trace of the whole graph, linked from its components' traces.

    Parameters
    ----------
    scc_decomposition : SccDecomposition
        From `collect_missing_traces_batch`.
    traces : mapping of str to Trace
        Component traces by digest. Absent ones are loaded from the cache; components smaller than
        the decomposition's ``min_size`` are recorded here.

    Raises
    ------
    KeyError
        If a trace is neither given nor cached; names all such digests.
    ValueError
        If a digest maps to the trace of something else.
    """
    known = {digest: traces[digest] for digest in set(scc_decomposition.digests) & set(traces)}
    absent = []
    for digest in scc_decomposition.large():
        if digest not in known:
            trace = load_trace(scc_decomposition.cache, digest)
            if trace is None:
                absent.append(digest)
            else:
                known[digest] = trace
    if absent:
        raise KeyError(
            f"no trace is given or cached in {scc_decomposition.cache.folder} for "
            f"{len(absent)} components: {', '.join(absent)}; record them first with "
            "compute_missing_traces_parallel"
        )
    return _core.link(scc_decomposition.core, known, scc_decomposition.min_size)


def get_scc_graphs(
    graph: Graph, min_size: int = 50, *, cache_dir: CacheLike = None
) -> list[tuple[str, Graph]]:
    """Return (digest, enhanced subgraph) of every component of at least ``min_size`` vertices.

    The subgraph has a starting vertex, the component's vertices in canonical order with their
    internal edges, and one absorbing vertex that carries the exits. Equal components are all
    listed.
    """
    found = _decompose(graph, None, min_size, cache_dir)
    return [
        (digest, Graph._from_core(found.core.component_graph(i)))
        for i, (digest, size) in enumerate(zip(found.digests, found.sizes, strict=True))
        if size >= min_size
    ]


def get_trace_hierarchical(
    graph: Graph,
    param_length: int | None = None,
    min_size: int = 50,
    strategy: str = "auto",
    verbose: bool = False,
    n_workers: int | None = None,
    *,
    cache_dir: CacheLike = None,
    executor: Executor | None = None,
) -> Trace:
    """Return the trace of a graph: components from the cache or recorded, then linked.

    The arguments and errors are those of `collect_missing_traces_batch` and
    `compute_missing_traces_parallel`.

    Examples
    --------
    >>> import phasic
    >>> graph = phasic.Graph(1)
    >>> start, a, b = graph.starting_vertex(), *map(graph.find_or_create_vertex, [[1], [2]])
    >>> start.add_edge(a, 1.0); a.add_edge(b, [2.0])
    >>> get_trace_hierarchical(graph).kind
    'program'
    """
    with telling_others(strategy, executor):
        found = _decompose(graph, param_length, min_size, cache_dir)
        units, hits = _look_up(found, verbose)
    recorded = record(
        units, strategy, found.cache, n_workers, verbose, announce=False, executor=executor
    )
    return _core.link(found.core, hits | recorded, min_size)


__all__ = [
    "SccDecomposition",
    "Trace",
    "collect_missing_traces_batch",
    "compute_missing_traces_parallel",
    "compute_trace_work_unit",
    "get_scc_graphs",
    "get_trace_hierarchical",
    "stitch_scc_traces",
]
