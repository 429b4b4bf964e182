# The native extension: names, arguments and results. A test compares this file with the module.
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

class GraphBuilder:
    """Collects the vertices and edges of a graph."""

    def __init__(self, state_length: int, discrete: bool = False) -> None: ...
    @staticmethod
    def from_graph(graph: Graph) -> GraphBuilder: ...
    @staticmethod
    def explore(
        callback: Callable[..., Any],
        ipv: Sequence[Any],
        discrete: bool,
        max_states: int,
        progress: Callable[[int, int], object] | None = None,
    ) -> GraphBuilder: ...
    @staticmethod
    def explore_batched(
        callback: Callable[..., Any],
        ipv: Sequence[Any],
        discrete: bool,
        max_states: int,
        batch_size: int,
        progress: Callable[[int, int], object] | None = None,
    ) -> GraphBuilder: ...
    @property
    def n_vertices(self) -> int: ...
    @property
    def state_length(self) -> int: ...
    @property
    def param_length(self) -> int: ...
    @property
    def is_discrete(self) -> bool: ...
    def find_or_create_vertex(self, state: npt.ArrayLike) -> int: ...
    def find_vertex(self, state: npt.ArrayLike) -> int: ...
    def add_vertex(self, state: npt.ArrayLike) -> int: ...
    def add_edge(self, source: int, target: int, weight: npt.ArrayLike) -> None: ...
    def states(self) -> npt.NDArray[np.int32]: ...
    def state(self, vertex: int) -> npt.NDArray[np.int64]: ...
    def out_edges(self, vertex: int) -> list[tuple[int, float, npt.NDArray[np.float64] | None]]: ...
    def copy(self) -> GraphBuilder: ...
    def freeze(self) -> Graph: ...

class Graph:
    """A finished graph. Immutable."""

    @property
    def n_vertices(self) -> int: ...
    @property
    def n_edges(self) -> int: ...
    @property
    def state_length(self) -> int: ...
    @property
    def param_length(self) -> int: ...
    @property
    def is_discrete(self) -> bool: ...
    def states(self) -> npt.NDArray[np.int32]: ...
    def state(self, vertex: int) -> npt.NDArray[np.int64]: ...
    def out_edges(self, vertex: int) -> list[tuple[int, float, npt.NDArray[np.float64] | None]]: ...
    def is_absorbing(self) -> npt.NDArray[np.bool_]: ...
    def to_arrays(self) -> dict[str, Any]: ...
    @staticmethod
    def from_arrays(fields: dict[str, Any]) -> Graph: ...
    def to_json(self) -> str: ...
    @staticmethod
    def from_json(text: str | bytes) -> Graph: ...
    def terms(
        self,
    ) -> tuple[
        npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float64]
    ]: ...
    @staticmethod
    def from_terms(
        states: npt.NDArray[np.int32],
        source: npt.NDArray[np.int32],
        target: npt.NDArray[np.int32],
        parameter: npt.NDArray[np.int32],
        value: npt.NDArray[np.float64],
        param_length: int,
        is_discrete: bool = False,
    ) -> Graph: ...

class Decomposition:
    """Strongly connected components of a graph, sinks first. Immutable."""

    @property
    def graph(self) -> Graph: ...
    @property
    def n_components(self) -> int: ...
    @property
    def sizes(self) -> npt.NDArray[np.int64]: ...
    @property
    def digests(self) -> list[str]: ...
    def vertices(self, component: int) -> npt.NDArray[np.int64]: ...
    def component_graph(self, component: int) -> Graph: ...
    def work_unit(self, component: int) -> str: ...

