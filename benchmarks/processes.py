"""The worker processes, seen from the driver: requests with a time limit, crashes as errors."""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
from pathlib import Path
from typing import Any

ENVIRONMENT = {
    "JAX_ENABLE_X64": "1",
    "JAX_PLATFORMS": "cpu",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}
"""Every library on one thread; the worker also binds itself to one core."""


class ContenderError(Exception):
    """A contender could not do what it was asked; the text goes into the table."""


class Process:
    """A worker process that is started when needed, and again after it has died."""

    def __init__(self, contender: str, python: Path, limit: float) -> None:
        self.contender = contender
        self._command = [str(python), str(Path(__file__).with_name("worker.py")), contender]
        self._limit = limit
        self._home = tempfile.TemporaryDirectory()  # no contender finds caches of earlier runs
        self._model = ""
        self._errors = Path(self._home.name, "errors").open("w+b")  # noqa: SIM115
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, do: str, **arguments: Any) -> Any:
        """Return the answer to a request, or raise ContenderError."""
        if do == "prepare":
            self._model = arguments["model"]
        if self._process is None:
            self._start()
            if do != "prepare":
                self._exchange("prepare", model=self._model)
        return self._exchange(do, **arguments)

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **ENVIRONMENT, "HOME": self._home.name},
            bufsize=0,
        )

    def _exchange(self, do: str, **arguments: Any) -> Any:
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        except BrokenPipeError:
            self._fail()
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([process.stdout], [], [], self._limit)[0]:
                self.close()
                raise ContenderError(f"no answer within {self._limit:.0f} s")
            part = os.read(process.stdout.fileno(), 1 << 20)
            if not part:
                self._fail()
            line += part
        reply = json.loads(line)
        if "error" in reply:
            raise ContenderError(reply["error"])
        return reply["result"]

    def _fail(self) -> None:
        assert self._process is not None
        status = self._process.wait()
        self._process = None
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        raise ContenderError(f"stopped with status {status}: {lines[-1] if lines else ''}")

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
