// The acyclic graph that elimination leaves: its rows are distributions, and substitution along it
// gives the expectation.
#include <boost/test/unit_test.hpp>

#include <cmath>
#include <limits>

#include "phasic/eliminated.h"
#include "support/checks.h"
#include "support/comparison.h"
#include "support/evaluation.h"
#include "support/models.h"

using namespace phasic;
using evaluation::Inputs;
using evaluation::Outcome;

namespace {

// x[u] = 1 / rate[u] + sum_v probability[u, v] x[v] by depth-first substitution; fails on a cycle.
class Substitution {
 public:
  explicit Substitution(const EliminatedGraph& graph)
      : graph_(graph), x_(graph.rate.size()), state_(graph.rate.size(), State::fresh) {}

  double value(Index u) {
    State& state = state_[at(u)];
    BOOST_REQUIRE(state != State::open);  // a cycle
    if (state == State::done) return x_[at(u)];
    state = State::open;
    double sum = 0;
    for (Index e = graph_.row_begin[at(u)]; e < graph_.row_begin[at(u + 1)]; ++e) {
      if (graph_.probability[at(e)] > 0) {
        sum += graph_.probability[at(e)] * value(graph_.target[at(e)]);
      }
    }
    if (u > 0 && graph_.row_begin[at(u)] < graph_.row_begin[at(u + 1)]) sum += 1 / graph_.rate[at(u)];
    state = State::done;
    return x_[at(u)] = sum;
  }

 private:
  enum class State { fresh, open, done };
  const EliminatedGraph& graph_;
  std::vector<double> x_;
  std::vector<State> state_;
};

double row_sum(const EliminatedGraph& graph, Index u) {
  double sum = 0;
  for (Index e = graph.row_begin[at(u)]; e < graph.row_begin[at(u + 1)]; ++e) {
    sum += graph.probability[at(e)];
  }
  return sum;
}

ProgramPtr pair_with_exit() {  // (1) <-> (2) -> (3), one parameter an edge
  GraphBuilder builder(1);
  for (std::int32_t v = 1; v <= 3; ++v) builder.add_vertex({&v, 1});
  builder.add_edge(0, 1, 1.0);
  const std::vector<double> a{1, 0, 0}, b{0, 1, 0}, c{0, 0, 1};
  builder.add_edge(1, 2, Span<const double>(a));
  builder.add_edge(2, 1, Span<const double>(b));
  builder.add_edge(2, 3, Span<const double>(c));
  return evaluation::program_of(builder.freeze());
}

}  // namespace

BOOST_AUTO_TEST_CASE(substitution_along_the_eliminated_graph_gives_the_expectation) {
  unsigned seed = 0;
  for (const models::Family& family : models::all_families()) {
    const ProgramPtr program = evaluation::program_of(models::random_model(family, ++seed));
    std::mt19937 random(seed);
    Inputs inputs;
    inputs.theta = models::random_theta(family, random);
    const Outcome expected = evaluation::run(*program, {}, 1, inputs);
    const EliminatedGraph graph = eliminated_graph(*program, inputs.theta);
    oracle::check_close(Substitution(graph).value(0), expected.value[0], 1e-12,
                        "expectation of '" + family.name + "'");
    const Graph& whole = *program->graph;
    BOOST_TEST(ssize(graph.row_begin) == whole.n_vertices() + 1);
    Request absorption;
    absorption.quantity = Quantity::absorption;
    double start = 0;
    for (const double p : evaluation::run(*program, absorption, 1, inputs).value) start += p;
    BOOST_TEST(row_sum(graph, 0) == start, boost::test_tools::tolerance(1e-12));
    for (Index u = 1; u < whole.n_vertices(); ++u) {
      const bool has_row = graph.row_begin[at(u)] < graph.row_begin[at(u + 1)];
      BOOST_TEST(has_row == (graph.rate[at(u)] > 0));
      BOOST_TEST((!has_row || !whole.is_absorbing(u)));
      if (has_row) BOOST_TEST(row_sum(graph, u) == 1.0, boost::test_tools::tolerance(1e-14));
    }
  }
}

BOOST_AUTO_TEST_CASE(a_trap_keeps_the_edges_into_it_and_has_no_rate) {
  const EliminatedGraph graph = eliminated_graph(*pair_with_exit(), std::vector<double>{1, 2, 0});
  // The vertex that is eliminated last has nowhere to go; the other one leads to it.
  const Index last = graph.rate[1] == 0 ? 1 : 2;
  BOOST_TEST(graph.rate[at(last)] == 0);
  BOOST_TEST(row_sum(graph, last) == 0);
  BOOST_TEST(graph.rate[at(3 - last)] > 0);
  BOOST_TEST(row_sum(graph, 3 - last) == 1);
  BOOST_TEST(row_sum(graph, 0) == 1);
}

BOOST_AUTO_TEST_CASE(a_theta_that_cannot_be_evaluated_is_explained) {
  const ProgramPtr program = pair_with_exit();
  const auto refused = [&](const std::vector<double>& theta, const std::string& word) {
    checks::throws([&] { (void)eliminated_graph(*program, theta); }, ErrorCode::invalid_argument,
                   {word});
  };
  refused({1, 2}, "theta has 2 entries but the model has 3 parameters");
  refused({1, -2, 3}, "the weight -2");
  refused({1, 2, std::numeric_limits<double>::quiet_NaN()}, "theta[2] is nan");
}
