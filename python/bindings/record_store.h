// Where the recording handler leaves what it made: FFI outputs have fixed shapes, traces do not.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "phasic/trace.h"

namespace phasic::python {

struct Recorded {
  ComponentTracePtr trace;   // null after a failure
  std::string bytes;         // the encoded trace
  std::exception_ptr fault;  // why there is none
};

// Keyed by (ticket of the call, digest), so that concurrent calls never see each other's results.
class RecordStore {
 public:
  static RecordStore& instance();
  void put(std::int64_t ticket, const std::string& digest, Recorded&& recorded);
  // Waits for a digest that was put and hands it to one caller; nothing once closed and empty.
  std::optional<std::string> next(std::int64_t ticket);
  // Says that nothing more will be put.
  void close(std::int64_t ticket);
  // Removes and returns; throws Error{missing} when absent.
  Recorded take(std::int64_t ticket, const std::string& digest);
  // Forgets everything under the ticket, and that it was stopped or closed.
  void drop(std::int64_t ticket);
  // Asks a call in flight to start no further unit.
  void stop(std::int64_t ticket);
  [[nodiscard]] bool is_stopped(std::int64_t ticket);

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<std::int64_t> stopped_, closed_;
  std::map<std::int64_t, std::deque<std::string>> finished_;  // digests that nobody was handed yet
  std::map<std::pair<std::int64_t, std::string>, Recorded> entries_;
};

}  // namespace phasic::python
