// Calls evaluate() with vectors: one item an operand is broadcast, more are one a row.
#pragma once

#include <stdexcept>
#include <vector>

#include "phasic/evaluate.h"

namespace evaluation {

using phasic::at;
using phasic::Index;
using phasic::KernelKind;
using phasic::Operand;
using phasic::Part;
using phasic::Program;
using phasic::ProgramPtr;
using phasic::Request;
using phasic::Result;
using phasic::RowStatus;
using phasic::Span;

struct Inputs {
  std::vector<double> theta, rewards, times;
  std::vector<std::vector<double>> tangents;  // one a level
  std::vector<double> cotangent;
};

struct Outcome {
  std::vector<double> value, gradient;  // (batch, size)
  std::vector<RowStatus> status;        // (batch)
};

inline Operand operand_of(const std::vector<double>& items, Index size, Index batch) {
  const auto n = static_cast<Index>(items.size());
  if (n != size && n != size * batch) throw std::logic_error("an operand has a wrong size");
  return {items.data(), false, size, {n == size ? 0 : size}};
}

// One batch dimension. Outputs hold a sentinel before the call, so unwritten entries show.
inline Outcome run(const Program& program, const Request& request, Index batch,
                   const Inputs& inputs) {
  std::vector<Operand> operands{operand_of(inputs.theta, part_size(program, request, Part::theta), batch)};
  if (request.n_rewards >= 0) {
    operands.push_back(
        operand_of(inputs.rewards, part_size(program, request, Part::rewards), batch));
  }
  if (request.n_times > 0) {
    operands.push_back(operand_of(inputs.times, part_size(program, request, Part::times), batch));
  }
  for (std::size_t i = 0; i < request.levels.size(); ++i) {
    operands.push_back(
        operand_of(inputs.tangents.at(i), part_size(program, request, request.levels[i]), batch));
  }
  const Index size = output_size(program, request);
  if (request.gradient >= 0 && !request.value) {
    operands.push_back(operand_of(inputs.cotangent, size, batch));
  }
  constexpr double kUnwritten = -12345.678;
  Outcome outcome;
  std::vector<Result> results;
  if (request.value) {
    outcome.value.assign(at(batch * size), kUnwritten);
    results.push_back({outcome.value.data(), false});
  }
  if (request.gradient >= 0) {
    const Index part = part_size(program, request, static_cast<Part>(request.gradient));
    outcome.gradient.assign(at(batch * part), kUnwritten);
    results.push_back({outcome.gradient.data(), false});
  }
  outcome.status.assign(at(batch), RowStatus::over_budget);
  evaluate(program, request, {&batch, 1}, operands, results, outcome.status);
  return outcome;
}

// The program of a graph, every component recorded on the spot.
inline ProgramPtr program_of(const phasic::GraphPtr& graph) {
  return link(phasic::decompose(graph), {}, graph->n_vertices() + 1);
}

// Every kernel that this machine can run.
inline std::vector<KernelKind> kernels() {
  std::vector<KernelKind> kinds;
  for (const std::string& name : phasic::available_kernels()) {
    if (name == "reference") kinds.push_back(KernelKind::reference);
    if (name == "baseline") kinds.push_back(KernelKind::baseline);
    if (name == "avx2") kinds.push_back(KernelKind::avx2);
    if (name == "avx512") kinds.push_back(KernelKind::avx512);
  }
  return kinds;
}

}  // namespace evaluation
