// The thread pool, the floating-point state of its threads, and that neither changes a result.
#include <boost/test/unit_test.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <thread>

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel/float_state.h"
#include "kernel/thread_pool.h"
#include "support/density_families.h"
#include "support/evaluation.h"
#include "support/float_modes.h"
#include "support/models.h"

using namespace phasic;
using evaluation::Inputs;
using evaluation::Outcome;

namespace {

// Calls parallel_for and checks that each task ran exactly once.
void check_each_once(Index n_tasks, int threads) {
  std::vector<std::atomic<int>> runs(at(n_tasks));
  parallel_for(n_tasks, threads, [&](Index task) { ++runs[at(task)]; });
  for (const std::atomic<int>& count : runs) BOOST_REQUIRE(count == 1);
}

// True if the child, forked here, ends well; it has a minute.
bool child_succeeds(const std::function<bool()>& work) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    bool good = false;
    try {
      good = work();
    } catch (...) {
    }
    _exit(good ? 0 : 1);
  }
  int status = -1;
  return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) &&
         WEXITSTATUS(status) == 0;
}

bool all_tasks_run(Index n_tasks, int threads) {
  std::atomic<Index> sum{0};
  parallel_for(n_tasks, threads, [&](Index task) { sum += task; });
  return sum == n_tasks * (n_tasks - 1) / 2;
}

// A batch large enough for several tasks of every kernel, with a gradient.
struct Batch {
  static constexpr Index kRows = 203;
  models::Family family = models::all_families()[11];
  ProgramPtr program = evaluation::program_of(models::random_model(family, 6));
  Request request;
  Inputs inputs;
  Batch() {
    std::mt19937 random(6);
    for (Index row = 0; row < kRows; ++row) {
      const std::vector<double> theta = models::random_theta(family, random);
      inputs.theta.insert(inputs.theta.end(), theta.begin(), theta.end());
    }
    inputs.theta[at(family.n_params * 100)] = -1;  // one bad row
    request.gradient = 0;
  }
  [[nodiscard]] Outcome run(int threads, KernelKind kernel) const {
    Request with = request;
    with.threads = threads;
    with.kernel = kernel;
    return evaluation::run(*program, with, kRows, inputs);
  }
};

bool same_bits(const std::vector<double>& a, const std::vector<double>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0);
}
bool same_bits(const Outcome& a, const Outcome& b) {
  return same_bits(a.value, b.value) && same_bits(a.gradient, b.gradient) && a.status == b.status;
}

}  // namespace

#if defined(__linux__)
BOOST_AUTO_TEST_CASE(threads_are_as_many_as_the_cores_that_the_process_may_use) {
  cpu_set_t before, one;
  BOOST_REQUIRE(sched_getaffinity(0, sizeof before, &before) == 0);
  BOOST_TEST(machine_threads() == CPU_COUNT(&before));
  int core = 0;
  while (!CPU_ISSET(core, &before)) ++core;
  CPU_ZERO(&one);
  CPU_SET(core, &one);
  BOOST_REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
  const int restricted = machine_threads();
  BOOST_REQUIRE(sched_setaffinity(0, sizeof before, &before) == 0);
  BOOST_TEST(restricted == 1);
}
#endif

BOOST_AUTO_TEST_CASE(every_task_runs_exactly_once) {
  BOOST_TEST(machine_threads() >= 1);
  for (const int threads : {-1, 0, 1, 2, 3, 8}) {
    for (const Index n_tasks : {0, 1, 2, 3, 7, 100, 5000}) check_each_once(n_tasks, threads);
  }
}

BOOST_AUTO_TEST_CASE(one_thread_is_the_caller_and_keeps_the_order) {
  const std::thread::id caller = std::this_thread::get_id();
  Index next = 0;
  parallel_for(50, 1, [&](Index task) {
    BOOST_REQUIRE(std::this_thread::get_id() == caller);
    BOOST_REQUIRE(task == next++);
  });
}

BOOST_AUTO_TEST_CASE(no_more_threads_work_than_were_asked_for) {
  std::atomic<int> inside{0}, most{0};
  parallel_for(200, 2, [&](Index) {
    const int now = ++inside;
    for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
    }
    std::this_thread::yield();
    --inside;
  });
  BOOST_TEST(most <= 2);
}

