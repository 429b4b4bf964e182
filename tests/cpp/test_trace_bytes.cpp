// Traces as bytes: exact round trips, and bytes that are damaged or hostile.
//
// Whatever the bytes, decoding either throws Error{corrupt} or gives a trace with the right numbers.
// The layout repeated here is the one documented in cpp/src/trace/codec.cpp.
#include <boost/test/unit_test.hpp>

#include <cstring>
#include <limits>

#include "support/checks.h"
#include "support/comparison.h"
#include "support/evaluation.h"
#include "support/models.h"
#include "support/patterns.h"
#include "support/sealed.h"

using namespace phasic;
using checks::throws;
using evaluation::Inputs;
using patterns::random_pattern;
using sealed::append_list;
using sealed::append_number;
using sealed::payload_of;
using sealed::seal;

namespace {

struct ComponentPayload {
  std::string digest;
  std::vector<std::int32_t> row_begin, column;
  std::string ordering;
  std::vector<std::int32_t> order;
  explicit ComponentPayload(const ComponentTrace& trace)
      : digest(trace.digest), row_begin(trace.pattern.row_begin), column(trace.pattern.column),
        ordering(trace.ordering), order(trace.order) {}
  [[nodiscard]] std::string sealed() const {
    std::string payload;
    append_list(payload, digest);
    append_list(payload, row_begin);
    append_list(payload, column);
    append_list(payload, ordering);
    append_list(payload, order);
    return seal('C', payload);
  }
};

struct ProgramPayload {
  std::string digest;
  GraphArrays arrays;
  std::vector<ComponentTracePtr> components;
  explicit ProgramPayload(const Program& program)
      : digest(program.digest), arrays(graph_to_arrays(*program.graph)),
        components(program.components) {}
  [[nodiscard]] std::string sealed() const {
    std::string payload;
    append_list(payload, digest);
    append_number(payload, arrays.n_vertices);
    append_number(payload, arrays.state_length);
    append_number(payload, arrays.param_length);
    append_number(payload, static_cast<std::uint8_t>(arrays.discrete));
    append_list(payload, arrays.states);
    append_list(payload, arrays.edges);
    append_list(payload, arrays.start_edges);
    append_list(payload, arrays.param_edges);
    append_list(payload, arrays.start_param_edges);
    for (const ComponentTracePtr& component : components) {
      append_list(payload, component->ordering);
      append_list(payload, component->order);
    }
    return seal('P', payload);
  }
};

void corrupt_component(const std::string& bytes, const std::vector<std::string>& words = {"damaged"}) {
  throws([&] { (void)decode_component(bytes); }, ErrorCode::corrupt, words);
}
void corrupt_program(const std::string& bytes, const std::vector<std::string>& words = {"damaged"}) {
  throws([&] { (void)decode_program(bytes); }, ErrorCode::corrupt, words);
}

Inputs some_theta(const models::Family& family) {
  std::mt19937 random(5);
  Inputs inputs;
  inputs.theta = models::random_theta(family, random);
  return inputs;
}

std::vector<double> moments_of(const Program& program, const Inputs& inputs) {
  Request request;
  request.order = 3;
  return evaluation::run(program, request, 1, inputs).value;
}

void check_same_numbers(const std::vector<double>& found, const std::vector<double>& expected) {
  BOOST_REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    oracle::check_close(found[i], expected[i], 1e-13, "moment " + std::to_string(i + 1));
  }
}

// Decodes hostile bytes of a component of `graph`: corrupt, or the same numbers. True if decoded.
bool component_is_harmless(const std::string& bytes, const Decomposition& decomposition,
                           const std::vector<double>& expected) {
  ComponentTracePtr trace;
  try {
    trace = decode_component(bytes);
  } catch (const Error& error) {
    BOOST_TEST((error.code() == ErrorCode::corrupt), error.what());
    return false;
  }
  BOOST_TEST(trace->digest == pattern_digest(trace->pattern));
  if (trace->digest == decomposition.components[0].digest) {
    check_same_numbers(moments_of(*link(decomposition, {{trace->digest, trace}}), {}), expected);
  }
  return true;
}

