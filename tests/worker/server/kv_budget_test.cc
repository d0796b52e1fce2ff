// The memory arithmetic at start.
#include "worker/server/kv_budget.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <optional>

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

// As PlanKvMemory, by adding blocks while they are allowed; nullopt: refused.
std::optional<KvBudget> Naive(const KvBudgetInputs& in) {
  if (in.max_context_tokens > in.model_context) return std::nullopt;
  const bool is_asked = in.max_context_tokens > 0;
  const int64_t context = is_asked ? in.max_context_tokens : in.model_context;
  const auto limit =
      static_cast<int64_t>(static_cast<double>(in.available_bytes) * in.memory_fraction);
  const int64_t left = limit - in.weight_bytes - in.workspace_bytes;
  if (in.kv_memory > left) return std::nullopt;
  const auto is_allowed = [&](int64_t blocks) {
    const int64_t bytes = blocks * in.bytes_per_block;
    if (in.kv_memory > 0) return bytes <= in.kv_memory;
    // All but the last block of every sequence are full of a whole context.
    int64_t useful = 0;
    for (int64_t tokens = 0; tokens < context; tokens += in.block_tokens) ++useful;
    return bytes <= left && (in.kv_cap == 0 || bytes <= in.kv_cap) &&
           blocks <= useful * in.max_batch_size;
  };
  int32_t blocks = 0;
  while (is_allowed(blocks + 1)) ++blocks;
  const int64_t tokens = int64_t{blocks} * in.block_tokens;
  const int64_t least = is_asked ? context : std::min<int64_t>(context, kMinContext);
  if (tokens < least) return std::nullopt;
  KvBudget budget;
  budget.num_blocks = blocks;
  budget.max_context_tokens = static_cast<int32_t>(std::min(context, tokens));
  return budget;
}

TEST(KvBudget, EqualsAddingBlocksOneByOne) {
  int accepted = 0, refused = 0;
  for (const int64_t available : {0, 40, 100, 101, 1000}) {
    for (const double fraction : {0.5, 1.0}) {
      for (const int64_t weights : {0, 30, 50, 60}) {
        for (const int64_t per_block : {1, 3, 10}) {
          for (const int32_t block_tokens : {1, 16, 64}) {
            for (const int32_t model_context : {1, 16, 17, 300, 1000}) {
              for (const int32_t asked : {0, 1, 16, 33, 400}) {
                for (const int64_t kv_memory : {0, 20, 55}) {
                  for (const int64_t cap : {0, 9, 25}) {
                    KvBudgetInputs in;
                    in.available_bytes = available;
                    in.memory_fraction = fraction;
                    in.weight_bytes = weights;
                    in.workspace_bytes = 7;
                    in.bytes_per_block = per_block;
                    in.block_tokens = block_tokens;
                    in.model_context = model_context;
                    in.max_context_tokens = asked;
                    in.max_batch_size = asked % 2 == 0 ? 3 : 1;
                    in.kv_memory = kv_memory;
                    in.kv_cap = cap;
                    const auto got = PlanKvMemory(in);
                    const auto want = Naive(in);
                    ASSERT_EQ(got.ok(), want.has_value()) << got.status();
                    ++(got.ok() ? accepted : refused);
                    if (!got.ok()) continue;
                    ASSERT_EQ(got->num_blocks, want->num_blocks) << got->arithmetic;
                    ASSERT_EQ(got->max_context_tokens, want->max_context_tokens) << got->arithmetic;
                  }
                }
              }
            }
          }
        }
      }
    }
  }
  EXPECT_GT(accepted, 1000);
  EXPECT_GT(refused, 1000);
}

TEST(KvBudget, PositionsFitInThirtyTwoBits) {
  KvBudgetInputs in = Base();
  in.available_bytes = int64_t{1} << 60;
  in.bytes_per_block = 1;
  in.model_context = 1 << 30;
  in.max_batch_size = 1 << 20;
  const auto budget = PlanKvMemory(in);
  ASSERT_TRUE(budget.ok()) << budget.status();
  EXPECT_EQ(budget->num_blocks, std::numeric_limits<int32_t>::max() / 16);
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
  config.speculation = Speculation::kMtp;  // of the model's own checkpoint
  EXPECT_TRUE(CheckWorkerConfig(config).ok());
  config.draft_model = "m";
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
