// The jump chain of one parameter vector as tables: where a position's next jump leads, and when.
//
// A row of the table is a position, one more is the start. Choosing a target costs one multiplication
// and one comparison, however many there are: cell i of n is chosen with probability 1/n and keeps
// its own target with probability `threshold`, else takes the other one (Walker 1977; Vose 1991, IEEE
// Trans. Softw. Eng. 17:972). Targets of weight 0 get no cell.
#pragma once

#include <cstdint>
#include <vector>

#include "distribution/random_stream.h"
#include "phasic/base.h"

namespace phasic::detail {

// Targets: a position, -1 - vertex if absorbing, or one of these.
inline constexpr std::int32_t kNever = INT32_MIN;        // a trap: the path does not end
inline constexpr std::int32_t kDefect = INT32_MIN + 1;   // absorbed at time 0, in no vertex

struct Candidate {
  std::int32_t target;
  double weight;
};

class JumpTables {
 public:
  void clear() noexcept {
    rows_.clear();
    cells_.clear();
  }

  // The next row: weights >= 0 with a positive sum, and the mean time that exponential() is times.
  void append(Span<const Candidate> candidates, double scale);
  // The next row of a vertex that is never left.
  void append_end(std::int32_t target, double scale);

  // Mean time (continuous), or reciprocal of minus the logarithm of staying (discrete).
  [[nodiscard]] double scale(Index row) const noexcept { return rows_[at(row)].scale; }

  [[nodiscard]] std::int32_t next(Index row, Stream& stream) const noexcept {
    const Row& r = rows_[at(row)];
    const Wide product = Wide{stream.word()} * r.size;
    const Cell& cell = cells_[at(r.begin + static_cast<Index>(high_half(product)))];
    return cell.target[static_cast<std::uint64_t>(product) >= cell.threshold];  // no branch to miss
  }

 private:
  struct Row {
    Index begin;
    std::uint64_t size;
    double scale;
  };
  struct Cell {
    std::uint64_t threshold;  // of 2^64
    std::int32_t target[2];   // its own, the other
  };

  std::vector<Row> rows_;
  std::vector<Cell> cells_;
  std::vector<Index> small_, large_;  // cells of append()
  std::vector<double> share_;
};

}  // namespace phasic::detail