// A small random change: of bytes, of whole words, insertion, removal, or a piece moved.
std::string mutated(std::string bytes, std::mt19937& random) {
  const auto place = [&](std::size_t width) {
    return static_cast<std::size_t>(
        models::below(random, static_cast<Index>(bytes.size() - width) + 1));
  };
  switch (models::below(random, 6)) {
    case 0:
      bytes[place(1)] = static_cast<char>(random());
      break;
    case 1: {  // a count or an index out of bounds
      const std::int32_t words[] = {-1, 0, 1, 1 << 30, std::numeric_limits<std::int32_t>::max(),
                                    std::numeric_limits<std::int32_t>::min()};
      std::memcpy(&bytes[place(4)], &words[random() % 6], 4);
      break;
    }
    case 2: {
      const std::int64_t words[] = {-1, 0, std::int64_t{1} << 61, std::int64_t{1} << 62,
                                    std::numeric_limits<std::int64_t>::max(),
                                    std::numeric_limits<std::int64_t>::min()};
      std::memcpy(&bytes[place(8)], &words[random() % 6], 8);
      break;
    }
    case 3:
      bytes.insert(place(0), bytes.substr(place(1), 1 + random() % 16));
      break;
    case 4:
      bytes.erase(place(1), 1 + random() % 16);
      break;
    default: {
      const std::string piece = bytes.substr(place(4), 4);
      bytes.replace(place(4), 4, piece);
    }
  }
  return bytes;
}

}  // namespace

BOOST_AUTO_TEST_CASE(components_survive_encoding) {
  for (unsigned seed = 0; seed < 30; ++seed) {
    const ComponentTracePtr trace =
        record_component(random_pattern(1 + static_cast<Index>(seed), 0.1, seed));
    const std::string bytes = encode(*trace);
    BOOST_TEST(kind_of_bytes(bytes) == 'C');
    BOOST_TEST(patterns::same(*decode_component(bytes), *trace));
    BOOST_TEST(encode(*decode_component(bytes)) == bytes);
    BOOST_TEST(ComponentPayload(*trace).sealed() == bytes);
  }
}

