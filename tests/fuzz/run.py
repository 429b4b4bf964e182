"""Build the fuzz targets under sanitizers and run each of them for some time.

usage: python tests/fuzz/run.py [--seconds 60] [--jobs N] [TARGET ...]

1. With clang++ and its runtime, libFuzzer drives the targets: coverage guides it, and leaks,
   timeouts and memory beyond 2 GB are failures too. Its corpus is kept in ``build/fuzz/corpus``.
2. Without them the same targets run under g++ and ``replay.cpp``: seeds and blind random changes.
3. The address and undefined-behaviour sanitizers are on in both cases. An input that fails is left
   in the build folder.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FUZZ = Path(__file__).parent
ROOT = FUZZ.parent.parent
TARGETS = ("json", "trace", "kernels", "draws")
ENVIRONMENT = {
    **os.environ,
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "ASAN_OPTIONS": "allocator_may_return_null=0:detect_stack_use_after_return=1",
}


def has_libfuzzer() -> bool:
    """Whether clang++ can link a fuzz target."""
    if shutil.which("clang++") is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.cpp"
        source.write_text(
            "#include <cstdint>\n#include <cstddef>\n"
            'extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t*, std::size_t)'
            " { return 0; }\n"
        )
        command = ["clang++", "-fsanitize=fuzzer,address", str(source), "-o", f"{folder}/probe"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def build(libfuzzer: bool, jobs: int) -> Path:
    """Configure and build; return the folder of the executables."""
    folder = ROOT / "build" / ("fuzz" if libfuzzer else "fuzz-replay")
    sanitizers = "address,undefined" + (",fuzzer-no-link" if libfuzzer else "")
    configure = [
        *("cmake", "-S", str(ROOT), "-B", str(folder), "-G", "Ninja"),
        *("-DCMAKE_BUILD_TYPE=RelWithDebInfo", "-DPHASIC_BUILD_FUZZERS=ON"),
        *(f"-DPHASIC_SANITIZE={sanitizers}", f"-DPHASIC_LIBFUZZER={'ON' if libfuzzer else 'OFF'}"),
        f"-DPython_EXECUTABLE={sys.executable}",
        *(["-DCMAKE_CXX_COMPILER=clang++"] if libfuzzer else []),
    ]
    subprocess.run(configure, check=True)
    subprocess.run(["cmake", "--build", str(folder), "--parallel", str(jobs)], check=True)
    return folder / "tests" / "fuzz"


def run(target: str, folder: Path, libfuzzer: bool, seconds: int) -> bool:
    """Run one target; print how many inputs it executed; return whether none of them failed."""
    seeds = FUZZ / "seeds" / target
    executable = str(folder / f"fuzz_{target}")
    if libfuzzer:
        corpus = ROOT / "build" / "fuzz" / "corpus" / target
        corpus.mkdir(parents=True, exist_ok=True)
        command = [
            *(executable, str(corpus), str(seeds), f"-max_total_time={seconds}"),
            *("-timeout=20", "-rss_limit_mb=2048", "-max_len=4096", "-print_final_stats=1"),
        ]
    else:
        command = [executable, str(seeds), "--seconds", str(seconds)]
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    output = done.stdout + done.stderr
    if done.returncode != 0:
        print(output[-8000:])
        print(f"fuzz_{target}: FAILED with status {done.returncode}; the input is in {folder}")
        return False
    executed = re.search(r"number_of_executed_units: *(\d+)|(\d+) changed inputs", output)
    count = "?" if executed is None else executed[1] or executed[2]
    print(f"fuzz_{target}: {count} executions in {seconds} s, no failure", flush=True)
    return True


def main() -> int:
    """Return the exit status: 0 if no target failed."""
    parser = argparse.ArgumentParser(description="Run the fuzz targets.")
    parser.add_argument("targets", nargs="*", default="all", choices=[*TARGETS, "all"])
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    libfuzzer = has_libfuzzer()
    if not libfuzzer:
        print(
            "clang++ with libFuzzer was not found (packages clang and libclang-rt-dev): the fuzz "
            "targets run under g++, with random changes that no coverage guides"
        )
    folder = build(libfuzzer, options.jobs)
    targets = TARGETS if "all" in options.targets else options.targets
    results = [run(target, folder, libfuzzer, options.seconds) for target in targets]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
