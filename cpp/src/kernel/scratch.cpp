#include "kernel/scratch.h"

#include <algorithm>

namespace phasic::detail {
namespace {

constexpr std::align_val_t kAlignment{64};
constexpr std::size_t kKeptBytes = std::size_t{8} << 20;
constexpr std::size_t kKeptArrays = 32;

struct Entry {
  void* memory;
  std::size_t bytes;
};

class Shelf {
 public:
  Shelf() { entries_.reserve(kKeptArrays); }
  ~Shelf() {
    for (const Entry& entry : entries_) {
      ::operator delete(entry.memory, kAlignment);
    }
  }
  Shelf(const Shelf&) = delete;
  Shelf& operator=(const Shelf&) = delete;

  void* take(std::size_t bytes) {
    const auto found = std::find_if(entries_.begin(), entries_.end(),
                                    [&](const Entry& entry) { return entry.bytes == bytes; });
    if (found == entries_.end()) {
      return ::operator new(bytes, kAlignment);
    }
    void* memory = found->memory;
    kept_ -= bytes;
    entries_.erase(found);
    return memory;
  }

  // The oldest entries make room.
  void give(void* memory, std::size_t bytes) noexcept {
    if (bytes > kKeptBytes) {
      return ::operator delete(memory, kAlignment);
    }
    while (entries_.size() == kKeptArrays || kept_ + bytes > kKeptBytes) {
      ::operator delete(entries_.front().memory, kAlignment);
      kept_ -= entries_.front().bytes;
      entries_.erase(entries_.begin());
    }
    entries_.push_back({memory, bytes});
    kept_ += bytes;
  }

 private:
  std::vector<Entry> entries_;  // oldest first
  std::size_t kept_ = 0;
};

Shelf& shelf() {
  thread_local Shelf own;
  return own;
}

}  // namespace

void* take_scratch(std::size_t bytes) { return shelf().take(bytes); }
void give_scratch(void* memory, std::size_t bytes) noexcept { shelf().give(memory, bytes); }

}  // namespace phasic::detail
