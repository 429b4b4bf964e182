#include "distribution/traps.h"

namespace phasic::detail {
namespace {

class Search {
 public:
  Search(const Program& program, Span<const double> start, Span<const double> weight)
      : p_(program), start_(start), weight_(weight), sources_(at(program.n_positions)) {
    for (Index k = 0; k < p_.n_positions; ++k) {
      for (Index e = p_.out_begin[at(k)]; e < p_.out_begin[at(k + 1)]; ++e) {
        if (weight_[e] > 0 && p_.out_target[at(e)] >= 0) {
          sources_[at(p_.out_target[at(e)])].push_back(static_cast<std::int32_t>(k));
        }
      }
    }
  }

  [[nodiscard]] Traps run() {
    Traps traps;
    traps.reached = forwards();
    traps.absorbs = backwards([&](Index k) {
      for (Index e = p_.out_begin[at(k)]; e < p_.out_begin[at(k + 1)]; ++e) {
        if (weight_[e] > 0 && p_.out_target[at(e)] < 0) {
          return true;
        }
      }
      return false;
    });
    const std::vector<bool> to_trap = backwards([&](Index k) { return !traps.absorbs[at(k)]; });
    for (Index e = 0; e < start_.size(); ++e) {
      const Index target = p_.start_target[at(e)];
      if (start_[e] == 0 && target >= 0 && to_trap[at(target)]) {
        append_parameters(p_.start_edge[at(e)], traps.way_in);
      }
    }
    for (Index k = 0; k < p_.n_positions; ++k) {
      for (Index e = p_.out_begin[at(k)]; e < p_.out_begin[at(k + 1)]; ++e) {
        if (!traps.reached[at(k)] || weight_[e] != 0) {
          continue;
        }
        const Index target = p_.out_target[at(e)];
        if (traps.absorbs[at(k)] && target >= 0 && to_trap[at(target)]) {
          append_parameters(p_.out_edge[at(e)], traps.way_in);
        } else if (!traps.absorbs[at(k)] && (target < 0 || traps.absorbs[at(target)])) {
          append_parameters(p_.out_edge[at(e)], traps.way_out);
        }
      }
    }
    return traps;
  }

 private:
  void append_parameters(Index graph_edge, std::vector<std::int32_t>& list) const {
    const Graph& g = *p_.graph;
    list.insert(list.end(), g.coef_param.begin() + g.coef_begin[at(graph_edge)],
                g.coef_param.begin() + g.coef_begin[at(graph_edge + 1)]);
  }

  [[nodiscard]] std::vector<bool> forwards() {
    std::vector<bool> seen(at(p_.n_positions));
    std::vector<Index> stack;
    const auto visit = [&](Index target, double weight) {
      if (target >= 0 && weight > 0 && !seen[at(target)]) {
        seen[at(target)] = true;
        stack.push_back(target);
      }
    };
    for (Index e = 0; e < start_.size(); ++e) {
      visit(p_.start_target[at(e)], start_[e]);
    }
    while (!stack.empty()) {
      const Index k = stack.back();
      stack.pop_back();
      for (Index e = p_.out_begin[at(k)]; e < p_.out_begin[at(k + 1)]; ++e) {
        visit(p_.out_target[at(e)], weight_[e]);
      }
    }
    return seen;
  }

  // Positions that lead to one where is_end holds, these included.
  template <class IsEnd>
  [[nodiscard]] std::vector<bool> backwards(const IsEnd& is_end) const {
    std::vector<bool> seen(at(p_.n_positions));
    std::vector<Index> stack;
    const auto visit = [&](Index k) {
      if (!seen[at(k)]) {
        seen[at(k)] = true;
        stack.push_back(k);
      }
    };
    for (Index k = 0; k < p_.n_positions; ++k) {
      if (is_end(k)) {
        visit(k);
      }
    }
    while (!stack.empty()) {
      const Index k = stack.back();
      stack.pop_back();
      for (const Index source : sources_[at(k)]) {
        visit(source);
      }
    }
    return seen;
  }

  const Program& p_;
  Span<const double> start_, weight_;
  std::vector<std::vector<std::int32_t>> sources_;  // over edges of positive weight
};

}  // namespace

Traps find_traps(const Program& program, Span<const double> start, Span<const double> weight) {
  return Search(program, start, weight).run();
}

}  // namespace phasic::detail
