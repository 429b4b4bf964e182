// One coefficient and one parameter for each edge, and the edges between blocks summed by parameter.
//
// 1. A weight with one term keeps it. Several terms become a combination, an entry of the parameters
//    that is evaluated before anything else; equal sums share one.
// 2. Absorbing vertices that are reached, and the start, get places behind the positions.
// 3. Each edge that leaves its block is listed with its source and with its target, by parameter.

#include "trace/flows.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

namespace phasic::detail {
namespace {

// Single terms of edges, making combinations where there are more.
class Terms {
 public:
  explicit Terms(Program& program) : p_(program) { p_.combination_begin = {0}; }

  // (coefficient, parameter) of a graph edge.
  std::pair<double, std::int32_t> of(Index e) {
    const Graph& g = *p_.graph;
    const auto one = static_cast<std::int32_t>(g.param_length);
    const Index begin = g.coef_begin[at(e)], end = g.coef_begin[at(e) + 1];
    if (begin == end) {
      return {g.constant[at(e)], one};
    }
    if (g.constant[at(e)] == 0 && end == begin + 1) {
      return {g.coef_value[at(begin)], g.coef_param[at(begin)]};
    }
    Sum sum;
    if (g.constant[at(e)] != 0) {
      sum.emplace_back(one, g.constant[at(e)]);
    }
    for (Index c = begin; c < end; ++c) {
      sum.emplace_back(g.coef_param[at(c)], g.coef_value[at(c)]);
    }
    return {1.0, combination(sum)};
  }

 private:
  using Sum = std::vector<std::pair<std::int32_t, double>>;

  std::int32_t combination(const Sum& sum) {
    const auto next = narrow32(p_.n_parameters(), "the number of distinct weights");
    const auto [found, is_new] = known_.emplace(sum, next);
    if (is_new) {
      for (const auto& [param, coef] : sum) {
        p_.combination_param.push_back(param);
        p_.combination_coef.push_back(coef);
      }
      p_.combination_begin.push_back(
          narrow32(ssize(p_.combination_coef), "the number of coefficients"));
    }
    return found->second;
  }

  Program& p_;
  std::map<Sum, std::int32_t> known_;
};

struct Crossing {
  std::int32_t source, target;  // places
  std::int32_t param;
  double coef;
};

void append_run(Flows& flows, const Crossing& first) {
  flows.run.push_back({first.param, narrow32(ssize(flows.term), "the number of edges"), 0.0});
}

// Crossings sorted by one end, then by parameter.
Flows group(const std::vector<Crossing>& crossings, std::int32_t Crossing::* here,
            std::int32_t Crossing::* there, Index n_places) {
  Flows flows;
  flows.term.reserve(crossings.size());
  std::size_t next = 0;
  for (Index place = 0; place < n_places; ++place) {
    flows.run_begin.push_back(narrow32(ssize(flows.run), "the number of edges"));
    const std::size_t first = next;
    for (; next < crossings.size() && crossings[next].*here == place; ++next) {
      const Crossing& c = crossings[next];
      if (next == first || crossings[next - 1].param != c.param) {
        append_run(flows, c);
      }
      flows.run.back().total += c.coef;
      flows.term.push_back({c.coef, c.*there});
    }
  }
  flows.run_begin.push_back(narrow32(ssize(flows.run), "the number of edges"));
  append_run(flows, {0, 0, 0, 0.0});
  return flows;
}

std::vector<Crossing> list_crossings(Program& p, Terms& terms) {
  std::vector<std::int32_t> place_of(at(p.graph->n_vertices()), -1);  // of absorbing vertices
  const auto place = [&](std::int32_t target) {
    if (target >= 0) {
      return target;
    }
    std::int32_t& known = place_of[at(-1 - target)];
    if (known < 0) {
      known = narrow32(p.n_positions + ssize(p.absorbing), "the number of reachable vertices");
      p.absorbing.push_back(-1 - target);
    }
    return known;
  };
  std::vector<Crossing> crossings;
  for (Index k = 0; k < p.n_positions; ++k) {
    for (Index e = p.leaving_begin[at(k)]; e < p.out_begin[at(k + 1)]; ++e) {
      crossings.push_back({static_cast<std::int32_t>(k), place(p.out_target[at(e)]),
                           p.out_param[at(e)], p.out_coef[at(e)]});
    }
  }
  const Index n_leaving = ssize(crossings);
  for (Index s = 0; s < ssize(p.start_edge); ++s) {
    const auto [coef, param] = terms.of(p.start_edge[at(s)]);
    crossings.push_back({0, place(p.start_target[at(s)]), param, coef});
  }
  p.n_places = p.n_positions + ssize(p.absorbing) + 1;
  for (Index c = n_leaving; c < ssize(crossings); ++c) {
    crossings[at(c)].source = narrow32(p.n_places - 1, "the number of reachable vertices");
  }
  return crossings;
}

}  // namespace

void attach_flows(Program& p) {
  Terms terms(p);
  for (const Index e : p.out_edge) {
    const auto [coef, param] = terms.of(e);
    p.out_coef.push_back(coef);
    p.out_param.push_back(param);
  }
  p.has_negative_coef = std::any_of(p.graph->coef_value.begin(), p.graph->coef_value.end(),
                                    [](double c) { return c < 0; });
  std::vector<Crossing> crossings = list_crossings(p, terms);
  const auto by = [&](auto key) {
    std::stable_sort(crossings.begin(), crossings.end(),
                     [&](const Crossing& a, const Crossing& b) { return key(a) < key(b); });
  };
  by([](const Crossing& c) { return std::tuple(c.source, c.param, c.target); });
  p.outflow = group(crossings, &Crossing::source, &Crossing::target, p.n_places);
  by([](const Crossing& c) { return std::tuple(c.target, c.param, c.source); });
  p.inflow = group(crossings, &Crossing::target, &Crossing::source, p.n_places);
  for (Index b = 0; b < p.n_blocks(); ++b) {
    const Index begin = p.outflow.run_begin[at(p.block_begin[at(b)])];
    p.max_block_runs =
        std::max(p.max_block_runs, p.outflow.run_begin[at(p.block_begin[at(b + 1)])] - begin);
  }
}

}  // namespace phasic::detail
