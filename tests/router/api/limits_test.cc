#include "router/api/limits.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>

#include "router/api/api_error.h"

namespace pingti::router {
namespace {

GenerationRequest Good() {
  GenerationRequest request;
  request.kind = GenerationRequest::Kind::kCompletion;
  request.prompts = {std::string("a")};
  return request;
}

TEST(Limits, NameTheFieldOfEveryNumberAndLength) {
  struct Case {
    const char* field;
    std::function<void(GenerationRequest*)> largest;  // still good
    std::function<void(GenerationRequest*)> too_large;
  };
  const Case kCases[] = {
      {"n", [](auto* r) { r->params.n = 128; }, [](auto* r) { r->params.n = 129; }},
      {"n", [](auto* r) { r->params.n = 1; }, [](auto* r) { r->params.n = 4'294'967'295u; }},
      {"n",
       [](auto* r) {
         r->prompts.resize(16, std::string("a"));
         r->params.n = 128;
       },
       [](auto* r) {
         r->prompts.resize(17, std::string("a"));
         r->params.n = 128;
       }},
      {"stop", [](auto* r) { r->params.stop.assign(16, "x"); },
       [](auto* r) { r->params.stop.assign(17, "x"); }},
      {"stop", [](auto* r) { r->params.stop.assign(16, std::string(1024, 'x')); },
       [](auto* r) { r->params.stop.assign(1, std::string(1'000'000, 'x')); }},
      {"stop_token_ids", [](auto* r) { r->params.stop_token_ids.assign(1024, 7); },
       [](auto* r) { r->params.stop_token_ids.assign(5'000'000, 7); }},
      {"logit_bias",
       [](auto* r) {
         r->params.logit_bias.assign(1024, {7, 1.0f});
       },
       [](auto* r) {
         r->params.logit_bias.assign(1025, {7, 1.0f});
       }},
      {"logit_bias",
       [](auto* r) {
         r->params.logit_bias = {{7, -100.0f}};
       },
       [](auto* r) {
         r->params.logit_bias = {{7, 101.0f}};
       }},
      {"temperature", [](auto* r) { r->params.temperature = 2; },
       [](auto* r) { r->params.temperature = std::numeric_limits<double>::quiet_NaN(); }},
  };
  for (const Case& one : kCases) {
    GenerationRequest request = Good();
    one.largest(&request);
    EXPECT_TRUE(CheckLimits(request).ok()) << one.field << CheckLimits(request);
    request = Good();
    one.too_large(&request);
    const absl::Status status = CheckLimits(request);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << one.field;
    EXPECT_EQ(ErrorParam(status), one.field);
  }
}

TEST(ApiErrorText, IsCutWhereItQuotesAClientAtLength) {
  const std::string name(10'000'000, 'm');
  const absl::Status status =
      ApiError(absl::StatusCode::kNotFound, "The model '" + name + "' does not exist.", name, "");
  EXPECT_LT(status.message().size(), 2'010u);
  EXPECT_LT(ErrorParam(status).size(), 210u);
}

TEST(Shorten, CutsNoCharacter) {
  EXPECT_EQ(Shorten("abc", 3), "abc");
  EXPECT_EQ(Shorten("abcd", 3), "abc...");
  EXPECT_EQ(Shorten("a世界", 4), "a世...");
  EXPECT_EQ(Shorten("a世界", 3), "a...");
  EXPECT_EQ(Shorten("a世界", 2), "a...");
}

}  // namespace
}  // namespace pingti::router
