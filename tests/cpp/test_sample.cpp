// Random streams against published and independent numbers, tables against their weights, draws
// against exact probabilities, and the same bits for any number of threads.
#include <boost/test/unit_test.hpp>

#include <cmath>
#include <numeric>

#include "distribution/jump_tables.h"
#include "distribution/random_stream.h"
#include "phasic/sample.h"
#include "support/evaluation.h"
#include "support/models.h"

using namespace phasic;
using detail::Candidate;
using detail::ExponentialLayers;
using detail::JumpTables;
using detail::Stream;

BOOST_AUTO_TEST_CASE(philox_gives_the_words_of_an_independent_implementation) {
  // numpy 2: Philox(counter=c, key=k).random_raw(4), whose first block is that of c + 1
  const detail::PhiloxBlock expected{0x92ab6a0e75619263u, 0xd8ff75bdc6bf8f60u, 0x450e124938725640u,
                                     0x94eb1a7cffd20cbbu};
  const detail::PhiloxBlock found = detail::philox({5, 6}, {2, 2, 3, 4});
  BOOST_TEST(found == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(logarithms_are_right_to_three_units_in_the_last_place) {
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    const double p = std::pow(10.0, models::uniform(random, -17, 0));
    BOOST_TEST(detail::negative_log_of_complement(p) == -std::log1p(-p),
               boost::test_tools::tolerance(6e-16));
    BOOST_TEST(detail::negative_log(p) == -std::log(p), boost::test_tools::tolerance(6e-16));
  }
  BOOST_TEST(detail::negative_log_of_complement(0x1.fffffffffffffp-1) == 53 * std::log(2.0),
             boost::test_tools::tolerance(6e-16));
}

BOOST_AUTO_TEST_CASE(layers_have_equal_areas_and_close_at_the_top) {
  const ExponentialLayers& layers = detail::kLayers;
  const double area = layers.edge[0] * layers.height[1];
  const double tail = std::exp(-ExponentialLayers::kTail);
  BOOST_TEST(area == ExponentialLayers::kTail * tail + tail, boost::test_tools::tolerance(1e-15));
  for (int i = 1; i < ExponentialLayers::kCount; ++i) {
    BOOST_TEST(layers.edge[i] * (layers.height[i + 1] - layers.height[i]) == area,
               boost::test_tools::tolerance(1e-12));
    BOOST_TEST(layers.height[i] == std::exp(-layers.edge[i]), boost::test_tools::tolerance(2e-15));
    BOOST_TEST(layers.edge[i + 1] < layers.edge[i]);
  }
}

BOOST_AUTO_TEST_CASE(exponential_variates_follow_their_law_into_the_tail) {
  constexpr int kDraws = 4000000;
  std::vector<double> beyond(30);  // draws above k / 2
  double sum = 0, square = 0;
  Stream stream({1, 2}, {3, 4, 0, 0});
  for (int i = 0; i < kDraws; ++i) {
    const double x = stream.exponential();
    BOOST_REQUIRE(x > 0);
    sum += x;
    square += x * x;
    for (int k = 0; k < 30 && x > k / 2.0; ++k) beyond[at(k)] += 1;
  }
  BOOST_TEST(std::abs(sum / kDraws - 1) < 4 / std::sqrt(kDraws));
  BOOST_TEST(std::abs(square / kDraws - 2) < 4 * std::sqrt(20.0 / kDraws));
  for (int k = 0; k < 30; ++k) {
    const double p = std::exp(-k / 2.0);
    BOOST_TEST(std::abs(beyond[at(k)] - kDraws * p) <= 4 * std::sqrt(kDraws * p * (1 - p)) + 1);
  }
}

namespace {

JumpTables table_of(const std::vector<double>& weights) {
  std::vector<Candidate> candidates;
  for (const double w : weights) candidates.push_back({static_cast<std::int32_t>(candidates.size()), w});
  JumpTables tables;
  tables.append(candidates, 1);
  return tables;
}

}  // namespace

BOOST_AUTO_TEST_CASE(targets_are_chosen_in_proportion_to_their_weights) {
  std::mt19937 random(2);
  for (int trial = 0; trial < 20; ++trial) {
    std::vector<double> weights(at(1 + trial));
    for (double& w : weights) {
      w = models::chance(random, 0.2) ? 0 : std::pow(10.0, models::uniform(random, -2, 2));
    }
    weights.back() = 1;
    const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
    const JumpTables tables = table_of(weights);
    constexpr int kDraws = 100000;
    std::vector<int> count(weights.size());
    Stream stream({7, 8}, {static_cast<std::uint64_t>(trial), 0, 0, 0});
    for (int i = 0; i < kDraws; ++i) ++count[at(tables.next(0, stream))];
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const double p = weights[i] / total;
      BOOST_TEST(std::abs(count[i] - kDraws * p) <= 4.5 * std::sqrt(kDraws * p * (1 - p)));
    }
  }
}

