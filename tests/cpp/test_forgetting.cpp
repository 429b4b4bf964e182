// What the density sweep forgets: regions whose entries no longer matter to any later result.
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "support/comparison.h"
#include "support/density_families.h"
#include "support/density_oracle.h"
#include "support/sweep.h"

using namespace sweep;
using oracle::Quad;

namespace {

struct Shape {
  Index groups = 6, size = 5;
  double decades = 0;      // over which rates spread at random
  double speed_up = 1;     // of each group over the one behind it
  double jumps = 0;        // probability of an edge over several groups
  double zeros = 0;        // probability that an extra edge between groups is left out
  double exits = 0;        // probability that a vertex can be absorbed
  bool chains = false;     // groups are delay lines instead of cycles
};

// Groups in a row, each a cycle with chords (or a line), connected forwards.
GraphPtr rows_of_groups(const Shape& shape, std::mt19937& random) {
  std::uniform_real_distribution<double> uniform(0.0, 1.0);
  const Index n = shape.groups * shape.size;
  std::vector<Transition> transitions{{0, 1, 1.0}};
  const auto add = [&](Index from, Index to, double speed) {
    const double rate = speed * std::pow(10.0, shape.decades * (uniform(random) - 0.5)) *
                        (0.5 + uniform(random));
    for (const Transition& t : transitions) {
      if (t.from == from && t.to == to) return;
    }
    transitions.push_back({from, to, rate});
  };
  double speed = 1;
  for (Index g = 0; g < shape.groups; ++g, speed /= shape.speed_up) {
    const Index first = 1 + g * shape.size;
    const auto member = [&] {
      return first + static_cast<Index>(uniform(random) * 0.999 * static_cast<double>(shape.size));
    };
    for (Index i = 0; i < shape.size; ++i) {
      const bool last = i + 1 == shape.size;
      if (!last || (!shape.chains && shape.size > 1)) {
        add(first + i, last ? first : first + i + 1, speed);
      }
      const Index to = member();
      if (!shape.chains && to != first + i) add(first + i, to, speed);
      if (uniform(random) < shape.exits) add(first + i, n + 1, speed);
    }
    add(first + shape.size - 1, first + shape.size, speed);
    if (g + 1 < shape.groups && uniform(random) >= shape.zeros) {
      add(member(), first + shape.size + 1, speed);
    }
    if (g + 3 < shape.groups && uniform(random) < shape.jumps) {
      add(member(), first + 3 * shape.size, speed);
    }
  }
  return graph_of(n + 2, transitions);
}

std::vector<Shape> shapes() {
  std::vector<Shape> list(9);
  list[1].speed_up = 2;
  list[2].speed_up = 2, list[2].jumps = 1, list[2].exits = 0.3;
  list[3].speed_up = 0.5;  // the first groups are the slowest: nothing may be forgotten early
  list[4].decades = 4, list[4].jumps = 0.5;
  list[5].chains = true, list[5].speed_up = 3;
  list[6].size = 30, list[6].groups = 3, list[6].chains = true, list[6].speed_up = 1.5;
  list[7].decades = 12, list[7].exits = 0.5, list[7].zeros = 0.5;
  list[8].size = 1, list[8].groups = 40, list[8].speed_up = 1.1, list[8].jumps = 0.7;
  return list;
}

struct Weights {
  std::vector<double> edge, start;
  explicit Weights(const Model& model) {
    const std::vector<double>& constant = model.graph().constant;
    for (const std::int32_t e : model.program->out_edge) edge.push_back(constant[at(e)]);
    for (const std::int32_t e : model.program->start_edge) start.push_back(constant[at(e)]);
  }
  template <class N>
  void load(Chain<N>& chain, const phasic::detail::TransitionLayout& layout, bool forget) const {
    chain.load(layout, Span<const double>(edge), Span<const double>(start), 1);
    chain.restart(true, forget, false);
  }
};

// Times at which the fastest state would have left so often.
std::vector<double> times_of(const Model& model, std::vector<double> steps) {
  for (double& t : steps) t /= density::rate_of(model.graph(), {});
  return steps;
}

// The largest relative difference of two chains in what is absorbed, what is left, and each entry that
// the first has kept.
double difference(const Chain<Twice<double>>& a, const Chain<Twice<double>>& b) {
  const auto relative = [&](const Twice<double>& x, const Twice<double>& y) {
    return y.high == 0 ? std::fabs(x.high) : std::fabs((x - y).high) / y.high;
  };
  const double unit = power_of_two(b.exponent() - a.exponent());
  double worst = std::max(relative(a.flux(), b.flux() * unit),
                          relative(a.total(a.v()), b.total(b.v()) * unit));
  for (Index i = 0; i < a.n(); ++i) {
    if (a.layout().region[at(i)] == 0) worst = std::max(worst, relative(a.v()[i], b.v()[i] * unit));
  }
  return worst;
}

}  // namespace

