// The rewards of one lane block, and sums over them.
#pragma once

#include <algorithm>
#include <vector>

#include "distribution/job.h"
#include "kernel/lane.h"
#include "kernel/scratch.h"

namespace phasic::PHASIC_ISA {

// Either one number a lane, or numbers that all rows of the job share. Many models have dozens of
// reward vectors that never change (a site-frequency spectrum): gathered once, they are read as
// scalars, and sums over them run for several rewards at a time.
template <class T>
class Rewards {
 public:
  void resize(const detail::Job& job) {
    const Request& request = *job.request;
    program_ = job.program;
    n_ = program_->n_positions;
    n_rewards_ = std::max<Index>(request.n_rewards, 1);
    shared_ = request.n_rewards >= 0 && is_shared(job);
    if (shared_) {
      gather_shared(job.operands[1]);
    }
    rows_.assign(at(shared_ ? n_ : n_rewards_ * n_), T(1.0));
  }

  [[nodiscard]] bool shared() const noexcept { return shared_; }
  // 0, or NaN where a shared reward is not finite.
  [[nodiscard]] double fault() const noexcept { return fault_; }
  [[nodiscard]] T* rows() noexcept { return rows_.data(); }  // (n_rewards, n_positions), not shared
  // (n_positions), until the next call
  [[nodiscard]] const T* row(Index j) {
    if (!shared_) {
      return rows_.data() + j * n_;
    }
    for (Index k = 0; k < n_; ++k) {
      rows_[at(k)] = T(numbers_[at(k * n_rewards_ + j)]);
    }
    return rows_.data();
  }
  [[nodiscard]] Index size() const noexcept { return n_rewards_ * n_; }

  // out[j] += sum_k z[k] r[j, k]
  void weigh(const T* z, T* out) const {
    return shared_ ? weigh(numbers(), z, out) : weigh(lanes(), z, out);
  }

  // out[k - begin] = sum_j bar[j] r[j, k]
  void mix(Index begin, Index end, const T* bar, T* out) const {
    return shared_ ? mix(numbers(), begin, end, bar, out) : mix(lanes(), begin, end, bar, out);
  }

 private:
  static constexpr Index kTile = 8;  // sums at a time, to overlap their latencies

  static bool is_shared(const detail::Job& job) {
    const std::vector<Index>& strides = job.operands[1].strides;
    const std::vector<Part>& levels = job.request->levels;
    return std::all_of(strides.begin(), strides.end(), [](Index stride) { return stride == 0; }) &&
           std::find(levels.begin(), levels.end(), Part::rewards) == levels.end();
  }

  void gather_shared(const Operand& operand) {
    const Index n_vertices = program_->graph->n_vertices();
    numbers_.resize(at(n_rewards_ * n_));
    fault_ = 0;
    for (Index k = 0; k < n_; ++k) {
      for (Index j = 0; j < n_rewards_; ++j) {
        const double r = detail::read(operand, j * n_vertices + program_->vertex_of[at(k)]);
        numbers_[at(k * n_rewards_ + j)] = r;
        fault_ += r * 0.0;
      }
    }
  }

  // r[j, k], in the two forms
  [[nodiscard]] auto numbers() const {
    return [r = numbers_.data(), m = n_rewards_](Index j, Index k) { return T(r[k * m + j]); };
  }
  [[nodiscard]] auto lanes() const {
    return [r = rows_.data(), n = n_](Index j, Index k) { return r[j * n + k]; };
  }

  template <class Reward>
  void weigh(Reward reward, const T* z, T* out) const {
    Index j = 0;
    for (; j + kTile <= n_rewards_; j += kTile) {
      weigh_tile<kTile>(reward, z, j, out);
    }
    for (; j < n_rewards_; ++j) {
      weigh_tile<1>(reward, z, j, out);
    }
  }

  template <Index kWidth, class Reward>
  void weigh_tile(Reward reward, const T* z, Index j, T* out) const {
    T sum[kWidth];
    std::copy(out + j, out + j + kWidth, sum);
    for (Index k = 0; k < n_; ++k) {
      for (Index w = 0; w < kWidth; ++w) {
        sum[w] += z[k] * reward(j + w, k);
      }
    }
    std::copy(sum, sum + kWidth, out + j);
  }

  template <class Reward>
  void mix(Reward reward, Index begin, Index end, const T* bar, T* out) const {
    Index k = begin;
    for (; k + kTile <= end; k += kTile) {
      mix_tile<kTile>(reward, k, bar, out + (k - begin));
    }
    for (; k < end; ++k) {
      mix_tile<1>(reward, k, bar, out + (k - begin));
    }
  }

  template <Index kWidth, class Reward>
  void mix_tile(Reward reward, Index k, const T* bar, T* out) const {
    T sum[kWidth];
    std::fill(sum, sum + kWidth, T(0.0));
    for (Index j = 0; j < n_rewards_; ++j) {
      for (Index w = 0; w < kWidth; ++w) {
        sum[w] += bar[j] * reward(j, k + w);
      }
    }
    std::copy(sum, sum + kWidth, out);
  }

  const Program* program_ = nullptr;
  Index n_ = 0, n_rewards_ = 1;
  bool shared_ = false;
  double fault_ = 0;
  detail::Scratch<double> numbers_;  // (n_positions, n_rewards)
  detail::Scratch<T> rows_;
};

}  // namespace phasic::PHASIC_ISA
