// Where the recording handler leaves what it made: FFI outputs have fixed shapes, traces do not.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>

namespace phasic::python {

struct Recorded {
  bool ok = false;
  std::string bytes;  // the encoded trace, or the error text
};

// Keyed by (ticket of the call, digest), so that concurrent calls never see each other's results.
class RecordStore {
 public:
  static RecordStore& instance();
  void put(std::int64_t ticket, const std::string& digest, Recorded&& recorded);
  // Removes and returns; throws Error{missing} when absent.
  Recorded take(std::int64_t ticket, const std::string& digest);
  // Forgets everything under the ticket, and that it was stopped.
  void drop(std::int64_t ticket);
  // Asks a call in flight to start no further unit.
  void stop(std::int64_t ticket);
  [[nodiscard]] bool is_stopped(std::int64_t ticket);

 private:
  std::mutex mutex_;
  std::set<std::int64_t> stopped_;
  std::map<std::pair<std::int64_t, std::string>, Recorded> entries_;
};

}  // namespace phasic::python
