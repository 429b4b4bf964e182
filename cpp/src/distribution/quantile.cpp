// Quantiles of groups of rows: all searches of a group go on together, one evaluation a round.

#include "phasic/quantile.h"

#include <algorithm>
#include <numeric>
#include <sstream>

#include "distribution/job.h"
#include "distribution/root_search.h"
#include "kernel/float_state.h"
#include "kernel/thread_pool.h"

namespace phasic {
namespace {

using detail::RootSearch;

constexpr Index kRowsOfAGroup = 16;  // two vectors of the widest kernel
constexpr int kMaxRounds = 2000;     // bisection alone needs about 1100 to cross all doubles
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// One group of rows.
class Group {
 public:
  Group(const Program& program, const QuantileRequest& request, Index n_rows)
      : program_(program),
        request_(request),
        n_rows_(n_rows),
        n_(request.n_levels),
        theta_(at(n_rows * program.graph->param_length)),
        levels_(at(n_rows * n_)),
        searches_(at(n_rows * n_)),
        status_(at(n_rows), RowStatus::ok),
        spoilt_(at(n_rows)) {}

  [[nodiscard]] double* theta(Index row) { return theta_.data() + row * program_.graph->param_length; }
  [[nodiscard]] double* levels(Index row) { return levels_.data() + row * n_; }
  [[nodiscard]] double result(Index row, Index i) const {
    return status_[at(row)] != RowStatus::ok || spoilt_[at(row)] ? kNaN
                                                                 : searches_[at(row * n_ + i)].t();
  }
  [[nodiscard]] QuantileStatus status(Index row) const {
    return spoilt_[at(row)] ? QuantileStatus::bad_level
                            : static_cast<QuantileStatus>(status_[at(row)]);
  }

  void run() {
    for (Index i = 0; i < ssize(levels_); ++i) {
      spoilt_[at(i / n_)] = spoilt_[at(i / n_)] || !(levels_[at(i)] >= 0 && levels_[at(i)] <= 1);
    }
    begin();
    for (int round = 0; round < kMaxRounds && any_open(); ++round) {
      std::vector<double> times(searches_.size());
      for (std::size_t i = 0; i < times.size(); ++i) {
        times[i] = is_open(static_cast<Index>(i)) ? searches_[i].t() : 0;
      }
      const std::vector<double> pdf = at_times(Quantity::pdf, times);
      const std::vector<double> sf = is_needed(true) ? at_times(Quantity::sf, times) : pdf;
      const std::vector<double> cdf = is_needed(false) ? at_times(Quantity::cdf, times) : pdf;
      for (Index i = 0; i < ssize(searches_); ++i) {
        if (is_open(i)) {
          searches_[at(i)].update(cdf[at(i)], sf[at(i)], pdf[at(i)]);
        }
      }
    }
    if (any_open()) {
      throw Error(ErrorCode::internal, "the search for a quantile did not end");
    }
  }

 private:
  [[nodiscard]] bool is_open(Index i) const {
    return status_[at(i / n_)] == RowStatus::ok && !spoilt_[at(i / n_)] && !searches_[at(i)].is_done();
  }
  [[nodiscard]] bool any_open() const {
    for (Index i = 0; i < ssize(searches_); ++i) {
      if (is_open(i)) {
        return true;
      }
    }
    return false;
  }
  [[nodiscard]] bool is_needed(bool upper) const {
    for (Index i = 0; i < ssize(searches_); ++i) {
      if (is_open(i) && searches_[at(i)].is_upper() == upper) {
        return true;
      }
    }
    return false;
  }

  // (n_rows, output size). Faults add to the rows' statuses, except traps, which are none here.
  std::vector<double> run_request(Request request, Span<const Operand> operands,
                                  std::vector<RowStatus>* trapped = nullptr) {
    request.truncation = request_.truncation;
    request.max_operations = request_.max_operations;
    request.threads = 1;
    request.kernel = request_.kernel;
    request.density = DensityMethod::exact;
    std::vector<double> out(at(n_rows_ * output_size(program_, request)));
    std::vector<RowStatus> found(at(n_rows_));
    const Result result{out.data(), false};
    evaluate(program_, request, {&n_rows_, 1}, operands, {&result, 1}, found);
    for (Index row = 0; row < n_rows_; ++row) {
      if (status_[at(row)] == RowStatus::ok && found[at(row)] != RowStatus::trapped) {
        status_[at(row)] = found[at(row)];
      }
    }
    if (trapped != nullptr) {
      *trapped = std::move(found);
    }
    return out;
  }

