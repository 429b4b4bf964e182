// Graphs made from graphs: at one parameter vector, and of an accumulated reward.
#pragma once

#include <vector>

#include "phasic/graph.h"

namespace phasic {

// The graph with constant weights, those at theta, (param_length). Edges of weight 0 stay: without
// them a vertex could become absorbing. Throws Error{invalid_argument} naming the edge whose weight
// comes out negative, or the row that sums to more than 1.
[[nodiscard]] GraphPtr instantiate(const Graph& graph, Span<const double> theta);

// Rewards as time: the graph whose absorption time is a reward accumulated in another graph.
//
// Its weights are functions of the model's weights that the caller evaluates:
//   weight[k] = scale[k] * (sum of w[direct_edge] + sum of w[through_edge] * h[entry, vertex])
//   weight[k] = 1 - sum of weight[rest_of]                                (the rests, in discrete time)
// with w the edge weights of the model and h[i, v] the probability that entry i of the zero graph is
// absorbed in v. Nothing is subtracted but in a rest, which is a probability to stay.

// The sums, one term an entry of the lists.
struct RewardTerms {
  std::vector<std::int64_t> direct_weight, direct_edge;
  std::vector<std::int64_t> through_weight, through_edge, through_entry, through_vertex;
  std::vector<std::int64_t> rest_weight, rest_of;
  std::vector<double> scale;  // (n_weights)
};

struct RewardGraph {
  GraphPtr graph;                    // weight k is its parameter k
  std::vector<std::int64_t> origin;  // (vertices of graph) vertex of the model, -1 if added
  // The model with its kept vertices made absorbing, started in entry i by one more parameter,
  // param_length + i; null if no vertex is eliminated.
  GraphPtr zero_graph;
  std::vector<std::int64_t> entry;   // vertices without reward that kept vertices lead to
  RewardTerms terms;
};

// Vertices without reward are eliminated. In discrete time rewards are whole numbers, and a vertex
// with reward k becomes k vertices in a row. Vertices without reward that lead neither to reward nor
// to absorption are kept: they trap. Rewards of starting and absorbing vertices are ignored.
// Throws Error{invalid_argument} naming the first reward that is not finite, negative, or (discrete)
// not whole; Error{budget} if the result would be too large.
[[nodiscard]] RewardGraph reward_graph(const Graph& graph, Span<const double> rewards);

}  // namespace phasic
