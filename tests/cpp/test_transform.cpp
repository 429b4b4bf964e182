// Graphs made from graphs: expectations of what was made are those of rewards in the original.
#include <boost/test/unit_test.hpp>

#include <random>

#include "phasic/eliminated.h"
#include "phasic/transform.h"
#include "support/checks.h"
#include "support/comparison.h"
#include "support/evaluation.h"
#include "support/models.h"

using namespace phasic;
using evaluation::Inputs;
using evaluation::program_of;

namespace {

std::vector<double> moments_of(const Program& program, const std::vector<double>& rewards) {
  Request request;
  request.order = 2;
  request.n_rewards = rewards.empty() ? -1 : 1;
  Inputs inputs;
  inputs.rewards = rewards;
  return evaluation::run(program, request, 1, inputs).value;
}

// Absorption probabilities of the zero graph from one entry, of constant weights but for the start.
std::vector<double> leaving(const Program& zero, Index n_entries, Index entry) {
  Request request;
  request.quantity = Quantity::absorption;
  Inputs inputs;
  inputs.theta.assign(at(n_entries), 0.0);
  inputs.theta[at(entry)] = 1.0;
  return evaluation::run(zero, request, 1, inputs).value;
}

// The weights of a reward's graph, by its terms one after the other.
std::vector<double> weights_of(const RewardGraph& made, const Graph& model) {
  const RewardTerms& terms = made.terms;
  std::vector<double> weight(terms.scale.size(), 0.0);
  for (std::size_t i = 0; i < terms.direct_weight.size(); ++i) {
    weight[at(terms.direct_weight[i])] += model.constant[at(terms.direct_edge[i])];
  }
  std::vector<std::vector<double>> from;
  if (made.zero_graph != nullptr) {
    const ProgramPtr zero = program_of(made.zero_graph);
    for (Index i = 0; i < ssize(made.entry); ++i) {
      from.push_back(leaving(*zero, ssize(made.entry), i));
    }
  }
  for (std::size_t i = 0; i < terms.through_weight.size(); ++i) {
    weight[at(terms.through_weight[i])] +=
        model.constant[at(terms.through_edge[i])] *
        from[at(terms.through_entry[i])][at(terms.through_vertex[i])];
  }
  for (std::size_t k = 0; k < weight.size(); ++k) weight[k] *= terms.scale[k];
  std::vector<double> moved(weight.size(), 0.0);
  for (std::size_t i = 0; i < terms.rest_weight.size(); ++i) {
    moved[at(terms.rest_weight[i])] += weight[at(terms.rest_of[i])];
  }
  for (const Index k : terms.rest_weight) weight[at(k)] = std::max(1 - moved[at(k)], 0.0);
  return weight;
}

GraphPtr pair_with_exit() {  // (1) <-> (2) -> (3), weight theta into (3)
  GraphBuilder builder(1);
  for (std::int32_t v = 1; v <= 3; ++v) builder.add_vertex({&v, 1});
  builder.add_edge(0, 1, 1.0);
  builder.add_edge(1, 2, 1.0);
  builder.add_edge(2, 1, 1.0);
  const std::vector<double> one{1};
  builder.add_edge(2, 3, Span<const double>(one));
  return builder.freeze();
}

}  // namespace

BOOST_AUTO_TEST_CASE(moments_of_what_was_made_are_those_of_the_rewards) {
  unsigned seed = 0;
  for (const models::Family& family : models::all_families()) {
    const GraphPtr model = models::random_model(family, ++seed);
    std::mt19937 random(seed);
    const std::vector<double> theta = models::random_theta(family, random);
    const GraphPtr fixed = instantiate(*model, theta);
    BOOST_TEST(fixed->param_length == 0);
    const ProgramPtr program = program_of(fixed);
    std::vector<double> rewards(at(model->n_vertices()));
    for (double& r : rewards) {
      r = random() % 3 == 0 ? 0.0 : family.discrete ? double(random() % 3 + 1) : double(random() % 7) + 0.5;
    }
    const std::vector<double> expected = moments_of(*program, rewards);
    const std::vector<double> from_each = expected_rewards(*program, {}, rewards);
    oracle::check_close(from_each[0], expected[0], 1e-12, "from each, '" + family.name + "'");
    const RewardGraph made = reward_graph(*fixed, rewards);
    const GraphPtr concrete = instantiate(*made.graph, weights_of(made, *fixed));
    const std::vector<double> found = moments_of(*program_of(concrete), {});
    for (std::size_t k = 0; k < 2; ++k) {
      oracle::check_close(found[k], expected[k], 1e-11, "transformed, '" + family.name + "'");
    }
    for (Index v = 0; v < concrete->n_vertices(); ++v) {
      BOOST_TEST((made.origin[at(v)] < 0 ||
                  concrete->state(v)[0] == model->state(made.origin[at(v)])[0]));
    }
  }
}

BOOST_AUTO_TEST_CASE(instantiating_refuses_what_evaluation_refuses) {
  const GraphPtr graph = pair_with_exit();
  const auto refused = [&](const std::vector<double>& theta, const std::vector<std::string>& words) {
    checks::throws([&] { return instantiate(*graph, theta); }, ErrorCode::invalid_argument, words);
  };
  refused({-2}, {"theta gives the edge from state (2) (vertex 2) to state (3)", "-2", ">= 0"});
  refused({1, 1}, {"theta has 2 entries but the model has 1"});
  refused({std::numeric_limits<double>::infinity()}, {"theta[0] is inf"});
  const GraphPtr zero = instantiate(*graph, std::vector<double>{0});
  BOOST_TEST(zero->n_edges() == graph->n_edges());  // edges of weight 0 stay
  BOOST_TEST(!zero->is_absorbing(2));
}

BOOST_AUTO_TEST_CASE(traps_wait_for_ever_if_they_earn) {
  const ProgramPtr program = program_of(instantiate(*pair_with_exit(), std::vector<double>{0}));
  const double inf = std::numeric_limits<double>::infinity();
  const std::vector<double> expected{inf, inf, inf, 0};
  BOOST_TEST(expected_rewards(*program, {}, std::vector<double>{0, 1, 0, 0}) == expected);
  BOOST_TEST(expected_rewards(*program, {}, std::vector<double>{9, 0, 0, 9}) ==
             std::vector<double>(4, 0.0));
}

BOOST_AUTO_TEST_CASE(rewards_are_checked) {
  const GraphPtr graph = pair_with_exit();
  const auto refused = [&](const std::vector<double>& rewards, const std::string& word) {
    checks::throws([&] { return reward_graph(*graph, rewards); }, ErrorCode::invalid_argument,
                   {"rewards", word});
  };
  refused({1, 1}, "2 entries");
  refused({0, -1, 0, 0}, "state (1), is -1");
  refused({std::nan(""), 1, 1, 1}, "finite");
  BOOST_TEST(reward_graph(*graph, std::vector<double>{-1, 0, 0, -1}).graph->n_vertices() == 2);
}