BOOST_AUTO_TEST_CASE(programs_survive_encoding) {
  for (const models::Family& family : models::all_families()) {
    const ProgramPtr program = evaluation::program_of(models::random_model(family, 2));
    const std::string bytes = encode(*program);
    const ProgramPtr read = decode_program(bytes);
    BOOST_TEST(kind_of_bytes(bytes) == 'P');
    BOOST_TEST(read->digest == program->digest);
    BOOST_TEST(read->n_operations == program->n_operations);
    BOOST_TEST(read->structural_trap == program->structural_trap);
    BOOST_TEST(read->graph->states == program->graph->states, boost::test_tools::per_element());
    BOOST_TEST(encode(*read) == bytes);
    BOOST_TEST(ProgramPayload(*program).sealed() == bytes);
    const Inputs inputs = some_theta(family);
    BOOST_TEST(moments_of(*read, inputs) == moments_of(*program, inputs),
               boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(every_truncation_and_every_flipped_bit_is_noticed) {
  const std::string component = encode(*record_component(random_pattern(4, 0.3, 1)));
  models::Family family = models::all_families()[2];
  family.n = 4;
  const std::string program = encode(*evaluation::program_of(models::random_model(family, 1)));
  for (const std::string& bytes : {component, program}) {
    const bool is_program = kind_of_bytes(bytes) == 'P';
    const auto check = [&](const std::string& changed) {
      is_program ? corrupt_program(changed) : corrupt_component(changed);
    };
    for (std::size_t length = 0; length < bytes.size(); ++length) check(bytes.substr(0, length));
    for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
      std::string flipped = bytes;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
      check(flipped);
    }
    check(bytes + '\0');
    check(bytes + bytes);
    check(bytes.substr(1));
  }
  corrupt_component(program, {"kind", "'C'", "'P'"});
  corrupt_program(component, {"kind", "'C'", "'P'"});
}

BOOST_AUTO_TEST_CASE(random_splices_are_noticed) {
  std::mt19937 random(3);
  std::vector<std::string> all;
  for (unsigned seed = 0; seed < 6; ++seed) {
    all.push_back(encode(*record_component(random_pattern(3 + seed, 0.3, seed))));
  }
  for (int repeat = 0; repeat < 3000; ++repeat) {
    const std::string& head = all[random() % all.size()];
    const std::string& tail = all[random() % all.size()];
    const std::string spliced =
        head.substr(0, random() % head.size()) + tail.substr(random() % tail.size());
    if (spliced != head && spliced != tail) corrupt_component(spliced);
    corrupt_component(mutated(head, random) + "!");
  }
}

BOOST_AUTO_TEST_CASE(another_version_or_magic_is_named) {
  const std::string bytes = encode(*record_component(random_pattern(4, 0.3, 1)));
  std::string newer = bytes;
  newer[9] = static_cast<char>(kTraceFormatMajor + 1);
  corrupt_component(newer, {"version " + std::to_string(kTraceFormatMajor + 1)});
  for (const char* text : {"", "PHASICTR", "\x7f" "ELF and much more text, so that it is longer than "
                                           "any header plus checksum could possibly be, surely."}) {
    throws([&] { (void)kind_of_bytes(text); }, ErrorCode::corrupt, {"PHASICTR"});
  }
}

BOOST_AUTO_TEST_CASE(resealed_components_with_other_content_are_refused) {
  const ComponentTracePtr trace = record_component(random_pattern(5, 0.3, 1));
  const auto with = [&](auto change) {
    ComponentPayload payload(*trace);
    change(payload);
    return payload.sealed();
  };
  using Payload = ComponentPayload;
  constexpr std::int32_t kMax = std::numeric_limits<std::int32_t>::max();
  corrupt_component(with([](Payload& p) { p.order[0] = p.order[1]; }), {"permutation"});
  corrupt_component(with([](Payload& p) { p.order[0] = -1; }), {"permutation"});
  corrupt_component(with([](Payload& p) { p.order[2] = 5; }), {"permutation"});
  corrupt_component(with([](Payload& p) { p.order[2] = kMax; }), {"permutation"});
  corrupt_component(with([](Payload& p) { p.order.pop_back(); }), {"order", "4 entries"});
  corrupt_component(with([](Payload& p) { p.order.push_back(0); }), {"order", "6 entries"});
  corrupt_component(with([](Payload& p) { p.order.clear(); }), {"order"});
  corrupt_component(with([](Payload& p) { p.digest = std::string(64, 'a'); }), {"digest"});
  corrupt_component(with([](Payload& p) { p.digest.clear(); }), {"digest"});
  corrupt_component(with([](Payload& p) { p.column.back() ^= 1; }));
  corrupt_component(with([](Payload& p) { p.column[0] = kMax; }));
  corrupt_component(with([](Payload& p) { p.column[0] = -1; }));
  corrupt_component(with([](Payload& p) { p.column.clear(); }));
  corrupt_component(with([](Payload& p) { p.row_begin.clear(); }));
  corrupt_component(with([](Payload& p) { p.row_begin[1] = kMax; }));
  corrupt_component(with([](Payload& p) { p.row_begin[1] = -7; }));
  corrupt_component(with([](Payload& p) { p.row_begin.back() += 1; }));
  corrupt_component(with([](Payload& p) { p.row_begin.assign(2, 0), p.column.clear(); }));
  // What a message shows must be text, whatever was found.
  corrupt_component(with([](Payload& p) { p.digest.assign(64, '\xff'); }), {"digest \\xff"});
  corrupt_component(with([](Payload& p) { p.ordering = "\x92"; }), {"'\\x92'"});
  corrupt_component(with([](Payload& p) { p.ordering = std::string("a\0b", 3); }), {"'a\\x00b'"});
  corrupt_component(with([](Payload& p) { p.ordering.assign(65, 'a'); }), {"64 printable"});
  corrupt_component(seal('\x92', payload_of(encode(*trace))), {"found '\\x92'"});
  // A dense pattern under the old digest: well-formed, but another component.
  const Pattern other = random_pattern(5, 1.0, 1);
  corrupt_component(with([&](Payload& p) { p.row_begin = other.row_begin, p.column = other.column; }),
                    {"digest"});
  // Counts that claim more than there is.
  const std::string payload = payload_of(encode(*trace));
  for (const std::uint64_t count : {std::uint64_t{65}, std::uint64_t{1} << 31, std::uint64_t{1} << 61,
                                    std::uint64_t{1} << 62, ~std::uint64_t{0}}) {
    for (const std::size_t place : {std::size_t{0}, std::size_t{8 + 64}}) {
      std::string changed = payload;
      std::memcpy(&changed[place], &count, sizeof count);
      corrupt_component(seal('C', changed));
    }
  }
  corrupt_component(seal('C', payload + "x"), {"follow"});
  corrupt_component(seal('C', ""));
  corrupt_component(seal('X', payload), {"kind"});
}

BOOST_AUTO_TEST_CASE(a_resealed_trace_with_another_order_gives_the_same_numbers) {
  const Pattern pattern = random_pattern(9, 0.25, 6);
  const Decomposition decomposition = decompose(patterns::model_of(pattern));
  ComponentPayload payload(*record_component(decomposition.components[0].pattern));
  const std::vector<double> expected = moments_of(*evaluation::program_of(decomposition.graph), {});
  std::mt19937 random(2);
  for (int repeat = 0; repeat < 50; ++repeat) {
    for (Index i = 8; i > 0; --i) {
      std::swap(payload.order[at(i)], payload.order[at(models::below(random, i + 1))]);
    }
    payload.ordering = "made up";
    BOOST_TEST(component_is_harmless(payload.sealed(), decomposition, expected));
  }
}

BOOST_AUTO_TEST_CASE(resealed_random_changes_of_components_are_harmless) {
  std::mt19937 random(11);
  int decoded = 0;
  for (unsigned seed = 0; seed < 20; ++seed) {
    const Pattern pattern = random_pattern(2 + static_cast<Index>(seed % 7), 0.3, seed);
    const Decomposition decomposition = decompose(patterns::model_of(pattern));
    const std::vector<double> expected =
        moments_of(*evaluation::program_of(decomposition.graph), {});
    const Pattern& canonical = decomposition.components[0].pattern;
    const std::string payload = payload_of(encode(*record_component(canonical)));
    for (int repeat = 0; repeat < 400; ++repeat) {
      std::string changed = payload;
      for (Index i = models::below(random, 3); i >= 0; --i) changed = mutated(changed, random);
      decoded += component_is_harmless(seal('C', changed), decomposition, expected) ? 1 : 0;
    }
  }
  BOOST_TEST(decoded > 0);  // changes of the ordering's name
}

BOOST_AUTO_TEST_CASE(resealed_programs_with_other_content_are_refused) {
  models::Family family = models::all_families()[11];
  const ProgramPtr program = evaluation::program_of(models::random_model(family, 1));
  const auto with = [&](auto change) {
    ProgramPayload payload(*program);
    change(payload);
    return payload.sealed();
  };
  using Payload = ProgramPayload;
  constexpr Index kHuge = std::numeric_limits<Index>::max();
  corrupt_program(with([](Payload& p) { p.arrays.edges[2] *= 1.0000001; }), {"digest"});
  corrupt_program(with([](Payload& p) { p.arrays.edges[2] = std::nan(""); }), {"edges"});
  corrupt_program(with([](Payload& p) { p.arrays.edges[0] = 1e300; }), {"edges"});
  corrupt_program(with([](Payload& p) { p.arrays.edges.pop_back(); }), {"edges"});
  corrupt_program(with([](Payload& p) { p.arrays.param_edges.back() += 1; }), {"digest"});
  corrupt_program(with([](Payload& p) { p.arrays.start_edges[1] /= 2; }), {"digest"});
  corrupt_program(with([](Payload& p) { p.arrays.start_edges[1] = 7; }));
  corrupt_program(with([](Payload& p) { p.arrays.discrete = !p.arrays.discrete; }));
  corrupt_program(with([](Payload& p) { p.digest.back() ^= 1; }), {"digest"});
  corrupt_program(with([](Payload& p) { p.components.pop_back(); }));
  corrupt_program(with([](Payload& p) { p.components.push_back(p.components[0]); }), {"follow"});
  corrupt_program(with([](Payload& p) { std::reverse(p.components.begin(), p.components.end()); }));
  for (const Index value : {Index{-1}, Index{0}, Index{1}, Index{1} << 32, kHuge, -kHuge - 1}) {
    corrupt_program(with([&](Payload& p) { p.arrays.n_vertices = value; }), {"n_vertices"});
    corrupt_program(with([&](Payload& p) { p.arrays.state_length = value; }), {"state"});
    corrupt_program(with([&](Payload& p) { p.arrays.param_length = value; }), {"param"});
  }
}

BOOST_AUTO_TEST_CASE(resealed_random_changes_of_programs_are_harmless) {
  std::mt19937 random(13);
  for (const models::Family& base : models::all_families()) {
    models::Family family = base;
    family.n = std::min<Index>(family.n, 6);
    const ProgramPtr program = evaluation::program_of(models::random_model(family, 4));
    const Inputs inputs = some_theta(family);
    const std::vector<double> expected = moments_of(*program, inputs);
    const std::string payload = payload_of(encode(*program));
    for (int repeat = 0; repeat < 150; ++repeat) {
      std::string changed = payload;
      for (Index i = models::below(random, 3); i >= 0; --i) changed = mutated(changed, random);
      try {
        const ProgramPtr read = decode_program(seal('P', changed));
        BOOST_TEST(read->digest == program->digest);
        check_same_numbers(moments_of(*read, inputs), expected);
      } catch (const Error& error) {
        BOOST_TEST((error.code() == ErrorCode::corrupt), error.what());
      }
    }
  }
}
