// The memory arithmetic at start.
#include "worker/server/kv_budget.h"

#include <gtest/gtest.h>

#include "worker/server/worker_config.h"

namespace pingti::worker {
namespace {

KvBudgetInputs Base() {
  KvBudgetInputs in;
  in.available_bytes = int64_t{1000} << 20;
  in.memory_fraction = 0.5;
  in.weight_bytes = int64_t{100} << 20;
  in.workspace_bytes = int64_t{50} << 20;
  in.bytes_per_block = 1 << 20;
  in.block_tokens = 16;
  in.model_context = 1600;
  in.max_batch_size = 32;
  return in;
}

TEST(KvBudget, TakesWhatIsLeft) {
  const auto budget = PlanKvMemory(Base());
  ASSERT_TRUE(budget.ok()) << budget.status();
  EXPECT_EQ(budget->num_blocks, 350);
  EXPECT_EQ(budget->max_context_tokens, 1600);
  EXPECT_NE(budget->arithmetic.find("350 blocks"), std::string::npos) << budget->arithmetic;
}

TEST(KvBudget, TakesNoMoreThanIsUsefulOrAllowed) {
  KvBudgetInputs in = Base();
  in.max_batch_size = 2;
  EXPECT_EQ(PlanKvMemory(in)->num_blocks, 200);
  in.kv_cap = int64_t{150} << 20;
  EXPECT_EQ(PlanKvMemory(in)->num_blocks, 150);
  in.kv_memory = int64_t{300} << 20;
  EXPECT_EQ(PlanKvMemory(in)->num_blocks, 300) << "what was asked for";
}

TEST(KvBudget, ShortensTheContextOnlyWhenNobodyAskedForOne) {
  KvBudgetInputs in = Base();
  in.kv_memory = int64_t{20} << 20;
  ASSERT_TRUE(PlanKvMemory(in).ok());
  EXPECT_EQ(PlanKvMemory(in)->max_context_tokens, 320);
  in.max_context_tokens = 400;
  EXPECT_EQ(PlanKvMemory(in).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(KvBudget, WhatDoesNotFitIsRefusedWithTheArithmetic) {
  KvBudgetInputs in = Base();
  in.weight_bytes = int64_t{600} << 20;
  const auto budget = PlanKvMemory(in);
  ASSERT_EQ(budget.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(budget.status().ToString().find("weights 600 MiB"), std::string::npos)
      << budget.status();
  in = Base();
  in.kv_memory = int64_t{400} << 20;
  EXPECT_EQ(PlanKvMemory(in).status().code(), absl::StatusCode::kResourceExhausted);
  in = Base();
  in.max_context_tokens = 1601;
  EXPECT_EQ(PlanKvMemory(in).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(KvBudget, AvailableMemoryIsThisMachines) {
  EXPECT_GT(AvailableMemory(), int64_t{1} << 20);
  EXPECT_LT(AvailableMemory(), int64_t{1} << 50);
}

TEST(WorkerConfig, EveryRunningSequenceNeedsATokenAStep) {
  WorkerConfig config;
  EXPECT_TRUE(CheckWorkerConfig(config).ok());
  config.max_batch_tokens = config.max_batch_size - 1;
  EXPECT_FALSE(CheckWorkerConfig(config).ok());
}

TEST(WorkerConfig, RefusesAGpuIndexBesideTheCpu) {
  WorkerConfig config;
  config.gpu_index = 1;
  EXPECT_TRUE(CheckWorkerConfig(config).ok());
  config.device = DeviceChoice::kCpu;
  EXPECT_NE(CheckWorkerConfig(config).message().find("gpu_index is 1"), absl::string_view::npos);
}

TEST(WorkerConfig, ADraftModelAndItsSpeculationComeTogether) {
  WorkerConfig config;
  config.draft_model = "m";
  EXPECT_FALSE(CheckWorkerConfig(config).ok());
  config.speculation = Speculation::kNgram;
  EXPECT_FALSE(CheckWorkerConfig(config).ok());
  config.speculation = Speculation::kDraftModel;
  EXPECT_TRUE(CheckWorkerConfig(config).ok());
  config.draft_model.clear();
  EXPECT_FALSE(CheckWorkerConfig(config).ok());
}

TEST(WorkerConfig, RefusesAnEmbeddingFormatThatSaysNothing) {
  WorkerConfig config;
  config.embedding_dtype = EmbeddingFormat::kBf16;
  EXPECT_FALSE(CheckWorkerConfig(config).ok());
  config.dtype = ComputeFormat::kInt8;
  EXPECT_TRUE(CheckWorkerConfig(config).ok());
}

}  // namespace
}  // namespace pingti::worker
