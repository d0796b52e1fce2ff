// What may stand beside beams and best_of, field by field.
#include "router/api/beams.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>

#include "router/api/api_error.h"

namespace pingti::router {
namespace {

constexpr uint32_t kMaxBeams = 6;

GenerationRequest Search(uint32_t num_beams) {
  GenerationRequest request;
  request.params.num_beams = num_beams;
  return request;
}

std::string Refused(const GenerationRequest& request) {
  const absl::Status status = CheckBeams(request, kMaxBeams);
  return status.ok() ? "" : ErrorParam(status);
}

// All small numbers, written down a second time as the page says it.
TEST(CheckBeams, NumbersFitTogether) {
  for (const bool legacy : {false, true}) {
    for (uint32_t num_beams = 1; num_beams <= kMaxBeams + 1; ++num_beams) {
      for (uint32_t best_of = 0; best_of <= kMaxBeams + 1; ++best_of) {
        for (uint32_t n = 1; n <= kMaxBeams + 1; ++n) {
          GenerationRequest request = Search(num_beams);
          request.params.use_beam_search = legacy;
          if (best_of > 0) request.params.best_of = best_of;
          request.params.n = n;
          const uint32_t width = num_beams > 1 ? num_beams : best_of > 0 ? best_of : n;
          const bool searches = num_beams > 1 || (legacy && width > 1);
          bool fits = best_of == 0 || best_of >= n;
          if (searches)
            fits = n <= width && width <= kMaxBeams && (best_of == 0 || best_of == width);
          if (legacy && !searches) fits = false;
          SCOPED_TRACE(::testing::Message() << "use_beam_search " << legacy << ", num_beams "
                                            << num_beams << ", best_of " << best_of << ", n " << n);
          EXPECT_EQ(Refused(request).empty(), fits);
          EXPECT_EQ(request.params.beams(), searches ? width : 1);
          EXPECT_EQ(request.params.width(), searches ? width : std::max(n, best_of));
        }
      }
    }
  }
}

TEST(CheckBeams, ASearchIsRefusedWithWhatItCannotHave) {
  struct Case {
    const char* field;
    std::function<void(GenerationRequest*)> spoil;
  };
  const Case cases[] = {
      {"temperature", [](auto* r) { r->params.temperature = 0.1; }},
      {"max_tokens", [](auto* r) { r->params.max_tokens = 0; }},
      {"thinking_budget", [](auto* r) { r->thinking_budget = 5; }},
      {"length_penalty", [](auto* r) { r->params.length_penalty = 10.5; }},
      {"length_penalty", [](auto* r) { r->params.length_penalty = std::nan(""); }},
  };
  for (const Case& c : cases) {
    GenerationRequest request = Search(4);
    c.spoil(&request);
    EXPECT_EQ(Refused(request), c.field);
  }
}

TEST(CheckBeams, ASearchTakesWhatOtherRequestsTake) {
  GenerationRequest request = Search(4);
  request.params.presence_penalty = 1;
  request.params.frequency_penalty = -1;
  request.params.logit_bias = {{1, 1.0f}};
  request.params.logprobs = true;
  request.params.top_logprobs = 3;
  request.params.stop = {"x"};
  request.grammar = {grammar::GrammarSource::Kind::kRegex, "x"};
  request.require_tool_call = request.strict_tools = true;
  request.params.temperature = 0;
  request.params.top_p = 0.5;
  request.params.top_k = 3;
  request.params.min_p = 0.1;
  request.params.repetition_penalty = 1.1;
  request.params.seed = 7;
  request.params.stop_token_ids = {5};
  request.params.ignore_eos = true;
  request.params.min_tokens = 3;
  request.params.length_penalty = -2;
  request.params.early_stopping = EarlyStopping::kNever;
  request.parse_tool_calls = true;
  request.echo = true;
  EXPECT_EQ(Refused(request), "");
}

TEST(CheckBeams, WhatIsOnlyForBeamsIsRefusedWithout) {
  GenerationRequest request = Search(1);
  request.params.length_penalty = 0.5;
  EXPECT_EQ(Refused(request), "length_penalty");
  for (const auto early : {EarlyStopping::kTrue, EarlyStopping::kNever}) {
    request = Search(1);
    request.params.early_stopping = early;
    EXPECT_EQ(Refused(request), "early_stopping");
  }
}

TEST(CheckBeams, OneBeamAtMostIsNoSearchAtAll) {
  EXPECT_EQ(ErrorParam(CheckBeams(Search(2), 1)), "num_beams");
  EXPECT_TRUE(CheckBeams(Search(1), 1).ok());
}

}  // namespace
}  // namespace pingti::router