// In twice the precision, what is left out itself shows: it may be 2^-110 each time.
BOOST_AUTO_TEST_CASE(what_is_forgotten_is_below_any_rounding) {
  std::mt19937 random(7);
  Index n_forgotten = 0;
  for (const Shape& shape : shapes()) {
    for (int repeat = 0; repeat < 4; ++repeat) {
      const Model model(rows_of_groups(shape, random));
      const auto layout = phasic::detail::make_transition_layout(*model.program, Quantity::pdf);
      const Weights weights(model);
      Chain<Twice<double>> forgets, keeps;
      weights.load(forgets, layout, true);
      weights.load(keeps, layout, false);
      for (Index chunk = 0; chunk < 400; ++chunk) {
        forgets.advance_chunk([](Index) {});
        keeps.advance_chunk([](Index) {});
        if (forgets.n_regions() < layout.n_regions() && keeps.mass() > 0x1p-300) {
          BOOST_TEST(difference(forgets, keeps) < 1e-27);  // rounding over 6400 steps included
        }
      }
      n_forgotten += layout.n_regions() - forgets.n_regions();
      BOOST_TEST(keeps.n_regions() == layout.n_regions());
    }
  }
  BOOST_TEST(n_forgotten >= 20);
}

BOOST_AUTO_TEST_CASE(long_times_agree_with_the_dense_oracle) {
  std::mt19937 random(3);
  Shape shape;
  shape.groups = 5, shape.size = 4, shape.speed_up = 2, shape.exits = 0.2;
  const Model model(rows_of_groups(shape, random));
  const std::vector<double> times = times_of(model, {2.0, 100.0, 800.0, 3000.0, 12000.0});
  const oracle::Transient<Quad> dense(model.graph(), {});
  for (const Quantity quantity : {Quantity::pdf, Quantity::cdf, Quantity::sf}) {
    Sweep<double> sweep(model);
    const std::vector<double> found = sweep.run(quantity, {}, times).values();
    for (std::size_t i = 0; i < times.size(); ++i) {
      oracle::check_close(found[i], dense(quantity, Quad(times[i]))[0], 2e-12,
                          "time " + std::to_string(times[i]));
    }
  }
}

// The adjoint is that of what was computed: sum of w d/dw f = t d/dt f, and f more for a density.
// Derivatives in time come from a sweep that forgets nothing.
BOOST_AUTO_TEST_CASE(adjoints_pass_over_what_was_forgotten) {
  std::mt19937 random(5);
  for (const Shape& shape : shapes()) {
    const Model model(rows_of_groups(shape, random));
    const std::vector<double> times = times_of(model, {2.0, 300.0, 4000.0});
    for (const Quantity quantity : {Quantity::pdf, Quantity::sf}) {
      for (std::size_t i = 0; i < times.size(); ++i) {
        std::vector<double> bar(times.size(), 0.0);
        bar[i] = 1;
        Sweep<double> forgets(model, false), keeps(model);
        const Outcome<double> found = forgets.run(quantity, {}, times, bar);
        const Outcome<double> exact = keeps.run(quantity, {}, times, bar);
        double sum = 0, size = 0, worst = 0;
        for (std::size_t e = 0; e < found.edge.size(); ++e) {
          const double part = found.edge[e] * found.edge_bar[e];
          sum += part;
          size = std::max(size, std::fabs(part));
          worst = std::max(worst, std::fabs(part - found.edge[e] * exact.edge_bar[e]));
        }
        BOOST_TEST(worst <= 1e-10 * size, worst << " of " << size);
        const double expected = times[i] * exact.times_bar[i] +
                                (quantity == Quantity::pdf ? found.values()[i] : 0);
        BOOST_TEST(std::fabs(sum - expected) <= 1e-10 * size, sum << ", expected " << expected);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(lanes_forget_each_for_itself) {
  std::mt19937 random(11);
  Shape shape;
  shape.speed_up = 2;
  const GraphPtr graph = rows_of_groups(shape, random);
  // Four parameter vectors: all rates times a power of 3.
  GraphBuilder builder(1, false);
  for (std::int32_t v = 1; v < graph->n_vertices(); ++v) builder.add_vertex({&v, 1});
  for (Index u = 0; u < graph->n_vertices(); ++u) {
    for (Index e = graph->row_begin[at(u)]; e < graph->row_begin[at(u + 1)]; ++e) {
      const double coefficient = graph->constant[at(e)];
      if (u == 0) {
        builder.add_edge(u, graph->target[at(e)], coefficient);
      } else {
        builder.add_edge(u, graph->target[at(e)], Span<const double>(&coefficient, 1));
      }
    }
  }
  const Model model(builder.freeze());
  Vec<4> theta(1.0);
  for (int l = 0; l < 4; ++l) set_lane(theta, l, std::pow(3.0, l));
  std::vector<double> times{1.0, 20.0, 200.0, 700.0};  // steps: 27 times as many in the last lane
  std::vector<Vec<4>> wide_times(times.begin(), times.end()), wide_bar(times.size(), Vec<4>(1.0));
  Sweep<Vec<4>> wide(model, false);
  const Outcome<Vec<4>> all = wide.run(Quantity::pdf, {theta}, wide_times, wide_bar);
  for (int l = 0; l < 4; ++l) {
    Sweep<double> narrow(model, false);
    const Outcome<double> one = narrow.run(Quantity::pdf, {lane(theta, l)}, times,
                                           std::vector<double>(times.size(), 1.0));
    for (std::size_t i = 0; i < times.size(); ++i) BOOST_TEST(lane(all.out[i], l) == one.out[i]);
    BOOST_TEST(lane(all.theta_bar[0], l) == one.theta_bar[0]);
  }
}
