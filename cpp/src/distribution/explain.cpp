// The sentence for a parameter vector that could not be evaluated: expected, found, where, what to do.

#include <cmath>
#include <limits>
#include <sstream>
#include <vector>

#include "phasic/evaluate.h"

namespace phasic {
namespace {

constexpr Index kMaxListed = 5;

std::string number(double value) {
  std::ostringstream out;
  out.precision(17);
  out << value;
  return out.str();
}

double weight_of(const Graph& graph, Index e, Span<const double> theta) {
  double w = graph.constant[at(e)];
  for (Index c = graph.coef_begin[at(e)]; c < graph.coef_begin[at(e) + 1]; ++c) {
    w += graph.coef_value[at(c)] * theta[graph.coef_param[at(c)]];
  }
  return w;
}

std::string state_of(const Graph& graph, Index vertex) {
  return vertex == 0 ? std::string("the starting vertex")
                     : "state " + graph.state_text(vertex) + " (vertex " + std::to_string(vertex) + ")";
}

std::string not_finite(const char* name, Span<const double> values) {
  for (Index i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      return std::string(name) + "[" + std::to_string(i) + "] is " + number(values[i]) +
             ", expected a finite number";
    }
  }
  return {};
}

// The most negative weight, or the first that is not finite. A kernel may round a sum of terms in
// another way than weight_of, so the least weight is named even where it is 0 here.
std::string bad_weight(const Graph& graph, Span<const double> theta) {
  const auto sentence = [&](Index from, Index e, double w) {
    return "theta gives the edge from " + state_of(graph, from) + " to " +
           state_of(graph, graph.target[at(e)]) + " the weight " + number(w) +
           (w == 0 ? " or less, by rounding" : "") + ", expected a finite weight >= 0";
  };
  double least = std::numeric_limits<double>::infinity();
  std::string text;
  for (Index u = 0; u < graph.n_vertices(); ++u) {
    for (Index e = graph.row_begin[at(u)]; e < graph.row_begin[at(u) + 1]; ++e) {
      const double w = weight_of(graph, e, theta);
      if (!std::isfinite(w)) {
        return sentence(u, e, w);
      }
      if (w < least && graph.coef_begin[at(e)] < graph.coef_begin[at(e) + 1]) {
        least = w;
        text = sentence(u, e, w);
      }
    }
  }
  return text;
}

// The row with the largest sum: others may exceed 1 by rounding alone.
std::string bad_sum(const Graph& graph, Span<const double> theta, bool start_row) {
  double largest = -std::numeric_limits<double>::infinity();
  Index worst = 0;
  for (Index u = start_row ? 0 : 1; u < (start_row ? 1 : graph.n_vertices()); ++u) {
    double sum = 0;
    for (Index e = graph.row_begin[at(u)]; e < graph.row_begin[at(u) + 1]; ++e) {
      sum += weight_of(graph, e, theta);
    }
    if (sum > largest) {
      largest = sum;
      worst = u;
    }
  }
  return "theta gives " + state_of(graph, worst) + " out-edges that sum to " + number(largest) +
         ", expected probabilities that sum to at most 1";
}

// Vertices reached over positive weights from `from`; reversed: that lead to an absorbing vertex.
std::vector<bool> reached(const Graph& graph, Span<const double> theta) {
  std::vector<bool> seen(at(graph.n_vertices()));
  std::vector<Index> stack{0};
  seen[0] = true;
  while (!stack.empty()) {
    const Index u = stack.back();
    stack.pop_back();
    for (Index e = graph.row_begin[at(u)]; e < graph.row_begin[at(u) + 1]; ++e) {
      const Index v = graph.target[at(e)];
      if (!seen[at(v)] && weight_of(graph, e, theta) > 0) {
        seen[at(v)] = true;
        stack.push_back(v);
      }
    }
  }
  return seen;
}

std::vector<bool> absorbed(const Graph& graph, Span<const double> theta) {
  std::vector<std::vector<std::int32_t>> sources(at(graph.n_vertices()));
  std::vector<bool> seen(at(graph.n_vertices()));
  std::vector<Index> stack;
  for (Index u = 0; u < graph.n_vertices(); ++u) {
    for (Index e = graph.row_begin[at(u)]; e < graph.row_begin[at(u) + 1]; ++e) {
      if (weight_of(graph, e, theta) > 0) {
        sources[at(graph.target[at(e)])].push_back(static_cast<std::int32_t>(u));
      }
    }
    if (u > 0 && graph.is_absorbing(u)) {
      seen[at(u)] = true;
      stack.push_back(u);
    }
  }
  while (!stack.empty()) {
    const Index v = stack.back();
    stack.pop_back();
    for (const Index u : sources[at(v)]) {
      if (!seen[at(u)]) {
        seen[at(u)] = true;
        stack.push_back(u);
      }
    }
  }
  return seen;
}

std::string trapped(const Graph& graph, Span<const double> theta) {
  const std::vector<bool> from_start = reached(graph, theta);
  const std::vector<bool> to_absorption = absorbed(graph, theta);
  std::string names;
  Index count = 0;
  for (Index u = 1; u < graph.n_vertices(); ++u) {
    if (from_start[at(u)] && !to_absorption[at(u)]) {
      ++count;
      if (count <= kMaxListed) {
        names += (count > 1 ? ", " : "") + state_of(graph, u);
      }
    }
  }
  if (count > kMaxListed) {
    names += ", ...";
  }
  return "the expectation is infinite: the start reaches " + std::to_string(count) +
         (count == 1 ? " state" : " states") + " that cannot reach absorption at this theta: " +
         names + "; give them a way out, or use cdf and absorption_probability, which stay finite";
}

std::string bad_time(const Graph& graph, Span<const double> times) {
  for (Index i = 0; i < times.size(); ++i) {
    if (!(times[i] >= 0) || (graph.discrete && times[i] != std::floor(times[i]))) {
      return "t[" + std::to_string(i) + "] is " + number(times[i]) + ", expected " +
             (graph.discrete ? "a whole number >= 0" : "a number >= 0");
    }
  }
  return {};
}

std::string over_budget(const Program& program, Request request, Span<const double> theta,
                        Span<const double> times) {
  request.n_times = times.size();
  const DensityPlan plan = density_plan(program, request, theta, times);
  if (plan.within_budget) {
    return "the result lies so far below the range of doubles that the sweep must carry exponents of "
           "its own: about 20 times the predicted work of " + number(plan.operations) +
           " multiply-adds, which exceeds max_operations = " + number(request.max_operations) +
           ": the largest rate times the largest t is too large; shorten t or raise max_operations";
  }
  const std::string operations = number(plan.operations) + " multiply-adds or more for one parameter "
                                 "vector by ";
  const std::string limit = ", exceeds max_operations = " + number(request.max_operations);
  if (plan.method == DensityMethod::krylov) {
    return plan.exact_times > 0
               ? "the predicted work, " + operations + "uniformization at the " +
                     std::to_string(plan.exact_times) + " times whose results are too far below the "
                     "largest one for Krylov spaces" + limit +
                     "; raise max_operations, leave these times out, or use density=\"krylov\", "
                     "whose error is a share of the largest value"
               : "the predicted work, " + operations + "Krylov spaces" + limit +
                     " or the spaces exceed 2 GB; raise max_operations, or choose another density "
                     "method in the options";
  }
  const bool squaring = plan.method == DensityMethod::squaring;
  return "the predicted work, " + operations + (squaring ? "squaring" : "uniformization") + limit +
         (squaring ? " or the matrices exceed 2 GB" : ": the largest rate times the largest t is too large") +
         "; shorten t, raise max_operations, or choose another density method in the options";
}

std::string not_converged(const Program& program, Request request, Span<const double> theta,
                          Span<const double> times) {
  request.n_times = times.size();
  const DensityPlan plan = density_plan(program, request, theta, times);
  return "Krylov spaces of dimension " + std::to_string(plan.dimension) +
         " leave an estimated error of " + number(plan.error) +
         " of the largest value, expected at most 1e-10 (derivatives: 1e-8): the times lie in the far "
         "tail, or too far apart for the model; use density=\"auto\", \"exact\", \"squaring\" or "
         "\"uniformization\"";
}

}  // namespace

