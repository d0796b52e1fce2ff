// The requests of a run: lengths, repeatability, datasets.
#include "tools/bench/prompts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "boost/json.hpp"

namespace pingti::tools {
namespace {

namespace json = boost::json;

size_t NumWords(const std::string& text) {
  return static_cast<size_t>(std::count(text.begin(), text.end(), ' ')) + 1;
}

std::string TextOf(const json::value& body) {
  return std::string(body.at("messages").at(0).at("content").as_string());
}

TEST(PromptSource, WritesBodiesOfTheLengthsAskedFor) {
  BenchOptions options;
  options.input = {10, 20};
  options.output = {3, 5};
  options.temperature = 0.5;
  PromptSource source(options, "the \"model\"", /*words_per_token=*/0.5, {});
  std::set<size_t> input;
  std::set<int> output;
  for (int i = 0; i < 200; ++i) {
    const BenchRequest request = source.Next();
    const json::value body = json::parse(request.body);
    EXPECT_EQ(body.at("model"), "the \"model\"");
    EXPECT_EQ(body.at("stream"), true);
    EXPECT_EQ(body.at("stream_options").at("include_usage"), true);
    EXPECT_EQ(body.at("temperature"), 0.5);
    EXPECT_EQ(body.at("ignore_eos"), true);
    EXPECT_EQ(body.at("max_tokens"), request.max_tokens);
    input.insert(NumWords(TextOf(body)));
    output.insert(request.max_tokens);
  }
  EXPECT_EQ(input, (std::set<size_t>{5, 6, 7, 8, 9, 10}));
  EXPECT_EQ(output, (std::set<int>{3, 4, 5}));
}

TEST(PromptSource, TheSameSeedGivesTheSameRequests) {
  BenchOptions options;
  options.input = {8, 64};
  PromptSource one(options, "m", 1, {});
  PromptSource same(options, "m", 1, {});
  options.seed = 2;
  PromptSource other(options, "m", 1, {});
  bool differs = false;
  for (int i = 0; i < 20; ++i) {
    const std::string body = one.Next().body;
    EXPECT_EQ(body, same.Next().body);
    differs = differs || body != other.Next().body;
  }
  EXPECT_TRUE(differs);
}

TEST(PromptSource, ASharedPrefixOpensEveryPromptAndIsPartOfItsLength) {
  BenchOptions options;
  options.input = {30, 30};
  options.shared_prefix = 20;
  PromptSource source(options, "m", 1, {});
  const std::string first = TextOf(json::parse(source.Next().body));
  const std::string second = TextOf(json::parse(source.Next().body));
  EXPECT_EQ(NumWords(first), 30u);
  const auto [end, ignored] = std::mismatch(first.begin(), first.end(), second.begin());
  EXPECT_GE(NumWords(std::string(first.begin(), end)), 20u);
  EXPECT_NE(first, second);
}

TEST(PromptSource, CompletionsHaveAPromptAndEosCanEndThem) {
  BenchOptions options;
  options.endpoint = BenchOptions::Endpoint::kCompletions;
  options.ignore_eos = false;
  PromptSource source(options, "m", 1, {});
  const json::value body = json::parse(source.Next().body);
  EXPECT_TRUE(body.at("prompt").is_string());
  EXPECT_FALSE(body.as_object().contains("messages"));
  EXPECT_FALSE(body.as_object().contains("ignore_eos"));
  EXPECT_FALSE(body.as_object().contains("temperature"));
}

class Dataset : public ::testing::Test {
 protected:
  // Writes the lines into a file of this test's own.
  std::string Write(const std::string& lines) {
    const std::string name = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    path_ = (std::filesystem::path(::testing::TempDir()) / ("bench_" + name + ".jsonl")).string();
    std::ofstream(path_) << lines;
    return path_;
  }
  ~Dataset() override { std::filesystem::remove(path_); }

 private:
  std::string path_;
};

TEST_F(Dataset, LinesComeInTurnAndBeginAgain) {
  const auto entries =
      ReadDataset(Write("{\"prompt\":\"a\",\"max_tokens\":7}\n\n"
                        "{\"messages\":[{\"role\":\"user\",\"content\":\"b\"}]}"));
  ASSERT_TRUE(entries.ok()) << entries.status();
  BenchOptions options;
  options.output = {9, 9};
  PromptSource source(options, "m", 1, *entries);
  for (int round = 0; round < 2; ++round) {
    const BenchRequest first = source.Next();
    EXPECT_EQ(TextOf(json::parse(first.body)), "a");
    EXPECT_EQ(first.max_tokens, 7);
    const BenchRequest second = source.Next();
    EXPECT_EQ(TextOf(json::parse(second.body)), "b");
    EXPECT_EQ(second.max_tokens, 9);
  }
}

TEST_F(Dataset, ABadLineIsRefusedWithItsNumber) {
  for (const char* line :
       {"[]", "{", "{}", "{\"prompt\":3}", "{\"prompt\":\"a\",\"messages\":[]}",
        "{\"prompt\":\"a\",\"max_tokens\":0}", "{\"prompt\":\"a\",\"max_tokens\":1.5}",
        "{\"prompt\":\"a\",\"tempreature\":1}", "{\"messages\":\"a\"}"}) {
    const absl::Status status =
        ReadDataset(Write("{\"prompt\":\"good\"}\n" + std::string(line) + "\n")).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << line;
    EXPECT_NE(std::string(status.message()).find("line 2"), std::string::npos) << status;
  }
}

TEST_F(Dataset, AnEmptyOrMissingFileIsNamed) {
  EXPECT_TRUE(absl::IsInvalidArgument(ReadDataset(Write("\n \n")).status()));
  const absl::Status status = ReadDataset("/no/such/file").status();
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_NE(std::string(status.message()).find("/no/such/file"), std::string::npos);
}

}  // namespace
}  // namespace pingti::tools
