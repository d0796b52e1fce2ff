#include "worker/model/load_model.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/layers/draft_layers.h"
#include "worker/model/declared_tensors.h"
#include "worker/model/decoder_blocks.h"
#include "worker/model/head_runner.h"
#include "worker/model/rank_spec.h"
#include "worker/model/weight_loader.h"

namespace pingti::worker {
namespace {

absl::Status WithPath(const Checkpoint& checkpoint, const absl::Status& status) {
  return absl::Status(status.code(),
                      Concat(checkpoint.path(), ": ", std::string(status.message())));
}

bool ReadsLastNormsInput(const DraftHeadSpec& head, const DecoderSpec& model) {
  const std::vector<int64_t>& layers = head.target_layers;
  return std::find(layers.begin(), layers.end(), model.num_layers()) != layers.end();
}

double NumValues(const DecoderSpec& spec) {
  double sum = 0.0;
  for (const WeightSpec& weight : DeclaredWeights(spec)) {
    sum += static_cast<double>(weight.num_values());
  }
  return sum;
}

bool IsVocabulary(const WeightSpec& weight) {
  return weight.role == WeightRole::kEmbedding || weight.role == WeightRole::kLogits;
}

absl::StatusOr<std::unique_ptr<HeadRunner>> LoadHead(const Checkpoint& model, Backend* backend,
                                                     const LoadOptions& options,
                                                     const DecoderBlocks& blocks, int num_ranks) {
  const OpenedDraftHead& opened = *options.draft_head;
  LoadOptions own = options;
  own.progress = nullptr;
  // A head with a checkpoint of its own stays in 16 bit; a module is as its model is.
  if (opened.checkpoint != nullptr && options.format != WeightFormat::kF32) {
    own.format = WeightFormat::kBf16;
  }
  LoadedHead head;
  head.spec = opened.spec;
  head.layers = MakeDraftLayers(opened.spec);
  PINGTI_RETURN_IF_ERROR(LoadWeights(opened.checkpoint == nullptr ? model : *opened.checkpoint,
                                     backend, own, head.layers->DeclareWeights()));
  SharedVocabulary shared{blocks.embedding(), blocks.head()};
  if (num_ranks > 1) {
    // The ranks have a share each.
    Declarations whole;
    if (opened.spec.decoder.embedding.empty()) {
      whole.push_back({EmbeddingWeight(model.spec()), &head.embedding});
    }
    if (opened.spec.decoder.head.empty()) {
      whole.push_back({LogitsWeight(model.spec()), &head.output});
    }
    own.format = options.format;
    PINGTI_RETURN_IF_ERROR(LoadWeights(model, backend, own, whole));
    shared = {head.embedding.get(), head.output.get()};
  }
  head.layers->Share(shared);
  if (!opened.own_token.empty()) {
    PINGTI_ASSIGN_OR_RETURN(head.own_token, backend->UploadF32(std::vector<float>(
                                                opened.own_token.begin(), opened.own_token.end())));
  }
  return std::make_unique<HeadRunner>(std::move(head), options.format, options.kv_format, backend);
}

}  // namespace

bool HasInt8Vocabulary(const Checkpoint& checkpoint, const LoadOptions& options) {
  return options.format == WeightFormat::kInt8 && !options.wide_vocabulary &&
         !checkpoint.compressed_int8().present;
}

int64_t EstimateWeightBytes(const Checkpoint& checkpoint, const LoadOptions& options) {
  // Stored, but for 8-bit floats, which become bf16.
  if (options.format == WeightFormat::kStored && !checkpoint.fp8().present) {
    return checkpoint.weight_bytes();
  }
  int64_t vocabulary = 0;
  int64_t blocks = 0;
  int64_t heads = 0;
  for (const WeightSpec& weight : DeclaredWeights(checkpoint.spec())) {
    int64_t& values = IsVocabulary(weight) ? vocabulary : weight.heads > 0 ? heads : blocks;
    values += weight.num_values();
  }
  switch (options.format) {
    case WeightFormat::kF32:
      return 4 * (blocks + heads + vocabulary);
    case WeightFormat::kInt8:
      return blocks + 2 * heads + (HasInt8Vocabulary(checkpoint, options) ? 1 : 2) * vocabulary;
    case WeightFormat::kInt8Weights:
      return blocks + 2 * heads + vocabulary;
    case WeightFormat::kBf16:
    case WeightFormat::kStored:
      break;
  }
  return 2 * (blocks + heads + vocabulary);
}

absl::StatusOr<int64_t> EstimateRankBytes(const Checkpoint& checkpoint, const LoadOptions& options,
                                          int ranks) {
  PINGTI_ASSIGN_OR_RETURN(const DecoderSpec share,
                          RankSpec(checkpoint, 0, ranks, options.expert_split));
  const double part = NumValues(share) / NumValues(checkpoint.spec());
  return static_cast<int64_t>(part * static_cast<double>(EstimateWeightBytes(checkpoint, options)));
}

absl::StatusOr<std::unique_ptr<Model>> LoadModel(const Checkpoint& checkpoint, Backend* backend,
                                                 const LoadOptions& options) {
  return LoadRank(checkpoint, backend, options, std::make_unique<SingleRankCommunicator>(backend));
}

absl::StatusOr<std::unique_ptr<DecoderModel>> LoadRank(const Checkpoint& checkpoint,
                                                       Backend* backend, const LoadOptions& options,
                                                       std::unique_ptr<Communicator> comm) {
  // Ranks that hold different experts must choose alike.
  PINGTI_CHECK(options.expert_split == ExpertSplit::kColumns ||
               comm->promises().bitwise_equal_on_all_ranks);
  const absl::Status checked = CheckTensors(checkpoint, DeclaredWeights(checkpoint.spec()));
  if (!checked.ok()) return WithPath(checkpoint, checked);
  PINGTI_ASSIGN_OR_RETURN(DecoderSpec spec,
                          RankSpec(checkpoint, comm->rank(), comm->size(), options.expert_split));
  if (options.max_context_tokens > 0) {
    spec.max_context = std::min(spec.max_context, options.max_context_tokens);
  }
  DecoderBlocks blocks(spec);
  PINGTI_RETURN_IF_ERROR(LoadWeights(checkpoint, backend, options, blocks.DeclareWeights()));
  std::unique_ptr<HeadRunner> head;
  if (options.draft_head != nullptr && comm->rank() == 0) {
    PINGTI_ASSIGN_OR_RETURN(head, LoadHead(checkpoint, backend, options, blocks, comm->size()));
  }
  const bool finishes_rows =
      options.draft_head != nullptr && ReadsLastNormsInput(options.draft_head->spec, spec);
  auto model = std::make_unique<DecoderModel>(spec, options.format, options.kv_format, backend,
                                              std::move(comm), std::move(blocks), std::move(head),
                                              finishes_rows);
  if (options.gathers_logits) model->SetGathersRows();
  if (options.adapters.max_adapters > 0) {
    PINGTI_RETURN_IF_ERROR(model->AllocateAdapters(options.adapters));
  }
  return model;
}

absl::Status LoadWeights(const Checkpoint& checkpoint, Backend* backend, const LoadOptions& options,
                         const Declarations& declarations) {
  const absl::Status loaded = WeightLoader(checkpoint, backend, options).Load(declarations);
  return loaded.ok() ? loaded : WithPath(checkpoint, loaded);
}

absl::StatusOr<DecoderLayer> LoadLayer(const Checkpoint& checkpoint, Backend* backend,
                                       const LoadOptions& options, int64_t layer,
                                       int64_t cache_layer) {
  const DecoderSpec& spec = checkpoint.spec();
  DecoderLayer block(spec.layers[static_cast<size_t>(layer)], spec.hidden_size, cache_layer);
  Declarations declarations;
  block.DeclareWeights(&declarations);
  PINGTI_RETURN_IF_ERROR(LoadWeights(checkpoint, backend, options, declarations));
  return block;
}

}  // namespace pingti::worker
