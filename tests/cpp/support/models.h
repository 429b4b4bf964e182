// Seeded random models, one family a feature that the engine must get right.
#pragma once

#include <cmath>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "phasic/graph.h"

namespace models {

using phasic::at;
using phasic::Graph;
using phasic::GraphBuilder;
using phasic::GraphPtr;
using phasic::Index;
using phasic::Span;

// Uniform in [low, high); the same numbers with every standard library.
inline double uniform(std::mt19937& random, double low, double high) {
  return low + (high - low) * (static_cast<double>(random()) / 4294967296.0);
}
inline bool chance(std::mt19937& random, double probability) {
  return uniform(random, 0, 1) < probability;
}
inline Index below(std::mt19937& random, Index bound) {
  return static_cast<Index>(random() % static_cast<std::uint32_t>(bound));
}

struct Family {
  std::string name;
  bool discrete = false;
  Index n = 10;              // transient vertices that the start reaches
  Index n_params = 2;
  Index group = 1;           // vertices of one SCC; 1 = acyclic
  double extra = 1.5;        // further edges a vertex, besides a path through all of them
  double decades = 0;        // weights spread over so many powers of ten
  bool self_loops = false;
  bool duplicates = false;   // several vertices with one state
  bool unreachable = false;  // transient vertices and a trap that the start does not reach
  bool zeros = false;        // the last parameter may be 0: edges vanish
  bool defect = false;       // start weights sum to less than 1
  bool atoms = false;        // start edges into absorbing vertices
  bool negative = false;     // coefficients of both signs (weights stay positive; 2 or more parameters)
};

// Parameters are drawn from here; discrete rows stay below 1 in all of it.
inline constexpr double kThetaLow = 0.5, kThetaHigh = 1.5;

inline std::vector<double> random_theta(const Family& family, std::mt19937& random) {
  std::vector<double> theta(at(family.n_params));
  for (double& value : theta) value = uniform(random, kThetaLow, kThetaHigh);
  if (family.zeros && chance(random, 0.5)) theta.back() = 0;
  return theta;
}

namespace detail {

struct Edge {
  Index from, to;
  double constant;                   // -1: no constant part
  std::vector<double> coefficients;  // empty: no parameterised part
  [[nodiscard]] double bound() const {
    double sum = std::max(constant, 0.0);
    for (const double c : coefficients) sum += std::max(c, 0.0) * kThetaHigh;
    return sum;
  }
  void scale(double factor) {
    if (constant > 0) constant *= factor;
    for (double& c : coefficients) c *= factor;
  }
};

class Generator {
 public:
  Generator(const Family& family, unsigned seed) : family_(family), random_(seed) {}

  GraphPtr run() {
    n_absorbing_ = 1 + below(random_, 3);
    n_extra_ = family_.unreachable ? 4 : 0;
    const Index n_vertices = family_.n + n_absorbing_ + n_extra_;
    row_of_.resize(at(n_vertices));
    std::iota(row_of_.begin(), row_of_.end(), Index{1});
    for (Index i = n_vertices - 1; i > 0; --i) {
      std::swap(row_of_[at(i)], row_of_[at(below(random_, i + 1))]);
    }
    add_transitions();
    if (family_.unreachable) add_unreachable();
    GraphBuilder builder(2, family_.discrete);
    for (Index v = 1; v <= n_vertices; ++v) {
      const auto tag = static_cast<std::int32_t>(family_.duplicates ? v / 3 : v);
      const std::int32_t state[] = {tag, -tag};
      builder.add_vertex({state, 2});
    }
    if (family_.discrete) {
      for (Index v = 0; v < n_vertices; ++v) limit_row(v, uniform(random_, 0.3, 0.999));
    }
    for (const Edge& edge : edges_) add(builder, row_of_[at(edge.from)], row_of_[at(edge.to)], edge);
    for (const Edge& edge : start_edges()) add(builder, 0, row_of_[at(edge.to)], edge);
    return builder.freeze();
  }

 private:
  static void add(GraphBuilder& builder, Index from, Index to, const Edge& edge) {
    if (edge.constant >= 0) builder.add_edge(from, to, edge.constant);
    if (!edge.coefficients.empty()) builder.add_edge(from, to, Span<const double>(edge.coefficients));
  }

  double random_weight() {
    return std::pow(10.0, uniform(random_, -0.5, 0.5) * (family_.decades + 1));
  }

  // essential: stays positive when the last parameter is 0.
  Edge random_edge(Index from, Index to, bool essential) {
    Edge edge{from, to, -1.0, {}};
    const bool constant = family_.n_params == 0 || chance(random_, 0.3);
    if (constant) edge.constant = random_weight();
    if (family_.n_params > 0 && (!constant || chance(random_, 0.3))) {
      edge.coefficients.assign(at(family_.n_params), 0.0);
      const Index k = essential ? 0 : below(random_, family_.n_params);
      edge.coefficients[at(k)] = random_weight();
      if (chance(random_, 0.4)) edge.coefficients[0] += random_weight();
      if (family_.negative && k == 0) edge.coefficients.back() = -0.25 * edge.coefficients[0];
    }
    return edge;
  }

