"""The shape of the source tree: includes and imports point one way, files stay short."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "phasic"
LAYERS = ["base", "graph", "json", "scc", "trace", "kernel", "distribution"]
LAYER_OF_PUBLIC_HEADER = {
    "base.h": "base",
    "digest.h": "base",
    "graph.h": "graph",
    "transform.h": "graph",
    "json.h": "json",
    "scc.h": "scc",
    "terms.h": "graph",
    "trace.h": "trace",
    "eliminated.h": "distribution",
    "evaluate.h": "distribution",
    "quantile.h": "distribution",
    "sample.h": "distribution",
}
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 8
# Drivers of fsspec raise what they like; their failures must not become the user's.
MAY_CATCH_ALL = {"python/phasic/_cache_shared.py"}

CORE_FILES = sorted(p for s in ("*.h", "*.cpp") for p in (ROOT / "cpp").rglob(s))
MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = CORE_FILES + sorted(
    p
    for folder in ("python", "tests", "examples", "benchmarks")
    for suffix in ("*.h", "*.cpp", "*.py", "*.pyi")
    for p in (ROOT / folder).rglob(suffix)
)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


# ---------------------------------------------------------------------------------------- C++


def layer_of(path: Path) -> str:
    """Return the layer that owns a file of the core."""
    if path.parent == ROOT / "cpp" / "include" / "phasic":
        return LAYER_OF_PUBLIC_HEADER[path.name]
    return path.relative_to(ROOT / "cpp" / "src").parts[0]


def includes_of(path: Path) -> list[str]:
    return re.findall(r'^\s*#\s*include\s*[<"]([^">]+)[">]', path.read_text(), re.MULTILINE)


def core_file(include: str) -> Path | None:
    """Return the file of the core that an include names, or None if it is not in the core."""
    for base in (ROOT / "cpp" / "include", ROOT / "cpp" / "src"):
        if (base / include).exists():
            return base / include
    return None


def cycle_in(graph: dict[str, set[str]]) -> list[str]:
    """Return one cycle of a directed graph as a list of names, or an empty list."""
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for target in sorted(graph.get(node, ())):
            if found := visit(target, [*path, node]):
                return found
        done.add(node)
        return []

    for start in sorted(graph):
        if found := visit(start, []):
            return found
    return []


@pytest.mark.parametrize("path", CORE_FILES, ids=name_of)
def test_core_includes_point_left(path: Path) -> None:
    own = LAYERS.index(layer_of(path))
    for include in includes_of(path):
        target = core_file(include)
        if target is not None:
            assert LAYERS.index(layer_of(target)) <= own, f"{name_of(path)} includes {include}"


@pytest.mark.parametrize("path", CORE_FILES, ids=name_of)
def test_core_knows_neither_python_nor_xla(path: Path) -> None:
    foreign = [i for i in includes_of(path) if re.match(r"Python\.h|pybind11/|xla/|numpy/", i)]
    assert foreign == []
    if layer_of(path) != "json":
        assert [i for i in includes_of(path) if i.startswith("nlohmann/")] == []


def test_public_headers_do_not_include_private_ones() -> None:
    for path in CORE_FILES:
        if path.parent == ROOT / "cpp" / "include" / "phasic":
            for include in includes_of(path):
                target = core_file(include)
                assert target is None or target.parent == path.parent, name_of(path)


def test_core_includes_form_no_cycle() -> None:
    graph = {
        name_of(p): {name_of(t) for i in includes_of(p) if (t := core_file(i)) is not None}
        for p in CORE_FILES
    }
    assert cycle_in(graph) == []


def test_every_layer_has_sources_and_the_cmake_order_is_the_same() -> None:
    for layer in LAYERS:
        assert any((ROOT / "cpp" / "src" / layer).glob("*.cpp")), layer
    pairs = re.findall(
        r"^phasic_layer\((\w+) (\"\"|\w+) ", (ROOT / "cpp" / "CMakeLists.txt").read_text(), re.M
    )
    assert pairs == list(zip(LAYERS, ['""', *LAYERS[:-1]], strict=True))


def test_a_cycle_would_be_found() -> None:
    assert cycle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert cycle_in({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


# ------------------------------------------------------------------------------------- Python


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(tree: ast.AST) -> Iterator[str]:
    """Yield every module that a tree imports, at the top level or inside a function."""
    known = {module_name(p) for p in MODULES} | {"phasic._core"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the full module"
            assert node.module is not None
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in known else node.module


def top_level_imports(path: Path) -> set[str]:
    """Return what importing a module imports at once: not in functions, not for typing only."""
    body = ast.parse(path.read_text()).body
    typing_only = ("TYPE_CHECKING", "typing.TYPE_CHECKING")
    at_once = [
        n for n in body if not (isinstance(n, ast.If) and ast.unparse(n.test) in typing_only)
    ]
    wrapper = ast.Module(
        [n for n in at_once if not isinstance(n, ast.FunctionDef | ast.ClassDef)], []
    )
    return set(imported_names(wrapper))


def test_python_imports_form_no_cycle() -> None:
    graph = {module_name(p): set(imported_names(ast.parse(p.read_text()))) for p in MODULES}
    assert cycle_in(graph) == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_primitives_module_uses_the_extension_points_of_jax(path: Path) -> None:
    names = set(imported_names(ast.parse(path.read_text())))
    assert not any(n.startswith(("jax._src", "jaxlib")) for n in names)
    if path.name != "_primitive.py":
        assert not any(n.startswith(("jax.extend", "jax.interpreters")) for n in names)


def test_importing_the_package_reaches_no_module_that_imports_jax() -> None:
    known = {module_name(p): p for p in MODULES}
    reached: set[str] = set()
    waiting = ["phasic"]
    while waiting:
        name = waiting.pop()
        if name in known and name not in reached:
            reached.add(name)
            imports = top_level_imports(known[name])
            assert not any(i.split(".")[0] == "jax" for i in imports), name
            waiting.extend(imports)
    assert len(reached) > 1


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_forbidden_constructs(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        where = f"{name_of(path)}:{getattr(node, 'lineno', 0)}"
        assert not isinstance(node, ast.Global), where
        if isinstance(node, ast.ImportFrom):
            assert all(alias.name != "*" for alias in node.names), where
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, where
            assert ast.unparse(node.type) != "Exception" or name_of(path) in MAY_CATCH_ALL, where
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print" or path.name == "_cli.py", where


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_python_functions_fit_a_screen(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            docstring = ast.get_docstring(node, clean=False) or ""
            lines = (node.end_lineno or node.lineno) - node.lineno + 1 - docstring.count("\n")
            where = f"{name_of(path)}:{node.lineno} {node.name}"
            assert lines <= MAX_FUNCTION_LINES, where
            given = [a.arg for a in node.args.args + node.args.posonlyargs if a.arg != "self"]
            assert len(given) <= MAX_PARAMETERS, where


# ---------------------------------------------------------------------------------------- all


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_FILE_LINES
