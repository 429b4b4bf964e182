// Partition refinement with a queue of splitting cells.
//
// 1. A cell is taken from the queue and the edges from it (then to it) are counted at each vertex.
// 2. Each cell of several vertices that was met falls apart by count, in order of the counts.
// 3. Its parts join the queue, except the largest if the whole was not in it: what the largest part
//    could split, the whole and the other parts split together (Hopcroft 1971).
// 4. Nothing here depends on the numbers of the vertices: cells are met in the order of their places.
//
// Source: Paige and Tarjan 1987; McKay and Piperno, Practical graph isomorphism II (2014), section 2.
#include "scc/refine.h"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "scc/pattern.h"

namespace phasic::detail {

void Partition::reset(Index n) {
  element.resize(at(n));
  std::iota(element.begin(), element.end(), 0);
  position = element;
  cell.assign(at(n), 0);
  size.assign(at(n), 0);
  size[0] = static_cast<std::int32_t>(n);
  n_cells = 1;
}

std::int32_t Partition::individualise(std::int32_t vertex) {
  const std::int32_t first = cell[at(vertex)];
  const std::int32_t last = first + size[at(first)];
  const std::int32_t other = element[at(first)];
  std::swap(element[at(first)], element[at(position[at(vertex)])]);
  position[at(other)] = position[at(vertex)];
  position[at(vertex)] = first;
  size[at(first + 1)] = size[at(first)] - 1;
  size[at(first)] = 1;
  for (std::int32_t i = first + 1; i < last; ++i) cell[at(element[at(i)])] = first + 1;
  ++n_cells;
  return first + 1;
}

void Refiner::set_pattern(const Pattern& pattern) {
  forward_ = pattern;
  reverse_ = transposed(pattern);
  count_.assign(at(pattern.n()), 0);
  queued_.assign(at(pattern.n()), 0);
}

// The finaliser of a 64-bit multiply-xorshift generator (splitmix64).
static std::uint64_t scrambled(std::uint64_t x) noexcept {
  x += 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27U)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31U);
}

static std::uint64_t packed(std::int32_t high, std::int32_t low) noexcept {
  return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(high)) << 32U) |
         static_cast<std::uint32_t>(low);
}

void Refiner::mix(std::uint64_t value) noexcept { hash_ = scrambled(hash_ ^ value); }

std::uint64_t Refiner::refine(Partition& partition, std::vector<std::int32_t> cells) {
  hash_ = static_cast<std::uint64_t>(partition.n_cells);
  queue_ = std::move(cells);
  for (const std::int32_t c : queue_) queued_[at(c)] = 1;
  std::size_t next = 0;
  for (; next < queue_.size() && partition.n_cells < partition.n(); ++next) {
    const std::int32_t c = queue_[next];
    queued_[at(c)] = 0;
    mix(packed(c, partition.size[at(c)]));
    const auto first = partition.element.begin() + c;
    splitter_.assign(first, first + partition.size[at(c)]);
    for (const bool reverse : {false, true}) {
      count_edges(partition, reverse);
      split_met_cells(partition);
    }
  }
  for (; next < queue_.size(); ++next) queued_[at(queue_[next])] = 0;
  mix(static_cast<std::uint64_t>(partition.n_cells));
  return hash_;
}

// Counts the edges of the splitter at their other ends. A sum over all of them, which no order can
// change, enters the hash.
void Refiner::count_edges(const Partition& partition, bool reverse) {
  const Pattern& rows = pattern(reverse);
  met_vertices_.clear();
  for (const std::int32_t v : splitter_) {
    for (std::int32_t e = rows.row_begin[at(v)]; e < rows.row_begin[at(v + 1)]; ++e) {
      const std::int32_t z = rows.column[at(e)];
      if (count_[at(z)]++ == 0) met_vertices_.push_back(z);
    }
  }
  met_.clear();
  std::uint64_t sum = 0;
  for (const std::int32_t z : met_vertices_) {
    const std::int32_t c = partition.cell[at(z)];
    sum += scrambled(packed(c, count_[at(z)]));
    if (partition.size[at(c)] > 1) met_.push_back({c, count_[at(z)], z});
    count_[at(z)] = 0;
  }
  mix(sum);
}

