#include "tools/inspect_command.h"

#include <cstdlib>
#include <string>

#include "gtest/gtest.h"

namespace pingti::tools {
namespace {

TEST(InspectModel, DescribesTheDefaultModel) {
  const char* path = std::getenv("PINGTI_TEST_MODEL");
  if (path == nullptr) GTEST_SKIP() << "needs a model: make test sets PINGTI_TEST_MODEL";
  const auto report = InspectModel(path, /*list_tensors=*/true);
  ASSERT_TRUE(report.ok()) << report.status();
  for (const char* expected :
       {"architecture     llama\n", "parameters       134.5 million\n", "layers           30\n",
        "9 query heads, 3 key-value heads of 64", "context          8192 tokens",
        "gpt2 (smollm), 49152 tokens", "22.5 KiB a token in bf16",
        "Q4_1  [576, 1536]  model.layers.0.mlp.down_proj.weight"}) {
    EXPECT_NE(report->find(expected), std::string::npos) << expected << "\nin\n" << *report;
  }
}

TEST(InspectModel, NamesAFileThatIsNotThere) {
  const auto report = InspectModel("/nonexistent/model.gguf", false);
  ASSERT_FALSE(report.ok());
  EXPECT_NE(report.status().message().find("/nonexistent/model.gguf"), absl::string_view::npos);
}

TEST(InspectModel, RefusesAFileThatIsNoModel) {
  const std::string path = std::string(PINGTI_SOURCE_DIR) + "/LICENSE";
  const auto report = InspectModel(path, false);
  ASSERT_FALSE(report.ok());
  EXPECT_NE(report.status().message().find(path), absl::string_view::npos);
}

}  // namespace
}  // namespace pingti::tools
