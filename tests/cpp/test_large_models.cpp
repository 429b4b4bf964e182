// Models beyond a core's cache: order 1 streams component after component through one buffer, order 2
// keeps them all; both must give the same. Values are checked by the identities of expectations.
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>

#include "support/comparison.h"
#include "support/evaluation.h"
#include "support/models.h"

using namespace phasic;
using evaluation::Inputs;
using evaluation::Outcome;
using oracle::check_close;
using oracle::check_within;

namespace {

constexpr Index kRows = 5;

// Ten dense components of 120 vertices: 150 thousand slots and more.
models::Family large_family(bool discrete) {
  models::Family family;
  family.name = "large";
  family.discrete = discrete;
  family.n = 1200;
  family.group = 120;
  family.extra = 20;
  family.n_params = 3;
  family.atoms = true;
  return family;
}

struct Large {
  ProgramPtr program;
  Inputs inputs;
  explicit Large(bool discrete) {
    const models::Family family = large_family(discrete);
    program = evaluation::program_of(models::random_model(family, 1));
    std::mt19937 random(1);
    for (Index row = 0; row < kRows; ++row) {
      const std::vector<double> theta = models::random_theta(family, random);
      inputs.theta.insert(inputs.theta.end(), theta.begin(), theta.end());
    }
    inputs.tangents = {{0.5, -1, 2}};
  }
};

}  // namespace

BOOST_AUTO_TEST_CASE(streamed_and_kept_components_give_the_same) {
  for (const bool discrete : {false, true}) {
    const Large model(discrete);
    for (const KernelKind kernel : evaluation::kernels()) {
      for (const int n_levels : {0, 1}) {
        Request streamed;
        streamed.kernel = kernel;
        streamed.levels.assign(at(n_levels), Part::theta);
        Request kept = streamed;
        kept.order = 2;
        const Outcome a = evaluation::run(*model.program, streamed, kRows, model.inputs);
        const Outcome b = evaluation::run(*model.program, kept, kRows, model.inputs);
        for (Index row = 0; row < kRows; ++row) {
          check_close(a.value[at(row)], b.value[at(2 * row)], 1e-13, "value");
        }
        streamed.value = kept.value = false;
        streamed.gradient = kept.gradient = 0;
        Inputs one = model.inputs, two = model.inputs;
        one.cotangent = {1};
        two.cotangent = {1, 0};
        const Outcome c = evaluation::run(*model.program, streamed, kRows, one);
        const Outcome d = evaluation::run(*model.program, kept, kRows, two);
        for (Index i = 0; i < kRows * 3; ++i) {
          check_close(c.gradient[at(i)], d.gradient[at(i)], 1e-10, "gradient");
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(sojourns_add_up_to_the_expectation_and_absorption_to_the_start) {
  for (const bool discrete : {false, true}) {
    const Large model(discrete);
    for (const KernelKind kernel : evaluation::kernels()) {
      Request request;
      request.kernel = kernel;
      const Outcome expectation = evaluation::run(*model.program, request, kRows, model.inputs);
      request.quantity = Quantity::sojourn;
      const Outcome sojourn = evaluation::run(*model.program, request, kRows, model.inputs);
      request.quantity = Quantity::absorption;
      const Outcome absorption = evaluation::run(*model.program, request, kRows, model.inputs);
      const Index n = model.program->graph->n_vertices();
      for (Index row = 0; row < kRows; ++row) {
        double time = 0, probability = 0;
        for (Index v = 0; v < n; ++v) {
          time += sojourn.value[at(row * n + v)];
          probability += absorption.value[at(row * n + v)];
        }
        check_close(time, expectation.value[at(row)], 1e-12, "sum of sojourns");
        check_close(probability, 1, 1e-12, "sum of absorption probabilities");
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(time_scales_with_theta_along_the_gradient) {
  // All weights are linear in theta without constants: E(s theta) = E(theta) / s, so
  // theta . grad E = -E (Euler), and the Hessian along theta is -2 grad E.
  GraphArrays arrays = graph_to_arrays(*models::random_model(large_family(false), 2));
  const double sink = static_cast<double>(arrays.n_vertices);
  arrays.edges.clear();
  for (Index v = 1; v < arrays.n_vertices; ++v) {
    arrays.param_edges.insert(arrays.param_edges.end(), {static_cast<double>(v), sink, 1, 1, 1});
  }
  arrays.states.insert(arrays.states.end(), {7, 7});
  ++arrays.n_vertices;
  const ProgramPtr program = evaluation::program_of(graph_from_arrays(arrays));
  for (const KernelKind kernel : evaluation::kernels()) {
    Request request;
    request.kernel = kernel;
    request.gradient = 0;
    Inputs inputs;
    inputs.theta = {1.0, 0.7, 1.3};
    const Outcome first = evaluation::run(*program, request, 1, inputs);
    const auto& g = first.gradient;
    check_close(-(g[0] + 0.7 * g[1] + 1.3 * g[2]), first.value[0], 1e-12, "Euler");
    request.value = false;
    request.levels = {Part::theta};
    inputs.tangents = {inputs.theta};
    inputs.cotangent = {1};
    const Outcome second = evaluation::run(*program, request, 1, inputs);
    for (std::size_t k = 0; k < 3; ++k) {
      check_within(second.gradient[k], -2 * oracle::Quad(g[k]), first.value[0], 1e-12, "Hessian");
    }
  }
}

BOOST_AUTO_TEST_CASE(a_long_path_has_the_same_bits_streamed_and_kept) {
  // Up at theta_0, down at theta_1, absorbed at the end: 16 lanes exceed what is kept, 4 do not.
  constexpr std::int32_t kStates = 9000;
  GraphBuilder builder(1);
  for (std::int32_t v = 1; v <= kStates + 1; ++v) builder.add_vertex({&v, 1});
  builder.add_edge(0, 1, 1.0);
  const double up[] = {1, 0}, down[] = {0, 1};
  for (std::int32_t v = 1; v <= kStates; ++v) {
    builder.add_edge(v, v + 1, {up, 2});
    if (v > 1) builder.add_edge(v, v - 1, {down, 2});
  }
  const ProgramPtr program = evaluation::program_of(builder.freeze());
  Inputs inputs;
  for (Index row = 0; row < kRows; ++row) {
    inputs.theta.push_back(1.2 + 0.1 * static_cast<double>(row));
    inputs.theta.push_back(1);
  }
  Request request;
  request.gradient = 0;
  std::vector<Outcome> outcomes;
  for (const KernelKind kernel : {KernelKind::avx2, KernelKind::avx512}) {
    const std::vector<KernelKind> all = evaluation::kernels();
    if (std::find(all.begin(), all.end(), kernel) == all.end()) continue;
    request.kernel = kernel;
    outcomes.push_back(evaluation::run(*program, request, kRows, inputs));
    for (Index row = 0; row < kRows; ++row) {
      // E = n / (a - b) - b / (a - b)^2 (1 - (b / a)^n), the last power being 0 here.
      const double a = inputs.theta[at(2 * row)], gap = a - 1, n = kStates;
      check_close(outcomes.back().value[at(row)], n / gap - 1 / (gap * gap), 1e-12, "mean");
      check_close(outcomes.back().gradient[at(2 * row)],
                  -n / (gap * gap) + 2 / (gap * gap * gap), 1e-12, "by theta_0");
    }
  }
  if (outcomes.size() == 2) {
    BOOST_TEST(outcomes[0].value == outcomes[1].value);
    BOOST_TEST(outcomes[0].gradient == outcomes[1].gradient);
  }
}