  [[nodiscard]] Operand theta_operand() const {
    const Index size = program_.graph->param_length;
    return {theta_.data(), false, size, {size}};
  }

  std::vector<double> at_times(Quantity quantity, const std::vector<double>& times) {
    Request request;
    request.quantity = quantity;
    request.n_times = ssize(times) / n_rows_;
    const Operand operands[] = {theta_operand(),
                                {times.data(), false, request.n_times, {request.n_times}}};
    return run_request(request, {operands, 2});
  }

  void begin() {
    const Operand operand = theta_operand();
    std::vector<RowStatus> trapped;
    const std::vector<double> mean = run_request({}, {&operand, 1}, &trapped);
    Request absorption;
    absorption.quantity = Quantity::absorption;
    const std::vector<double> endings = run_request(absorption, {&operand, 1});
    const std::vector<double> zero(at(n_rows_));
    const std::vector<double> atom = at_times(Quantity::cdf, zero);
    const std::vector<double> alive = at_times(Quantity::sf, zero);
    const Index n_vertices = program_.graph->n_vertices();
    for (Index row = 0; row < n_rows_; ++row) {
      const bool is_trapped = trapped[at(row)] == RowStatus::trapped;
      const double* ending = endings.data() + row * n_vertices;
      const double absorbed = std::accumulate(ending, ending + n_vertices, 0.0);
      const double defect = start_defect(row);
      const double limit = is_trapped ? std::min(absorbed + defect, 1.0) : 1;
      const double guess = is_trapped ? shortest_time(row) : mean[at(row)];
      for (Index i = 0; i < n_; ++i) {
        begin_one(row, i, limit, guess, atom[at(row)], alive[at(row)]);
      }
    }
    settle_bounded_times();
  }

  void begin_one(Index row, Index i, double limit, double guess, double atom, double alive) {
    const double level = levels_[at(row * n_ + i)];
    RootSearch& search = searches_[at(row * n_ + i)];
    search.begin(level, atom, limit, guess, program_.graph->discrete);
    // The defect is a difference from 1, so it is known to half a unit in the last place of 1.
    if (search.reaches(atom, alive) || (atom > 0 && level <= atom + 0x1p-53)) {
      search.finish(0);
    } else if (level >= limit * (1 - 4 * std::numeric_limits<double>::epsilon()) &&
               (limit < 1 || level == 1)) {
      search.finish(kInfinity);
    }
  }

  // Discrete time that cannot exceed the number of positions: level 1 is reached in the first step behind
  // which nothing survives. The logarithm tells survival from underflow.
  void settle_bounded_times() {
    const auto is_one = [](double level) { return level == 1; };
    if (!program_.graph->discrete || std::none_of(levels_.begin(), levels_.end(), is_one)) {
      return;
    }
    std::vector<double> low(at(n_rows_)), high(at(n_rows_), static_cast<double>(program_.n_positions));
    std::vector<double> last = at_times(Quantity::logsf, high);
    const std::vector<double> end = last;
    bool open = true;
    while (open) {
      open = false;
      std::vector<double> times(at(n_rows_));
      for (Index row = 0; row < n_rows_; ++row) {
        times[at(row)] = low[at(row)] + std::floor((high[at(row)] - low[at(row)]) / 2);
      }
      last = at_times(Quantity::logsf, times);
      for (Index row = 0; row < n_rows_; ++row) {
        (last[at(row)] == -kInfinity ? high : low)[at(row)] = times[at(row)];
        open = open || high[at(row)] - low[at(row)] > 1;
      }
    }
    for (Index i = 0; i < ssize(levels_); ++i) {
      const Index row = i / n_;
      if (levels_[at(i)] == 1 && end[at(row)] == -kInfinity && searches_[at(i)].t() > 0) {
        searches_[at(i)].finish(high[at(row)]);
      }
    }
  }

  [[nodiscard]] double weight_of(Index row, Index e) const {
    const Graph& g = *program_.graph;
    const double* theta = theta_.data() + row * g.param_length;
    double w = g.constant[at(e)];
    for (Index c = g.coef_begin[at(e)]; c < g.coef_begin[at(e + 1)]; ++c) {
      w += g.coef_value[at(c)] * theta[g.coef_param[at(c)]];
    }
    return w;
  }

