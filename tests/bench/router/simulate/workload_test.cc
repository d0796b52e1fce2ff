#include "bench/router/simulate/workload.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace pingti::bench {
namespace {

class Trace : public ::testing::Test {
 protected:
  absl::StatusOr<Workload> Read(const std::string& text, double speed = 1) {
    std::ofstream(path_) << text;
    return ReadTrace(path_, speed);
  }
  void TearDown() override { std::filesystem::remove(path_); }
  const std::string path_ = ::testing::TempDir() + "/workload_test_trace.jsonl";
};

TEST_F(Trace, EqualIdsAreEqualBlocksAndTheLastPartOfABlockIsNone) {
  const auto workload =
      Read(R"({"timestamp": 0, "input_length": 1100, "output_length": 5, "hash_ids": [0, 1, 2]})"
           "\n"
           R"({"timestamp": 3000, "input_length": 1536, "output_length": 0, "hash_ids": [0, 1, 7]})"
           "\n",
           /*speed=*/2);
  ASSERT_TRUE(workload.ok()) << workload.status();
  ASSERT_EQ(workload->requests.size(), 2u);
  const auto& [first, second] = std::pair(workload->requests[0], workload->requests[1]);
  ASSERT_EQ(first.blocks.size(), 2u);
  ASSERT_EQ(second.blocks.size(), 3u);
  EXPECT_EQ(first.blocks[1], second.blocks[1]);
  EXPECT_EQ(second.arrival_s, 1.5);
  EXPECT_EQ(second.output_tokens, 1u) << "every answer has a token";
}

TEST_F(Trace, ALineThatIsNoneIsNamed) {
  const absl::Status status =
      Read(R"({"timestamp": 0, "input_length": 9, "output_length": 5, "hash_ids": []})"
           "\nnonsense\n")
          .status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_NE(status.message().find("line 2"), absl::string_view::npos) << status;
  EXPECT_TRUE(absl::IsNotFound(ReadTrace("/nowhere.jsonl", 1).status()));
}

TEST(MakeWorkload, EachHasWhatItsNameSays) {
  for (const char* name : {"chat", "shared_prompts", "long_context", "bursts", "tenants"}) {
    const auto workload = MakeWorkload(name, {.requests = 300, .rate = 5, .seed = 2});
    ASSERT_TRUE(workload.ok()) << workload.status();
    EXPECT_GE(workload->requests.size(), 300u) << name;
    for (const SimulatedRequest& request : workload->requests) {
      EXPECT_GE(request.output_tokens, 1u);
      EXPECT_LE((request.input_tokens / workload->block_tokens), request.blocks.size()) << name;
    }
  }
  EXPECT_TRUE(absl::IsInvalidArgument(MakeWorkload("nonsense", {}).status()));
}

TEST(MakeChat, APromptBeginsWithAllThatWasSaid) {
  const Workload workload = MakeChat({.requests = 50, .rate = 5, .seed = 2});
  size_t followed = 0;
  for (const SimulatedRequest& request : workload.requests) {
    if (request.follows < 0) continue;
    const SimulatedRequest& before = workload.requests[static_cast<size_t>(request.follows)];
    ++followed;
    EXPECT_GT(request.input_tokens, before.input_tokens + before.output_tokens);
    EXPECT_TRUE(std::equal(before.blocks.begin(), before.blocks.end(), request.blocks.begin()));
  }
  EXPECT_GT(followed, 20u);
}

}  // namespace
}  // namespace pingti::bench
