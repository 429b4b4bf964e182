// The quantities that come from elimination, forward and reverse, for one lane block.
#pragma once

#include "distribution/memory.h"
#include "distribution/moments.h"
#include "distribution/rewards.h"
#include "kernel/elimination.h"
#include "phasic/evaluate.h"

namespace phasic::PHASIC_ISA {

// Usage: resize once; per lane block: elimination.set_theta, forward(), then reverse() for the adjoint.
template <class T>
class EliminationQuantity {
 public:
  void resize(const Program& program, const Request& request, bool with_adjoint) {
    program_ = &program;
    request_ = &request;
    n_ = program.n_positions;
    n_rewards_ = std::max<Index>(request.n_rewards, 1);
    y_.resize(at(n_));
    z_.resize(at(program.n_places));
    z_.back() = T(1.0);
    if (request.quantity == Quantity::moments && request.order > 1) {
      chain_.resize(program, request.order, with_adjoint);
    } else if (request.quantity == Quantity::cross_moments) {
      chain_.resize(program, 1, with_adjoint);
      b_.resize(at(n_));
      product_.resize(at(n_));
      column_.resize(at(n_rewards_));
      x_bar_.resize(with_adjoint ? at(n_) : 0);
      rhs_bar_.assign(with_adjoint ? at(program.n_places) : 0, T(0.0));
    }
    if (with_adjoint) {
      z_bar_.resize(at(detail::uses_solves(request) ? n_ : program.max_block_positions));
      alpha_bar_.assign(at(program.n_places), T(0.0));
    }
  }

  // out: (output_size)
  void forward(Elimination<T>& factor, Rewards<T>& rewards, T* out) {
    if (detail::uses_solves(*request_)) {
      factor.factor_all();
      factor.solve_transposed_all(y_.data(), z_.data());
      return forward_solves(factor, rewards, out);
    }
    std::fill(out, out + n_outputs(), T(0.0));
    const bool adds_up = request_->quantity == Quantity::moments && request_->n_rewards < 0;
    for (Index b = program_->n_blocks() - 1; b >= 0; --b) {
      factor.sojourn(b, y_.data(), z_.data());
      if (adds_up) {
        T sum = out[0];  // a copy stays in a register
        for (Index k = program_->block_begin[at(b)]; k < program_->block_begin[at(b + 1)]; ++k) {
          sum += z_[at(k)];
        }
        out[0] = sum;
      }
    }
    if (request_->quantity == Quantity::moments && !adds_up) {
      rewards.weigh(z_.data(), out);
    } else if (request_->quantity == Quantity::sojourn) {
      for (Index k = 0; k < n_; ++k) {
        out[program_->vertex_of[at(k)]] = z_[at(k)];
      }
    } else if (request_->quantity == Quantity::absorption) {
      for (Index a = 0; a < ssize(program_->absorbing); ++a) {
        out[program_->absorbing[at(a)]] =
            factor.weights.pull(program_->inflow, n_ + a, z_.data());
      }
    }
  }

  // After forward(). Adds to rewards_bar (n_rewards, n_positions) and to the adjoints in factor.
  void reverse(Elimination<T>& factor, Rewards<T>& rewards, const T* out_bar,
               T* rewards_bar) {
    if (detail::uses_solves(*request_)) {
      std::fill(z_bar_.begin(), z_bar_.end(), T(0.0));
      factor.clear_adjoint_all();
      reverse_solves(factor, rewards, out_bar, rewards_bar);
      factor.solve_transposed_adjoint_all(y_.data(), z_.data(), z_bar_.data(), alpha_bar_.data());
      factor.factor_adjoint_all();
    } else if (request_->gradient == static_cast<int>(Part::rewards)) {
      return reverse_rewards(out_bar, rewards_bar);
    } else {
      reverse_blocks(factor, rewards, out_bar);
    }
    reverse_start(factor, out_bar);
  }

 private:
  [[nodiscard]] bool discrete() const { return program_->graph->discrete; }

  [[nodiscard]] Index n_outputs() const { return output_size(*program_, *request_); }

  // --- quantities that are linear in the sojourns

  void reverse_rewards(const T* out_bar, T* rewards_bar) const {
    for (Index j = 0; j < n_rewards_; ++j) {
      for (Index k = 0; k < n_; ++k) {
        rewards_bar[j * n_ + k] += out_bar[j] * z_[at(k)];
      }
    }
  }

  // The adjoint of z in block b.
  void form_z_bar(Index b, Rewards<T>& rewards, const T* out_bar) {
    const Index begin = program_->block_begin[at(b)], end = program_->block_begin[at(b + 1)];
    const bool moments = request_->quantity == Quantity::moments;
    if (moments && request_->n_rewards >= 0) {
      return rewards.mix(begin, end, out_bar, z_bar_.data());
    }
    const bool sojourn = request_->quantity == Quantity::sojourn;
    for (Index k = begin; k < end; ++k) {
      z_bar_[at(k - begin)] = sojourn   ? out_bar[program_->vertex_of[at(k)]]
                              : moments ? out_bar[0]
                                        : T(0.0);
    }
  }