BOOST_AUTO_TEST_CASE(an_exception_reaches_the_caller_and_the_pool_lives_on) {
  for (const int threads : {1, 2, 4}) {
    for (int repeat = 0; repeat < 20; ++repeat) {
      std::atomic<int> started{0};
      const auto work = [&](Index task) {
        ++started;
        if (task == 3) throw Error(ErrorCode::budget, "task 3");
      };
      BOOST_CHECK_EXCEPTION(parallel_for(1000, threads, work), Error, [](const Error& error) {
        return error.code() == ErrorCode::budget && std::string(error.what()) == "task 3";
      });
      // One thread stops there; others may have run more before they see it.
      BOOST_TEST((threads == 1 ? started == 4 : started >= 4));
      check_each_once(100, threads);
    }
  }
  // All tasks throw: one exception arrives.
  BOOST_CHECK_THROW(
      parallel_for(100, 4, [](Index) { throw std::runtime_error("every"); }), std::runtime_error);
}

BOOST_AUTO_TEST_CASE(calls_nest) {
  std::atomic<int> runs{0};
  parallel_for(8, 4, [&](Index) {
    parallel_for(8, 4, [&](Index) { parallel_for(8, 3, [&](Index) { ++runs; }); });
  });
  BOOST_TEST(runs == 512);
}

BOOST_AUTO_TEST_CASE(many_callers_at_once_finish) {
  std::atomic<int> runs{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 12; ++caller) {
    callers.emplace_back([&runs, caller] {
      for (int repeat = 0; repeat < 50; ++repeat) {
        parallel_for(20, 1 + caller % 4, [&](Index task) {
          ++runs;
          if (task % 7 == 0) parallel_for(3, 2, [&](Index) { ++runs; });
        });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  BOOST_TEST(runs == 12 * 50 * (20 + 3 * 3));
}

BOOST_AUTO_TEST_CASE(calls_at_the_same_time_share_the_cores) {
  constexpr int kCallers = 4;
  std::atomic<int> inside{0}, most{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < kCallers; ++caller) {
    callers.emplace_back([&] {
      parallel_for(300, 0, [&](Index) {
        const int now = ++inside;
        for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
        }
        std::this_thread::yield();
        --inside;
      });
    });
  }
  for (std::thread& caller : callers) caller.join();
  BOOST_TEST(most < machine_threads() + kCallers);  // callers always work, threads fill what is left
}

BOOST_AUTO_TEST_CASE(the_core_of_a_call_that_ends_goes_to_another_call) {
  std::mutex mutex;
  std::condition_variable changed;
  int in_second = 0;  // tasks of the second call that have begun
  const auto wait_for = [&](const auto& condition) {
    std::unique_lock lock(mutex);
    changed.notify_all();
    return changed.wait_for(lock, std::chrono::seconds(60), condition);
  };
  std::atomic<int> late{0};
  std::thread first([&] {
    parallel_for(2, 2, [&](Index) {
      late += wait_for([&] { return in_second > 0; }) ? 0 : 1;
    });
  });
  std::thread second([&] {
    parallel_for(2, 2, [&](Index) {
      {
        const std::lock_guard lock(mutex);
        ++in_second;
      }
      late += wait_for([&] { return in_second == 2; }) ? 0 : 1;  // the two tasks meet
    });
  });
  first.join();
  second.join();
  BOOST_TEST(late == 0);
}

BOOST_AUTO_TEST_CASE(a_forked_child_has_threads_of_its_own) {
  check_each_once(100, 4);  // the parent's pool has threads that the child lacks
  const Batch batch;
  const Outcome expected = batch.run(4, KernelKind::automatic);
  BOOST_TEST(child_succeeds([&] {
    return all_tasks_run(1000, 4) &&
           same_bits(batch.run(3, KernelKind::automatic), expected) &&
           child_succeeds([] { return all_tasks_run(1000, 4); });
  }));
  check_each_once(100, 4);
}

BOOST_AUTO_TEST_CASE(a_child_forked_while_the_pool_is_busy_works) {
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop) parallel_for(50, 3, [](Index) { std::this_thread::yield(); });
  });
  for (int repeat = 0; repeat < 10; ++repeat) {
    BOOST_TEST(child_succeeds([] { return all_tasks_run(200, 3); }));
  }
  stop = true;
  busy.join();
}

BOOST_AUTO_TEST_CASE(the_default_float_state_is_set_and_given_back) {
  const float_modes::Flushed flushed(float_modes::kRoundUp);
  const std::uint64_t before = float_modes::state();
  BOOST_TEST(float_modes::half_of_least_normal() == 0);
  {
    const FloatState state;
    BOOST_TEST(float_modes::half_of_least_normal() > 0);
    volatile double one = 1, tiny = 1e-30;
    BOOST_TEST(one + tiny == 1);  // round to nearest
  }
  BOOST_TEST((float_modes::state() & (float_modes::kFlush | float_modes::kRoundUp)) ==
             (before & (float_modes::kFlush | float_modes::kRoundUp)));
}