class Trace:
    """Recorded elimination of a component or of a whole graph. Immutable."""

    @property
    def kind(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def n_operations(self) -> int: ...
    @property
    def n_vertices(self) -> int: ...
    @property
    def param_length(self) -> int: ...
    @property
    def is_discrete(self) -> bool: ...
    @property
    def ordering(self) -> str: ...
    def graph(self) -> Graph: ...
    def to_bytes(self) -> bytes: ...
    @staticmethod
    def from_bytes(data: bytes) -> Trace: ...
    def dump(self) -> str: ...

def decompose(graph: Graph) -> Decomposition: ...
def record_work_unit(digest: str, json: str, max_operations: float = ...) -> Trace: ...
def link(decomposition: Decomposition, traces: dict[str, Trace], min_size: int = 1) -> Trace: ...
def eliminated_graph(
    trace: Trace, theta: npt.ArrayLike
) -> tuple[
    npt.NDArray[np.float64], npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.float64]
]: ...
def expected_rewards(
    trace: Trace, theta: npt.ArrayLike, rewards: npt.ArrayLike
) -> npt.NDArray[np.float64]: ...
def reward_graph(graph: Graph, rewards: npt.ArrayLike) -> dict[str, Any]: ...
def instantiate(graph: Graph, theta: npt.ArrayLike) -> Graph: ...
def linear_forms(
    graph: Graph,
) -> tuple[
    npt.NDArray[np.int64],
    npt.NDArray[np.int64],
    npt.NDArray[np.float64],
    npt.NDArray[np.int64],
    npt.NDArray[np.int64],
    npt.NDArray[np.float64],
]: ...
def register_program(trace: Trace) -> None: ...
def unregister_program(digest: str) -> None: ...
def evaluate(
    trace: Trace,
    quantity: str,
    theta: npt.ArrayLike,
    rewards: npt.ArrayLike | None = None,
    times: npt.ArrayLike | None = None,
    *,
    order: int = 1,
    n_rewards: int = -1,
    levels: Sequence[int] = (),
    tangents: Sequence[npt.ArrayLike] = (),
    cotangent: npt.ArrayLike | None = None,
    gradient: int = -1,
    value: bool = True,
    truncation: float = ...,
    max_operations: float = ...,
    threads: int = 0,
    kernel: str = "auto",
    density: str = "auto",
) -> tuple[
    npt.NDArray[np.float64] | None, npt.NDArray[np.float64] | None, npt.NDArray[np.uint8]
]: ...
def explain(
    trace: Trace,
    quantity: str,
    status: int,
    theta: npt.ArrayLike,
    rewards: npt.ArrayLike | None = None,
    times: npt.ArrayLike | None = None,
    max_operations: float = ...,
    density: str = "auto",
) -> str: ...
def require_memory(
    trace: Trace,
    quantity: str,
    *,
    order: int,
    n_rewards: int,
    n_levels: int,
    gradient: bool,
    kernel: str,
    max_bytes: float,
) -> None: ...
def density_plans(
    trace: Trace,
    quantity: str,
    theta: npt.ArrayLike,
    times: npt.ArrayLike,
    *,
    levels: Sequence[int] = (),
    gradient: int = -1,
    max_operations: float = ...,
    density: str = "auto",
) -> list[tuple[str, float, float, bool, int, float, int]]: ...
def output_size(
    trace: Trace, quantity: str, order: int = 1, n_rewards: int = -1, n_times: int = 0
) -> int: ...
def sample(
    trace: Trace,
    seed: npt.NDArray[np.uint32],
    theta: npt.ArrayLike,
    rewards: npt.ArrayLike | None = None,
    horizon: float | None = None,
    starts: npt.NDArray[np.int32] | None = None,
    *,
    n_draws: int = 1,
    n_rewards: int = -1,
    max_length: int = 0,
    given: Sequence[int] = (),
    max_operations: float = ...,
    threads: int = 0,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int32], npt.NDArray[np.int32], int]: ...
def explain_sample(
    trace: Trace,
    status: int,
    theta: npt.ArrayLike,
    rewards: npt.ArrayLike | None = None,
    horizon: float | None = None,
    starts: npt.NDArray[np.int32] | None = None,
    *,
    n_draws: int = 1,
    n_rewards: int = -1,
    given: Sequence[int] = (),
    max_operations: float = ...,
) -> str: ...
def quantile(
    trace: Trace,
    theta: npt.ArrayLike,
    q: npt.ArrayLike,
    *,
    max_operations: float = ...,
    threads: int = 0,
) -> tuple[npt.NDArray[np.float64], int]: ...
def explain_quantile(
    trace: Trace,
    status: int,
    theta: npt.ArrayLike,
    q: npt.ArrayLike,
    *,
    max_operations: float = ...,
) -> str: ...
def available_kernels() -> list[str]: ...
def next_recorded(ticket: int) -> str | None: ...
def take_recorded(ticket: int, digest: str) -> tuple[Trace, bytes]: ...
def close_recorded(ticket: int) -> None: ...
def stop_recording(ticket: int) -> None: ...
def drop_recorded(ticket: int) -> None: ...
def ffi_targets() -> dict[str, Any]: ...
