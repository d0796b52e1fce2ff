// Settings that are right or wrong only together.
#include "worker/server/worker_config.h"

#include <gtest/gtest.h>

#include <string>

namespace pingti::worker {
namespace {

std::string ErrorOf(const WorkerConfig& config) {
  const absl::Status status = CheckWorkerConfig(config);
  EXPECT_TRUE(status.ok() || absl::IsInvalidArgument(status)) << status;
  return std::string(status.message());
}

TEST(WorkerConfigTest, TheDefaultsAreRight) { EXPECT_EQ(ErrorOf({}), ""); }

TEST(WorkerConfigTest, DraftsFromDiskHaveAPathAndOthersHaveNone) {
  for (const Speculation speculation : {Speculation::kNone, Speculation::kNgram, Speculation::kMtp,
                                        Speculation::kDraftModel, Speculation::kEagle3}) {
    const bool wants_path =
        speculation == Speculation::kDraftModel || speculation == Speculation::kEagle3;
    WorkerConfig config;
    config.speculation = speculation;
    EXPECT_EQ(ErrorOf(config).find("a path, is empty") != std::string::npos, wants_path);
    config.draft_model = "/models/small";
    EXPECT_EQ(ErrorOf(config).find("says something only beside") != std::string::npos, !wants_path);
  }
}

TEST(WorkerConfigTest, RanksAreDividedEvenlyAmongTheProcessesOfAGroup) {
  for (int32_t world_size = 1; world_size <= 4; ++world_size) {
    for (int32_t ranks = 1; ranks <= 8; ++ranks) {
      for (int32_t rank = 0; rank <= 4; ++rank) {
        for (const bool has_leader : {false, true}) {
          WorkerConfig config;
          config.tensor_parallel = ranks;
          config.world_size = world_size;
          config.rank = rank;
          if (has_leader) config.leader_address = "leader";
          const std::string error = ErrorOf(config);
          const std::string offender = ranks % world_size != 0   ? "tensor_parallel is"
                                       : rank >= world_size      ? "rank is"
                                       : rank > 0 && !has_leader ? "leader_address is"
                                                                 : "";
          EXPECT_EQ(error.substr(0, error.find(" is") + 3), offender.empty() ? "" : offender)
              << error;
        }
      }
    }
  }
}

TEST(WorkerConfigTest, ExpertsAreSharedByRanksWhereThereAreSeveral) {
  for (const int32_t ranks : {1, 2, 3}) {
    for (const bool enable : {false, true}) {
      WorkerConfig config;
      config.tensor_parallel = ranks;
      config.enable_expert_parallel = enable;
      EXPECT_EQ(ErrorOf(config).starts_with("enable_expert_parallel is true"),
                enable && ranks == 1);
    }
  }
}

TEST(WorkerConfigTest, AdaptersAreForOneProcess) {
  for (const int32_t world_size : {1, 2}) {
    for (const bool updating : {false, true}) {
      for (const bool has_loras : {false, true}) {
        WorkerConfig config;
        config.tensor_parallel = config.world_size = world_size;
        config.allow_runtime_lora_updating = updating;
        if (has_loras) config.loras = {"a=/adapters/a"};
        EXPECT_EQ(ErrorOf(config).starts_with("loras:"), world_size > 1 && (updating || has_loras));
      }
    }
  }
}

TEST(WorkerConfigTest, EveryRunningSequenceGetsATokenAStep) {
  WorkerConfig config;
  config.max_batch_size = 8;
  for (const int32_t tokens : {0, 1, 7, 8, 9}) {  // 0: as the device likes
    config.max_batch_tokens = tokens;
    EXPECT_EQ(ErrorOf(config).starts_with("max_batch_tokens is"), tokens == 1 || tokens == 7)
        << tokens;
  }
}

TEST(WorkerConfigTest, AnEmbeddingIn16BitIsSaidOfInt8Alone) {
  for (const ComputeFormat dtype :
       {ComputeFormat::kAuto, ComputeFormat::kF32, ComputeFormat::kBf16, ComputeFormat::kInt8}) {
    WorkerConfig config;
    config.dtype = dtype;
    EXPECT_EQ(ErrorOf(config), "");
    config.embedding_dtype = EmbeddingFormat::kBf16;
    EXPECT_EQ(ErrorOf(config).empty(), dtype == ComputeFormat::kInt8);
  }
}

TEST(WorkerConfigTest, NamesOfRoutersNeedTheirAuthority) {
  WorkerConfig config;
  config.tls_client_ca_file = "ca.pem";
  EXPECT_EQ(ErrorOf(config), "") << "any name will do";
  config.tls_client_names = {"router"};
  EXPECT_EQ(ErrorOf(config), "");
  config.tls_client_ca_file.clear();
  EXPECT_TRUE(ErrorOf(config).starts_with("tls_client_names"));
}

TEST(WorkerConfigTest, ACpuHasNoIndexOfAGpu) {
  for (const DeviceChoice device : {DeviceChoice::kAuto, DeviceChoice::kCpu, DeviceChoice::kCuda}) {
    WorkerConfig config;
    config.device = device;
    EXPECT_EQ(ErrorOf(config), "");
    config.gpu_index = 1;
    EXPECT_EQ(ErrorOf(config).starts_with("gpu_index is 1"), device == DeviceChoice::kCpu);
  }
}

}  // namespace
}  // namespace pingti::worker