BOOST_AUTO_TEST_CASE(tasks_have_the_default_float_state_on_every_thread) {
  const float_modes::Flushed flushed;
  std::atomic<int> wrong{0};
  parallel_for(64, 4, [&](Index) { wrong += float_modes::half_of_least_normal() > 0 ? 0 : 1; });
  BOOST_TEST(wrong == 0);
  // Threads that are first made by a flushed caller inherit its state.
  BOOST_TEST(child_succeeds([] {
    const float_modes::Flushed again;
    std::atomic<int> flushed_tasks{0};
    parallel_for(64, 4,
                 [&](Index) { flushed_tasks += float_modes::half_of_least_normal() > 0 ? 0 : 1; });
    return flushed_tasks == 0;
  }));
}

BOOST_AUTO_TEST_CASE(results_do_not_depend_on_threads_or_float_state) {
  const Batch batch;
  for (const KernelKind kernel : evaluation::kernels()) {
    const Outcome expected = batch.run(1, kernel);
    BOOST_TEST((expected.status[100] == RowStatus::negative_weight));
    for (int threads = 0; threads <= 4; ++threads) {
      BOOST_TEST(same_bits(batch.run(threads, kernel), expected));
      const float_modes::Flushed flushed(float_modes::kRoundUp);
      const std::uint64_t before = float_modes::state();
      const Outcome outcome = batch.run(threads, kernel);
      BOOST_TEST((float_modes::state() & float_modes::kFlush) == (before & float_modes::kFlush));
      BOOST_TEST(same_bits(outcome, expected));
    }
  }
}

BOOST_AUTO_TEST_CASE(results_do_not_depend_on_how_a_batch_is_split) {
  const Batch batch;
  const Index p = batch.family.n_params;
  for (const KernelKind kernel : evaluation::kernels()) {
    Request request = batch.request;
    request.kernel = kernel;
    request.threads = 2;
    const Outcome whole = evaluation::run(*batch.program, request, Batch::kRows, batch.inputs);
    for (const Index piece : {1, 2, 3, 5, 8, 31, 64, 100}) {
      Outcome joined;
      for (Index first = 0; first < Batch::kRows; first += piece) {
        const Index rows = std::min(piece, Batch::kRows - first);
        Inputs inputs;
        inputs.theta.assign(batch.inputs.theta.begin() + first * p,
                            batch.inputs.theta.begin() + (first + rows) * p);
        const Outcome part = evaluation::run(*batch.program, request, rows, inputs);
        joined.value.insert(joined.value.end(), part.value.begin(), part.value.end());
        joined.gradient.insert(joined.gradient.end(), part.gradient.begin(), part.gradient.end());
        joined.status.insert(joined.status.end(), part.status.begin(), part.status.end());
      }
      BOOST_TEST(same_bits(joined, whole));
    }
  }
}

BOOST_AUTO_TEST_CASE(a_few_rows_alone_have_the_bits_of_a_large_batch) {
  // They take narrower lanes. Acyclic, one component, dense, stiff, everything, wide front, sparse.
  std::mt19937 random(9);
  for (const std::size_t i : {0, 1, 3, 8, 11, 12, 13}) {
    const models::Family family = models::all_families()[i];
    const ProgramPtr program = evaluation::program_of(models::random_model(family, 3));
    constexpr Index kRows = 21;
    Inputs inputs;
    for (Index row = 0; row < kRows; ++row) {
      const std::vector<double> theta = models::random_theta(family, random);
      inputs.theta.insert(inputs.theta.end(), theta.begin(), theta.end());
    }
    Request request;
    request.gradient = 0;
    const Outcome whole = evaluation::run(*program, request, kRows, inputs);
    for (const Index piece : {1, 3, 4, 5, 9}) {
      Outcome joined;
      for (Index first = 0; first < kRows; first += piece) {
        const Index rows = std::min(piece, kRows - first);
        Inputs part;
        part.theta.assign(inputs.theta.begin() + first * family.n_params,
                          inputs.theta.begin() + (first + rows) * family.n_params);
        const Outcome some = evaluation::run(*program, request, rows, part);
        joined.value.insert(joined.value.end(), some.value.begin(), some.value.end());
        joined.gradient.insert(joined.gradient.end(), some.gradient.begin(), some.gradient.end());
        joined.status.insert(joined.status.end(), some.status.begin(), some.status.end());
      }
      BOOST_TEST(same_bits(joined, whole), family.name << ", " << piece << " rows");
    }
  }
}

