// The store of recorded traces, one a process.
#include "record_store.h"

#include "phasic/base.h"

namespace phasic::python {

RecordStore& RecordStore::instance() {
  static RecordStore store;
  return store;
}

void RecordStore::put(std::int64_t ticket, const std::string& digest, Recorded&& recorded) {
  {
    const std::lock_guard lock(mutex_);
    entries_[{ticket, digest}] = std::move(recorded);
    finished_[ticket].push_back(digest);
  }
  changed_.notify_all();
}

std::optional<std::string> RecordStore::next(std::int64_t ticket) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !finished_[ticket].empty() || closed_.count(ticket) > 0; });
  std::deque<std::string>& waiting = finished_[ticket];
  if (waiting.empty()) {
    return std::nullopt;
  }
  std::string digest = std::move(waiting.front());
  waiting.pop_front();
  return digest;
}

void RecordStore::close(std::int64_t ticket) {
  {
    const std::lock_guard lock(mutex_);
    closed_.insert(ticket);
  }
  changed_.notify_all();
}

Recorded RecordStore::take(std::int64_t ticket, const std::string& digest) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find({ticket, digest});
  if (found == entries_.end()) {
    throw Error(ErrorCode::missing, "no recording of digest " + digest + " under ticket " +
                                        std::to_string(ticket));
  }
  Recorded recorded = std::move(found->second);
  entries_.erase(found);
  return recorded;
}

void RecordStore::drop(std::int64_t ticket) {
  const std::lock_guard lock(mutex_);
  entries_.erase(entries_.lower_bound({ticket, ""}), entries_.lower_bound({ticket + 1, ""}));
  finished_.erase(ticket);
  stopped_.erase(ticket);
  closed_.erase(ticket);
}

void RecordStore::stop(std::int64_t ticket) {
  const std::lock_guard lock(mutex_);
  stopped_.insert(ticket);
}

bool RecordStore::is_stopped(std::int64_t ticket) {
  const std::lock_guard lock(mutex_);
  return stopped_.count(ticket) > 0;
}

}  // namespace phasic::python
