"""Importing the package: quick, without effects, without JAX; and life without JAX."""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap

import pytest

import phasic


def run(code: str, *options: str) -> str:
    found = subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_import_loads_neither_jax_nor_scipy_and_changes_nothing() -> None:
    out = run(
        """
        import logging, os, sys, warnings
        import numpy  # which adds warning filters of its own
        before = (dict(os.environ), list(logging.root.handlers), list(warnings.filters))
        import phasic, phasic.hierarchical_trace_cache, phasic.trace_elimination
        assert not {"jax", "jaxlib", "scipy", "platformdirs"} & set(sys.modules)
        assert before == (dict(os.environ), list(logging.root.handlers), list(warnings.filters))
        logger = logging.getLogger("phasic")
        assert (logger.handlers, logger.level) == ([], logging.NOTSET)
        """,
        "-W",
        "error",
    )
    assert out == ""


def test_import_changes_no_flag_of_jax() -> None:
    out = run(
        """
        import jax
        before = dict(jax.config.values)
        import phasic
        phasic.PhaseType
        assert before == dict(jax.config.values)
        """
    )
    assert out == ""


def test_import_takes_under_0_3_seconds() -> None:
    """Processor time, the best of three, so that a busy machine does not count."""
    code = """
        import time
        start = time.process_time()
        import phasic
        print(time.process_time() - start)
        """
    assert min(float(run(code)) for _ in range(3)) < 0.3


def test_every_exported_name_exists() -> None:
    for name in phasic.__all__:
        assert getattr(phasic, name) is not None
    assert set(phasic.__all__) <= set(dir(phasic))
    assert callable(phasic.callback)  # not the module of the same name
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        phasic.absent  # noqa: B018


def test_version_is_that_of_the_distribution() -> None:
    version = importlib.import_module("phasic._version").__version__
    assert phasic.__version__ == version


WITHOUT_JAX = """
    import logging, sys
    sys.modules["jax"] = None
    import phasic
    from phasic import hierarchical_trace_cache as htc, trace_elimination as te

    graph = phasic.Graph(1)
    a, b, end = (graph.find_or_create_vertex([i]) for i in (1, 2, 3))
    graph.starting_vertex().add_edge(a, 1.0)
    a.add_edge(b, [1.0]); b.add_edge(a, 1.0); b.add_edge(end, 2.0)

    def refused(call, text):
        try:
            call()
        except ImportError as error:
            assert text in str(error), error
        else:
            raise AssertionError(text)

    units, _, scc = htc.collect_missing_traces_batch(graph, min_size=1, cache_dir=sys.argv[1])
    assert len(units) == 1
    for strategy in ("vmap", "pmap"):
        refused(lambda: htc.compute_missing_traces_parallel(units, strategy),
                f"strategy '{strategy}' (unlike 'sequential') needs JAX")
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    traces = htc.compute_missing_traces_parallel(units, cache_dir=sys.argv[1])
    whole = htc.stitch_scc_traces(scc, traces)
    assert whole.digest == te.record_elimination_trace(graph).digest
    found = te.evaluate_trace(whole, [2.0])
    assert len(found.rates) == 4
    assert te.instantiate_from_trace(whole, [2.0]).param_length() == 0
    refused(lambda: phasic.PhaseType, "phasic.PhaseType needs JAX")
    refused(lambda: te.trace_to_log_likelihood(whole, [1.0]), "JAX")
    """


def test_without_jax(tmp_path: object) -> None:
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(WITHOUT_JAX), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr
    assert "strategy 'auto': JAX is not installed, using 'sequential'" in found.stdout


@pytest.mark.parametrize(
    ("version", "fine"),
    [("0.8.0", True), ("0.10.2", True), ("1.0.dev1", True), ("0.7.2", False), ("0.4.38", False)],
)
def test_the_floor_of_jaxlib(version: str, fine: bool) -> None:
    runtime = importlib.import_module("phasic._jax_runtime")
    if fine:
        runtime.check_jaxlib(version)
    else:
        with pytest.raises(ImportError, match=f"needs jaxlib >= 0.8, found {version}"):
            runtime.check_jaxlib(version)
