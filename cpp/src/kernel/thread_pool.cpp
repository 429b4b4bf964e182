// A queue of jobs; idle threads join the oldest job that still has tasks to hand out.
//
// 1. parallel_for puts its job in the queue and wakes threads.
// 2. Caller and threads take task numbers from the job's counter until none is left. A thread joins
//    only while fewer threads than cores are at work, callers included: calls that run at the same time
//    share the cores, and when one of them ends, its core goes to the others.
// 3. The caller removes the job from the queue and waits until no thread is inside it.
// A forked child has none of the parent's threads: it starts a pool of its own and leaves the old one.

#include "kernel/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>

#include "kernel/float_state.h"

namespace phasic {
namespace {

struct Job {
  const std::function<void(Index)>* work = nullptr;
  Index n_tasks = 0;
  int free_places = 0;  // threads that may still join; guarded by the pool's mutex
  int crowd = 0;        // so many threads at work in the pool that none joins
  int inside = 0;       // threads at work; guarded by the pool's mutex
  std::atomic<Index> next{0};
  std::mutex error_mutex;
  std::exception_ptr error;

  void run() noexcept {
    const FloatState state;
    for (Index task = next++; task < n_tasks; task = next++) {
      try {
        (*work)(task);
      } catch (...) {
        const std::lock_guard lock(error_mutex);
        if (!error) {
          error = std::current_exception();
        }
        next = n_tasks;
      }
    }
  }
};

class Pool {
 public:
  void run(Job& job, int helpers) {
    {
      const std::lock_guard lock(mutex_);
      while (ssize(threads_) < helpers) {
        threads_.emplace_back([this] { serve(); });
      }
      job.free_places = helpers;
      jobs_.push_back(&job);
      ++working_;
    }
    wake_.notify_all();
    job.run();
    std::unique_lock lock(mutex_);
    --working_;
    jobs_.erase(std::remove(jobs_.begin(), jobs_.end(), &job), jobs_.end());
    if (!jobs_.empty()) {
      wake_.notify_all();
    }
    done_.wait(lock, [&] { return job.inside == 0; });
  }

 private:
  [[noreturn]] void serve() {
    std::unique_lock lock(mutex_);
    while (true) {
      Job* job = nullptr;
      wake_.wait(lock, [&] {
        const auto open = std::find_if(jobs_.begin(), jobs_.end(), [this](const Job* candidate) {
          return candidate->free_places > 0 && working_ < candidate->crowd &&
                 candidate->next < candidate->n_tasks;
        });
        job = open == jobs_.end() ? nullptr : *open;
        return job != nullptr;
      });
      --job->free_places;
      ++job->inside;
      ++working_;
      lock.unlock();
      job->run();
      lock.lock();
      --working_;
      --job->inside;
      done_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  int working_ = 0;  // callers and threads that are in a job
  std::deque<Job*> jobs_;
  std::vector<std::thread> threads_;
};

// Never destroyed: threads may still wait in it when the process ends. A forked child forgets it.
std::atomic<Pool*> current_pool{nullptr};

Pool& pool() {
  static const int registered =
      pthread_atfork(nullptr, nullptr, [] { current_pool.store(nullptr); });
  static_cast<void>(registered);
  Pool* existing = current_pool.load();
  if (existing == nullptr) {
    auto fresh = std::make_unique<Pool>();
    if (current_pool.compare_exchange_strong(existing, fresh.get())) {
      existing = fresh.release();
    }
  }
  return *existing;
}

}  // namespace

int machine_threads() noexcept {
#if defined(__linux__)
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
    return std::max(1, CPU_COUNT(&allowed));
  }
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

void parallel_for(Index n_tasks, int threads, const std::function<void(Index)>& work) {
  Job job;
  job.work = &work;
  job.n_tasks = n_tasks;
  const int cores = machine_threads();
  const Index wanted = threads > 0 ? threads : cores;
  const Index helpers = std::min(wanted, n_tasks) - 1;
  if (helpers > 0) {
    job.crowd = std::max(threads, cores);
    pool().run(job, static_cast<int>(helpers));
  } else {
    job.run();
  }
  if (job.error) {
    std::rethrow_exception(job.error);
  }
}

}  // namespace phasic