std::string explain(const Program& program, const Request& request, RowStatus status,
                    Span<const double> theta, Span<const double> rewards,
                    Span<const double> times) {
  const Graph& graph = *program.graph;
  std::string text;
  switch (status) {
    case RowStatus::ok:
      return "nothing is wrong with this row";
    case RowStatus::not_finite:
      for (const std::string& found : {not_finite("theta", theta), not_finite("rewards", rewards),
                                       not_finite("t", times), bad_weight(graph, theta)}) {
        text = text.empty() ? found : text;
      }
      break;
    case RowStatus::negative_weight:
      text = bad_weight(graph, theta);
      break;
    case RowStatus::start_exceeds_one:
    case RowStatus::row_exceeds_one:
      text = bad_sum(graph, theta, status == RowStatus::start_exceeds_one);
      break;
    case RowStatus::trapped:
      return trapped(graph, theta);
    case RowStatus::bad_time:
      text = bad_time(graph, times);
      break;
    case RowStatus::out_of_range:
      return "the result leaves the range of double precision at this theta: rates or rewards are "
             "too far apart (total rates must stay between 1e-290 and 1e290 and results below "
             "1.8e308); rescale the unit of time or of the rewards";
    case RowStatus::over_budget:
      return over_budget(program, request, theta, times);
    case RowStatus::not_converged:
      return not_converged(program, request, theta, times);
  }
  if (text.empty()) {
    throw Error(ErrorCode::internal, "explain() found no fault for the reported row status");
  }
  return text;
}

}  // namespace phasic
