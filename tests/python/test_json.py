"""The JSON text: the same fields as the dict, strictly read."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from case_ids import shown
from phasic import Graph
from test_serialize import assert_same, small


def plain(fields: dict[str, Any]) -> dict[str, Any]:
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in fields.items()}


def test_the_text_holds_the_fields_of_the_dict() -> None:
    graph = Graph.from_serialized(small())
    assert json.loads(graph.to_json()) == plain(graph.serialize())


@pytest.mark.parametrize("indent", [None, 2])
def test_text_of_the_json_module_is_read(indent: int | None) -> None:
    text = json.dumps(plain(small()), indent=indent)
    graph = Graph.from_json(text)
    assert_same(graph.serialize(), Graph.from_serialized(small()).serialize())
    assert_same(graph.serialize(), Graph.from_json(text.encode()).serialize())
    with_a_name = json.dumps(plain(small()) | {"name": "naïve λ 🙂"}, ensure_ascii=False)
    assert Graph.from_json(with_a_name).vertices_length() == 3


def test_equal_graphs_give_equal_text() -> None:
    rows = [[1, 2, 0.5], [1, 1, 2.0], [2, 1, 0.25]]
    texts = {
        Graph.from_serialized(small() | {"edges": order}).to_json()
        for order in (rows, rows[::-1], [rows[1], rows[0], rows[2]])
    }
    assert len(texts) == 1


@pytest.mark.parametrize(
    "text", [None, 5, 1.5, [], {}, bytearray(b"{}"), memoryview(b"{}")], ids=shown
)
def test_text_is_str_or_bytes(text: Any) -> None:
    with pytest.raises(ValueError, match=r"the JSON text is .*, expected str or bytes"):
        Graph.from_json(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("\ufeff{}", "byte order mark"),
        ("{}".encode("utf-8-sig"), "byte order mark"),
        ("{}".encode("utf-16"), "byte order mark"),
        ("{}".encode("utf-16-le"), "zero byte"),
        ("{}\0", "zero byte"),
        (b'{"\xff": 1}', "UTF-8"),
        ('{"\ud800": 1}', "lone surrogate"),
        ("{} {}", "not valid JSON"),
        ('{"a": NaN}', "not valid JSON"),
        ('{"a": 1e999}', "not valid JSON"),
        ('{"a": 1, "a": 2}', 'JSON key "a" occurs twice'),
        ('{"a":' * 1000, "nested deeper"),
        ("[" * 100000, "holds an array, expected an object"),
        ("{}", "missing required fields: states, edges"),
        ("3", "holds a number"),
    ],
    ids=lambda v: repr(v)[:30],
)
def test_text_that_is_not_strict_json_is_rejected(text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Graph.from_json(text)


def test_numbers_do_not_depend_on_the_locale(repository: Any) -> None:
    code = """
import locale
for name in ("de_DE.UTF-8", "de_DE", "fr_FR.UTF-8", "da_DK.UTF-8"):
    try:
        locale.setlocale(locale.LC_ALL, name)
        break
    except locale.Error:
        pass
from phasic import Graph
graph = Graph(1)
graph.starting_vertex().add_edge(graph.find_or_create_vertex([1]), 0.1)
assert '[1,0.1]' in graph.to_json()
assert Graph.from_json(graph.to_json()).to_json() == graph.to_json()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_graph_of_many_rows() -> None:
    n = 20_000  # several chunks of the writer
    edges = np.column_stack(
        [np.arange(1, n), np.arange(2, n + 1), np.random.default_rng(5).random(n - 1)]
    )
    fields = {
        "states": np.arange(n + 1).reshape(-1, 1),
        "edges": edges,
        "start_edges": [[1, 1.0]],
        "param_edges": [],
        "start_param_edges": [],
        "param_length": 0,
        "state_length": 1,
        "n_vertices": n + 1,
    }
    graph = Graph.from_serialized(fields)
    assert np.array_equal(graph.serialize()["edges"], edges)
    assert_same(Graph.from_json(graph.to_json()).serialize(), graph.serialize())
