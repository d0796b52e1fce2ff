// Which requests can be served at all: every bound from both sides, and the offender by name.
#include "worker/engine/validate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "worker/cache/prefix_cache.h"

namespace pingti::worker {
namespace {

constexpr int32_t kVocabulary = 100;
constexpr int32_t kContext = 50;
constexpr int32_t kBatch = 4;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

RequestLimits MakeLimits() {
  RequestLimits limits;
  limits.vocab_size = kVocabulary;
  limits.max_context_tokens = kContext;
  limits.max_batch_size = kBatch;
  limits.eos_token_ids = {2};
  return limits;
}

Request ValidRequest() {
  Request request;
  request.prompt_token_ids = {3, 4};
  request.stop.max_tokens = 10;
  return request;
}

Request ValidBeams() {
  Request request = ValidRequest();
  request.sampling.beam.num_beams = 3;
  request.sampling.n = 2;
  return request;
}

using Change = std::function<void(Request*)>;

absl::Status Check(Request request, const Change& change) {
  change(&request);
  return ValidateRequest(request, MakeLimits());
}

void Accepts(const std::vector<Change>& changes, Request (*make)() = ValidRequest) {
  for (size_t i = 0; i < changes.size(); ++i) {
    const absl::Status status = Check(make(), changes[i]);
    EXPECT_TRUE(status.ok()) << "change " << i << ": " << status;
  }
}

void Refuses(const std::string& offender, const std::vector<Change>& changes,
             Request (*make)() = ValidRequest) {
  for (size_t i = 0; i < changes.size(); ++i) {
    const absl::Status status = Check(make(), changes[i]);
    EXPECT_TRUE(std::string(status.message()).starts_with(offender))
        << "change " << i << ": " << status;
  }
}

// What sets a number, and the first and last that may be.
template <typename T>
struct Range {
  std::string field;
  std::function<void(Request*, T)> set;
  T least;
  T most;
};

TEST(ValidateTest, FractionsAreWithinTheirRanges) {
  const std::vector<Range<float>> ranges = {
      {"sampling.temperature", [](Request* r, float v) { r->sampling.temperature = v; }, 0, 100},
      {"sampling.min_p", [](Request* r, float v) { r->sampling.min_p = v; }, 0, 1},
      {"sampling.presence_penalty", [](Request* r, float v) { r->sampling.presence_penalty = v; },
       -2, 2},
      {"sampling.frequency_penalty", [](Request* r, float v) { r->sampling.frequency_penalty = v; },
       -2, 2},
      {"sampling.logit_bias[1].bias",
       [](Request* r, float v) {
         r->sampling.logit_bias = {{1, 0}, {2, v}};
       },
       -1000, 1000},
      // Above nothing.
      {"sampling.top_p", [](Request* r, float v) { r->sampling.top_p = v; },
       std::numeric_limits<float>::denorm_min(), 1},
      {"sampling.repetition_penalty",
       [](Request* r, float v) { r->sampling.repetition_penalty = v; },
       std::numeric_limits<float>::denorm_min(), 100},
  };
  for (const Range<float>& range : ranges) {
    SCOPED_TRACE(range.field);
    const auto with = [&](float value) {
      return [&range, value](Request* r) { range.set(r, value); };
    };
    Accepts({with(range.least), with((range.least + range.most) / 2), with(range.most)});
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    Refuses(range.field, {with(std::nextafter(range.least, -kInfinity)),
                          with(std::nextafter(range.most, kInfinity)), with(kNan)});
  }
}

TEST(ValidateTest, WholeNumbersAreWithinTheirRanges) {
  constexpr int32_t kMost = std::numeric_limits<int32_t>::max();
  const std::vector<Range<int32_t>> ranges = {
      {"sampling.top_k", [](Request* r, int32_t v) { r->sampling.top_k = v; }, 0, kMost},
      {"sampling.n", [](Request* r, int32_t v) { r->sampling.n = v; }, 1, 1},
      {"sampling.logit_bias[0].token_id",
       [](Request* r, int32_t v) {
         r->sampling.logit_bias = {{v, 0}};
       },
       0, kVocabulary - 1},
      {"sampling.allowed_token_ids[1]",
       [](Request* r, int32_t v) {
         r->sampling.allowed_token_ids = {1, v};
       },
       0, kVocabulary - 1},
      {"prompt_token_ids[1]",
       [](Request* r, int32_t v) {
         r->prompt_token_ids = {1, v};
       },
       0, kVocabulary - 1},
      {"generated_token_ids[0]", [](Request* r, int32_t v) { r->generated_token_ids = {v}; }, 0,
       kVocabulary - 1},
      {"stop.max_tokens", [](Request* r, int32_t v) { r->stop.max_tokens = v; }, 0, kMost},
      {"stop.min_tokens", [](Request* r, int32_t v) { r->stop.min_tokens = v; }, 0, 10},
      {"stop.min_tokens",
       [](Request* r, int32_t v) {
         r->stop.max_tokens = 0;
         r->stop.min_tokens = v;
       },
       0, kMost},
      {"stop.stop_token_ids[0]", [](Request* r, int32_t v) { r->stop.stop_token_ids = {v}; }, 0,
       kVocabulary - 1},
      {"logprobs.top_logprobs", [](Request* r, int32_t v) { r->logprobs.top_logprobs = v; }, 0, 20},
  };
  for (const Range<int32_t>& range : ranges) {
    SCOPED_TRACE(range.field);
    const auto with = [&](int32_t value) {
      return [&range, value](Request* r) { range.set(r, value); };
    };
    Accepts({with(range.least), with(range.most)});
    Refuses(range.field, {with(range.least - 1)});
    if (range.most < kMost) Refuses(range.field, {with(range.most + 1)});
  }
}

TEST(ValidateTest, ListsAreNoLongerThanTheirLimits) {
  Accepts({[](Request* r) {
             r->sampling.logit_bias.assign(kMaxLogitBiases, {1, 0});
           },
           [](Request* r) { r->sampling.allowed_token_ids.assign(kVocabulary, 1); },
           [](Request* r) { r->stop.stop_token_ids.assign(kMaxStopTokenIds, 1); },
           [](Request* r) { r->cache_salt = std::string(kMaxCacheSaltBytes, 's'); },
           [](Request* r) { r->prompt_token_ids.assign(kContext - 1, 1); },
           [](Request* r) {
             r->prompt_token_ids.assign(kContext - 4, 1);
             r->generated_token_ids.assign(3, 1);
           }});
  Refuses("sampling.logit_bias' size", {[](Request* r) {
            r->sampling.logit_bias.assign(kMaxLogitBiases + 1, {1, 0});
          }});
  Refuses("sampling.allowed_token_ids' size",
          {[](Request* r) { r->sampling.allowed_token_ids.assign(kVocabulary + 1, 1); }});
  Refuses("stop.stop_token_ids' size",
          {[](Request* r) { r->stop.stop_token_ids.assign(kMaxStopTokenIds + 1, 1); }});
  Refuses("cache_salt's size",
          {[](Request* r) { r->cache_salt = std::string(kMaxCacheSaltBytes + 1, 's'); }});
  Refuses("prompt_token_ids is empty", {[](Request* r) { r->prompt_token_ids.clear(); }});
  Refuses("prompt_token_ids and generated_token_ids have 50",
          {[](Request* r) { r->prompt_token_ids.assign(kContext, 1); },
           [](Request* r) {
             r->prompt_token_ids.assign(kContext - 3, 1);
             r->generated_token_ids.assign(3, 1);
           }});
}

TEST(ValidateTest, AResumedRequestHasNoBeams) {
  const auto resumed = [](Request* r) { r->generated_token_ids = {1}; };
  Accepts({resumed});
  Refuses("generated_token_ids:", {[&](Request* r) {
            resumed(r);
            r->sampling.beam.num_beams = 2;
          }});
}

TEST(ValidateTest, BeamsDrawNothing) {
  Accepts({[](Request*) {}, [](Request* r) { r->sampling.beam.num_beams = kBatch; },
           [](Request* r) { r->sampling.n = 3; },
           [](Request* r) { r->sampling.beam.length_penalty = -10; },
           [](Request* r) { r->sampling.beam.length_penalty = 10; },
           [](Request* r) { r->sampling.presence_penalty = 1; },
           [](Request* r) {
             r->sampling.logit_bias = {{1, 1}};
           },
           [](Request* r) { r->sampling.allowed_token_ids = {1}; },
           [](Request* r) {
             r->logprobs = {true, 20, true};
           }},
          ValidBeams);
  Refuses("sampling.beam.num_beams is 5",
          {[](Request* r) { r->sampling.beam.num_beams = kBatch + 1; }}, ValidBeams);
  Refuses("sampling.beam.length_penalty",
          {[](Request* r) { r->sampling.beam.length_penalty = 10.5f; },
           [](Request* r) { r->sampling.beam.length_penalty = -10.5f; },
           [](Request* r) { r->sampling.beam.length_penalty = kNan; }},
          ValidBeams);
  Refuses("sampling.n is 0", {[](Request* r) { r->sampling.n = 0; }}, ValidBeams);
  Refuses("sampling.n is 4", {[](Request* r) { r->sampling.n = 4; }}, ValidBeams);
  Refuses("sampling.temperature", {[](Request* r) { r->sampling.temperature = 0.5f; }}, ValidBeams);
}

TEST(ValidateTest, BeamsHaveACandidateMoreThanTheirStopTokens) {
  RequestLimits limits = MakeLimits();
  limits.vocab_size = 17;
  // With s stop tokens b beams have max(2, 1 + s) * b candidates.
  for (int32_t beams = 2; beams <= kBatch; ++beams) {
    for (int32_t stops = 0; stops <= 8; ++stops) {
      Request request = ValidBeams();
      request.sampling.beam.num_beams = beams;
      request.stop.ignore_eos = true;
      for (int32_t i = 0; i < stops; ++i) request.stop.stop_token_ids.push_back(i);
      const int32_t candidates = (stops < 2 ? 2 : 1 + stops) * beams;
      EXPECT_EQ(ValidateRequest(request, limits).ok(), candidates <= 17)
          << beams << " beams, " << stops << " stop tokens";
    }
  }
}

TEST(ValidateTest, AGrammarNeedsAWorkerThatHasThem) {
  RequestLimits limits = MakeLimits();
  Request request = ValidRequest();
  request.grammar.emplace();
  EXPECT_TRUE(absl::IsUnimplemented(ValidateRequest(request, limits)));
  limits.grammars = true;
  EXPECT_TRUE(ValidateRequest(request, limits).ok());
  Request beams = ValidBeams();
  beams.grammar.emplace();
  EXPECT_TRUE(ValidateRequest(beams, limits).ok());
  request.unsupported = absl::UnimplementedError("of another kind");
  EXPECT_EQ(ValidateRequest(request, limits), request.unsupported);
}

TEST(ValidateTest, TextsEndBeamsAloneAndAreNoLongerThanTheirLimits) {
  RequestLimits limits = MakeLimits();
  const auto check = [&](std::vector<std::string> texts, Request request = ValidBeams()) {
    request.stop.stop_texts = std::move(texts);
    return ValidateRequest(request, limits);
  };
  EXPECT_TRUE(absl::IsUnimplemented(check({"a"}))) << "no tokens' texts";
  limits.grammars = true;
  EXPECT_TRUE(check({"a"}).ok());
  EXPECT_TRUE(check(std::vector<std::string>(kMaxStopTexts, "a")).ok());
  EXPECT_TRUE(check({std::string(kMaxStopTextBytes, 'a')}).ok());
  const auto refuses = [](const std::string& offender, const absl::Status& status) {
    EXPECT_TRUE(std::string(status.message()).starts_with(offender)) << status;
  };
  refuses("stop.stop_texts: expected none", check({"a"}, ValidRequest()));
  refuses("stop.stop_texts[1] is empty", check({"a", ""}));
  refuses("stop.stop_texts' size is 17", check(std::vector<std::string>(kMaxStopTexts + 1, "a")));
  refuses("stop.stop_texts' bytes", check({"a", std::string(kMaxStopTextBytes, 'a')}));
}

TEST(ValidateTest, NoMoreAlternativesThanTokens) {
  RequestLimits limits = MakeLimits();
  limits.vocab_size = 5;
  Request request = ValidRequest();
  request.logprobs.top_logprobs = 5;
  EXPECT_TRUE(ValidateRequest(request, limits).ok());
  request.logprobs.top_logprobs = 6;
  EXPECT_FALSE(ValidateRequest(request, limits).ok());
}

TEST(StopTokensTest, AreItsOwnAndTheModelsEachOnce) {
  RequestLimits limits = MakeLimits();
  limits.eos_token_ids = {9, 2};
  Request request = ValidRequest();
  EXPECT_EQ(StopTokens(request, limits), (std::vector<int32_t>{2, 9}));
  request.stop.stop_token_ids = {7, 2, 7};
  EXPECT_EQ(StopTokens(request, limits), (std::vector<int32_t>{2, 7, 9}));
  request.stop.ignore_eos = true;
  EXPECT_EQ(StopTokens(request, limits), (std::vector<int32_t>{2, 7}));
}

}  // namespace
}  // namespace pingti::worker