  // The edges of one vertex are added one after the other.
  [[nodiscard]] bool has_edge(Index from, Index to) const {
    for (auto edge = edges_.rbegin(); edge != edges_.rend() && edge->from == from; ++edge) {
      if (edge->to == to) return true;
    }
    return false;
  }

  // Vertices 0..n-1 in path order, then the absorbing ones.
  void add_transitions() {
    const Index n = family_.n;
    for (Index i = 0; i < n; ++i) {
      const Index first = i / family_.group * family_.group;
      edges_.push_back(random_edge(i, i + 1, true));
      const bool closes = i == std::min(first + family_.group, n) - 1;
      if (closes && first < i) edges_.push_back(random_edge(i, first, true));
      for (double rest = family_.extra; chance(random_, rest); rest -= 1) {
        const Index to = first + below(random_, n + n_absorbing_ - first);
        const bool allowed = to != i && (to > i || to >= first) && !(family_.group == 1 && to < i);
        if (allowed && !has_edge(i, to)) edges_.push_back(random_edge(i, to, false));
      }
      if (family_.self_loops && chance(random_, 0.4)) edges_.push_back(random_edge(i, i, false));
    }
    if (family_.self_loops) edges_.push_back(random_edge(n, n, false));  // still absorbing
  }

  // Two vertices that lead into the model and a closed cycle, none of them entered.
  void add_unreachable() {
    const Index u = family_.n + n_absorbing_;
    edges_.push_back(random_edge(u, u + 1, false));
    edges_.push_back(random_edge(u + 1, 0, false));
    edges_.push_back(random_edge(u + 2, u + 3, false));
    edges_.push_back(random_edge(u + 3, u + 2, false));
    edges_.push_back(random_edge(u, u + 3, false));
  }

  // Scales a discrete row so that it sums to at most `total` for every theta in range.
  void limit_row(Index from, double total) {
    double sum = 0;
    for (const Edge& edge : edges_) sum += edge.from == from ? edge.bound() : 0.0;
    for (Edge& edge : edges_) {
      if (edge.from == from && sum > 0) edge.scale(total / sum);
    }
  }

  std::vector<Edge> start_edges() {
    std::vector<Edge> edges{{-1, 0, uniform(random_, 0.2, 1), {}}};
    for (Index i = 1; i < family_.n; i += 1 + below(random_, family_.n)) {
      edges.push_back({-1, i, uniform(random_, 0, 1), {}});
    }
    for (Index a = 0; family_.atoms && a < n_absorbing_; ++a) {
      edges.push_back({-1, family_.n + a, uniform(random_, 0, 1), {}});
    }
    if (family_.defect && family_.n_params > 0) {
      edges.front().coefficients.assign(at(family_.n_params), 0.2);
    }
    double sum = 0;
    for (const Edge& edge : edges) sum += edge.bound();
    for (Edge& edge : edges) edge.scale((family_.defect ? uniform(random_, 0.5, 0.9) : 1.0) / sum);
    return edges;
  }

  const Family& family_;
  std::mt19937 random_;
  Index n_absorbing_ = 1, n_extra_ = 0;
  std::vector<Index> row_of_;
  std::vector<Edge> edges_;
};

}  // namespace detail

inline GraphPtr random_model(const Family& family, unsigned seed) {
  return detail::Generator(family, seed).run();
}

// Every feature alone and some together, first in continuous, then in discrete time. The wide front
// takes more than two panels of 48 pivots.
inline std::vector<Family> all_families() {
  std::vector<Family> list(14);
  list[0].name = "acyclic";
  list[1].name = "one component", list[1].group = 10, list[1].n = 10;
  list[2].name = "many components", list[2].group = 4, list[2].n = 22;
  list[3].name = "dense component", list[3].group = 18, list[3].n = 18, list[3].extra = 9;
  list[4].name = "self loops and duplicates", list[4].group = 5, list[4].self_loops = true;
  list[4].duplicates = true;
  list[5].name = "unreachable parts", list[5].group = 6, list[5].unreachable = true;
  list[6].name = "zero weights", list[6].group = 5, list[6].zeros = true, list[6].n_params = 3;
  list[7].name = "defect and atoms", list[7].group = 3, list[7].defect = true, list[7].atoms = true;
  list[8].name = "stiff", list[8].group = 7, list[8].n = 14, list[8].decades = 24;
  list[9].name = "stiff acyclic", list[9].decades = 24;
  list[10].name = "no parameters", list[10].n_params = 0, list[10].group = 4;
  list[11].name = "everything", list[11].group = 6, list[11].n = 20, list[11].n_params = 4;
  list[11].self_loops = list[11].duplicates = list[11].unreachable = list[11].zeros = true;
  list[11].defect = list[11].atoms = list[11].negative = true, list[11].decades = 3;
  list[12].name = "wide front", list[12].n = list[12].group = 101, list[12].extra = 60;
  list[13].name = "sparse component", list[13].n = list[13].group = 60, list[13].extra = 2;
  const std::size_t n = list.size();
  for (std::size_t i = 0; i < n; ++i) {
    Family discrete = list[i];
    discrete.discrete = true;
    discrete.name += ", discrete";
    list.push_back(discrete);
  }
  return list;
}

}  // namespace models
