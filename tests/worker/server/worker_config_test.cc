// Settings that are right or wrong only together.
#include "worker/server/worker_config.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "common/config/load.h"

namespace pingti::worker {
namespace {

std::string ErrorOf(const WorkerConfig& config) {
  const absl::Status status = CheckWorkerConfig(config);
  EXPECT_TRUE(status.ok() || absl::IsInvalidArgument(status)) << status;
  return std::string(status.message());
}

TEST(WorkerConfigTest, TheDefaultsAreRight) { EXPECT_EQ(ErrorOf({}), ""); }

TEST(WorkerConfigTest, EveryFieldIsSetByTheKeyOfItsName) {
  WorkerConfig config;
  config::Schema schema("worker", "A worker.");
  AddWorkerKeys(&config, &schema);
  const std::vector<const char*> flags = {"worker",
                                          "--model=m",
                                          "--model-id=id",
                                          "--model-aliases=a,b",
                                          "--dtype=int8",
                                          "--embedding-dtype=bf16",
                                          "--load-format=dummy",
                                          "--max-context-tokens=11",
                                          "--loras=n=p",
                                          "--max-loras=12",
                                          "--max-cpu-loras=13",
                                          "--max-lora-rank=14",
                                          "--allow-runtime-lora-updating",
                                          "--address=*",
                                          "--admin-address=::1",
                                          "--port=15",
                                          "--admin-port=16",
                                          "--grpc-max-message-length=1MiB",
                                          "--tls-cert-file=c",
                                          "--tls-key-file=k",
                                          "--tls-client-ca-file=ca",
                                          "--tls-client-names=x",
                                          "--max-batch-size=17",
                                          "--max-batch-tokens=18",
                                          "--max-step-time=19ms",
                                          "--max-waiting-sequences=20",
                                          "--speculation=mtp",
                                          "--speculative-tokens=3",
                                          "--draft-model=d",
                                          "--draft-kv-memory=2MiB",
                                          "--kv-block-tokens=21",
                                          "--kv-memory=3MiB",
                                          "--kv-cache-dtype=int8",
                                          "--gpu-memory-fraction=0.5",
                                          "--device=cpu",
                                          "--gpu-index=22",
                                          "--tensor-parallel=23",
                                          "--world-size=24",
                                          "--rank=25",
                                          "--leader-address=l",
                                          "--group-port=26",
                                          "--group-timeout=27s",
                                          "--rank-timeout=1s",
                                          "--threads=28",
                                          "--drain-timeout=29s",
                                          "--step-deadline=30s",
                                          "--report-interval=31ms",
                                          "--worker-id=w",
                                          "--log-level=error",
                                          "--log-format=text"};
  const char* const no_variables[] = {nullptr};
  const auto loaded =
      config::Load(schema, static_cast<int>(flags.size()), flags.data(), no_variables);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  using Texts = std::vector<std::string>;
  EXPECT_EQ((Texts{config.model, config.model_id, config.address, config.admin_address,
                   config.tls_cert_file, config.tls_key_file, config.tls_client_ca_file,
                   config.draft_model, config.leader_address, config.worker_id, config.log_level,
                   config.log_format}),
            (Texts{"m", "id", "*", "::1", "c", "k", "ca", "d", "l", "w", "error", "text"}));
  EXPECT_EQ(config.model_aliases, (Texts{"a", "b"}));
  EXPECT_EQ(config.loras, (Texts{"n=p"}));
  EXPECT_EQ(config.tls_client_names, (Texts{"x"}));
  EXPECT_EQ(config.dtype, ComputeFormat::kInt8);
  EXPECT_EQ(config.embedding_dtype, EmbeddingFormat::kBf16);
  EXPECT_EQ(config.load_format, LoadFormat::kDummy);
  EXPECT_EQ(config.speculation, Speculation::kMtp);
  EXPECT_EQ(config.kv_cache_dtype, KvCacheFormat::kInt8);
  EXPECT_EQ(config.device, DeviceChoice::kCpu);
  EXPECT_TRUE(config.allow_runtime_lora_updating);
  EXPECT_EQ(config.gpu_memory_fraction, 0.5);
  using Numbers = std::vector<int64_t>;
  EXPECT_EQ((Numbers{config.max_context_tokens, config.max_loras, config.max_cpu_loras,
                     config.max_lora_rank, config.port, config.admin_port, config.max_batch_size,
                     config.max_batch_tokens, config.max_step_time.count(),
                     config.max_waiting_sequences, config.kv_block_tokens, config.gpu_index,
                     config.tensor_parallel, config.world_size, config.rank, config.group_port}),
            (Numbers{11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26}));
  EXPECT_EQ((Numbers{config.group_timeout.count(), config.rank_timeout.count(), config.threads,
                     config.drain_timeout.count(), config.step_deadline.count(),
                     config.report_interval.count(), config.speculative_tokens}),
            (Numbers{27'000, 1'000, 28, 29'000, 30'000, 31, 3}));
  EXPECT_EQ((Numbers{config.grpc_max_message_length, config.draft_kv_memory, config.kv_memory}),
            (Numbers{1 << 20, 2 << 20, 3 << 20}));
}

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
