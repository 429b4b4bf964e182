"""The stub of the extension lists what the module has, no more and no less."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from phasic import _core

STUB = ast.parse((Path(_core.__file__).parent / "_core.pyi").read_text())


def defined_names(body: list[ast.stmt]) -> set[str]:
    names = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return names | {
        node.target.id
        for node in body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def public(names: set[str]) -> set[str]:
    return {name for name in names if not name.startswith("_")}


def test_the_module_has_the_names_of_the_stub() -> None:
    assert public(set(vars(_core))) == public(defined_names(STUB.body))


CLASSES = [node for node in STUB.body if isinstance(node, ast.ClassDef)]


@pytest.mark.parametrize("node", CLASSES, ids=lambda node: node.name)
def test_classes_have_the_members_of_the_stub(node: ast.ClassDef) -> None:
    found = public(set(vars(getattr(_core, node.name))))
    assert found == public(defined_names(node.body))
    properties = {
        item.name
        for item in node.body
        if isinstance(item, ast.FunctionDef)
        and any(isinstance(d, ast.Name) and d.id == "property" for d in item.decorator_list)
    }
    cls = getattr(_core, node.name)
    assert properties == {name for name in found if isinstance(vars(cls)[name], property)}
