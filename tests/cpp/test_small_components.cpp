// Components of 2 to some 40 vertices, from trees to complete graphs: each width that a last front has
// code for, elimination entry by entry, and what lies just beyond both. Values and gradients against
// quadruple precision; the same bits from both wide instruction sets and for every batch.
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <set>

#include "support/comparison.h"
#include "support/dense_oracle.h"
#include "support/evaluation.h"
#include "support/models.h"

using namespace phasic;
using evaluation::Inputs;
using evaluation::Outcome;
using oracle::check_within;
using oracle::Jet1;

namespace {

constexpr Index kRows = 19;  // one block of 16 lanes and a part of the next
constexpr Index kParams = 3;

struct Small {
  GraphPtr graph;
  ProgramPtr program;
  Inputs inputs;

  // extra: further edges a vertex, besides a path through all of them and one back.
  Small(Index n, double extra, bool discrete, unsigned seed) {
    models::Family family;
    family.name = "small";
    family.n = family.group = n;
    family.extra = extra;
    family.discrete = discrete;
    family.decades = discrete ? 0 : 16;
    family.n_params = kParams;
    family.zeros = seed % 3 == 0;
    family.defect = true;
    graph = models::random_model(family, seed);
    program = evaluation::program_of(graph);
    std::mt19937 random(seed);
    for (Index row = 0; row < kRows; ++row) {
      const std::vector<double> theta = models::random_theta(family, random);
      inputs.theta.insert(inputs.theta.end(), theta.begin(), theta.end());
    }
  }
};

std::vector<Small> small_models() {
  std::vector<Small> list;
  unsigned seed = 0;
  for (Index n = 2; n <= kSmallFront + 3; ++n) {
    for (const double extra : {0.3, 2.0, 4.0, 8.0, 2.0 * static_cast<double>(n)}) {
      list.emplace_back(n, extra, seed % 2 == 1, seed);
      ++seed;
    }
  }
  for (const Index n : {24, 40}) {
    for (const double extra : {0.2, 0.6, 1.2, 3.0, static_cast<double>(n)}) {
      list.emplace_back(n, extra, seed % 2 == 1, seed);
      ++seed;
    }
  }
  return list;
}

}  // namespace

BOOST_AUTO_TEST_CASE(the_models_reach_every_small_front_and_all_kinds_of_entries) {
  std::set<Index> widths;
  Index pulled = 0, steps_before_fronts = 0;
  for (const Small& model : small_models()) {
    for (const ComponentCodePtr& code : model.program->block_code) {
      if (code->n == 1) continue;
      pulled += code->is_pulled();
      steps_before_fronts += code->is_pulled() && code->supernodes.back().width > 1
                                 ? ssize(code->supernodes) - 1
                                 : 0;
      widths.insert(code->supernodes.back().width);
    }
  }
  for (Index width = 4; width <= kSmallFront; ++width) {
    BOOST_TEST(widths.count(width) == 1U, "no last front of width " << width);
  }
  BOOST_TEST(*widths.rbegin() > kSmallFront);
  BOOST_TEST(pulled > 20);
  BOOST_TEST(steps_before_fronts > 50);
}

BOOST_AUTO_TEST_CASE(values_and_gradients_agree_with_quadruple_precision) {
  Request request;
  request.gradient = static_cast<int>(Part::theta);
  for (const Small& model : small_models()) {
    const std::vector<Jet1> ones(at(model.graph->n_vertices()), Jet1(1.0));
    std::vector<Outcome> outcomes;
    for (const KernelKind kernel : evaluation::kernels()) {
      request.kernel = kernel;
      outcomes.push_back(evaluation::run(*model.program, request, kRows, model.inputs));
    }
    for (const Index row : {Index{0}, kRows - 1}) {
      for (Index m = 0; m < kParams; ++m) {
        const double* theta = &model.inputs.theta[at(row * kParams)];
        std::vector<Jet1> jets(theta, theta + kParams);
        jets[at(m)].slope = 1;
        const Jet1 f = oracle::Dense<Jet1>(*model.graph, jets).moments(ones, 1)[0];
        for (const Outcome& out : outcomes) {
          check_within(out.value[at(row)], f.value, f.value, 1e-13, "value");
          check_within(out.gradient[at(row * kParams + m)] * theta[m], f.slope * theta[m], f.value,
                       1e-13, "gradient");
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(bits_depend_neither_on_the_width_nor_on_the_batch) {
  Request request;
  request.gradient = static_cast<int>(Part::theta);
  const std::vector<KernelKind> all = evaluation::kernels();
  for (const Small& model : small_models()) {
    std::vector<Outcome> outcomes;
    for (const KernelKind kernel : {KernelKind::avx2, KernelKind::avx512}) {
      if (std::find(all.begin(), all.end(), kernel) == all.end()) continue;
      request.kernel = kernel;
      outcomes.push_back(evaluation::run(*model.program, request, kRows, model.inputs));
      for (const Index row : {Index{0}, Index{7}, kRows - 1}) {
        Inputs one;
        const auto begin = model.inputs.theta.begin() + row * kParams;
        one.theta.assign(begin, begin + kParams);
        const Outcome alone = evaluation::run(*model.program, request, 1, one);
        BOOST_TEST(alone.value[0] == outcomes.back().value[at(row)]);
        for (Index m = 0; m < kParams; ++m) {
          BOOST_TEST(alone.gradient[at(m)] == outcomes.back().gradient[at(row * kParams + m)]);
        }
      }
    }
    if (outcomes.size() == 2) {
      BOOST_TEST(outcomes[0].value == outcomes[1].value);
      BOOST_TEST(outcomes[0].gradient == outcomes[1].gradient);
    }
  }
}
