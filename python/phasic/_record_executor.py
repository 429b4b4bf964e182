"""Recording on a `concurrent.futures.Executor`: JSON texts go out, bytes of traces come back.

1. Every unit is one task, the longest text first. A worker needs phasic, but neither JAX nor the
   cache folder.
2. A trace that comes back is decoded, compared with its digest and cached here.
3. Whatever goes wrong with a task, also that it cannot be sent, is the failure of its unit.
"""

from __future__ import annotations

from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed

from phasic import _core
from phasic._batch import KEEPERS, Batch, decode_trace
from phasic._errors import CacheCorruptionError
from phasic._options import RECORD_MAX_OPERATIONS


def record_bytes(digest: str, text: str, max_operations: float) -> bytes:
    """Return the bytes of one unit's trace; what a worker runs.

    Raises
    ------
    ValueError
        If the text is malformed, has another digest, or costs more than ``max_operations``.
    """
    return _core.record_work_unit(digest, text, max_operations).to_bytes()


class ExecutorRun:
    """One recording of a batch on an executor, which another thread may stop."""

    def __init__(self, batch: Batch, executor: Executor) -> None:
        self._batch = batch
        self._executor = executor
        self._tasks: dict[Future[bytes], str] = {}
        self._stopped = False

    def work(self) -> None:
        """Send every unit that waits and take in what comes back."""
        for digest, text in self._batch.waiting():
            if self._stopped:
                break
            try:
                task = self._executor.submit(record_bytes, digest, text, RECORD_MAX_OPERATIONS)
            except (RuntimeError, ValueError, TypeError, OSError) as error:
                self._batch.fail(digest, error)
            else:
                self._tasks[task] = digest
        if self._stopped:
            self.stop()
        with ThreadPoolExecutor(KEEPERS, "phasic-keep") as pool:
            kept = [pool.submit(self._take_in, task) for task in as_completed(self._tasks)]
        for done in kept:
            done.result()

    def stop(self) -> None:
        """Withdraw the tasks that no worker has begun."""
        self._stopped = True
        for task in list(self._tasks):
            task.cancel()

    def _take_in(self, task: Future[bytes]) -> None:
        digest = self._tasks[task]
        if task.cancelled():
            if not self._stopped:
                self._batch.fail(digest, RuntimeError("the executor cancelled the task"))
            return
        error = task.exception()
        if error is not None:
            self._batch.fail(digest, error)
            return
        payload = task.result()
        if not isinstance(payload, bytes):
            found = type(payload).__name__
            self._batch.fail(digest, TypeError(f"the executor returned a {found}, expected bytes"))
            return
        try:
            self._batch.keep(decode_trace(digest, payload), payload)
        except CacheCorruptionError as corruption:
            self._batch.fail(digest, corruption)


__all__ = ["ExecutorRun", "record_bytes"]
