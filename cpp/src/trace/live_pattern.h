// The pattern of what remains while vertices are eliminated: bit rows and bit columns, with counts.
//
// Dense bits make "which targets are new" one AND NOT a word. For a component of n vertices they take
// n^2 / 4 bytes, so they serve up to kMaxVertices; larger ones use sorted lists (same results). Both
// count the edges that remain: once every vertex leads to every other one, the rest needs no search.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "phasic/scc.h"

namespace phasic::detail {

// Every one of n vertices leads to every other one.
template <class Live>
[[nodiscard]] bool is_complete(const Live& live, Index n) {
  return live.edges() == n * (n - 1);
}

// Elimination on bit matrices.
class DensePattern {
 public:
  static constexpr Index kMaxVertices = 12000;

  explicit DensePattern(const Pattern& pattern)
      : n_(pattern.n()),
        words_((n_ + 63) / 64),
        out_(at(n_ * words_)),
        in_(at(n_ * words_)),
        out_count_(at(n_)),
        in_count_(at(n_)) {
    for (Index i = 0; i < n_; ++i) {
      for (Index e = pattern.row_begin[at(i)]; e < pattern.row_begin[at(i) + 1]; ++e) {
        link(i, pattern.column[at(e)]);
      }
    }
  }

  [[nodiscard]] double bytes() const noexcept {
    return static_cast<double>(out_.size() + in_.size()) * sizeof(std::uint64_t);
  }
  [[nodiscard]] Index edges() const noexcept { return edges_; }
  [[nodiscard]] Index out_count(Index v) const noexcept { return out_count_[at(v)]; }
  [[nodiscard]] Index in_count(Index v) const noexcept { return in_count_[at(v)]; }

  void targets(Index v, std::vector<std::int32_t>& result) const { list(out_, v, result); }
  void sources(Index v, std::vector<std::int32_t>& result) const { list(in_, v, result); }

  // Removes v and joins each of its sources to each of its targets. sources and targets as listed.
  void eliminate(Index v, const std::vector<std::int32_t>& sources,
                 const std::vector<std::int32_t>& targets) {
    edges_ -= ssize(sources) + ssize(targets);
    filled_words_.clear();
    const std::uint64_t* row = &out_[at(v * words_)];
    for (Index w = 0; w < words_; ++w) {
      if (row[w] != 0) {
        filled_words_.push_back(static_cast<std::int32_t>(w));
      }
    }
    for (const Index j : targets) {
      clear(in_, j, v);
      --in_count_[at(j)];
    }
    for (const Index i : sources) {
      clear(out_, i, v);
      --out_count_[at(i)];
      add_targets(i, row);
    }
  }

 private:
  void link(Index i, Index j) {
    out_[at(i * words_ + j / 64)] |= std::uint64_t{1} << (j % 64);
    in_[at(j * words_ + i / 64)] |= std::uint64_t{1} << (i % 64);
    ++out_count_[at(i)];
    ++in_count_[at(j)];
    ++edges_;
  }
  void clear(std::vector<std::uint64_t>& bits, Index i, Index j) noexcept {
    bits[at(i * words_ + j / 64)] &= ~(std::uint64_t{1} << (j % 64));
  }
  void add_targets(Index i, const std::uint64_t* row) {
    std::uint64_t* mine = &out_[at(i * words_)];
    const std::uint64_t self = std::uint64_t{1} << (i % 64);
    for (const Index w : filled_words_) {
      std::uint64_t fresh = row[w] & ~mine[w];
      if (w == i / 64) {
        fresh &= ~self;
      }
      mine[w] |= fresh;
      while (fresh != 0) {
        const Index j = w * 64 + __builtin_ctzll(fresh);
        fresh &= fresh - 1;
        in_[at(j * words_ + i / 64)] |= self;
        ++out_count_[at(i)];
        ++in_count_[at(j)];
        ++edges_;
      }
    }
  }
  void list(const std::vector<std::uint64_t>& bits, Index v,
            std::vector<std::int32_t>& result) const {
    result.clear();
    for (Index w = 0; w < words_; ++w) {
      for (std::uint64_t word = bits[at(v * words_ + w)]; word != 0; word &= word - 1) {
        result.push_back(static_cast<std::int32_t>(w * 64 + __builtin_ctzll(word)));
      }
    }
  }

  Index n_, words_, edges_ = 0;
  std::vector<std::uint64_t> out_, in_;
  std::vector<Index> out_count_, in_count_;
  std::vector<std::int32_t> filled_words_;
};

// The same on sorted lists.
class SparsePattern {
 public:
  explicit SparsePattern(const Pattern& pattern) : out_(at(pattern.n())), in_(at(pattern.n())) {
    for (Index i = 0; i < pattern.n(); ++i) {
      for (Index e = pattern.row_begin[at(i)]; e < pattern.row_begin[at(i) + 1]; ++e) {
        const std::int32_t j = pattern.column[at(e)];
        out_[at(i)].push_back(j);
        in_[at(j)].push_back(static_cast<std::int32_t>(i));
      }
    }
    entries_ = 2 * ssize(pattern.column);
  }

  [[nodiscard]] double bytes() const noexcept {
    return static_cast<double>(entries_) * sizeof(std::int32_t);
  }

  [[nodiscard]] Index edges() const noexcept { return entries_ / 2; }
  [[nodiscard]] Index out_count(Index v) const noexcept { return ssize(out_[at(v)]); }
  [[nodiscard]] Index in_count(Index v) const noexcept { return ssize(in_[at(v)]); }
  void targets(Index v, std::vector<std::int32_t>& result) const { result = out_[at(v)]; }
  void sources(Index v, std::vector<std::int32_t>& result) const { result = in_[at(v)]; }

  void eliminate(Index v, const std::vector<std::int32_t>& sources,
                 const std::vector<std::int32_t>& targets) {
    for (const std::int32_t i : sources) {
      merge(out_[at(i)], targets, v, i);
    }
    for (const std::int32_t j : targets) {
      merge(in_[at(j)], sources, v, j);
    }
    entries_ -= ssize(out_[at(v)]) + ssize(in_[at(v)]);
    out_[at(v)] = {};
    in_[at(v)] = {};
  }

 private:
  // list := (list united with more) without the eliminated vertex and without self.
  void merge(std::vector<std::int32_t>& list, const std::vector<std::int32_t>& more,
             Index eliminated, std::int32_t self) {
    merged_.clear();
    std::set_union(list.begin(), list.end(), more.begin(), more.end(),
                   std::back_inserter(merged_));
    const auto end = std::remove_if(merged_.begin(), merged_.end(), [&](std::int32_t x) {
      return x == eliminated || x == self;
    });
    entries_ += end - merged_.begin() - ssize(list);
    list.assign(merged_.begin(), end);
  }

  std::vector<std::vector<std::int32_t>> out_, in_;
  std::vector<std::int32_t> merged_;
  Index entries_ = 0;  // of all lists
};

}  // namespace phasic::detail
