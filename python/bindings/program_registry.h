// Programs by digest: the FFI handler gets a digest as an attribute and looks the program up here.
// Every call copies the shared pointer, so dropping a program can never leave a call without it.
#pragma once

#include <mutex>
#include <string>
#include <unordered_map>

#include "phasic/trace.h"

namespace phasic::python {

class ProgramRegistry {
 public:
  static ProgramRegistry& instance() {
    static ProgramRegistry registry;
    return registry;
  }
  // Counted: as many removes as adds take the program out.
  void add(const ProgramPtr& program) {
    const std::lock_guard lock(mutex_);
    Entry& entry = programs_[program->digest];
    if (entry.program == nullptr) {
      entry.program = program;
    }
    ++entry.count;
  }
  void remove(const std::string& digest) {
    const std::lock_guard lock(mutex_);
    const auto found = programs_.find(digest);
    if (found != programs_.end() && --found->second.count == 0) {
      programs_.erase(found);
    }
  }
  // nullptr when absent.
  [[nodiscard]] ProgramPtr find(const std::string& digest) {
    const std::lock_guard lock(mutex_);
    const auto found = programs_.find(digest);
    return found == programs_.end() ? nullptr : found->second.program;
  }

 private:
  struct Entry {
    ProgramPtr program;
    Index count = 0;
  };
  std::mutex mutex_;
  std::unordered_map<std::string, Entry> programs_;
};

}  // namespace phasic::python
