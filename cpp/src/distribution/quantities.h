// The quantities that come from elimination, forward and reverse, for one lane block.
#pragma once

#include <vector>

#include "distribution/moments.h"
#include "kernel/elimination.h"
#include "phasic/evaluate.h"

namespace phasic::PHASIC_ISA {

// Slots of all components are kept when they fit a core's cache, or when solves need them again; else
// components stream through one buffer and the adjoint factors each a second time.
inline constexpr Index kKeptBytes = 768 * 1024;

// Usage: resize once; per lane block: elimination.set_theta, forward(), then reverse() for the adjoint.
template <class T>
class EliminationQuantity {
 public:
  static Keep keep(const Program& program, const Request& request) {
    const bool fits = program.slot_base.back() * static_cast<Index>(sizeof(T)) <= kKeptBytes;
    return uses_solves(request) || fits ? Keep::all : Keep::one_block;
  }

  void resize(const Program& program, const Request& request, bool with_adjoint) {
    program_ = &program;
    request_ = &request;
    n_ = program.n_positions;
    n_rewards_ = std::max<Index>(request.n_rewards, 1);
    for (std::vector<T>* v : {&y_, &z_}) {
      v->resize(at(n_));
    }
    if (request.quantity == Quantity::moments) {
      chain_.resize(n_, request.order, with_adjoint);
    } else if (request.quantity == Quantity::cross_moments) {
      chain_.resize(n_, 1, with_adjoint);
      b_.resize(at(n_));
    }
    if (with_adjoint) {
      for (std::vector<T>* v : {&alpha_bar_, &z_bar_, &x_bar_, &rhs_bar_}) {
        v->resize(at(n_));
      }
    }
  }

  // rewards: (n_rewards, n_positions); out: (output_size)
  void forward(Elimination<T>& factor, const T* rewards, T* out) {
    form_alpha(factor);
    if (request_->quantity == Quantity::absorption) {
      begin_absorption(factor, out);
    }
    for (Index b = program_->n_blocks() - 1; b >= 0; --b) {
      factor.factor(b);
      solve_block_transposed(factor.block(b), y_.data(), z_.data());
      if (request_->quantity == Quantity::absorption) {
        add_absorption(factor, b, out);
      }
    }
    if (request_->quantity == Quantity::moments) {
      for (Index j = 0; j < n_rewards_; ++j) {
        chain_.forward(factor, discrete(), rewards + j * n_, z_.data(), out + j * request_->order);
      }
    } else if (request_->quantity == Quantity::cross_moments) {
      forward_cross(factor, rewards, out);
    } else if (request_->quantity == Quantity::sojourn) {
      std::fill(out, out + program_->graph->n_vertices(), T(0.0));
      for (Index k = 0; k < n_; ++k) {
        out[program_->vertex_of[at(k)]] = z_[at(k)];
      }
    }
  }

  // After forward(). Adds to rewards_bar (n_rewards, n_positions) and to the adjoints in factor.
  void reverse(Elimination<T>& factor, const T* rewards, const T* out_bar, T* rewards_bar) {
    std::fill(z_bar_.begin(), z_bar_.end(), T(0.0));
    if (uses_solves(*request_)) {
      factor.clear_adjoint_all();
    }
    if (request_->quantity == Quantity::moments) {
      for (Index j = 0; j < n_rewards_; ++j) {
        if (n_rewards_ > 1) {  // the chain holds the last reward only
          recompute(factor, rewards + j * n_);
        }
        chain_.reverse(factor, discrete(), rewards + j * n_, z_.data(),
                       out_bar + j * request_->order, z_bar_.data(), rewards_bar + j * n_);
      }
    } else if (request_->quantity == Quantity::cross_moments) {
      reverse_cross(factor, rewards, out_bar, rewards_bar);
    } else if (request_->quantity == Quantity::sojourn) {
      for (Index k = 0; k < n_; ++k) {
        z_bar_[at(k)] = out_bar[program_->vertex_of[at(k)]];
      }
    }
    reverse_blocks(factor, out_bar);
    reverse_start(factor, out_bar);
  }

 private:
  [[nodiscard]] bool discrete() const { return program_->graph->discrete; }

  static bool uses_solves(const Request& request) {
    return request.quantity == Quantity::cross_moments ||
           (request.quantity == Quantity::moments && request.order > 1);
  }

  // y starts as the start distribution.
  void form_alpha(const Elimination<T>& factor) {
    std::fill(y_.begin(), y_.end(), T(0.0));
    for (Index e = 0; e < ssize(program_->start_target); ++e) {
      if (program_->start_target[at(e)] >= 0) {
        y_[at(program_->start_target[at(e)])] = factor.weights.start[at(e)];
      }
    }
  }

  void reverse_blocks(Elimination<T>& factor, const T* out_bar) {
    const bool streams = keep(*program_, *request_) == Keep::one_block;
    for (Index b = 0; b < program_->n_blocks(); ++b) {
      if (streams && b > 0) {  // forward() ended with block 0
        factor.factor(b);
      }
      if (!uses_solves(*request_)) {
        clear_block_adjoint(factor.block(b));
      }
      if (request_->quantity == Quantity::absorption) {
        reverse_absorption(factor, b, out_bar);
      }
      solve_block_transposed_adjoint(factor.block(b), y_.data(), z_.data(), z_bar_.data(),
                                     alpha_bar_.data());
      factor_block_adjoint(factor.block(b), factor.weights);
    }
  }

