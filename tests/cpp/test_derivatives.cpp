// Derivatives of the quantities of elimination: adjoints, one and two tangent levels, and adjoints of
// those, against jets in quadruple precision (the dense system differentiated exactly).
//
// Tolerance: 1e-12 of the natural size of a derivative of order k of f along t1..tk,
// f order^k prod_i max |t_i / theta|: all weights are linear in theta, so this bounds the sum of the
// terms that a derivative is made of; f itself is the size since the elasticities of a moment with
// respect to all weights together are bounded, however stiff the model.
#include <boost/test/unit_test.hpp>

#include <cmath>

#include "support/comparison.h"
#include "support/dense_oracle.h"
#include "support/evaluation.h"
#include "support/models.h"

using namespace phasic;
using evaluation::Inputs;
using evaluation::Outcome;
using models::Family;
using oracle::check_within;
using oracle::Jet1;
using oracle::Jet2;
using oracle::Jet3;
using oracle::Quad;
using oracle::widen;

namespace {

constexpr double kTolerance = 1e-12;
constexpr Index kRows = 3;

// The families, small enough for third-order jets.
std::vector<Family> small_families() {
  std::vector<Family> families = models::all_families();
  for (Family& family : families) {
    family.n = std::min<Index>(family.n, 7);
    family.group = std::min<Index>(family.group, 7);
  }
  return families;
}

std::vector<double> random_values(std::mt19937& random, Index count) {
  std::vector<double> values(at(count));
  for (double& x : values) x = models::uniform(random, -1, 1);
  return values;
}

struct Model {
  Family family;
  GraphPtr graph;
  ProgramPtr program;
  std::vector<double> theta, rewards;  // (kRows, n_params), (kRows, 2, n_vertices)

