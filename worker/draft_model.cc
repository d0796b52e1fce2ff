#include "worker/draft_model.h"

#include <algorithm>
#include <utility>

#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/backend/choose/choose_device.h"
#include "worker/grammar/model_vocabulary.h"
#include "worker/model/load_model.h"
#include "worker/model/open_checkpoint.h"
#include "worker/speculation/head_drafts.h"
#include "worker/speculation/model_drafts.h"
#include "worker/speculation/ngram_drafts.h"

namespace pingti::worker {
namespace {

// A draft model with all that it runs on, in order of dependence.
struct DraftModel {
  std::unique_ptr<Checkpoint> checkpoint;
  Device device;  // its own backend: recorded steps are one model's
  std::unique_ptr<Model> model;
};

class OwnedModelDrafts : public DraftSource {
 public:
  OwnedModelDrafts(DraftModel draft, int32_t vocab_size, const ModelDrafts::Options& options)
      : draft_(std::move(draft)), source_(draft_.model.get(), vocab_size, options) {}
  void Propose(std::span<DraftAsk> asks) override { source_.Propose(asks); }

 private:
  const DraftModel draft_;
  ModelDrafts source_;
};

// Token ids mean the same to both. Padding behind the tokenizers' ends may differ.
absl::Status CheckSameTokens(const std::string& path, const TextAssets& text, int32_t vocab_size,
                             const LoadedModel& served) {
  PINGTI_ASSIGN_OR_RETURN(const auto drafts, ModelVocabulary(text, vocab_size));
  PINGTI_ASSIGN_OR_RETURN(const auto ours,
                          ModelVocabulary(served.checkpoint->text(), served.model->vocab_size()));
  for (int32_t id = 0; id < std::max(drafts->num_bits(), ours->num_bits()); ++id) {
    if (drafts->bytes(id) == ours->bytes(id)) continue;
    return absl::InvalidArgumentError(Concat(
        "draft_model ", path, ": its token ", id, " is '", drafts->bytes(id),
        "', the served model's is '", ours->bytes(id), "': expected a model of one tokenizer"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<DraftSource>> LoadDraftModel(const WorkerConfig& config,
                                                            const LoadedModel& served) {
  DraftModel draft;
  PINGTI_ASSIGN_OR_RETURN(draft.checkpoint, config.load_format == LoadFormat::kDummy
                                                ? OpenRandomCheckpoint(config.draft_model)
                                                : OpenCheckpoint(config.draft_model));
  const Device& first = served.devices.first();
  PINGTI_ASSIGN_OR_RETURN(draft.device,
                          ChooseDevice({first.is_gpu ? DeviceChoice::kCuda : DeviceChoice::kCpu,
                                        first.gpu_index, config.threads}));
  PINGTI_ASSIGN_OR_RETURN(draft.model,
                          LoadModel(*draft.checkpoint, draft.device.backend.get(), LoadOptions()));
  PINGTI_RETURN_IF_ERROR(CheckSameTokens(config.draft_model, draft.checkpoint->text(),
                                         draft.model->vocab_size(), served));
  ModelDrafts::Options options;
  options.block_tokens = config.kv_block_tokens;
  options.max_batch_tokens = config.max_batch_tokens;
  options.max_batch_size = config.max_batch_size;
  const int64_t block_bytes = draft.model->KvBytesPerBlock(options.block_tokens);
  options.num_blocks =
      static_cast<int32_t>(std::min<int64_t>(config.draft_kv_memory / block_bytes, 1 << 24));
  if (options.num_blocks < 1) {
    return absl::ResourceExhaustedError(
        Concat("draft_kv_memory is ", config.draft_kv_memory, " bytes; a block of ",
               options.block_tokens, " tokens of ", config.draft_model, " takes ", block_bytes));
  }
  PINGTI_RETURN_IF_ERROR(draft.model->Allocate(options.num_blocks, options.block_tokens,
                                               options.max_batch_tokens, options.max_batch_size));
  LogInfo("draft model", {{"model", config.draft_model},
                          {"parameters", draft.checkpoint->num_parameters()},
                          {"kv_tokens", int64_t{options.num_blocks} * options.block_tokens}});
  return std::make_unique<OwnedModelDrafts>(std::move(draft), served.model->vocab_size(), options);
}

}  // namespace

absl::StatusOr<std::unique_ptr<DraftSource>> MakeDraftSource(const WorkerConfig& config,
                                                             const LoadedModel& served) {
  switch (config.speculation) {
    case Speculation::kNone:
      return nullptr;
    case Speculation::kNgram:
      return std::make_unique<NgramDrafts>();
    case Speculation::kDraftModel:
      return LoadDraftModel(config, served);
    case Speculation::kEagle3:
    case Speculation::kMtp:
      return std::make_unique<HeadDrafts>(served.model->draft_head());
  }
  return nullptr;
}

}  // namespace pingti::worker