BOOST_AUTO_TEST_CASE(weights_that_are_tiny_huge_or_equal_make_sound_tables) {
  for (const std::vector<double>& weights : std::vector<std::vector<double>>{
           {1e-300, 1}, {1, 1e-300}, {1e300, 1e-300, 1}, {1, 1, 1}, {0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1},
           {5e-324, 5e-324}, {1e-30, 1, 1e-30, 1, 1e-30}}) {
    const JumpTables tables = table_of(weights);
    const double largest = *std::max_element(weights.begin(), weights.end());
    Stream stream({9, 9}, {0, 0, 0, 0});
    for (int i = 0; i < 1000; ++i) {
      BOOST_TEST(weights[at(tables.next(0, stream))] >= 1e-25 * largest);
    }
  }
}

namespace {

struct Draws {
  std::vector<double> value;
  std::vector<std::int32_t> vertex, length;
  std::vector<DrawStatus> status;
};

Draws draw(const Program& program, SampleRequest request, Index n_rows,
           const std::vector<double>& theta) {
  std::vector<std::uint32_t> seed;
  for (Index row = 0; row < n_rows; ++row) {
    for (const Index word : {1, 2, 3, 4, static_cast<int>(row), 0}) {
      seed.push_back(static_cast<std::uint32_t>(word));
    }
  }
  const Index width = std::max<Index>(request.max_length, 1);
  Draws out;
  out.value.resize(at(n_rows * request.n_draws * width));
  out.vertex.resize(out.value.size());
  out.length.resize(at(n_rows * request.n_draws));
  out.status.resize(at(n_rows));
  SampleOperands operands;
  operands.seed = {seed.data(), kSeedWords, {kSeedWords}};
  operands.theta = {theta.data(), false, static_cast<Index>(theta.size()), {0}};
  SampleResults results;
  results.value = {out.value.data(), false};
  results.vertex = out.vertex.data();
  results.length = request.max_length > 0 ? out.length.data() : nullptr;
  results.status = out.status.data();
  sample(program, request, {&n_rows, 1}, operands, results);
  return out;
}

}  // namespace

BOOST_AUTO_TEST_CASE(threads_and_batches_do_not_change_a_bit) {
  models::Family family{"cyclic", false, 12, 2, 4};
  std::mt19937 random(3);
  const std::vector<double> theta = models::random_theta(family, random);
  for (const bool discrete : {false, true}) {
    family.discrete = discrete;
    const ProgramPtr program = evaluation::program_of(models::random_model(family, 5));
    SampleRequest request;
    request.n_draws = 10000;  // more than one task
    request.threads = 1;
    const Draws one = draw(*program, request, 3, theta);
    BOOST_TEST((one.status[0] == DrawStatus::ok));
    for (const int threads : {2, 7}) {
      request.threads = threads;
      const Draws many = draw(*program, request, 3, theta);
      BOOST_TEST(many.value == one.value, boost::test_tools::per_element());
      BOOST_TEST(many.vertex == one.vertex, boost::test_tools::per_element());
    }
    request.n_draws = 50;  // all rows in one task: the first draws of each row
    const Draws few = draw(*program, request, 3, theta);
    for (Index row = 0; row < 3; ++row) {
      for (Index i = 0; i < 50; ++i) {
        BOOST_TEST(few.value[at(row * 50 + i)] == one.value[at(row * 10000 + i)]);
      }
    }
    BOOST_TEST(one.value[0] != one.value[10000]);
    request.max_length = 4;
    const Draws paths = draw(*program, request, 3, theta);
    for (Index i = 0; i < 150; ++i) {
      const Index length = paths.length[at(i)];
      if (length <= 4) {
        BOOST_TEST(paths.value[at(4 * i + length - 1)] == few.value[at(i)]);
        BOOST_TEST(paths.vertex[at(4 * i + length - 1)] == few.vertex[at(i)]);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(a_request_that_makes_no_sense_is_refused) {
  const models::Family family{"acyclic"};
  std::mt19937 random(4);
  const std::vector<double> theta = models::random_theta(family, random);
  const ProgramPtr program = evaluation::program_of(models::random_model(family, 1));
  SampleRequest request;
  request.given = {1};  // not absorbing
  BOOST_CHECK_THROW(draw(*program, request, 1, theta), Error);
  request.given = {1 << 20};
  BOOST_CHECK_THROW(draw(*program, request, 1, theta), Error);
  request.given.clear();
  BOOST_CHECK_THROW(draw(*program, request, 1, {}), Error);
  request.n_draws = -1;
  BOOST_CHECK_THROW(draw(*program, request, 0, theta), Error);
}
