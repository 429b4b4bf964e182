// From coefficients of basis vectors to results: what each basis vector is worth at the start.
//
// Coefficients are (orders, padded dimension): one row for the value and for each derivative in t. A
// result has an order and parts, a bit for each direction in theta that it is derived by.
#pragma once

#include <cmath>
#include <vector>

#include "distribution/krylov_exponential.h"
#include "distribution/krylov_model.h"

namespace phasic::PHASIC_ISA {

template <class T>
class KrylovResults {
 public:
  void begin(Index orders) {
    orders_ = orders;
    worth_.clear();
  }
  // worth: start times the next basis vector, times the norm of the vector that the space began with.
  void add(const T& worth) { worth_.push_back(worth); }
  [[nodiscard]] Index dimension() const { return ssize(worth_); }

  [[nodiscard]] double sum(const std::vector<double>& y, Index order, Index parts) const {
    return sum_of(worth_, y, order, parts);
  }

  // The sum of the sizes of what sum() adds. Derivatives come from numbers that need not be derived ones
  // and cancel, as for sf, which hardly changes from 1 at early times: their terms count too.
  [[nodiscard]] double terms(const std::vector<double>& y, Index order, Index parts) const {
    double sum = 0;
    for (Index less = 0; less <= parts; ++less) {
      for (Index j = 0; j < dimension() && (less & ~parts) == 0; ++j) {
        sum += std::fabs(KrylovModel<T>::part(worth_[at(j)], less) * y[at(order * ssize(y) / orders_ + j)]);
      }
    }
    return sum;
  }

  // What coefficients have changed by since those of a smaller dimension.
  [[nodiscard]] std::vector<double> change(const std::vector<double>& found,
                                           const std::vector<double>& before) const {
    std::vector<double> change = found;
    const Index old_width = ssize(before) / orders_, width = ssize(found) / orders_;
    for (Index order = 0; order < orders_; ++order) {
      for (Index j = 0; j < old_width; ++j) {
        change[at(order * width + j)] -= before[at(order * old_width + j)];
      }
    }
    return change;
  }

  // The Euclidean norm of what all basis vectors are worth.
  [[nodiscard]] double size(Index parts) const {
    double sum = 0;
    for (const T& worth : worth_) {
      sum += KrylovModel<T>::part(worth, parts) * KrylovModel<T>::part(worth, parts);
    }
    return std::sqrt(sum);
  }

  // Sets what perturbed_sum() takes: worths changed at random by up to a share of each.
  void perturb(const std::vector<double>& losses, double share) {
    perturbed_ = worth_;
    NoiseStream random;
    for (Index j = 0; j < dimension(); ++j) {
      perturbed_[at(j)] *= T(1 + share * losses[at(j)] * random.next());
    }
  }
  [[nodiscard]] double perturbed_sum(const std::vector<double>& y, Index order, Index parts) const {
    return sum_of(perturbed_, y, order, parts);
  }

 private:
  [[nodiscard]] double sum_of(const std::vector<T>& worth, const std::vector<double>& y, Index order,
                              Index parts) const {
    double sum = 0;
    for (Index j = 0; j < ssize(worth); ++j) {
      sum += KrylovModel<T>::part(worth[at(j)], parts) * y[at(order * ssize(y) / orders_ + j)];
    }
    return sum;
  }

  Index orders_ = 1;
  std::vector<T> worth_, perturbed_;
};

}  // namespace phasic::PHASIC_ISA
