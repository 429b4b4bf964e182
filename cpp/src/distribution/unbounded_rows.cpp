#define PHASIC_ISA isa_unbounded
#include "distribution/unbounded_rows.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "distribution/planes.h"
#include "distribution/unbounded_squaring.h"
#include "distribution/unbounded_sweep.h"

namespace phasic::PHASIC_ISA {
namespace {

// One number of derivative levels: planes to numbers, one of the methods, and back.
template <class T>
class LevelMethods {
 public:
  void forward(const detail::UnboundedInput& in, bool squaring, bool edges, bool slopes,
               Span<double> exponent) {
    load(in.edge, edge_);
    load(in.start, start_);
    load(in.times, times_);
    out_.assign(times_.size(), T(0.0));
    const Span<const T> edge(edge_), start(start_), times(times_);
    if (squaring) {
      squaring_.forward(*in.layout, edge, start, times, in.time_levels, slopes, Span<T>(out_),
                        exponent);
    } else {
      sweep_.forward(*in.layout, edge, start, times, in.truncation, in.time_levels, edges, slopes,
                     Span<T>(out_), exponent);
    }
  }
  void store_out(Span<double> out) const { add(out_, out); }

  void adjoint(bool squaring, Span<const double> out_bar, Span<const double> exponent,
               Span<double> edge_bar, Span<double> start_bar, Span<double> times_bar) {
    std::vector<T> bar, edge(at(edge_bar.size() / kPlanes), T(0.0)),
        start(at(start_bar.size() / kPlanes), T(0.0)),
        times(at(times_bar.size() / kPlanes), T(0.0));
    load(out_bar, bar);
    const auto reverse = [&](auto& method) {
      method.adjoint(Span<const T>(bar), exponent, Span<T>(edge), Span<T>(start), Span<T>(times));
    };
    if (squaring) {
      reverse(squaring_);
    } else {
      reverse(sweep_);
    }
    add(edge, edge_bar);
    add(start, start_bar);
    add(times, times_bar);
  }

 private:
  static constexpr Index kPlanes = Index{1} << Traits<T>::levels;

  static void load(Span<const double> planes, std::vector<T>& to) {
    const Index size = planes.size() / kPlanes;
    to.assign(at(size), T(0.0));
    for (Index s = 0; s < kPlanes; ++s) {
      for (Index i = 0; i < size; ++i) {
        set_plane(to[at(i)], s, 0, planes[s * size + i]);
      }
    }
  }
  static void add(const std::vector<T>& from, Span<double> planes) {
    for (Index s = 0; s < kPlanes; ++s) {
      for (Index i = 0; i < ssize(from); ++i) {
        planes[s * ssize(from) + i] += plane_of(from[at(i)], s, 0);
      }
    }
  }

  UnboundedSweep<T> sweep_;
  UnboundedSquaring<T> squaring_;
  std::vector<T> edge_, start_, times_, out_;
};

}  // namespace
}  // namespace phasic::PHASIC_ISA

