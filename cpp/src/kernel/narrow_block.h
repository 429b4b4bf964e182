// Single vertices and paths: one fused pass for sojourns, one for the gradient.
//
// A path is a component in which each step k meets step k + 1 only. Up the path its pivots
//   S_k = e_k + w_k,k+1,  e_k = exit_k + f_k-1 e_k-1,  f_k = w_k+1,k / S_k
// carry sojourns y_k = alpha_k + w_k-1,k y_k-1 / S_k-1; down the path z_k = y_k / S_k + f_k z_k+1.
// The gradient needs the expected future h = U r as well, c_k = (r_k + f_k-1 r_k-1) / S_k,
//   h_k = c_k + w_k,k+1 / S_k h_k+1   and   h_k - h_k+1 = c_k - e_k / S_k h_k+1,
// and is z_i (h_j - h_i) for the weight of an edge from i to j. Differences along the path come from
// the second formula, whose terms stay below what the edge's flow allows: h_k and h_k+1 may agree in
// all digits. Flows out of the component are at most 1 in all, so theirs may be subtracted.
// What elimination left is kept for the gradient where that stays near (Keep::factors); else it is formed
// again, which costs less than fetching it from far.
#pragma once

#include "kernel/block.h"
#include "kernel/weights.h"

namespace phasic::PHASIC_ISA {

// --- a single vertex
template <class T>
void vertex_sojourn(const Block<T>& b, const Weights<T>& weights, PivotRange<T>& pivots, T* z) {
  const T inverse = reciprocal_or_zero(weights.exit_rate(b.first));
  pivots.add(inverse);
  b.inverse[0] = inverse;
  z[b.first] = weights.pull(b.program.inflow, b.first, z) * inverse;
}

// h: (n_places); r: (1); part: (runs of the vertex); kept: b.inverse is that of vertex_sojourn.
template <bool kept, class T>
void vertex_gradient(const Block<T>& b, Weights<T>& weights, const T* z, const T* r, T* h, T* part) {
  const Index k = b.first;
  const T inverse = kept ? b.inverse[0] : reciprocal_or_zero(weights.exit_rate(k));
  const T hk = (r[0] + weights.pull_parts(b.program.outflow, k, h, part)) * inverse;
  h[k] = hk;
  weights.add_outflow_adjoint(k, z[k], hk, part);
}

// --- a path

// The elimination of a path, step by step upwards; after next(): the numbers of the current step.
template <class T>
struct PathSteps {
  const Block<T>& b;
  const Weights<T>& weights;
  Index k = -1;
  T f{0.0};     // f_k-1, 0 at the first step
  T exit{0.0};  // e_k
  T up{0.0};    // w_k,k+1, 0 at the last step
  T inverse{0.0}, multiplier{0.0};  // 1 / S_k, and 1 in its place where the pivot is 0

  const PathSteps& next() {
    Index e = b.inside_begin(++k);
    T rate = weights.exit_rate(b.first + k);
    if (k > 0) {
      f = weights.weight(e++) * multiplier;
      rate += f * exit;
    }
    T pivot = rate;
    up = T(0.0);
    if (k + 1 < b.code.n) {
      up = weights.weight(e);
      pivot += up;
    }
    inverse = reciprocal_or_zero(pivot);
    multiplier = or_one(inverse);
    exit = rate + exit_of_trap(inverse);
    return *this;
  }
};

// What the gradient needs of each step, in the slots of the path.
template <class T>
struct PathParts {
  T* f;      // f_k-1
  T* leave;  // e_k / S_k
  T* climb;  // w_k,k+1 / S_k
  explicit PathParts(const Block<T>& b)
      : f(b.slot), leave(b.slot + b.code.n), climb(b.slot + 2 * b.code.n) {}
  void store(const PathSteps<T>& step) {
    leave[step.k] = step.exit * step.multiplier;
    climb[step.k] = step.up * step.inverse;
  }
};

template <bool keep, class T>
void path_sojourn(const Block<T>& b, const Weights<T>& weights, PivotRange<T>& pivots, T* z) {
  T* zb = z + b.first;
  PathParts<T> part(b);
  PathSteps<T> step{b, weights};
  T flow(0.0);
  for (Index k = 0; k < b.code.n; ++k) {
    step.next();
    pivots.add(step.inverse);
    part.f[k] = step.f;
    if constexpr (keep) {
      part.store(step);
      b.inverse[k] = step.inverse;
    }
    const T m = (weights.pull(b.program.inflow, b.first + k, z) + flow) * step.inverse;
    zb[k] = m;
    flow = m * step.up;
  }
  for (Index k = b.code.n - 2; k >= 0; --k) {
    zb[k] += part.f[k + 1] * zb[k + 1];
  }
}

// The adjoint of edges that come one after the other; those of one parameter are summed first.
template <class T>
class EdgeAdjoint {
 public:
  explicit EdgeAdjoint(Weights<T>& weights) : weights_(weights) {}
  void add(Index e, const T& bar) {
    if (last_ >= 0 && !weights_.same_parameter(e, last_)) {
      flush();
    }
    last_ = e;
    sum_ += weights_.coefficient(e) * bar;
  }
  void flush() {
    weights_.add_parameter_adjoint(last_, sum_);
    sum_ = T(0.0);
  }

 private:
  Weights<T>& weights_;
  Index last_ = -1;
  T sum_{0.0};
};

// h: (n_places); r: (n); outflow_part: (runs of the block); kept: path_sojourn has kept the parts.
template <bool kept, class T>
void path_gradient(const Block<T>& b, Weights<T>& weights, const T* z, const T* r, T* h,
                   T* outflow_part) {
  const Index n = b.code.n;
  const T* zb = z + b.first;
  T* hb = h + b.first;
  PathParts<T> part(b);
  PathSteps<T> step{b, weights};
  T reward(0.0);
  for (Index k = 0; k < n; ++k) {
    reward = r[k] +
             weights.pull_parts(b.program.outflow, b.first + k, h, outflow_part + b.run(k)) +
             (kept ? part.f[k] : step.next().f) * reward;
    if constexpr (!kept) {
      part.store(step);
    }
    hb[k] = reward * (kept ? b.inverse[k] : step.inverse);
  }
  EdgeAdjoint<T> up(weights), down(weights);
  T h_next(0.0);
  for (Index k = n - 1; k >= 0; --k) {
    const T hk = hb[k] + part.climb[k] * h_next;
    if (k + 1 < n) {
      const T difference = hb[k] - part.leave[k] * h_next;
      up.add(b.inside_end(k) - 1, -(zb[k] * difference));
      down.add(b.inside_begin(k + 1), zb[k + 1] * difference);
    }
    hb[k] = hk;
    h_next = hk;
    weights.add_outflow_adjoint(b.first + k, zb[k], hk, outflow_part + b.run(k));
  }
  up.flush();
  down.flush();
}

}  // namespace phasic::PHASIC_ISA
