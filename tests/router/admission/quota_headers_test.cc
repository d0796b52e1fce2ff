#include "router/admission/quota_headers.h"

#include <gtest/gtest.h>

namespace pingti::router {
namespace {

using std::chrono::milliseconds;
using Headers = std::vector<std::pair<std::string, std::string>>;

TEST(QuotaHeaders, NameWhatIsLimitedAlone) {
  EXPECT_EQ(QuotaHeaders({}), Headers{});
  EXPECT_EQ(QuotaHeaders({.tokens = Quota::Limit{600, 17, milliseconds(58'300)}}),
            (Headers{{"x-ratelimit-limit-tokens", "600"},
                     {"x-ratelimit-remaining-tokens", "17"},
                     {"x-ratelimit-reset-tokens", "58.3s"}}));
}

TEST(QuotaHeaders, TimesAreThoseOfGo) {
  const auto reset = [](int64_t ms) {
    return QuotaHeaders({.requests = Quota::Limit{1, 1, milliseconds(ms)}}).back().second;
  };
  EXPECT_EQ(reset(0), "0ms");
  EXPECT_EQ(reset(999), "999ms");
  EXPECT_EQ(reset(1000), "1s");
  EXPECT_EQ(reset(1010), "1.01s");
  EXPECT_EQ(reset(59'999), "59.999s");
  EXPECT_EQ(reset(60'000), "1m0s");
  EXPECT_EQ(reset(3'600'500), "60m0.5s");
}

}  // namespace
}  // namespace pingti::router
