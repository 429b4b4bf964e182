// One process-wide pool of threads for independent tasks.
//
// The caller always works too, and waits only for tasks that a thread has already started; a call can
// therefore never deadlock, however many calls run at once (also from inside other thread pools).
#pragma once

#include <functional>

#include "phasic/base.h"

namespace phasic {

// Runs work(task) for task = 0..n_tasks-1 on up to `threads` threads (0: one a core). Tasks are handed
// out in order. The first exception is rethrown here after running tasks have ended; tasks not yet
// started are then skipped. Safe to call after fork().
void parallel_for(Index n_tasks, int threads, const std::function<void(Index)>& work);

// How many cores this process may use, which taskset and batch systems restrict.
[[nodiscard]] int machine_threads() noexcept;

}  // namespace phasic
