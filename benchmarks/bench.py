"""Make the environments of the benchmark, if they are not there, and run it in them.

``python benchmarks/bench.py [options of compare.py]``. Two environments in ``build/benchmarks``,
because phasic-xla and its peer have the same import name. Needs only the standard library.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "benchmarks"
OURS = (str(ROOT), "scipy", "klujax", "matplotlib")
PEER = ("phasic==0.32.1",)


def environment(name: str, packages: tuple[str, ...]) -> Path:
    """Return the Python of an environment that has the packages, as they are now."""
    folder = FOLDER / name
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    install = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-q", *packages]
    done = folder / ".packages"
    if str(ROOT) in packages or not done.exists() or done.read_text() != "\n".join(packages):
        subprocess.run(install, check=True)
        done.write_text("\n".join(packages))
    return python


def main() -> None:
    """Make what is missing and hand over."""
    parser = argparse.ArgumentParser(description=__doc__, add_help=False)
    parser.add_argument("--python", type=Path, help="use this one, with everything but the peer")
    parser.add_argument("--peer-python", type=Path, help="use this one, with the peer")
    options, rest = parser.parse_known_args()
    ours = options.python or environment("phasic-xla", OURS)
    peer = options.peer_python or environment("peer", PEER)
    compare = str(Path(__file__).with_name("compare.py"))
    command = [str(ours), compare, "--peer-python", str(peer), "--output", str(FOLDER), *rest]
    sys.exit(subprocess.run(command).returncode)


if __name__ == "__main__":
    main()
