// Traces as bytes.
//
// Layout (little-endian): magic "PHASICTR", kind 'C' or 'P', major, minor (u8 each), payload length
// (u64), payload, BLAKE2b-256 of everything before it (64 hex digits).
//   component: n, edge count, row_begin, column (u32), ordering name, order (u32)
//   program:   the graph's arrays, then ordering name and order of each component
// A payload holds only what decides the arithmetic. Fill, slots and digests are derived again and the
// derived digest must equal the stored one, so a decoded trace can be slow but never wrong.

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/text.h"
#include "phasic/digest.h"
#include "phasic/trace.h"
#include "trace/trace_parts.h"

namespace phasic {
namespace {

static_assert(kPatternFormat == kTraceFormatMajor, "digests must change with the trace format");
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the trace format is little-endian"
#endif

constexpr std::string_view kMagic = "PHASICTR";
constexpr std::size_t kHeaderSize = 8 + 3 + 8;
constexpr std::size_t kDigestSize = 64;
// A program was within its budgets when it was linked.
constexpr RecordOptions kUnbounded{std::numeric_limits<double>::infinity(),
                                   std::numeric_limits<double>::infinity()};

[[noreturn]] void corrupt(const std::string& text) {
  throw Error(ErrorCode::corrupt, "trace bytes are damaged: " + text);
}

class Writer {
 public:
  template <class T>
  void number(T value) {
    static_assert(std::is_arithmetic_v<T>);
    char raw[sizeof(T)];
    std::memcpy(raw, &value, sizeof(T));
    bytes_.append(raw, sizeof(T));
  }
  template <class T>
  void array(const std::vector<T>& values) {
    number(static_cast<std::uint64_t>(values.size()));
    bytes_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  }
  void text(const std::string& value) { array(std::vector<char>(value.begin(), value.end())); }
  [[nodiscard]] const std::string& bytes() const noexcept { return bytes_; }

 private:
  std::string bytes_;
};

class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  template <class T>
  std::vector<T> array() {
    const auto count = number<std::uint64_t>();
    if (count > rest_.size() / sizeof(T)) {
      corrupt("a list claims " + std::to_string(count) + " entries but only " +
              std::to_string(rest_.size()) + " bytes remain");
    }
    std::vector<T> values(static_cast<std::size_t>(count));
    const std::string_view raw = take(values.size() * sizeof(T));
    if (!raw.empty()) {
      std::memcpy(values.data(), raw.data(), raw.size());
    }
    return values;
  }
  std::string text() {
    const auto raw = array<char>();
    return {raw.begin(), raw.end()};
  }
  void expect_end() const {
    if (!rest_.empty()) {
      corrupt(std::to_string(rest_.size()) + " bytes follow the end of the trace");
    }
  }

 private:
  std::string_view take(std::size_t size) {
    if (size > rest_.size()) {
      corrupt("expected " + std::to_string(size) + " more bytes, found " +
              std::to_string(rest_.size()));
    }
    const std::string_view front = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return front;
  }
  std::string_view rest_;
};

std::string checksum(std::string_view bytes) {
  Hasher hasher("phasic-trace-bytes-1");
  hasher.add_bytes(bytes.data(), bytes.size());
  return hasher.hex();
}

std::string seal(char kind, const std::string& payload) {
  Writer writer;
  std::string bytes(kMagic);
  bytes += kind;
  bytes += static_cast<char>(kTraceFormatMajor);
  bytes += static_cast<char>(kTraceFormatMinor);
  writer.number(static_cast<std::uint64_t>(payload.size()));
  bytes += writer.bytes();
  bytes += payload;
  return bytes + checksum(bytes);
}

std::string_view unseal(char kind, std::string_view bytes) {
  const char found = kind_of_bytes(bytes);
  if (found != kind) {
    corrupt(std::string("expected a trace of kind '") + kind + "', found '" +
            detail::printable_text({&found, 1}) + "'");
  }
  std::uint64_t size;
  std::memcpy(&size, bytes.data() + 11, sizeof size);
  if (size != bytes.size() - kHeaderSize - kDigestSize) {
    corrupt("the header claims a payload of " + std::to_string(size) + " bytes, found " +
            std::to_string(bytes.size() - kHeaderSize - kDigestSize));
  }
  const std::string_view body = bytes.substr(0, bytes.size() - kDigestSize);
  if (checksum(body) != bytes.substr(body.size())) {
    corrupt("the checksum does not match");
  }
  return body.substr(kHeaderSize);
}

void check_permutation(const std::vector<std::int32_t>& order, Index n) {
  std::vector<bool> seen(at(n));
  if (ssize(order) != n) {
    corrupt("the elimination order has " + std::to_string(order.size()) + " entries, expected " +
            std::to_string(n));
  }
  for (const std::int32_t v : order) {
    if (v < 0 || v >= n || seen[at(v)]) {
      corrupt("the elimination order is not a permutation");
    }
    seen[at(v)] = true;
  }
}

// The name of an elimination order is shown to people, hence text.
std::string read_name(Reader& reader) {
  std::string name = reader.text();
  const auto is_plain = [](char c) { return c >= ' ' && c <= '~'; };
  if (name.size() > 64 || !std::all_of(name.begin(), name.end(), is_plain)) {
    corrupt("the elimination order is named '" + detail::printable_text(name) +
            "', expected at most 64 printable characters");
  }
  return name;
}

// Faults of the content itself are damage here, whoever the layer below would blame.
template <class F>
auto as_corruption(F&& read) {
  try {
    return read();
  } catch (const Error& error) {
    if (error.code() == ErrorCode::invalid_argument) {
      corrupt(error.what());
    }
    throw;
  }
}

}  // namespace

