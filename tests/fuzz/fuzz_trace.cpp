// Any bytes as a trace: refused as corrupt, or decoded to something that encodes to the same trace.
//
// A checksum would keep a fuzzer out, so the first byte chooses what is given to the decoder: 0 the
// bytes as they are, 1 or 2 a payload (component, program) under a valid header, checksum and digest.
#include <string>

#include "input.h"
#include "phasic/evaluate.h"
#include "support/evaluation.h"
#include "support/sealed.h"

using namespace phasic;

namespace {

// Reads the lists of a payload in front of what the digest is about; false where they end early.
class Lists {
 public:
  explicit Lists(std::string_view bytes) : rest_(bytes) {}
  template <class T>
  bool number(T& value) {
    if (rest_.size() < sizeof(T)) return false;
    std::memcpy(&value, rest_.data(), sizeof(T));
    rest_.remove_prefix(sizeof(T));
    return true;
  }
  template <class T>
  bool list(std::vector<T>& values) {
    std::uint64_t count = 0;
    if (!number(count) || count > rest_.size() / sizeof(T)) return false;
    values.resize(static_cast<std::size_t>(count));
    if (count > 0) std::memcpy(values.data(), rest_.data(), values.size() * sizeof(T));
    rest_.remove_prefix(values.size() * sizeof(T));
    return true;
  }
  [[nodiscard]] std::string_view rest() const noexcept { return rest_; }

 private:
  std::string_view rest_;
};

// The payload with the digest that its content has, as far as there is one.
std::string with_digest(std::string_view payload, const std::string& digest) {
  Lists lists(payload);
  std::vector<char> old;
  if (!lists.list(old)) return std::string(payload);
  std::string result;
  sealed::append_list(result, digest);
  return result + std::string(lists.rest());
}

std::string component_digest(std::string_view payload) {
  Lists lists(payload);
  std::vector<char> old;
  Pattern pattern;
  if (!lists.list(old) || !lists.list(pattern.row_begin) || !lists.list(pattern.column)) return "";
  return pattern_digest(pattern);
}

std::string program_digest(std::string_view payload) {
  Lists lists(payload);
  std::vector<char> old;
  GraphArrays arrays;
  std::uint8_t discrete = 0;
  if (!lists.list(old) || !lists.number(arrays.n_vertices) || !lists.number(arrays.state_length) ||
      !lists.number(arrays.param_length) || !lists.number(discrete) || !lists.list(arrays.states) ||
      !lists.list(arrays.edges) || !lists.list(arrays.start_edges) ||
      !lists.list(arrays.param_edges) || !lists.list(arrays.start_param_edges)) {
    return "";
  }
  arrays.discrete = discrete != 0;
  arrays.start_vertex = 0;
  try {
    return evaluation::program_of(graph_from_arrays(arrays))->digest;
  } catch (const Error&) {
    return "";
  }
}

void expect_corrupt(const Error& error) {
  fuzz::expect(error.code() == ErrorCode::corrupt, "damage is reported as damage");
}

void check_component(const std::string& bytes) {
  try {
    const ComponentTracePtr trace = decode_component(bytes);
    const std::string again = encode(*trace);
    fuzz::expect(encode(*decode_component(again)) == again, "decoding undoes encoding");
    (void)dump(*trace);
  } catch (const Error& error) {
    expect_corrupt(error);
  }
}

void check_program(const std::string& bytes) {
  ProgramPtr program;
  try {
    program = decode_program(bytes);
  } catch (const Error& error) {
    expect_corrupt(error);
    return;
  }
  const std::string again = encode(*program);
  fuzz::expect(encode(*decode_program(again)) == again, "decoding undoes encoding");
  if (n_parameters(*program) > 64) return;  // their values would be an operand of that size
  evaluation::Inputs inputs;
  inputs.theta.assign(at(n_parameters(*program)), 0.5);
  (void)evaluation::run(*program, {}, 1, inputs);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  const std::int64_t mode = input.below(3);
  const std::string rest(input.rest());
  if (mode == 0) {
    check_component(rest);
    check_program(rest);
  } else if (mode == 1) {
    check_component(sealed::seal('C', with_digest(rest, component_digest(rest))));
  } else {
    check_program(sealed::seal('P', with_digest(rest, program_digest(rest))));
  }
  return 0;
}