  void reverse_blocks(Elimination<T>& factor, Rewards<T>& rewards, const T* out_bar) {
    if (request_->quantity == Quantity::absorption) {
      for (Index a = 0; a < ssize(program_->absorbing); ++a) {
        alpha_bar_[at(n_ + a)] = out_bar[program_->absorbing[at(a)]];
      }
    }
    for (Index b = 0; b < program_->n_blocks(); ++b) {
      form_z_bar(b, rewards, out_bar);
      factor.gradient(b, y_.data(), z_.data(), z_bar_.data(), alpha_bar_.data());
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
    factor.weights.finish_adjoint();
  }

  // --- quantities that need further solves

  void forward_solves(Elimination<T>& factor, Rewards<T>& rewards, T* out) {
    if (request_->quantity == Quantity::cross_moments) {
      return forward_cross(factor, rewards, out);
    }
    for (Index j = 0; j < n_rewards_; ++j) {
      chain_.forward(factor, discrete(), rewards.row(j), z_.data(), out + j * request_->order);
    }
  }

  void reverse_solves(Elimination<T>& factor, Rewards<T>& rewards, const T* out_bar,
                      T* rewards_bar) {
    if (request_->quantity == Quantity::cross_moments) {
      return reverse_cross(factor, rewards, out_bar, rewards_bar);
    }
    for (Index j = 0; j < n_rewards_; ++j) {
      const T* r = rewards.row(j);
      if (n_rewards_ > 1) {  // the chain holds the last reward only
        recompute(factor, r);
      }
      chain_.reverse(factor, discrete(), r, z_.data(), out_bar + j * request_->order,
                     z_bar_.data(), rewards_bar + j * n_);
    }
  }

  void recompute(Elimination<T>& factor, const T* r) {
    scratch_.resize(at(request_->order));
    chain_.forward(factor, discrete(), r, z_.data(), scratch_.data());
  }

  // c_ij = z . (ri xj), one solve for each j.
  void forward_cross(Elimination<T>& factor, Rewards<T>& rewards, T* out) {
    T* x = chain_.x(1);
    std::fill(out, out + n_rewards_ * n_rewards_, T(0.0));
    for (Index j = 0; j < n_rewards_; ++j) {
      const T* rj = rewards.row(j);
      factor.solve_all(rj, b_.data(), x);
      const T* c = weigh_product(rewards, x);
      for (Index i = 0; i < n_rewards_; ++i) {
        out[i * n_rewards_ + j] += c[i];
        out[j * n_rewards_ + i] += c[i];
      }
      if (discrete()) {
        const T* both = weigh_product(rewards, rj);
        for (Index i = 0; i < n_rewards_; ++i) {
          out[i * n_rewards_ + j] -= both[i];
        }
      }
    }
  }

  // z . (ri x) for every i
  const T* weigh_product(const Rewards<T>& rewards, const T* x) {
    for (Index u = 0; u < n_; ++u) {
      product_[at(u)] = z_[at(u)] * x[u];
    }
    std::fill(column_.begin(), column_.end(), T(0.0));
    rewards.weigh(product_.data(), column_.data());
    return column_.data();
  }

  void reverse_cross(Elimination<T>& factor, Rewards<T>& rewards, const T* out_bar,
                     T* rewards_bar) {
    T* x = chain_.x(1);
    for (Index j = 0; j < n_rewards_; ++j) {
      const T* rj = rewards.row(j);
      T* rj_bar = rewards_bar + j * n_;
      factor.solve_all(rj, b_.data(), x);
      for (Index i = 0; i < n_rewards_; ++i) {
        column_[at(i)] = out_bar[i * n_rewards_ + j] + out_bar[j * n_rewards_ + i];
      }
      reverse_product(rewards, x, x_bar_.data(), rewards_bar);
      factor.solve_adjoint_all(b_.data(), x, x_bar_.data(), rhs_bar_.data());
      for (Index u = 0; u < n_; ++u) {
        rj_bar[u] += rhs_bar_[at(u)];
      }
      if (discrete()) {
        for (Index i = 0; i < n_rewards_; ++i) {
          column_[at(i)] = -out_bar[i * n_rewards_ + j];
        }
        reverse_product(rewards, rj, x_bar_.data(), rewards_bar);
        for (Index u = 0; u < n_; ++u) {
          rj_bar[u] += x_bar_[at(u)];
        }
      }
    }
  }

  // Of weigh_product, column_ being the adjoint of its result. Sets x_bar, adds to the others.
  void reverse_product(const Rewards<T>& rewards, const T* x, T* x_bar, T* rewards_bar) {
    rewards.mix(0, n_, column_.data(), product_.data());
    for (Index u = 0; u < n_; ++u) {
      x_bar[u] = z_[at(u)] * product_[at(u)];
      z_bar_[at(u)] += x[u] * product_[at(u)];
    }
    if (request_->gradient == static_cast<int>(Part::rewards)) {
      for (Index i = 0; i < n_rewards_; ++i) {
        for (Index u = 0; u < n_; ++u) {
          rewards_bar[i * n_ + u] += column_[at(i)] * z_[at(u)] * x[u];
        }
      }
    }
  }

  const Program* program_ = nullptr;
  const Request* request_ = nullptr;
  Index n_ = 0, n_rewards_ = 1;
  MomentChain<T> chain_;
  detail::Scratch<T> y_, z_, b_, product_, column_, scratch_;
  detail::Scratch<T> alpha_bar_, z_bar_, x_bar_, rhs_bar_;
};

}  // namespace phasic::PHASIC_ISA
