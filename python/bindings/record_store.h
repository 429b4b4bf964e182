// Where the recording handler leaves what it made: FFI outputs have fixed shapes, traces do not.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

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
  // Forgets everything under the ticket, and that it was stopped or closed; who waits gets nothing.
  void drop(std::int64_t ticket);
  // Asks a call in flight to start no further unit.
  void stop(std::int64_t ticket);
  [[nodiscard]] bool is_stopped(std::int64_t ticket);

 private:
  struct Ticket {
    std::map<std::string, Recorded> entries;  // by digest
    std::deque<std::string> finished;         // digests that nobody was handed yet
    bool stopped = false, closed = false;
    std::condition_variable changed;  // of finished and closed
  };

  using TicketPtr = std::shared_ptr<Ticket>;  // shared with those that wait

  // Makes the ticket if need be. The caller holds the mutex.
  TicketPtr of(std::int64_t ticket);

  std::mutex mutex_;
  std::map<std::int64_t, TicketPtr> tickets_;
};

}  // namespace phasic::python