BOOST_AUTO_TEST_CASE(densities_of_a_few_rows_have_the_bits_of_a_large_batch) {
  // One row alone is swept in single numbers, a few in narrower lanes.
  std::mt19937 random(10);
  const std::vector<models::Family> families = density::families();
  for (const std::size_t i : {0, 1, 2, 4, 5, 6, 7, 10, 14}) {
    const models::Family& family = families[i];
    const GraphPtr graph = models::random_model(family, 4);
    const ProgramPtr program = evaluation::program_of(graph);
    constexpr Index kRows = 9;
    Inputs inputs;
    for (Index row = 0; row < kRows; ++row) {
      const std::vector<double> theta = models::random_theta(family, random);
      inputs.theta.insert(inputs.theta.end(), theta.begin(), theta.end());
      if (row == 0) inputs.times = density::times_for(*graph, theta);
    }
    inputs.cotangent.assign(inputs.times.size(), 0.75);
    std::vector<Quantity> quantities{Quantity::pdf, Quantity::cdf, Quantity::sf, Quantity::logpdf,
                                     Quantity::logsf, Quantity::state_probability};
    if (!family.discrete) quantities.push_back(Quantity::hazard);
    for (const Quantity quantity : quantities) {
      for (const int gradient : {-1, static_cast<int>(Part::theta), static_cast<int>(Part::times)}) {
        for (const DensityMethod method : {DensityMethod::uniformization, DensityMethod::squaring}) {
          Request request;
          request.quantity = quantity;
          request.n_times = ssize(inputs.times);
          request.value = gradient < 0;
          request.gradient = gradient;
          request.density = method;
          const bool squares = quantity != Quantity::hazard &&
                               !(family.discrete && quantity == Quantity::logpdf);
          if (method == DensityMethod::squaring && !squares) continue;
          if (gradient == static_cast<int>(Part::times) && family.discrete) continue;
          Inputs all = inputs;
          all.cotangent.assign(at(output_size(*program, request)), 0.75);
          const Outcome whole = evaluation::run(*program, request, kRows, all);
          for (const Index piece : {1, 3}) {
            Outcome joined;
            for (Index first = 0; first < kRows; first += piece) {
              Inputs part = all;
              part.theta.assign(all.theta.begin() + first * family.n_params,
                                all.theta.begin() + (first + piece) * family.n_params);
              const Outcome some = evaluation::run(*program, request, piece, part);
              joined.value.insert(joined.value.end(), some.value.begin(), some.value.end());
              joined.gradient.insert(joined.gradient.end(), some.gradient.begin(),
                                     some.gradient.end());
              joined.status.insert(joined.status.end(), some.status.begin(), some.status.end());
            }
            BOOST_TEST(same_bits(joined, whole), family.name << ", quantity "
                                                             << static_cast<int>(quantity) << ", "
                                                             << piece << " rows");
          }
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(subnormal_operands_and_results_survive_a_flushed_caller) {
  // (1) -> (2) at 1, -> (3) at 1e-160; (3) -> (4) at 1e-155, -> (2) at 1: absorbed in (4): 1e-315.
  GraphBuilder builder(1);
  for (std::int32_t v = 1; v <= 4; ++v) builder.add_vertex({&v, 1});
  builder.add_edge(0, 1, 1.0);
  builder.add_edge(1, 2, 1.0);
  builder.add_edge(1, 3, 1e-160);
  builder.add_edge(3, 2, 1.0);
  builder.add_edge(3, 4, 1e-155);
  const ProgramPtr program = evaluation::program_of(builder.freeze());
  Request absorption;
  absorption.quantity = Quantity::absorption;
  Request moment;
  moment.n_rewards = 1;
  const float rewards[] = {0, 1e-40f, 0, 0, 0};  // subnormal as a float
  const Operand operands[] = {{nullptr, false, 0, {}}, {rewards, true, 5, {}}};
  for (const KernelKind kernel : evaluation::kernels()) {
    absorption.kernel = moment.kernel = kernel;
    const float_modes::Flushed flushed;
    const Outcome outcome = evaluation::run(*program, absorption, 1, {});
    float mean = 0;
    const Result result{&mean, true};
    evaluate(*program, moment, {}, {operands, 2}, {&result, 1});
    const FloatState state;
    BOOST_TEST(outcome.value[4] > 0.999999e-315);
    BOOST_TEST(outcome.value[4] < 1.000001e-315);
    BOOST_TEST(mean == 1e-40f);
  }
}

BOOST_AUTO_TEST_CASE(one_program_serves_many_callers_at_once) {
  const Batch batch;
  const Outcome expected = batch.run(1, KernelKind::automatic);
  std::atomic<int> different{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 6; ++caller) {
    callers.emplace_back([&, caller] {
      for (int repeat = 0; repeat < 4; ++repeat) {
        different += same_bits(batch.run(caller % 4, KernelKind::automatic), expected) ? 0 : 1;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  BOOST_TEST(different == 0);
}
