#define PHASIC_ISA isa_unbounded
#include "distribution/unbounded_rows.h"

#include <vector>

#include "distribution/planes.h"
#include "distribution/unbounded_sweep.h"

namespace phasic::PHASIC_ISA {
namespace {

// One number of derivative levels: planes to numbers, the sweep, and back.
template <class T>
class LevelSweep {
 public:
  void forward(const detail::UnboundedInput& in, bool edges, bool slopes, Span<double> exponent) {
    load(in.edge, edge_);
    load(in.start, start_);
    load(in.times, times_);
    out_.assign(times_.size(), T(0.0));
    sweep_.forward(*in.layout, Span<const T>(edge_), Span<const T>(start_), Span<const T>(times_),
                   in.truncation, in.time_levels, edges, slopes, Span<T>(out_), exponent);
  }
  void store_out(Span<double> out) const { add(out_, out); }

  void adjoint(Span<const double> out_bar, Span<const double> exponent, Span<double> edge_bar,
               Span<double> start_bar, Span<double> times_bar) {
    std::vector<T> bar, edge(at(edge_bar.size() / kPlanes), T(0.0)),
        start(at(start_bar.size() / kPlanes), T(0.0)),
        times(at(times_bar.size() / kPlanes), T(0.0));
    load(out_bar, bar);
    sweep_.adjoint(Span<const T>(bar), exponent, Span<T>(edge), Span<T>(start), Span<T>(times));
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
  std::vector<T> edge_, start_, times_, out_;
};

}  // namespace
}  // namespace phasic::PHASIC_ISA

namespace phasic::detail {

struct UnboundedRow::Sweeps {
  isa_unbounded::LevelSweep<double> none;
  isa_unbounded::LevelSweep<isa_unbounded::Dual<double>> one;
  isa_unbounded::LevelSweep<isa_unbounded::Dual<isa_unbounded::Dual<double>>> two;

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
};

UnboundedRow::UnboundedRow() = default;
UnboundedRow::UnboundedRow(UnboundedRow&&) noexcept = default;
UnboundedRow& UnboundedRow::operator=(UnboundedRow&&) noexcept = default;
UnboundedRow::~UnboundedRow() = default;

void UnboundedRow::forward(const UnboundedInput& in, Span<double> out, Span<double> exponent) {
  if (sweeps_ == nullptr) {
    sweeps_ = std::make_unique<Sweeps>();
  }
  std::fill(out.begin(), out.end(), 0.0);
  sweeps_->with(in.levels, [&](auto& sweep) {
    sweep.forward(in, false, false, exponent);
    sweep.store_out(out);
  });
}

void UnboundedRow::adjoint(const UnboundedInput& in, Span<const double> out_bar,
                           Span<const double> exponent, Span<double> edge_bar,
                           Span<double> start_bar, Span<double> times_bar) {
  if (sweeps_ == nullptr) {
    sweeps_ = std::make_unique<Sweeps>();
  }
  std::vector<double> own_exponent(at(exponent.size()));
  sweeps_->with(in.levels, [&](auto& sweep) {
    sweep.forward(in, !edge_bar.empty() || !start_bar.empty(), !times_bar.empty(),
                  Span<double>(own_exponent));
    sweep.adjoint(out_bar, exponent, edge_bar, start_bar, times_bar);
  });
}

}  // namespace phasic::detail