char kind_of_bytes(std::string_view bytes) {
  if (bytes.size() < kHeaderSize + kDigestSize || bytes.substr(0, kMagic.size()) != kMagic) {
    corrupt("expected " + std::string(kMagic) + " and a header, found " +
            std::to_string(bytes.size()) + " other bytes");
  }
  if (static_cast<unsigned char>(bytes[9]) != kTraceFormatMajor) {
    corrupt("format version " + std::to_string(static_cast<unsigned char>(bytes[9])) +
            " is not readable here (this version reads " + std::to_string(kTraceFormatMajor) + ")");
  }
  return bytes[8];
}

std::string encode(const ComponentTrace& trace) {
  Writer writer;
  writer.text(trace.digest);
  writer.array(trace.pattern.row_begin);
  writer.array(trace.pattern.column);
  writer.text(trace.ordering);
  writer.array(trace.order);
  return seal('C', writer.bytes());
}

ComponentTracePtr decode_component(std::string_view bytes, const RecordOptions& options) {
  Reader reader(unseal('C', bytes));
  const std::string digest = reader.text();
  Pattern pattern;
  pattern.row_begin = reader.array<std::int32_t>();
  pattern.column = reader.array<std::int32_t>();
  std::string ordering = read_name(reader);
  std::vector<std::int32_t> order = reader.array<std::int32_t>();
  reader.expect_end();
  return as_corruption([&] {
    validate_pattern(pattern);
    if (pattern_digest(pattern) != digest) {
      corrupt("the pattern does not have the digest " + detail::printable_text(digest));
    }
    check_permutation(order, pattern.n());
    return detail::make_component(std::move(pattern), digest, std::move(ordering),
                                  std::move(order), options);
  });
}

std::string encode(const Program& program) {
  Writer writer;
  const GraphArrays arrays = graph_to_arrays(*program.graph);
  writer.text(program.digest);
  writer.number(arrays.n_vertices);
  writer.number(arrays.state_length);
  writer.number(arrays.param_length);
  writer.number(static_cast<std::uint8_t>(arrays.discrete));
  writer.array(arrays.states);
  writer.array(arrays.edges);
  writer.array(arrays.start_edges);
  writer.array(arrays.param_edges);
  writer.array(arrays.start_param_edges);
  for (const ComponentTracePtr& component : program.components) {
    writer.text(component->ordering);
    writer.array(component->order);
  }
  return seal('P', writer.bytes());
}

ProgramPtr decode_program(std::string_view bytes) {
  Reader reader(unseal('P', bytes));
  const std::string digest = reader.text();
  GraphArrays arrays;
  arrays.n_vertices = reader.number<Index>();
  arrays.state_length = reader.number<Index>();
  arrays.param_length = reader.number<Index>();
  arrays.discrete = reader.number<std::uint8_t>() != 0;
  arrays.start_vertex = 0;
  arrays.states = reader.array<std::int32_t>();
  arrays.edges = reader.array<double>();
  arrays.start_edges = reader.array<double>();
  arrays.param_edges = reader.array<double>();
  arrays.start_param_edges = reader.array<double>();
  return as_corruption([&] {
    const Decomposition decomposition = decompose(graph_from_arrays(arrays));
    std::vector<ComponentTracePtr> components;
    ComponentTraceMap known;
    for (const Component& component : decomposition.components) {
      std::string ordering = read_name(reader);
      std::vector<std::int32_t> order = reader.array<std::int32_t>();
      check_permutation(order, component.pattern.n());
      ComponentTracePtr& trace = known[component.digest];
      if (trace == nullptr || trace->order != order) {
        trace = detail::make_component(component.pattern, component.digest, std::move(ordering),
                                       std::move(order), kUnbounded);
      }
      components.push_back(trace);
    }
    reader.expect_end();
    const ProgramPtr program = detail::link_components(decomposition, std::move(components), kUnbounded);
    if (program->digest != digest) {
      corrupt("the program does not have the digest " + detail::printable_text(digest));
    }
    return program;
  });
}

}  // namespace phasic