  Model(const Family& f, unsigned seed)
      : family(f), graph(models::random_model(f, seed)), program(evaluation::program_of(graph)) {
    std::mt19937 random(seed + 500);
    for (Index row = 0; row < kRows; ++row) {
      const std::vector<double> t = models::random_theta(family, random);
      theta.insert(theta.end(), t.begin(), t.end());
    }
    for (Index i = 0; i < kRows * 2 * graph->n_vertices(); ++i) {
      rewards.push_back(models::uniform(random, 0.1, 2));
    }
  }
};

Request request_of(Quantity quantity, Index order, Index n_rewards) {
  Request request;
  request.quantity = quantity;
  request.order = order;
  request.n_rewards = n_rewards;
  return request;
}

std::vector<Request> quantities() {
  return {request_of(Quantity::moments, 1, -1), request_of(Quantity::moments, 1, 2),
          request_of(Quantity::moments, 4, 1),  request_of(Quantity::moments, 2, 2),
          request_of(Quantity::moments, 3, -1), request_of(Quantity::cross_moments, 1, 1),
          request_of(Quantity::sojourn, 1, -1), request_of(Quantity::cross_moments, 1, 2),
          request_of(Quantity::absorption, 1, -1)};
}

// The quantity of a request by the oracle. T a number type with the directions seeded.
template <class T>
std::vector<T> by_oracle(const Graph& graph, const Request& request, const std::vector<T>& theta,
                         const std::vector<T>& rewards) {
  const oracle::Dense<T> model(graph, theta);
  if (request.quantity == Quantity::sojourn) return model.sojourn();
  if (request.quantity == Quantity::absorption) return model.absorption();
  const auto n = static_cast<std::ptrdiff_t>(graph.n_vertices());
  std::vector<std::vector<T>> r(1, std::vector<T>(at(n), T(1.0)));
  if (request.n_rewards > 0) r.clear();
  for (Index j = 0; j < request.n_rewards; ++j) {
    r.emplace_back(rewards.begin() + j * n, rewards.begin() + (j + 1) * n);
  }
  std::vector<T> out;
  for (const std::vector<T>& ri : r) {
    if (request.quantity == Quantity::moments) {
      for (const T& m : model.moments(ri, request.order)) out.push_back(m);
    } else {
      for (const std::vector<T>& rj : r) out.push_back(model.cross_moment(ri, rj));
    }
  }
  return out;
}

// One direction: a tangent of theta or of the rewards, the same for all rows.
struct Direction {
  Part part;
  std::vector<double> values;
};

Direction random_direction(const Model& model, const Request& request, Part part,
                           std::mt19937& random) {
  return {part, random_values(random, part_size(*model.program, request, part))};
}

struct Expected {
  std::vector<Quad> derivative;  // (output)
  std::vector<Quad> scale;       // (output)
};

// The mixed derivative along all directions at one row.
template <class T>
Expected differentiate(const Model& model, const Request& request, Index row,
                       const std::vector<Direction>& directions) {
  const Index p = model.graph->param_length, n = 2 * model.graph->n_vertices();
  std::vector<T> theta, rewards;
  for (Index i = 0; i < p; ++i) theta.emplace_back(model.theta[at(row * p + i)]);
  for (Index i = 0; i < n; ++i) rewards.emplace_back(model.rewards[at(row * n + i)]);
  Quad size = 1;
  for (std::size_t level = 0; level < directions.size(); ++level) {
    const Direction& direction = directions[level];
    std::vector<T>& x = direction.part == Part::theta ? theta : rewards;
    double largest = 0;
    for (std::size_t i = 0; i < direction.values.size(); ++i) {
      seed(x[i], static_cast<int>(level), direction.values[i]);
      const double base = direction.part == Part::theta ? models::kThetaLow : 0.1;
      largest = std::max(largest, std::abs(direction.values[i]) / base);
    }
    size *= largest * static_cast<double>(request.order + 1);
  }
  Expected expected;
  for (const T& y : by_oracle(*model.graph, request, theta, rewards)) {
    expected.derivative.push_back(top(y));
    expected.scale.push_back(oracle::magnitude(primal(y)) * size);
  }
  return expected;
}

Expected differentiate(const Model& model, const Request& request, Index row,
                       const std::vector<Direction>& directions) {
  switch (directions.size()) {
    case 1:
      return differentiate<Jet1>(model, request, row, directions);
    case 2:
      return differentiate<Jet2>(model, request, row, directions);
    default:
      return differentiate<Jet3>(model, request, row, directions);
  }
}

Inputs inputs_of(const Model& model, const Request& request,
                 const std::vector<Direction>& directions) {
  Inputs inputs;
  inputs.theta = model.theta;
  const Index n = model.graph->n_vertices();
  for (Index row = 0; row < kRows && request.n_rewards > 0; ++row) {
    const double* first = model.rewards.data() + row * 2 * n;
    inputs.rewards.insert(inputs.rewards.end(), first, first + request.n_rewards * n);
  }
  for (const Direction& direction : directions) inputs.tangents.push_back(direction.values);
  return inputs;
}

// Forward along all directions, and the gradient along all but the last, contracted with the last.
void check_against_jets(const Model& model, Request request, const std::vector<Direction>& along,
                        std::mt19937& random) {
  std::vector<Expected> expected;
  for (Index row = 0; row < kRows; ++row) {
    expected.push_back(differentiate(model, request, row, along));
  }
  const std::string where = "'" + model.family.name + "', quantity " +
                            std::to_string(static_cast<int>(request.quantity)) + ", order " +
                            std::to_string(along.size());
  const Index size = output_size(*model.program, request);
  for (const KernelKind kernel : evaluation::kernels()) {
    request.kernel = kernel;
    if (ssize(along) <= kMaxLevels) {
      Request forward = request;
      for (const Direction& direction : along) forward.levels.push_back(direction.part);
      const Outcome out =
          evaluation::run(*model.program, forward, kRows, inputs_of(model, request, along));
      for (Index i = 0; i < kRows * size; ++i) {
        const Expected& row = expected[at(i / size)];
        check_within(out.value[at(i)], row.derivative[at(i % size)], row.scale[at(i % size)],
                     kTolerance, where + ", forward");
      }
    }
    Request reverse = request;
    const std::vector<Direction> inner(along.begin(), along.end() - 1);
    for (const Direction& direction : inner) reverse.levels.push_back(direction.part);
    reverse.value = false;
    reverse.gradient = static_cast<int>(along.back().part);
    Inputs inputs = inputs_of(model, request, inner);
    inputs.cotangent = random_values(random, kRows * size);
    const Outcome out = evaluation::run(*model.program, reverse, kRows, inputs);
    const Index part = ssize(along.back().values);
    for (Index row = 0; row < kRows; ++row) {
      double found = 0;
      for (Index i = 0; i < part; ++i) {
        found += out.gradient[at(row * part + i)] * along.back().values[at(i)];
      }
      Quad total = 0, scale = 0;
      for (Index m = 0; m < size; ++m) {
        const double ct = inputs.cotangent[at(row * size + m)];
        total += ct * expected[at(row)].derivative[at(m)];
        scale += std::abs(ct) * expected[at(row)].scale[at(m)];
      }
      check_within(found, total, scale, kTolerance, where + ", reverse");
    }
  }
}

// Tangents of each order that a request allows, as parts; the last one is also the gradient's.
std::vector<std::vector<Part>> part_lists(const Request& request) {
  constexpr Part kTheta = Part::theta, kRewards = Part::rewards;
  if (request.n_rewards < 0) return {{kTheta}, {kTheta, kTheta}, {kTheta, kTheta, kTheta}};
  return {{kTheta},           {kRewards},         {kTheta, kTheta},           {kTheta, kRewards},
          {kRewards, kTheta}, {kRewards, kRewards}, {kTheta, kRewards, kTheta},
          {kTheta, kTheta, kRewards}};
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_order_and_part_agrees_with_jets) {
  std::mt19937 random(1);
  unsigned seed = 0;
  for (const Family& family : small_families()) {
    const Model model(family, ++seed);
    for (const Request& request : quantities()) {
      for (const std::vector<Part>& parts : part_lists(request)) {
        std::vector<Direction> along;
        for (const Part part : parts) {
          along.push_back(random_direction(model, request, part, random));
        }
        check_against_jets(model, request, along, random);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(components_of_several_fronts_agree_with_jets) {
  std::mt19937 random(8);
  for (const std::size_t i : {12, 13, 27}) {
    Family family = models::all_families()[i];
    family.n = family.group = i == 12 ? 53 : 30;  // more than one panel; many fronts
    const Model model(family, 44);
    for (const Request& request : {request_of(Quantity::moments, 2, 1),
                                   request_of(Quantity::absorption, 1, -1)}) {
      for (const std::vector<Part>& parts : part_lists(request)) {
        if (i == 12 && parts.size() > 2) continue;
        std::vector<Direction> along;
        for (const Part part : parts) {
          along.push_back(random_direction(model, request, part, random));
        }
        check_against_jets(model, request, along, random);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(the_gradient_of_every_edge_of_a_stiff_model_keeps_its_digits) {
  // Every edge has its own parameter. w_e df/dw_e has error 1e-13 f: the textbook formula
  // sojourn_u (x_v - x_u) loses all digits here. One-way edges, paths, a dense end.
  for (unsigned seed = 0; seed < 18; ++seed) {
    Family family = models::all_families()[seed % 2 == 0 ? 8 : 22];
    family.n_params = 0;
    if (seed >= 12) {
      family.group = family.n = seed < 16 ? 14 : 18;
      family.extra = seed < 14 ? 0.4 : seed < 16 ? 2 : 9;
    }
    GraphArrays arrays = graph_to_arrays(*models::random_model(family, seed));
    std::vector<double> theta;
    const Index n_edges = ssize(arrays.edges) / 3;
    arrays.param_length = n_edges;
    for (Index e = 0; e < n_edges; ++e) {
      arrays.param_edges.insert(arrays.param_edges.end(), arrays.edges.begin() + 3 * e,
                                arrays.edges.begin() + 3 * e + 2);
      arrays.param_edges.resize(arrays.param_edges.size() + at(n_edges), 0.0);
      *(arrays.param_edges.end() - n_edges + e) = 1.0;
      theta.push_back(arrays.edges[at(3 * e + 2)]);
    }
    arrays.edges.clear();
    const GraphPtr graph = graph_from_arrays(arrays);
    const std::vector<Jet1> ones(at(graph->n_vertices()), Jet1(1.0));
    Request request;
    request.gradient = 0;
    Inputs inputs;
    inputs.theta = theta;
    const ProgramPtr program = evaluation::program_of(graph);
    for (Index e = 0; e < n_edges; ++e) {
      std::vector<Jet1> jets(theta.begin(), theta.end());
      jets[at(e)].slope = 1;
      const Jet1 f = oracle::Dense<Jet1>(*graph, jets).moments(ones, 1)[0];
      for (const KernelKind kernel : evaluation::kernels()) {
        request.kernel = kernel;
        const Outcome out = evaluation::run(*program, request, 1, inputs);
        check_within(out.gradient[at(e)] * theta[at(e)], f.slope * theta[at(e)], f.value, 1e-13,
                     "stiff edge " + std::to_string(e));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(adjoint_and_dual_numbers_agree_in_every_component) {
  std::mt19937 random(2);
  for (const Family& family : models::all_families()) {
    const Model model(family, 60);
    for (const Request& request : quantities()) {
      const Index size = output_size(*model.program, request);
      for (const Part part : {Part::theta, Part::rewards}) {
        if (part == Part::rewards && request.n_rewards < 0) continue;
        const Index n = part_size(*model.program, request, part);
        Request reverse = request, forward = request, value = request;
        reverse.value = false;
        reverse.gradient = static_cast<int>(part);
        Inputs inputs = inputs_of(model, request, {});
        inputs.cotangent = random_values(random, size);
        const Outcome gradient = evaluation::run(*model.program, reverse, kRows, inputs);
        const Outcome plain = evaluation::run(*model.program, value, kRows, inputs);
        forward.levels = {part};
        for (Index i = 0; i < n; ++i) {
          inputs.tangents = {std::vector<double>(at(n))};
          inputs.tangents[0][at(i)] = 1;
          const Outcome tangent = evaluation::run(*model.program, forward, kRows, inputs);
          for (Index row = 0; row < kRows; ++row) {
            double total = 0, scale = 0;
            for (Index m = 0; m < size; ++m) {
              const auto k = at(row * size + m);
              total += inputs.cotangent[at(m)] * tangent.value[k];
              scale += std::abs(inputs.cotangent[at(m)]) * plain.value[k] * 10.0 *
                       static_cast<double>(request.order);
            }
            check_within(gradient.gradient[at(row * n + i)], total, scale, kTolerance,
                         "component of '" + family.name + "'");
          }
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(higher_derivatives_are_symmetric_in_their_directions) {
  std::mt19937 random(3);
  for (const Family& family : small_families()) {
    if (family.n_params == 0) continue;
    const Model model(family, 91);
    Request request = request_of(Quantity::moments, 2, -1);
    const Outcome plain =
        evaluation::run(*model.program, request, kRows, inputs_of(model, request, {}));
    std::vector<Direction> d;
    for (int i = 0; i < 3; ++i) {
      d.push_back(random_direction(model, request, Part::theta, random));
    }
    // D^3 <ct, f>[a, b, c] as the gradient along (a, b) times c, for every arrangement.
    request.value = false;
    request.gradient = 0;
    request.levels = {Part::theta, Part::theta};
    const int arrangements[][3] = {{0, 1, 2}, {1, 0, 2}, {0, 2, 1}, {2, 0, 1}, {1, 2, 0}, {2, 1, 0}};
    std::vector<double> reference;
    for (const auto& order : arrangements) {
      Inputs inputs = inputs_of(model, request, {d[at(order[0])], d[at(order[1])]});
      inputs.cotangent = {1.0, 0.5};
      const Outcome out = evaluation::run(*model.program, request, kRows, inputs);
      std::vector<double> total(at(kRows));
      for (Index i = 0; i < ssize(out.gradient); ++i) {
        total[at(i / family.n_params)] +=
            out.gradient[at(i)] * d[at(order[2])].values[at(i % family.n_params)];
      }
      if (reference.empty()) reference = total;
      for (Index row = 0; row < kRows; ++row) {
        const double f = plain.value[at(row * 2)] + 0.5 * plain.value[at(row * 2 + 1)];
        check_within(total[at(row)], reference[at(row)], f * 1000.0, kTolerance,
                     "third derivative of '" + family.name + "'");
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(value_and_gradient_together_equal_each_alone) {
  for (const Family& family : models::all_families()) {
    const Model model(family, 17);
    for (const Part part : {Part::theta, Part::rewards}) {
      for (const KernelKind kernel : evaluation::kernels()) {
        Request both = request_of(Quantity::moments, 1, 1);
        both.kernel = kernel;
        both.gradient = static_cast<int>(part);
        Request value = both, gradient = both;
        value.gradient = -1;
        gradient.value = false;
        Inputs inputs = inputs_of(model, both, {});
        inputs.cotangent = {1.0};
        const Outcome fused = evaluation::run(*model.program, both, kRows, inputs);
        BOOST_TEST(fused.value == evaluation::run(*model.program, value, kRows, inputs).value,
                   boost::test_tools::per_element());
        BOOST_TEST(
            fused.gradient == evaluation::run(*model.program, gradient, kRows, inputs).gradient,
            boost::test_tools::per_element());
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(gradients_do_not_depend_on_the_batch_and_round_once_to_float32) {
  std::mt19937 random(4);
  const Model model(models::all_families()[11], 23);
  Request request = request_of(Quantity::moments, 2, 2);
  request.value = false;
  request.levels = {Part::rewards};
  for (const Part part : {Part::theta, Part::rewards}) {
    request.gradient = static_cast<int>(part);
    const Index n = part_size(*model.program, request, part);
    Inputs inputs =
        inputs_of(model, request, {random_direction(model, request, Part::rewards, random)});
    inputs.cotangent = random_values(random, 4);
    for (const KernelKind kernel : evaluation::kernels()) {
      request.kernel = kernel;
      const Outcome three = evaluation::run(*model.program, request, kRows, inputs);
      const Index p = model.graph->param_length, r = 2 * model.graph->n_vertices();
      for (Index row = 0; row < kRows; ++row) {
        Inputs one = inputs;
        one.theta.assign(inputs.theta.begin() + row * p, inputs.theta.begin() + (row + 1) * p);
        one.rewards.assign(inputs.rewards.begin() + row * r, inputs.rewards.begin() + (row + 1) * r);
        const Outcome alone = evaluation::run(*model.program, request, 1, one);
        for (Index i = 0; i < n; ++i) {
          BOOST_TEST(alone.gradient[at(i)] == three.gradient[at(row * n + i)]);
        }
      }
      const Operand operands[] = {{inputs.theta.data(), false, p, {p}},
                                  {inputs.rewards.data(), false, r, {r}},
                                  {inputs.tangents[0].data(), false, r, {0}},
                                  {inputs.cotangent.data(), false, 4, {0}}};
      std::vector<float> narrow(at(kRows * n));
      const Result result{narrow.data(), true};
      evaluate(*model.program, request, {&kRows, 1}, {operands, 4}, {&result, 1});
      for (std::size_t i = 0; i < narrow.size(); ++i) {
        BOOST_TEST(narrow[i] == static_cast<float>(three.gradient[i]));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(rewards_on_starting_absorbing_and_unreachable_rows_have_gradient_zero) {
  const Model model(models::all_families()[11], 29);
  Request request = request_of(Quantity::moments, 3, 1);
  request.value = false;
  request.gradient = static_cast<int>(Part::rewards);
  Inputs inputs = inputs_of(model, request, {});
  inputs.cotangent = {1, 1, 1};
  const Outcome out = evaluation::run(*model.program, request, kRows, inputs);
  request.value = true;
  request.gradient = -1;
  request.n_rewards = -1;
  request.order = 1;
  request.quantity = Quantity::sojourn;
  const Outcome sojourn = evaluation::run(*model.program, request, kRows, inputs);
  for (std::size_t i = 0; i < out.gradient.size(); ++i) {
    BOOST_TEST((out.gradient[i] == 0) == (sojourn.value[i] == 0));
  }
  inputs.cotangent = {0, 0, 0};
  request = request_of(Quantity::moments, 3, 1);
  request.value = false;
  request.gradient = 0;
  for (const double g : evaluation::run(*model.program, request, kRows, inputs).gradient) {
    BOOST_TEST(g == 0);
  }
}
