// BLAKE2b-256 against values that Python's hashlib.blake2b(digest_size=32) gives. The bytes hashed
// are: the length of the domain (8 bytes, little-endian), the domain, then what was added.
#include <boost/test/unit_test.hpp>

#include <string>
#include <utility>
#include <vector>

#include "phasic/digest.h"

using phasic::Hasher;
using phasic::Index;

namespace {

std::string test_bytes(int size) {
  std::string bytes;
  for (int i = 0; i < size; ++i) bytes.push_back(static_cast<char>((7 * i + 3) % 256));
  return bytes;
}

// Lengths around the 128-byte block (8 bytes of it are the domain length).
const std::vector<std::pair<int, std::string>> kExpected = {
    {0, "81e47a19e6b29b0a65b9591762ce5143ed30d0261e5d24a3201752506b20f15c"},
    {1, "05baef44e52ab942ba290a6cdc58bb307e32aee619cb8484cda748c6b112930b"},
    {119, "be3df79e2af415b0c9a721be12669bdabb88a7fc58027a7d65981fd48ed8e41f"},
    {120, "8ca72ee63100ee5a8e22502258aeef03a2a2a06e6be1f41b8c149e25fe022fcd"},
    {121, "3dde79dca7d5af760316b06a045854bca3cee08da240a8390d019d47252cf333"},
    {127, "a899dcb139f8dbacfd7244d697cce29f0f2821a27365f21706641d205c468bb1"},
    {128, "e2b2459f8f928d18d8aece2688b186b80655b04e91ace7decc643ba5f6b250d4"},
    {129, "0f5da7755e803cd927a2c6c22054e16c25f2c6adc1a33ac75f9cb607d386eaa5"},
    {247, "ed3f1ea20c04086aabc6825ecdce7d1b90c6fdaefe7f875e67f48057b0255bf7"},
    {248, "ae747063dd853f53ac47cd2218c9320f94feb5e36c1d4a9687e5adb0cbb3ce99"},
    {249, "dfda3b41ad93db774f6cde08851706bc13d3ed352e256210cf8e63393aae10c7"},
    {1000, "e9a5d214b45422a6f1d3ad475d6ad01845b1625291856c865ad1841d48aa2637"}};

}  // namespace

BOOST_AUTO_TEST_CASE(agrees_with_hashlib_at_every_block_boundary) {
  for (const auto& [size, expected] : kExpected) {
    Hasher hasher("");
    const std::string bytes = test_bytes(size);
    hasher.add_bytes(bytes.data(), bytes.size());
    BOOST_TEST(hasher.hex() == expected, "size " << size);
  }
}

BOOST_AUTO_TEST_CASE(does_not_depend_on_how_the_bytes_are_split) {
  const std::string bytes = test_bytes(1000);
  for (std::size_t piece : {1U, 7U, 64U, 127U, 128U, 129U, 500U}) {
    Hasher hasher("");
    for (std::size_t i = 0; i < bytes.size(); i += piece) {
      hasher.add_bytes(bytes.data() + i, std::min(piece, bytes.size() - i));
    }
    BOOST_TEST(hasher.hex() == kExpected.back().second, "piece " << piece);
  }
}

BOOST_AUTO_TEST_CASE(the_domain_separates) {
  BOOST_TEST(Hasher("phasic-test").hex() ==
             "cdd51dce81f0b52bc230d5f93136aa8710034f0c15d01c3a64503705c2d1a007");
}

BOOST_AUTO_TEST_CASE(numbers_are_little_endian) {
  Hasher integers("phasic-test");
  for (const Index value : {Index{0}, Index{1}, Index{-1}, Index{1} << 62}) integers.add(value);
  BOOST_TEST(integers.hex() == "e6ffa143fe04f2a916459d41bbfe264aca9cf89f53b3de138c1e1fcef6d26fcf");
  Hasher doubles("phasic-test");
  for (const double value : {-0.0, 0.1, -1e300}) doubles.add(value);
  BOOST_TEST(doubles.hex() == "1116b64592debe1309cebe8dbb11dd1577b86bccf05f48f500e14d7378893973");
}
