// Checks of errors: the code, and words of the message.
#pragma once

#include <boost/test/unit_test.hpp>

#include <string>
#include <vector>

#include "phasic/base.h"

namespace checks {

// Calls f, which must throw Error with this code and a message that holds every word.
template <class F>
void throws(F&& f, phasic::ErrorCode code, const std::vector<std::string>& words) {
  try {
    f();
    BOOST_TEST(false, "no error, expected one that says '" << words.at(0) << "'");
  } catch (const phasic::Error& error) {
    const std::string text = error.what();
    BOOST_TEST((error.code() == code), "another error code with: " << text);
    for (const std::string& word : words) {
      BOOST_TEST(text.find(word) != std::string::npos, "'" << word << "' is not in: " << text);
    }
  }
}

}  // namespace checks
