"""Pictures of small graphs: by graphviz if it is there, else by matplotlib.

Neither is a requirement of the package; both are loaded when a picture is asked for. The layout for
matplotlib puts vertices in columns by their distance from the starting vertex.
"""

from __future__ import annotations

import importlib
import importlib.util
import shutil
from typing import Any

import numpy as np

from phasic._concrete import ConcreteQuantities
from phasic._edge_table import EdgeTable

_BACKENDS = ("auto", "graphviz", "matplotlib")
_ROUND = {"boxstyle": "round,pad=0.3", "linewidth": 1.0}
_PLAIN = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}


class Drawing(ConcreteQuantities):
    """A base of `Graph`."""

    def plot(
        self,
        filename: str | None = None,
        *,
        max_nodes: int = 100,
        rankdir: str = "LR",
        backend: str = "auto",
        ax: Any = None,
    ) -> Any:
        """Return a picture of the graph: states as boxes, edges labelled with their weights.

        Parameters
        ----------
        filename : str, optional
            Also save it; the ending (``.pdf``, ``.svg``, ``.png``) decides the format.
        max_nodes : int
            Largest number of vertices to draw.
        rankdir : str
            ``LR`` from left to right, or ``TB`` from top to bottom.
        backend : str
            ``graphviz``, ``matplotlib``, or ``auto``: graphviz if both its Python package and its
            program ``dot`` are installed and no ``ax`` is given, else matplotlib.
        ax : matplotlib.axes.Axes, optional
            Where matplotlib draws; a new figure by default.

        Returns
        -------
        graphviz.Digraph or matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If what draws is not installed.
        ValueError
            If there are more than ``max_nodes`` vertices, or an argument is not as above.

        Notes
        -----
        Weights are those at the parameters in force; without any, linear forms of theta.
        """
        if backend not in _BACKENDS or rankdir not in ("LR", "TB"):
            raise ValueError(
                f"backend is {backend!r} and rankdir {rankdir!r}, expected one of "
                f"{', '.join(_BACKENDS)} and LR or TB"
            )
        if ax is not None and backend == "graphviz":
            raise ValueError("ax is given with backend 'graphviz', which does not draw on axes")
        table = EdgeTable.of(self._frozen())
        if table.n_vertices > max_nodes:
            raise ValueError(
                f"the graph has {table.n_vertices} vertices, expected at most {max_nodes} "
                "(max_nodes) for a picture"
            )
        in_force = self._theta_or(None)
        labels = _labels(table, None if in_force is None else self._concrete_table())
        if ax is None and (backend == "graphviz" or (backend == "auto" and _has_graphviz())):
            return _by_graphviz(table, labels, filename, rankdir)
        return _by_matplotlib(table, labels, filename, rankdir, ax)


def _has_graphviz() -> bool:
    return importlib.util.find_spec("graphviz") is not None and shutil.which("dot") is not None


def _needed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.split(".")[0]
        raise ImportError(
            f"Graph.plot needs graphviz (the Python package and the program dot) or matplotlib; "
            f"{package} is not installed: pip install {package}"
        ) from error


def _labels(table: EdgeTable, concrete: EdgeTable | None) -> list[str]:
    if concrete is not None:
        return [f"{weight:.4g}" for weight in concrete.weight[:, 0]]
    return [_form_text(form) for form in table.weight]


def _form_text(form: Any) -> str:
    """Return "0.5 + 2 θ1", say."""
    terms = [f"{form[0]:.4g}"] if form[0] or not form[1:].any() else []
    for k, coefficient in enumerate(form[1:], 1):
        if coefficient:
            terms.append(f"θ{k}" if coefficient == 1 else f"{coefficient:.4g} θ{k}")
    return " + ".join(terms)


def _state_text(table: EdgeTable, vertex: int) -> str:
    return "start" if vertex == 0 else ", ".join(str(x) for x in table.states[vertex])


def _by_graphviz(table: EdgeTable, labels: list[str], filename: str | None, rankdir: str) -> Any:
    digraph = _needed("graphviz").Digraph(graph_attr={"rankdir": rankdir})
    absorbing = table.is_absorbing
    for vertex in range(table.n_vertices):
        shape = "plaintext" if vertex == 0 else "box"
        style = "rounded,filled" if absorbing[vertex] else "rounded"
        digraph.node(str(vertex), _state_text(table, vertex), shape=shape, style=style)
    for source, target, label in zip(table.source, table.target, labels, strict=True):
        digraph.edge(str(source), str(target), label=label)
    if filename is not None:
        stem, _, ending = filename.rpartition(".")
        digraph.render(outfile=filename, format=ending if stem else "pdf", cleanup=True)
    return digraph


def _positions(table: EdgeTable) -> Any:
    """Return (n_vertices, 2): the column by distance from the start, the place in the column."""
    depth = np.full(table.n_vertices, -1)
    depth[0] = 0
    for column in range(table.n_vertices):
        reached = table.target[depth[table.source] == column]
        depth[reached[depth[reached] < 0]] = column + 1
    depth[depth < 0] = depth.max() + 1  # not reached from the start
    place = np.zeros(table.n_vertices)
    for column in range(depth.max() + 1):
        (members,) = np.nonzero(depth == column)
        place[members] = (len(members) - 1) / 2 - np.arange(len(members))
    return np.stack([depth, place], axis=1)


def _by_matplotlib(
    table: EdgeTable, labels: list[str], filename: str | None, rankdir: str, ax: Any
) -> Any:
    place = _positions(table)
    if rankdir == "TB":
        place = np.stack([-place[:, 1], -place[:, 0]], axis=1)
    if ax is None:
        figure = _needed("matplotlib.figure").Figure(
            figsize=tuple(1.5 * np.ptp(place, axis=0) + 1.5), layout="constrained"
        )
        ax = figure.subplots()
    ax.set_axis_off()
    low, high = place.min(axis=0) - 0.5, place.max(axis=0) + 0.5
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    absorbing = table.is_absorbing
    boxes = [
        ax.text(
            *place[vertex],
            _state_text(table, vertex),
            ha="center",
            va="center",
            zorder=2,
            bbox=_ROUND | {"facecolor": "lightgrey" if absorbing[vertex] else "white"},
        )
        for vertex in range(table.n_vertices)
    ]
    for source, target, label in zip(table.source, table.target, labels, strict=True):
        _arrow(ax, place, boxes, (int(source), int(target)), label)
    if filename is not None:
        ax.figure.savefig(filename)
    return ax


def _arrow(ax: Any, place: Any, boxes: list[Any], pair: tuple[int, int], label: str) -> None:
    source, target = pair
    loop = source == target
    begin = place[source] + (np.array([0.0, 0.05]) if loop else 0.0)
    end = place[target] + (np.array([0.15, 0.0]) if loop else 0.0)
    ax.annotate(
        "",
        xy=end,
        xytext=begin,
        zorder=1,
        arrowprops={
            "arrowstyle": "->",
            "connectionstyle": f"arc3,rad={-1.5 if loop else 0.15}",
            "patchA": boxes[source].get_bbox_patch(),
            "patchB": boxes[target].get_bbox_patch(),
        },
    )
    across = np.array([end[1] - begin[1], begin[0] - end[0]])
    middle = (begin + end) / 2 + (np.array([0.1, 0.3]) if loop else 0.15 / 2 * across)
    ax.text(*middle, label, ha="center", va="center", fontsize="small", zorder=3, bbox=_PLAIN)


__all__ = ["Drawing"]
