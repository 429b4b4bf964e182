// The sentence for a row that could not be sampled.

#include <sstream>

#include "distribution/sample_row.h"
#include "phasic/sample.h"

namespace phasic {
namespace {

std::string number(double value) {
  std::ostringstream out;
  out.precision(4);
  out << value;
  return out.str();
}

std::string vertices(const Graph& graph, Span<const std::int32_t> list) {
  std::string text;
  for (const std::int32_t vertex : list) {
    text += (text.empty() ? "" : ", ") + graph.state_text(vertex) + " (vertex " +
            std::to_string(vertex) + ")";
  }
  return text;
}

std::string over_budget(const Program& program, const SampleRequest& request,
                        const detail::SampleArguments& row) {
  detail::RowSampler sampler(program, request);
  static_cast<void>(sampler.prepare(row));
  return "a draw takes " + number(sampler.expected_jumps()) + " jumps on average at this theta, and " +
         std::to_string(request.n_draws) + " of them more than max_operations = " +
         number(request.max_operations) + " allows (a jump counts " + number(kOperationsOfAJump) +
         " operations, one more for each reward); draw fewer, or raise max_operations";
}

std::string bad_start(const Program& program, Span<const std::int32_t> starts) {
  const Graph& graph = *program.graph;
  for (Index i = 0; i < starts.size(); ++i) {
    const std::int32_t v = starts[i];
    if (v < 1 || v >= graph.n_vertices() ||
        (program.position_of[at(v)] < 0 && !graph.is_absorbing(v))) {
      return "start[" + std::to_string(i) + "] is " + std::to_string(v) +
             ", expected the row of a state in states() that absorbs, or that the model's start "
             "leads to";
    }
  }
  return "start holds a vertex that the model's start does not lead to";
}

}  // namespace

std::string explain(const Program& program, const SampleRequest& request, DrawStatus status,
                    Span<const double> theta, Span<const double> rewards,
                    Span<const double> horizon, Span<const std::int32_t> starts) {
  switch (status) {
    case DrawStatus::trapped:
      return "a path may never end: " +
             explain(program, Request{}, RowStatus::trapped, theta, rewards, {}) +
             ", or sample with given= or horizon=";
    case DrawStatus::bad_time:
      return "horizon is " + number(horizon.empty() ? 0 : horizon[0]) + ", expected a finite " +
             (program.graph->discrete ? "whole number >= 0" : "number >= 0");
    case DrawStatus::over_budget: {
      detail::SampleArguments row{{}, {theta.begin(), theta.end()}, {rewards.begin(), rewards.end()},
                                  horizon.empty() ? 0 : horizon[0], {starts.begin(), starts.end()}};
      return over_budget(program, request, row);
    }
    case DrawStatus::impossible:
      return "no path ends in given = " + vertices(*program.graph, request.given) +
             " at this theta";
    case DrawStatus::bad_start:
      return bad_start(program, starts);
    default:
      return explain(program, Request{}, static_cast<RowStatus>(status), theta, rewards, {});
  }
}

}  // namespace phasic
