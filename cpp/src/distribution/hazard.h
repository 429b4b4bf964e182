// The hazard pdf / sf of one lane block, forward and reverse.
//
// Both are scaled numbers, mantissa * 2^exponent, so that their quotient is right where they
// underflow: for large times it tends to the decay rate of the model.
#pragma once

#include <vector>

#include "distribution/density.h"

namespace phasic::PHASIC_ISA {

template <class T>
class HazardQuantity {
 public:
  using Base = typename Traits<T>::Base;

  void resize(const Program& program, const Request& request, const TransitionLayout& layout) {
    density_request_ = request;
    density_request_.density = DensityMethod::uniformization;  // quotients need its far tails
    survival_request_ = density_request_;
    density_request_.quantity = Quantity::pdf;
    survival_request_.quantity = Quantity::sf;
    survival_layout_ = layout;
    survival_layout_.quantity = Quantity::sf;
    density_.resize(program, density_request_, layout, true);
    survival_.resize(program, survival_request_, survival_layout_, true);
    sf_.resize(at(request.n_times));
  }

  // times: (n_times), sanitised in place; out: (n_times).
  void forward(const Weights<T>& weights, RowCheck<T>& check, Span<T> times, Span<T> out) {
    density_.forward_scaled(weights, check, times, out);
    survival_.forward_scaled(weights, check, times, sf_);
    for (Index i = 0; i < out.size(); ++i) {
      out[i] = in_units(out[i] / sf_[at(i)], i);
    }
    hazard_.assign(out.begin(), out.end());
  }

  // After forward(). Adds to theta_bar inside weights or to times_bar.
  void reverse(Weights<T>& weights, Span<const T> out_bar, Span<T> times_bar) {
    pdf_bar_.resize(sf_.size());
    sf_bar_.resize(sf_.size());
    for (Index i = 0; i < out_bar.size(); ++i) {
      const T bar = out_bar[i] / sf_[at(i)];
      pdf_bar_[at(i)] = in_units(bar, i);
      sf_bar_[at(i)] = -(bar * hazard_[at(i)]);
    }
    density_.reverse_scaled(weights, pdf_bar_, times_bar);
    survival_.reverse_scaled(weights, sf_bar_, times_bar);
  }

 private:
  // x times 2^(difference of the exponents), which may leave the range where the product does not.
  [[nodiscard]] T in_units(const T& x, Index i) const {
    const Base exponent = density_.exponent()[at(i)] - survival_.exponent()[at(i)];
    const Base first = clamped(exponent, -1000.0, 1000.0);
    return scaled(scaled(x, power_of_two(first)), power_of_two(exponent - first));
  }

  Request density_request_, survival_request_;
  TransitionLayout survival_layout_;
  DensityQuantity<T> density_, survival_;
  std::vector<T> sf_, hazard_, pdf_bar_, sf_bar_;
};

}  // namespace phasic::PHASIC_ISA
