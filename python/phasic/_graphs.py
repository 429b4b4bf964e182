"""Graphs and traces that a caller passes in, checked the same way everywhere."""

from __future__ import annotations

from phasic import _core
from phasic.graph import Graph


def native_graph(graph: Graph, param_length: int | None = None) -> _core.Graph:
    """Return the finished native graph of ``graph``.

    Raises
    ------
    TypeError
        If it is no graph.
    ValueError
        If ``param_length`` is given and differs from the graph's own, or the graph breaks a rule.
    """
    if not isinstance(graph, Graph):
        raise TypeError(f"graph is of type {type(graph).__name__}, expected phasic.Graph")
    native = graph._frozen()
    if param_length is not None and param_length != native.param_length:
        raise ValueError(
            f"param_length is {param_length}, but the graph has {native.param_length} parameters"
        )
    return native


def check_program(trace: _core.Trace) -> _core.Trace:
    """Return ``trace`` if it is that of a whole graph.

    Raises
    ------
    TypeError
        If it is no trace.
    ValueError
        If it is the trace of one component.
    """
    if not isinstance(trace, _core.Trace):
        raise TypeError(f"trace is of type {type(trace).__name__}, expected phasic.Trace")
    if trace.kind != "program":
        raise ValueError(
            f"trace {trace.digest} is that of one component, which has neither weights nor a "
            "start; stitch_scc_traces makes the trace of a whole graph"
        )
    return trace


__all__ = ["check_program", "native_graph"]