namespace phasic::detail {
namespace {

// Multiply-adds of doubles in the time of one of these numbers, measured for single rows.
constexpr double kUnboundedCost = 20;
constexpr double kSeriesTerms = 24;
constexpr double kMaxSquaringBytes = 1e9;

double largest_rate(const UnboundedInput& in) {
  if (in.layout->discrete) {
    return 1;
  }
  double rate = 0;
  for (Index k = 0; k < in.layout->n_positions; ++k) {
    double sum = 0;
    for (std::int32_t e = in.layout->out_begin[at(k)]; e < in.layout->out_begin[at(k + 1)]; ++e) {
      sum += in.edge[e];
    }
    rate = std::max(rate, sum);
  }
  return rate;
}

// The times (their numbers) that are evaluated together, and how.
struct Share {
  std::vector<Index> times;
  double longest = 0;
  double operations = 0;
};
struct Plan {
  Share swept, squared;
};

double sweep_operations(const TransitionLayout& layout, double rate, const Share& share) {
  const Index row = layout.n_transitions() + layout.n_exits() + layout.n_positions;
  return predicted_steps(layout.discrete, rate, share.longest) *
         static_cast<double>(row + 2 * ssize(share.times));
}
double squaring_operations(const TransitionLayout& layout, double rate, const Share& share) {
  const double n = static_cast<double>(layout.n_positions);
  const double digits = std::log2(std::max(4 * rate * share.longest, 2.0)) + 1;
  const double entries = static_cast<double>(layout.n_transitions()) + n;
  return digits * n * n * (n / 2 + static_cast<double>(ssize(share.times))) +
         kSeriesTerms * entries * (n + static_cast<double>(ssize(share.times)));
}

// Squaring takes the times that are long enough, if that is cheaper.
Plan plan_of(const UnboundedInput& in) {
  const TransitionLayout& layout = *in.layout;
  const double rate = largest_rate(in), n = static_cast<double>(layout.n_positions);
  const Index n_times = in.times.size() >> in.levels;
  Share all, some, long_enough;
  for (Index t = 0; t < n_times; ++t) {
    const double time = in.times[t];
    const bool is_long = layout.quantity != Quantity::cdf &&
                         (layout.discrete ? time >= 1 : rate * time >= n);
    for (Share* share : {&all, is_long ? &long_enough : &some}) {
      share->times.push_back(t);
      share->longest = std::max(share->longest, time);
    }
  }
  all.operations = sweep_operations(layout, rate, all);
  some.operations = some.times.empty() ? 0 : sweep_operations(layout, rate, some);
  long_enough.operations = squaring_operations(layout, rate, long_enough);
  const double bytes = 64 * std::ldexp(n * n, 2 * in.levels);
  const bool square = !long_enough.times.empty() && bytes * 32 <= kMaxSquaringBytes &&
                      some.operations + long_enough.operations < all.operations;
  return square ? Plan{some, long_enough} : Plan{all, {}};
}

// The planes of some of the times.
std::vector<double> picked(Span<const double> planes, Index n_times,
                           const std::vector<Index>& times) {
  std::vector<double> result;
  for (Index first = 0; first < planes.size(); first += n_times) {
    for (const Index t : times) {
      result.push_back(planes[first + t]);
    }
  }
  return result;
}
void add_back(const std::vector<double>& from, Index n_times, const std::vector<Index>& times,
              Span<double> planes) {
  Index next = 0;
  for (Index first = 0; first < planes.size(); first += n_times) {
    for (const Index t : times) {
      planes[first + t] += from[at(next++)];
    }
  }
}

}  // namespace

double predicted_unbounded_operations(const UnboundedInput& in) {
  const Plan plan = plan_of(in);
  return kUnboundedCost * (plan.swept.operations + plan.squared.operations);
}

struct UnboundedRow::Methods {
  isa_unbounded::LevelMethods<double> none;
  isa_unbounded::LevelMethods<isa_unbounded::Dual<double>> one;
  isa_unbounded::LevelMethods<isa_unbounded::Dual<isa_unbounded::Dual<double>>> two;

  template <class F>
  void with(int levels, F&& f) {
    if (levels == 0) {
      f(none);
    } else if (levels == 1) {
      f(one);
    } else {
      f(two);
    }
  }
  // f(methods, squaring, input of those times, their numbers) for each share of the plan.
  template <class F>
  void for_each_share(const UnboundedInput& in, F&& f) {
    const Plan plan = plan_of(in);
    const Index n_times = in.times.size() >> in.levels;
    for (const Share* share : {&plan.swept, &plan.squared}) {
      if (!share->times.empty()) {
        UnboundedInput part = in;
        const std::vector<double> times = picked(in.times, n_times, share->times);
        part.times = times;
        with(in.levels, [&](auto& methods) {
          f(methods, share == &plan.squared, part, share->times);
        });
      }
    }
  }
};

UnboundedRow::UnboundedRow() : methods_(std::make_unique<Methods>()) {}
UnboundedRow::UnboundedRow(UnboundedRow&&) noexcept = default;
UnboundedRow& UnboundedRow::operator=(UnboundedRow&&) noexcept = default;
UnboundedRow::~UnboundedRow() = default;

void UnboundedRow::forward(const UnboundedInput& in, Span<double> out, Span<double> exponent) {
  std::fill(out.begin(), out.end(), 0.0);
  std::fill(exponent.begin(), exponent.end(), 0.0);
  methods_->for_each_share(in, [&](auto& methods, bool squaring, const UnboundedInput& part,
                                   const std::vector<Index>& times) {
    std::vector<double> some(at(part.times.size())), some_exponent(times.size());
    methods.forward(part, squaring, false, false, some_exponent);
    methods.store_out(some);
    add_back(some, exponent.size(), times, out);
    add_back(some_exponent, exponent.size(), times, exponent);
  });
}

void UnboundedRow::adjoint(const UnboundedInput& in, Span<const double> out_bar,
                           Span<const double> exponent, Span<double> edge_bar,
                           Span<double> start_bar, Span<double> times_bar) {
  const bool edges = !edge_bar.empty() || !start_bar.empty();
  methods_->for_each_share(in, [&](auto& methods, bool squaring, const UnboundedInput& part,
                                   const std::vector<Index>& times) {
    std::vector<double> own_exponent(times.size());
    std::vector<double> slopes(times_bar.empty() ? 0 : at(part.times.size()));
    methods.forward(part, squaring, edges, !times_bar.empty(), own_exponent);
    methods.adjoint(squaring, picked(out_bar, exponent.size(), times),
                    picked(exponent, exponent.size(), times), edge_bar, start_bar, slopes);
    add_back(slopes, exponent.size(), times, times_bar);
  });
}

}  // namespace phasic::detail
