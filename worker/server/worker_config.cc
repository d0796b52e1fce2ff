// See worker_config.h.
#include "worker/server/worker_config.h"

#include "common/base/strings.h"
#include "worker/engine/engine_stats.h"

namespace pingti::worker {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;

void AddModel(WorkerConfig* config, config::Schema* schema) {
  schema->Group("Model");
  schema
      ->Add("model", &config->model,
            "A .gguf file, or a directory with config.json and safetensors or with one .gguf file.")
      .Required()
      .Env("MODEL");
  schema->Add("model_id", &config->model_id,
              "Name that clients use; empty takes the file's or directory's name.");
  schema->Add("model_aliases", &config->model_aliases, "Further names that clients may use.");
  schema->AddEnum(
      "dtype", &config->dtype,
      {{"auto", ComputeFormat::kAuto},
       {"f32", ComputeFormat::kF32},
       {"bf16", ComputeFormat::kBf16},
       {"int8", ComputeFormat::kInt8}},
      "How weights are kept and multiplied; auto keeps 4- and 8-bit weights as they are "
      "where that is faster, and takes bf16 for the rest.");
  schema->AddEnum(
      "embedding_dtype", &config->embedding_dtype,
      {{"auto", EmbeddingFormat::kAuto}, {"bf16", EmbeddingFormat::kBf16}},
      "Of embedding and output projection where dtype is int8: auto keeps their weights in 8 bit "
      "too on a GPU, which multiplies them with 16-bit activations; bf16 leaves them in 16 bit.");
  schema->AddEnum(
      "load_format", &config->load_format,
      {{"auto", LoadFormat::kAuto}, {"dummy", LoadFormat::kDummy}},
      "dummy reads config.json and the tokenizer only and draws random weights of those "
      "shapes on the GPU: for benchmarks, never for answers.");
  schema
      ->Add("max_context_tokens", &config->max_context_tokens,
            "Longest prompt and output together; 0 takes the model's own limit, or less if the KV "
            "cache is smaller.")
      .Range(0, 1 << 24);
}

void AddAdapters(WorkerConfig* config, config::Schema* schema) {
  schema->Group("Adapters");
  schema->Add("loras", &config->loras,
              "LoRA adapters of the model, NAME=PATH each: a directory that PEFT saved. Clients "
              "name one in place of the model.");
  schema
      ->Add("max_loras", &config->max_loras,
            "Adapters whose sequences run at once; each takes memory of max_lora_rank beside every "
            "weight. There may be more of them: those wait for a place.")
      .Range(1, 1024);
  schema
      ->Add("max_cpu_loras", &config->max_cpu_loras,
            "Adapters that are kept in host memory; the one that was asked for longest ago makes "
            "room and is read from its path again when somebody asks. 0 keeps all.")
      .Range(0, 1 << 20);
  schema
      ->Add("max_lora_rank", &config->max_lora_rank,
            "Highest rank of an adapter; one with more is refused.")
      .Range(1, 256);
  schema->Add("allow_runtime_lora_updating", &config->allow_runtime_lora_updating,
              "Whether routers may load adapters from this worker's files, and unload them, while "
              "it serves.");
}

void AddListeners(WorkerConfig* config, config::Schema* schema) {
  schema->Group("Listeners");
  schema->Add("address", &config->address,
              "Address of both ports; * is every address of the host, IPv4 and IPv6.");
  schema->Add(
      "admin_address", &config->admin_address,
      "Address of the admin port, where it is not to be reached from everywhere; empty takes "
      "the one above.");
  schema->Add("port", &config->port, "Port of the gRPC service; 0 takes any free one.");
  schema->Add("admin_port", &config->admin_port,
              "Port of /metrics, /healthz and /readyz; 0 takes any free one.");
  schema
      ->AddBytes("grpc_max_message_length", &config->grpc_max_message_length,
                 "Largest gRPC message.")
      .Range(1 << 16, 2147483647.0)
      .Env("GRPC_MAX_MESSAGE_LENGTH");
  schema->Add("tls_cert_file", &config->tls_cert_file,
              "Certificate chain (PEM) with which the gRPC port speaks TLS; empty: it does not. "
              "Read again when it changes.");
  schema->Add("tls_key_file", &config->tls_key_file, "Private key (PEM) of that certificate.");
  schema->Add("tls_client_ca_file", &config->tls_client_ca_file,
              "Certificates (PEM) that must have signed a router's; empty: routers show none.");
  schema->Add("tls_client_names", &config->tls_client_names,
              "DNS names of which a router's certificate must bear one; none: any name will do.");
}

void AddBatching(WorkerConfig* config, config::Schema* schema) {
  schema->Group("Batching");
  schema->Add("max_batch_size", &config->max_batch_size, "Sequences that run at once.")
      .Range(1, 4096)
      .Env("BATCH_SIZE");
  schema
      ->Add("max_batch_tokens", &config->max_batch_tokens,
            "Tokens computed in one step. Long prompts are cut into chunks of at most this. 0 "
            "takes 512 on a CPU and 4096 on a GPU.")
      .Range(0, 1 << 20);
  schema
      ->Add("max_step_time", &config->max_step_time,
            "While answers run, prompts are cut into chunks so small, by the speed measured, that "
            "a step takes about this long at most and the answers pause no longer; of at least 64 "
            "tokens. 0 cuts them by max_batch_tokens alone.")
      .Range(milliseconds(0), hours(1));
  schema
      ->Add("max_waiting_sequences", &config->max_waiting_sequences,
            "Sequences that may wait for a place; more are refused.")
      .Range(1, 1 << 20);
  schema->AddEnum(
      "speculation", &config->speculation,
      {{"none", Speculation::kNone},
       {"ngram", Speculation::kNgram},
       {"draft_model", Speculation::kDraftModel},
       {"eagle3", Speculation::kEagle3},
       {"mtp", Speculation::kMtp}},
      "Where proposed tokens come from, of which a step checks several at once; answers stay the "
      "same. ngram takes what followed the same words earlier in the prompt or the answer, "
      "draft_model what a small model says, eagle3 what a head says that was trained for the model "
      "and reads its hidden states, mtp what the multi-token-prediction module of the model's own "
      "checkpoint says. As many are checked as the measured speed makes worth it.");
  schema
      ->Add("speculative_tokens", &config->speculative_tokens,
            "Proposed tokens that a step checks per sequence at most.")
      .Range(1, kMaxDrafts);
  schema->Add("draft_model", &config->draft_model,
              "With speculation draft_model: that model, as `model` is given, of the same "
              "tokenizer. With eagle3 it is the head, a directory with config.json and "
              "safetensors. Either runs on the first GPU.");
  schema->AddBytes("draft_kv_memory", &config->draft_kv_memory,
                   "Size of the draft model's KV cache.");
}

void AddMemory(WorkerConfig* config, config::Schema* schema) {
  schema->Group("Memory");
  schema
      ->Add("kv_block_tokens", &config->kv_block_tokens,
            "Tokens of one KV cache block, the unit in which prompts share their beginnings. 0 "
            "takes 16 on a CPU and 64 on a GPU, which runs with 16, 32, 64, 128 or 256.")
      .Range(0, 1024);
  schema->AddBytes(
      "kv_memory", &config->kv_memory,
      "Size of the KV cache, of each GPU's where tensor_parallel takes several; 0 takes what "
      "max_batch_size sequences of full length need, bounded by gpu_memory_fraction and, on a CPU, "
      "by 2GiB.");
  schema->AddEnum(
      "kv_cache_dtype", &config->kv_cache_dtype,
      {{"auto", KvCacheFormat::kAuto}, {"int8", KvCacheFormat::kInt8}},
      "Precision of cached keys and values: auto takes the model's, 16 or 32 bit; int8, on a GPU, "
      "has a scale per token and head, or per 64 elements of a latent, and holds nearly twice the "
      "tokens.");
  schema
      ->Add(
          "gpu_memory_fraction", &config->gpu_memory_fraction,
          "Share of the device's memory (on a CPU: of the memory available at start) that weights, "
          "workspace and KV cache may take together.")
      .Range(0.05, 0.98)
      .Env("GPU_MEMORY_FRACTION");
}

void AddLife(WorkerConfig* config, config::Schema* schema) {
  schema->Group("Process");
  schema->AddEnum(
      "device", &config->device,
      {{"auto", DeviceChoice::kAuto}, {"cpu", DeviceChoice::kCpu}, {"cuda", DeviceChoice::kCuda}},
      "Where the model runs; auto takes a CUDA GPU where there is one.");
  schema
      ->Add("gpu_index", &config->gpu_index,
            "Which GPU, counted from 0 among those that the process sees (CUDA_VISIBLE_DEVICES "
            "says which those are). Above 0 it must be there, with device auto too.")
      .Range(0, 127);
  schema
      ->Add(
          "tensor_parallel", &config->tensor_parallel,
          "GPUs that compute the model together, gpu_index and those after it: each holds a share "
          "of every layer and of the KV cache. On a CPU, groups of threads take the place of GPUs.")
      .Range(1, 64);
  schema->Add("enable_expert_parallel", &config->enable_expert_parallel,
              "Of a model with experts: each of the tensor_parallel ranks holds some whole experts "
              "rather than some columns of every expert; everything else is shared as before.");
  schema
      ->Add("world_size", &config->world_size,
            "Processes, in a pod each, that share the model: each has an equal part of the "
            "tensor_parallel ranks. Clients talk to process 0, the leader.")
      .Range(1, 64)
      .Env("LWS_GROUP_SIZE");
  schema
      ->Add("rank", &config->rank,
            "Which of the world_size processes this is. Above 0 it follows the leader, serves "
            "nobody, and ends with the group.")
      .Range(0, 63)
      .Env("LWS_WORKER_INDEX");
  schema
      ->Add("leader_address", &config->leader_address,
            "Host at which the other processes of a group find process 0.")
      .Env("LWS_LEADER_ADDRESS");
  schema->Add("group_port", &config->group_port,
              "Port on which process 0 takes in the others of its group; 0 takes any free one.");
  schema
      ->Add("group_timeout", &config->group_timeout,
            "Time that the processes of a group have to come together.")
      .Range(milliseconds(100), hours(24));
  schema
      ->Add("rank_timeout", &config->rank_timeout,
            "After this a rank of a tensor-parallel group is lost, and with it the group, so that "
            "/healthz turns red: one in another process that gives no sign of life, or a GPU that "
            "does not send its part of a sum.")
      .Range(milliseconds(500), minutes(10));
  schema
      ->Add("threads", &config->threads,
            "Threads of the CPU backend; 0 takes one per processor this process may use.")
      .Range(0, 1024);
  schema
      ->Add("drain_timeout", &config->drain_timeout,
            "Time running sequences have to end after SIGTERM; then routers go on with them "
            "elsewhere.")
      .Range(milliseconds(0), hours(24));
  schema
      ->Add(
          "step_deadline", &config->step_deadline,
          "An engine step that takes longer is a stall: /healthz turns red and the process exits.")
      .Range(milliseconds(100), hours(1));
  schema->Add("report_interval", &config->report_interval, "How often routers get a load report.")
      .Range(milliseconds(10), milliseconds(10'000));
  schema->Add("worker_id", &config->worker_id,
              "Name of this worker in logs and at routers; empty draws one.");
  schema->Add("log_level", &config->log_level, "debug, info, warning or error.");
  schema->Add("log_format", &config->log_format, "json, or text for people.");
}

}  // namespace

void AddWorkerKeys(WorkerConfig* config, config::Schema* schema) {
  AddModel(config, schema);
  AddAdapters(config, schema);
  AddListeners(config, schema);
  AddBatching(config, schema);
  AddMemory(config, schema);
  AddLife(config, schema);
}

absl::Status CheckWorkerConfig(const WorkerConfig& config) {
  const bool drafts_from_disk =
      config.speculation == Speculation::kDraftModel || config.speculation == Speculation::kEagle3;
  if (drafts_from_disk == config.draft_model.empty()) {
    return absl::InvalidArgumentError(
        config.draft_model.empty()
            ? "speculation is draft_model or eagle3, and the setting draft_model, a path, is empty"
            : "draft_model says something only beside speculation: draft_model or eagle3");
  }
  if (config.tensor_parallel % config.world_size != 0) {
    return absl::InvalidArgumentError(Concat("tensor_parallel is ", config.tensor_parallel,
                                             ": expected a multiple of world_size, ",
                                             config.world_size));
  }
  if (config.enable_expert_parallel && config.tensor_parallel == 1) {
    return absl::InvalidArgumentError(
        "enable_expert_parallel is true, which says something only beside tensor_parallel above 1: "
        "one rank holds all experts");
  }
  if (config.rank >= config.world_size) {
    return absl::InvalidArgumentError(
        Concat("rank is ", config.rank, ": expected one below world_size, ", config.world_size));
  }
  if (config.rank > 0 && config.leader_address.empty()) {
    return absl::InvalidArgumentError(
        "leader_address is empty: a rank above 0 needs the host of process 0");
  }
  if ((!config.loras.empty() || config.allow_runtime_lora_updating) && config.world_size > 1) {
    return absl::InvalidArgumentError(
        "loras: adapters are not supported where several processes share a model: expected "
        "world_size 1");
  }
  if (config.max_cpu_loras > 0 && config.max_cpu_loras < config.max_loras) {
    return absl::InvalidArgumentError(Concat("max_cpu_loras is ", config.max_cpu_loras,
                                             ": expected 0, or at least max_loras, ",
                                             config.max_loras));
  }
  if (config.max_batch_tokens > 0 && config.max_batch_tokens < config.max_batch_size) {
    return absl::InvalidArgumentError(Concat(
        "max_batch_tokens is ", config.max_batch_tokens, ": expected at least max_batch_size, ",
        config.max_batch_size, ", since every running sequence gets a token a step"));
  }
  if (config.embedding_dtype == EmbeddingFormat::kBf16 && config.dtype != ComputeFormat::kInt8) {
    return absl::InvalidArgumentError(
        "embedding_dtype is bf16, which says something only beside dtype int8: expected auto, or "
        "dtype: int8");
  }
  if (!config.tls_client_names.empty() && config.tls_client_ca_file.empty()) {
    return absl::InvalidArgumentError(
        "tls_client_names says something only beside tls_client_ca_file, without which routers "
        "show "
        "no certificate");
  }
  if (config.gpu_index > 0 && config.device == DeviceChoice::kCpu) {
    return absl::InvalidArgumentError(Concat("gpu_index is ", config.gpu_index,
                                             ", which says nothing beside device cpu: expected "
                                             "0, or device auto or cuda"));
  }
  return absl::OkStatus();
}

}  // namespace pingti::worker
