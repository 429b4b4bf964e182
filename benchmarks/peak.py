"""The multiply-add peak of a core, measured: a loop of independent vector multiply-adds."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

SOURCE = r"""
#include <cstdio>
#include <ctime>
typedef double Vector __attribute__((vector_size(WIDTH * 8)));
int main() {
  constexpr int kChains = 12;
  constexpr long kSteps = 20000000;
  Vector sums[kChains], factor, term;
  for (int lane = 0; lane < WIDTH; ++lane) { factor[lane] = 1.0 - 1e-9; term[lane] = 1e-9; }
  for (auto& sum : sums) sum = term;
  const clock_t began = clock();
  for (long step = 0; step < kSteps; ++step) {
    for (auto& sum : sums) sum = sum * factor + term;
  }
  const double seconds = double(clock() - began) / CLOCKS_PER_SEC;
  Vector total = sums[0];
  for (int chain = 1; chain < kChains; ++chain) total += sums[chain];
  std::printf("%.6g %g\n", double(kSteps) * kChains * WIDTH / seconds, total[0]);
}
"""


def multiply_adds_per_second() -> float | None:
    """Return the median over runs of the better vector width; None without a compiler."""
    compiler = shutil.which("c++")
    if compiler is None:
        return None
    rates = []
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "peak.cpp"), str(Path(folder, "peak"))
        source.write_text(SOURCE)
        for width in (4, 8):
            flags = ["-O3", "-march=native", f"-DWIDTH={width}", "-o", program]
            made = subprocess.run([compiler, *flags, str(source)], capture_output=True)
            if made.returncode != 0:
                continue
            runs = [subprocess.run([program], capture_output=True, check=True) for _ in range(5)]
            rates.append(statistics.median(float(run.stdout.split()[0]) for run in runs))
    return max(rates, default=None)


if __name__ == "__main__":
    print(multiply_adds_per_second())