  void reverse_start(Elimination<T>& factor, const T* out_bar) {
    for (Index e = 0; e < ssize(program_->start_target); ++e) {
      const Index target = program_->start_target[at(e)];
      if (target >= 0) {
        factor.weights.start_bar[at(e)] += alpha_bar_[at(target)];
      } else if (request_->quantity == Quantity::absorption) {
        factor.weights.start_bar[at(e)] += out_bar[-1 - target];
      }
    }
    factor.weights.start_adjoint();
  }

  void recompute(Elimination<T>& factor, const T* r) {
    std::vector<T>& scratch = scratch_;
    scratch.resize(at(request_->order));
    chain_.forward(factor, discrete(), r, z_.data(), scratch.data());
  }

  // c_ij = z . (ri xj), one solve for each j.
  void forward_cross(Elimination<T>& factor, const T* rewards, T* out) {
    T* x = chain_.x(1);
    std::fill(out, out + n_rewards_ * n_rewards_, T(0.0));
    for (Index j = 0; j < n_rewards_; ++j) {
      const T* rj = rewards + j * n_;
      factor.solve_all(rj, b_.data(), x);
      for (Index i = 0; i < n_rewards_; ++i) {
        const T* ri = rewards + i * n_;
        T c(0.0), both(0.0);
        for (Index u = 0; u < n_; ++u) {
          c += z_[at(u)] * ri[u] * x[u];
        }
        out[i * n_rewards_ + j] += c;
        out[j * n_rewards_ + i] += c;
        if (discrete()) {
          for (Index u = 0; u < n_; ++u) {
            both += z_[at(u)] * ri[u] * rj[u];
          }
          out[i * n_rewards_ + j] -= both;
        }
      }
    }
  }

  void reverse_cross(Elimination<T>& factor, const T* rewards, const T* out_bar, T* rewards_bar) {
    T* x = chain_.x(1);
    for (Index j = 0; j < n_rewards_; ++j) {
      const T* rj = rewards + j * n_;
      T* rj_bar = rewards_bar + j * n_;
      factor.solve_all(rj, b_.data(), x);
      std::fill(x_bar_.begin(), x_bar_.end(), T(0.0));
      for (Index i = 0; i < n_rewards_; ++i) {
        const T* ri = rewards + i * n_;
        T* ri_bar = rewards_bar + i * n_;
        const T both_bar = -out_bar[i * n_rewards_ + j];
        const T c_bar = out_bar[i * n_rewards_ + j] + out_bar[j * n_rewards_ + i];
        for (Index u = 0; u < n_; ++u) {
          const T z = z_[at(u)];
          x_bar_[at(u)] += c_bar * z * ri[u];
          z_bar_[at(u)] += c_bar * ri[u] * x[u];
          ri_bar[u] += c_bar * z * x[u];
          if (discrete()) {
            z_bar_[at(u)] += both_bar * ri[u] * rj[u];
            ri_bar[u] += both_bar * z * rj[u];
            rj_bar[u] += both_bar * z * ri[u];
          }
        }
      }
      factor.solve_adjoint_all(b_.data(), x, x_bar_.data(), rhs_bar_.data());
      for (Index u = 0; u < n_; ++u) {
        rj_bar[u] += rhs_bar_[at(u)];
      }
    }
  }

  void begin_absorption(const Elimination<T>& factor, T* out) {
    std::fill(out, out + program_->graph->n_vertices(), T(0.0));
    for (Index e = 0; e < ssize(program_->start_target); ++e) {
      if (program_->start_target[at(e)] < 0) {
        out[-1 - program_->start_target[at(e)]] += factor.weights.start[at(e)];
      }
    }
  }

  void add_absorption(Elimination<T>& factor, Index b, T* out) {
    const Block<T> block = factor.block(b);
    for (Index k = 0; k < block.code.n; ++k) {
      for (Index e = block.absorbed_begin(k); e < block.out_end(k); ++e) {
        out[-1 - program_->out_target[at(e)]] +=
            z_[at(block.first + k)] * block.edge[e - block.first_edge];
      }
    }
  }

  void reverse_absorption(Elimination<T>& factor, Index b, const T* out_bar) {
    const Block<T> block = factor.block(b);
    for (Index k = 0; k < block.code.n; ++k) {
      for (Index e = block.absorbed_begin(k); e < block.out_end(k); ++e) {
        const T bar = out_bar[-1 - program_->out_target[at(e)]];
        z_bar_[at(block.first + k)] += bar * block.edge[e - block.first_edge];
        block.edge_bar[e - block.first_edge] += bar * z_[at(block.first + k)];
      }
    }
  }

  const Program* program_ = nullptr;
  const Request* request_ = nullptr;
  Index n_ = 0, n_rewards_ = 1;
  MomentChain<T> chain_;
  std::vector<T> y_, z_, b_, scratch_;
  std::vector<T> alpha_bar_, z_bar_, x_bar_, rhs_bar_;
};

}  // namespace phasic::PHASIC_ISA
