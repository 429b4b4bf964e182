// The store of recorded traces, one a process.
#include "record_store.h"

#include <utility>

#include "phasic/base.h"

namespace phasic::python {

RecordStore& RecordStore::instance() {
  static RecordStore store;
  return store;
}

RecordStore::TicketPtr RecordStore::of(std::int64_t ticket) {
  TicketPtr& found = tickets_[ticket];
  if (found == nullptr) {
    found = std::make_shared<Ticket>();
  }
  return found;
}

void RecordStore::put(std::int64_t ticket, const std::string& digest, Recorded&& recorded) {
  const std::lock_guard lock(mutex_);
  const TicketPtr own = of(ticket);
  own->entries[digest] = std::move(recorded);
  own->finished.push_back(digest);
  own->changed.notify_one();
}

std::optional<std::string> RecordStore::next(std::int64_t ticket) {
  std::unique_lock lock(mutex_);
  const TicketPtr own = of(ticket);
  own->changed.wait(lock, [&] { return !own->finished.empty() || own->closed; });
  if (own->finished.empty()) {
    return std::nullopt;
  }
  std::string digest = std::move(own->finished.front());
  own->finished.pop_front();
  return digest;
}

void RecordStore::close(std::int64_t ticket) {
  const std::lock_guard lock(mutex_);
  const TicketPtr own = of(ticket);
  own->closed = true;
  own->changed.notify_all();
}

Recorded RecordStore::take(std::int64_t ticket, const std::string& digest) {
  const std::lock_guard lock(mutex_);
  const TicketPtr own = of(ticket);
  const auto found = own->entries.find(digest);
  if (found == own->entries.end()) {
    throw Error(ErrorCode::missing, "no recording of digest " + digest + " under ticket " +
                                        std::to_string(ticket));
  }
  Recorded recorded = std::move(found->second);
  own->entries.erase(found);
  return recorded;
}

void RecordStore::drop(std::int64_t ticket) {
  const std::lock_guard lock(mutex_);
  const auto found = tickets_.find(ticket);
  if (found != tickets_.end()) {
    found->second->closed = true;
    found->second->finished.clear();
    found->second->changed.notify_all();
    tickets_.erase(found);
  }
}

void RecordStore::stop(std::int64_t ticket) {
  const std::lock_guard lock(mutex_);
  of(ticket)->stopped = true;
}

bool RecordStore::is_stopped(std::int64_t ticket) {
  const std::lock_guard lock(mutex_);
  return of(ticket)->stopped;
}

}  // namespace phasic::python
