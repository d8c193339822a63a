// The main function of every test program. It counts test cases, so that ./run can add up programs, and its last line
// is "N passed, N failed, N skipped". A case that neither checks anything nor says why it skips has failed.
#define CATCH_CONFIG_RUNNER
#include "tests/support/catch.hpp"

namespace {

struct Tally {
  int passed = 0, failed = 0, skipped = 0;
} tally;

#if CATCH_VERSION_MAJOR >= 3
using Listener = Catch::EventListenerBase;
#else
using Listener = Catch::TestEventListenerBase;
#endif

class CountCases : public Listener {
 public:
  using Listener::Listener;

  void testCaseStarting(const Catch::TestCaseInfo& info) override {
    Listener::testCaseStarting(info);
    name_ = info.name;
    skipped_before_ = cuttle_test::skipped_tests();
  }

  void testCaseEnded(const Catch::TestCaseStats& stats) override {
    const bool skipped = cuttle_test::skipped_tests() > skipped_before_;
    const bool empty = stats.totals.assertions.total() == 0;
    if (empty && !skipped) std::cout << "FAILED: '" << name_ << "' checks nothing\n";
    ++(!stats.totals.assertions.allOk() || (empty && !skipped) ? tally.failed : skipped ? tally.skipped : tally.passed);
    Listener::testCaseEnded(stats);
  }

 private:
  std::string name_;
  int skipped_before_ = 0;
};

}  // namespace

CATCH_REGISTER_LISTENER(CountCases)

// Under the address sanitizer a request for too much memory throws, as it does without.
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }

int main(int argc, char** argv) {
  const int status = Catch::Session().run(argc, argv);
  std::cout << tally.passed << " passed, " << tally.failed << " failed, " << tally.skipped << " skipped" << std::endl;
  return status == 0 && tally.failed > 0 ? 1 : status;
}
