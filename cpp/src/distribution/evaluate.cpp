// The front of evaluation: checks the request, picks the kernel, spreads row blocks over threads.

#include "phasic/evaluate.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "base/text.h"
#include "distribution/job.h"
#include "distribution/krylov.h"
#include "distribution/memory.h"
#include "kernel/float_state.h"
#include "kernel/thread_pool.h"

namespace phasic {

bool detail::machine_has(KernelKind kind) {
#if defined(__x86_64__)
  if (kind == KernelKind::avx512) {
    return machine_has(KernelKind::avx2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
  }
  if (kind == KernelKind::avx2) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  }
#endif
  return kind == KernelKind::baseline || kind == KernelKind::reference;
}

namespace {

using detail::machine_has;

// Tasks are large enough that setting up a worker's buffers is a small part, and small enough that
// threads end together.
constexpr Index kTasksPerThread = 8;
constexpr Index kBlocksPerTask = 4;

bool uses_rewards(Quantity quantity) {
  return quantity == Quantity::moments || quantity == Quantity::cross_moments;
}

// What the sweep of a quantity sums: logarithms and quotients are taken afterwards.
Quantity swept(Quantity quantity) {
  return quantity == Quantity::logpdf || quantity == Quantity::hazard ? Quantity::pdf
         : quantity == Quantity::logsf                                ? Quantity::sf
                                                                      : quantity;
}

void check(bool holds, const std::string& text) {
  if (!holds) {
    fail("evaluation request: " + text);
  }
}

void check_request(const Program& program, const Request& request, Index n_batch_dims,
                   Span<const Operand> operands, Span<const Result> results) {
  const bool fused = request.value && request.gradient >= 0;
  check(request.value || request.gradient >= 0, "asks for neither a value nor a gradient");
  check(ssize(request.levels) <= kMaxLevels,
        "derivatives of order " + std::to_string(request.levels.size()) +
            " are not available (at most " + std::to_string(kMaxLevels) + ")");
  check(request.order >= 1, "order is " + std::to_string(request.order) + ", expected at least 1");
  check(request.quantity == Quantity::moments || request.order == 1,
        "only moments have an order above 1");
  check(request.density != DensityMethod::squaring || !program.graph->discrete ||
            request.quantity != Quantity::logpdf,
        "density='squaring' does not give logarithms of a discrete model's probabilities, which may "
        "be exact zeros; use 'auto' or 'uniformization'");
  check(request.density != DensityMethod::squaring || request.quantity != Quantity::hazard,
        "density='squaring' does not give the hazard; use 'auto' or 'uniformization'");
  const char* const obstacle = detail::krylov_obstacle(program, request);
  check(request.density != DensityMethod::krylov || !is_density(request.quantity) || obstacle == nullptr,
        "density='krylov' " + std::string(obstacle == nullptr ? "" : obstacle) +
            "; use 'auto', 'uniformization' or 'squaring'");
  check(request.n_rewards == -1 || (request.n_rewards >= 1 && uses_rewards(request.quantity)),
        "n_rewards is " + std::to_string(request.n_rewards) + " for this quantity");
  check(is_density(request.quantity) == (request.n_times > 0), "n_times does not fit the quantity");
  check(request.quantity != Quantity::hazard || !program.graph->discrete,
        "the hazard is of continuous time");
  check(!fused || (request.levels.empty() && output_size(program, request) == 1),
        "value and gradient together need a scalar output and no tangent");
  std::vector<Part> expected{Part::theta};
  if (request.n_rewards >= 0) {
    expected.push_back(Part::rewards);
  }
  if (request.n_times > 0) {
    expected.push_back(Part::times);
  }
  const auto present = [&](Part part) {
    return std::find(expected.begin(), expected.end(), part) != expected.end();
  };
  for (const Part part : request.levels) {
    check(present(part), "a tangent belongs to an operand that is absent");
  }
  check(request.gradient < 0 || present(static_cast<Part>(request.gradient)),
        "the gradient is for an operand that is absent");
  expected.insert(expected.end(), request.levels.begin(), request.levels.end());
  const bool has_cotangent = request.gradient >= 0 && !request.value;
  check(operands.size() == ssize(expected) + (has_cotangent ? 1 : 0), "wrong number of operands");
  for (Index i = 0; i < operands.size(); ++i) {
    const Index size = i < ssize(expected) ? part_size(program, request, expected[at(i)])
                                           : output_size(program, request);
    check(operands[i].size == size, "operand " + std::to_string(i) + " has " +
                                        std::to_string(operands[i].size) + " entries, expected " +
                                        std::to_string(size));
    check(ssize(operands[i].strides) == n_batch_dims, "wrong number of batch strides");
  }
  check(results.size() == (request.value ? 1 : 0) + (request.gradient >= 0 ? 1 : 0),
        "wrong number of results");
}

// All widths do the same operations in the same order, fused alike, on both wide instruction sets: a few
// rows alone need not fill registers of 512 bits, and still get the same bits.
constexpr Index kFewRows = 4;
constexpr Index kManyRows = 1024;

detail::Backend backend_of([[maybe_unused]] const Program& program, const Request& request, Index n_rows) {
  KernelKind kind = request.kernel;
  if (kind == KernelKind::automatic) {
    kind = machine_has(KernelKind::avx512) && n_rows > kFewRows ? KernelKind::avx512
           : machine_has(KernelKind::avx2)                      ? KernelKind::avx2
                                                                : KernelKind::baseline;
  }
  check(machine_has(kind), "this machine does not have the instructions of the chosen kernel");
  switch (kind) {
#if defined(__x86_64__)
    case KernelKind::avx512:
      return request.levels.empty() ? detail::avx512_backend(program, request.quantity)
                                    : detail::avx2_backend();
    case KernelKind::avx2:
      return n_rows == 1 && is_density(request.quantity) && request.levels.empty()
                 ? detail::avx2_single_density_backend()
                 : detail::avx2_backend();
#endif
    case KernelKind::reference:
      return detail::reference_backend();
    default:
      return detail::baseline_backend();
  }
}

}  // namespace

Index n_parameters(const Program& program) noexcept { return program.graph->param_length; }

Index output_size(const Program& program, const Request& request) noexcept {
  const Index n_rewards = std::max<Index>(request.n_rewards, 1);
  switch (request.quantity) {
    case Quantity::moments:
      return n_rewards * request.order;
    case Quantity::cross_moments:
      return n_rewards * n_rewards;
    case Quantity::sojourn:
    case Quantity::absorption:
      return program.graph->n_vertices();
    case Quantity::state_probability:
    case Quantity::accumulated_occupancy:
      return request.n_times * program.graph->n_vertices();
    default:
      return request.n_times;
  }
}

Index part_size(const Program& program, const Request& request, Part part) noexcept {
  switch (part) {
    case Part::theta:
      return program.graph->param_length;
    case Part::rewards:
      return request.n_rewards * program.graph->n_vertices();
    default:
      return request.n_times;
  }
}

void evaluate(const Program& program, const Request& request, Span<const Index> batch_shape,
              Span<const Operand> operands, Span<const Result> results, Span<RowStatus> status) {
  check_request(program, request, batch_shape.size(), operands, results);
  const Index n_rows = std::accumulate(batch_shape.begin(), batch_shape.end(), Index{1},
                                       [](Index a, Index b) { return a * b; });
  std::vector<RowStatus> own_status;
  if (status.empty()) {
    own_status.resize(at(n_rows));
    status = own_status;
  }
  const detail::Backend backend = backend_of(program, request, n_rows);
  std::optional<detail::TransitionLayout> layout;
  if (is_density(request.quantity)) {
    layout = detail::make_transition_layout(program, swept(request.quantity));
  }
  const detail::Job job{&program, &request, batch_shape, operands, results, status, n_rows,
                        output_size(program, request), layout ? &*layout : nullptr};
  const FloatState state;
  const Index n_threads = request.threads > 0 ? request.threads : machine_threads();
  const Index share = n_rows / (n_threads * kTasksPerThread * backend.lanes) * backend.lanes;
  const Index rows_per_task = std::max(share, backend.lanes * kBlocksPerTask);
  parallel_for((n_rows + rows_per_task - 1) / rows_per_task, request.threads, [&](Index task) {
    const Index begin = task * rows_per_task;
    backend.run(job, begin, std::min(begin + rows_per_task, n_rows));
  });
}

void require_memory(const Program& program, const Request& request, double max_bytes) {
  if (is_density(request.quantity)) {
    return;
  }
  const Index lanes = backend_of(program, request, kManyRows).lanes;
  const Index numbers = lanes << ssize(request.levels);
  const double bytes = detail::elimination_bytes(program, request, at(numbers) * sizeof(double));
  if (bytes > max_bytes) {
    throw Error(ErrorCode::budget,
                "one thread needs " + detail::number_text(bytes) + " bytes to evaluate " +
                    std::to_string(program.slot_base.back()) + " slots in " +
                    std::to_string(program.n_blocks()) + " components, " + std::to_string(numbers) +
                    " numbers a slot, more than max_bytes = " + detail::number_text(max_bytes) +
                    "; raise max_bytes, ask for fewer rewards or derivatives at once, choose "
                    "kernel = \"avx2\" or \"baseline\", or lump states so that components get smaller");
  }
}

std::vector<std::string> available_kernels() {
  std::vector<std::string> names{"auto", "reference", "baseline"};
  if (machine_has(KernelKind::avx2)) {
    names.emplace_back("avx2");
  }
  if (machine_has(KernelKind::avx512)) {
    names.emplace_back("avx512");
  }
  return names;
}

}  // namespace phasic