void Refiner::split_met_cells(Partition& partition) {
  std::sort(met_.begin(), met_.end(), [](const Met& a, const Met& b) {
    return std::tie(a.cell, a.count) < std::tie(b.cell, b.count);
  });
  for (std::size_t first = 0, last = 0; first < met_.size(); first = last) {
    while (last < met_.size() && met_[last].cell == met_[first].cell) ++last;
    split(partition, first, last);
  }
}

// Moves the vertices met_[first, last), all of one cell, to its end and cuts it where counts change.
void Refiner::split(Partition& partition, std::size_t first, std::size_t last) {
  const std::int32_t cell = met_[first].cell;
  const std::int32_t end = cell + partition.size[at(cell)];
  const auto n_met = static_cast<std::int32_t>(last - first);
  if (cell + n_met == end && met_[first].count == met_[last - 1].count) return;
  std::int32_t place = end;
  for (std::size_t i = last; i-- > first;) {
    --place;
    const std::int32_t v = met_[i].vertex, other = partition.element[at(place)];
    const std::int32_t from = partition.position[at(v)];
    partition.element[at(from)] = other;
    partition.position[at(other)] = from;
    partition.element[at(place)] = v;
    partition.position[at(v)] = place;
  }
  std::int32_t part = cell;  // where the part at hand begins
  const auto cut = [&](std::int32_t here) {
    if (here == part) return;
    partition.size[at(part)] = here - part;
    part = here;
    ++partition.n_cells;
  };
  for (std::size_t i = first; i < last; ++i) {
    if (i == first || met_[i].count != met_[i - 1].count) {
      cut(end - static_cast<std::int32_t>(last - i));
    }
    partition.cell[at(met_[i].vertex)] = part;
  }
  partition.size[at(part)] = end - part;
  enqueue_parts(partition, cell, end);
}

void Refiner::enqueue_parts(const Partition& partition, std::int32_t cell, std::int32_t end) {
  std::int32_t skipped = cell;
  if (queued_[at(cell)] == 0) {
    for (std::int32_t c = cell; c < end; c += partition.size[at(c)]) {
      if (partition.size[at(c)] > partition.size[at(skipped)]) skipped = c;
    }
  }
  for (std::int32_t c = cell; c < end; c += partition.size[at(c)]) {
    mix(packed(c, partition.size[at(c)]));
    if (c == skipped || queued_[at(c)] != 0) continue;
    queued_[at(c)] = 1;
    queue_.push_back(c);
  }
}

std::int32_t Refiner::undecided_cell(const Partition& partition) {
  std::int32_t best = -1;
  for (std::int32_t c = 0; c < static_cast<std::int32_t>(partition.n()); c += partition.size[at(c)]) {
    const std::int32_t size = partition.size[at(c)];
    if (size == 1 || (best >= 0 && size >= partition.size[at(best)])) continue;
    if (is_undecided(partition, c, false) || is_undecided(partition, c, true)) best = c;
  }
  return best;
}

// One vertex speaks for its cell, since the partition is refined.
bool Refiner::is_undecided(const Partition& partition, std::int32_t cell, bool reverse) {
  const Pattern& rows = pattern(reverse);
  const std::int32_t v = partition.element[at(cell)];
  const std::int32_t begin = rows.row_begin[at(v)], end = rows.row_begin[at(v + 1)];
  for (std::int32_t e = begin; e < end; ++e) ++count_[at(partition.cell[at(rows.column[at(e)])])];
  bool undecided = false;
  for (std::int32_t e = begin; e < end; ++e) {
    const std::int32_t c = partition.cell[at(rows.column[at(e)])];
    const std::int32_t full = partition.size[at(c)] - (c == cell ? 1 : 0);
    if (count_[at(c)] != 0 && count_[at(c)] != full) undecided = true;
    count_[at(c)] = 0;
  }
  return undecided;
}

}  // namespace phasic::detail