  [[nodiscard]] double start_defect(Index row) const {
    double rest = 1;
    for (const std::int32_t e : program_.start_edge) {
      rest -= weight_of(row, e);
    }
    return std::max(rest, 0.0);
  }

  // The mean stay where the process leaves fastest: a time from which to search upwards.
  [[nodiscard]] double shortest_time(Index row) const {
    double largest = 0;
    for (Index k = 0; k < program_.n_positions; ++k) {
      double rate = 0;
      for (Index e = program_.out_begin[at(k)]; e < program_.out_begin[at(k + 1)]; ++e) {
        rate += weight_of(row, program_.out_edge[at(e)]);
      }
      largest = std::max(largest, rate);
    }
    return largest > 0 ? 1 / largest : 1;
  }

  const Program& program_;
  const QuantileRequest& request_;
  const Index n_rows_, n_;
  std::vector<double> theta_, levels_;
  std::vector<RootSearch> searches_;
  std::vector<RowStatus> status_;
  std::vector<char> spoilt_;  // a level is no probability
};

Index offset(const Operand& operand, Span<const Index> batch_shape, Index row) {
  Index result = 0;
  for (Index d = batch_shape.size() - 1; d >= 0; --d) {
    result += (row % batch_shape[d]) * operand.strides[at(d)];
    row /= batch_shape[d];
  }
  return result;
}

void check(const Operand& operand, Index size, Index n_batch_dims, const char* name) {
  if (operand.size != size || ssize(operand.strides) != n_batch_dims) {
    fail("quantile request: " + std::string(name) + " has " + std::to_string(operand.size) +
         " entries, expected " + std::to_string(size));
  }
}

}  // namespace

void quantile(const Program& program, const QuantileRequest& request, Span<const Index> batch_shape,
              const Operand& theta, const Operand& levels, const Result& value,
              QuantileStatus* status) {
  if (request.n_levels < 1) {
    fail("quantile request: n_levels is " + std::to_string(request.n_levels) + ", expected >= 1");
  }
  check(theta, program.graph->param_length, batch_shape.size(), "theta");
  check(levels, request.n_levels, batch_shape.size(), "q");
  const Index n_rows = std::accumulate(batch_shape.begin(), batch_shape.end(), Index{1},
                                       [](Index a, Index b) { return a * b; });
  const FloatState state;
  parallel_for((n_rows + kRowsOfAGroup - 1) / kRowsOfAGroup, request.threads, [&](Index task) {
    const Index first = task * kRowsOfAGroup;
    const Index n = std::min(kRowsOfAGroup, n_rows - first);
    Group group(program, request, n);
    for (Index row = 0; row < n; ++row) {
      const Index from = offset(theta, batch_shape, first + row);
      for (Index i = 0; i < theta.size; ++i) {
        group.theta(row)[i] = detail::read(theta, from + i);
      }
      const Index level = offset(levels, batch_shape, first + row);
      for (Index i = 0; i < levels.size; ++i) {
        group.levels(row)[i] = detail::read(levels, level + i);
      }
    }
    group.run();
    for (Index row = 0; row < n; ++row) {
      status[first + row] = group.status(row);
      for (Index i = 0; i < request.n_levels; ++i) {
        detail::write(value, (first + row) * request.n_levels + i, group.result(row, i));
      }
    }
  });
}

std::string explain(const Program& program, const QuantileRequest& request, QuantileStatus status,
                    Span<const double> theta, Span<const double> levels) {
  if (status == QuantileStatus::bad_level) {
    for (Index i = 0; i < levels.size(); ++i) {
      if (!(levels[i] >= 0 && levels[i] <= 1)) {
        std::ostringstream text;
        text << "q[" << i << "] is " << levels[i] << ", expected a probability in [0, 1]";
        return text.str();
      }
    }
  }
  Request evaluated;
  evaluated.quantity = Quantity::cdf;
  evaluated.max_operations = request.max_operations;
  const std::string reason =
      explain(program, evaluated, static_cast<RowStatus>(status), theta, {}, {});
  return status == QuantileStatus::over_budget ? "the search for a quantile stopped: " + reason
                                               : reason;
}

}  // namespace phasic
