#include "worker/model/decoder_blocks.h"

#include <utility>

#include "common/base/status_macros.h"
#include "worker/layers/draft_layers.h"

namespace pingti::worker {
namespace {

std::vector<WeightSpec> SpecsOf(Declarations declarations) {
  std::vector<WeightSpec> specs;
  specs.reserve(declarations.size());
  for (DeclaredWeight& declared : declarations) specs.push_back(std::move(declared.spec));
  return specs;
}

WeightSpec VocabularyWeight(const DecoderSpec& spec, WeightRole role, const std::string& module) {
  WeightSpec weight;
  weight.role = role;
  weight.parts = {WholeModule(module, spec.vocab_size)};
  if (spec.vocabulary_share.has_value()) {
    const VocabularyShare& share = *spec.vocabulary_share;
    weight.parts = SliceRows(weight.parts, share.first, share.rows);
  }
  weight.cols = spec.hidden_size;
  weight.split = Split::kVocabulary;
  return weight;
}

}  // namespace

DecoderBlocks::DecoderBlocks(const DecoderSpec& spec)
    : embedding_spec_(EmbeddingWeight(spec)),
      head_spec_(LogitsWeight(spec)),
      hidden_size_(spec.hidden_size),
      final_norm_(spec.final_norm, spec.hidden_size) {
  layers_.reserve(spec.layers.size());
  for (const LayerSpec& layer : spec.layers) {
    layers_.emplace_back(layer, hidden_size_, static_cast<int64_t>(layers_.size()));
  }
}

Declarations DecoderBlocks::DeclareWeights() {
  Declarations out;
  out.push_back({embedding_spec_, &embedding_, &embedding_lora_});
  out.push_back({head_spec_, &head_, &head_lora_});
  for (DecoderLayer& layer : layers_) layer.DeclareWeights(&out);
  final_norm_.DeclareWeights(&out);
  return out;
}

void DecoderBlocks::DeclareColumns(ActivationPlan* plan) const {
  for (const DecoderLayer& layer : layers_) layer.DeclareColumns(plan);
  plan->Need(Activation::kGathered, hidden_size_);
  plan->NeedForm(Activation::kFinal, hidden_size_, head_.get());
}

absl::Status DecoderBlocks::Embed(Backend& backend, Communicator& comm, MatrixView out) const {
  PINGTI_RETURN_IF_ERROR(embedding_lora_ == nullptr
                             ? backend.Embed(*embedding_, out)
                             : backend.AdaptedEmbed(*embedding_, *embedding_lora_, out));
  // Every token's row is on one rank; the others' are zeros.
  return comm.AllReduceSum(out);
}

absl::Status DecoderBlocks::Finish(Communicator& comm, MatrixView delta,
                                   MatrixView residual) const {
  return final_norm_.AddAndApply(comm, delta, residual, delta);
}

absl::Status DecoderBlocks::Logits(Backend& backend, Communicator& comm,
                                   std::span<const int32_t> tokens, MatrixView delta,
                                   MatrixView residual, const Operand& normed,
                                   MatrixView logits) const {
  PINGTI_RETURN_IF_ERROR(final_norm_.AddAndApply(comm, delta, residual, normed));
  return head_lora_ == nullptr ? backend.Linear(*head_, normed, logits)
                               : backend.AdaptedLogits(*head_, *head_lora_, normed, tokens, logits);
}

WeightSpec EmbeddingWeight(const DecoderSpec& spec) {
  return VocabularyWeight(spec, WeightRole::kEmbedding, spec.embedding);
}

WeightSpec LogitsWeight(const DecoderSpec& spec) {
  return VocabularyWeight(spec, WeightRole::kLogits, spec.head);
}

DraftHeadSpec MtpHeadSpec(const DecoderSpec& spec) {
  DraftHeadSpec head;
  head.decoder = spec;
  head.decoder.embedding.clear();
  head.decoder.head.clear();
  head.decoder.layers = {spec.mtp->layer};
  head.own_vocabulary = spec.vocab_size;
  head.target_layers = {spec.num_layers()};
  head.target_hidden = spec.hidden_size;
  head.form = *spec.mtp;
  return head;
}

std::vector<WeightSpec> DeclaredHeadWeights(const DraftHeadSpec& spec) {
  return SpecsOf(MakeDraftLayers(spec)->DeclareWeights());
}

std::vector<WeightSpec> DeclaredWeights(const DecoderSpec& spec) {
  DecoderBlocks blocks(spec);
  return SpecsOf(blocks.DeclareWeights());
}

std::vector<WeightSpec> DeclaredLayerWeights(const DecoderSpec& spec, int64_t layer) {
  DecoderLayer block(spec.layers[static_cast<size_t>(layer)], spec.hidden_size, layer);
  Declarations declarations;
  block.DeclareWeights(&declarations);
  return SpecsOf(std::move(declarations));
}

}  // namespace pingti::worker
