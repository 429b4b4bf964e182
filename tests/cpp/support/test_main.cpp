// The test runner, compiled once: it takes ten times as long as a test file that only declares.
#define BOOST_TEST_MODULE phasic
#include <boost/test/included/unit_test.hpp>
