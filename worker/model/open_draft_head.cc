#include "worker/model/open_draft_head.h"

#include <boost/json.hpp>
#include <cstring>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/model/declared_tensors.h"
#include "worker/model/decoder_blocks.h"
#include "worker/model/families/eagle3.h"
#include "worker/weights/hf_directory.h"
#include "worker/weights/json_fields.h"

namespace pingti::worker {
namespace {

// "d2t": what to add to a token of the head's own vocabulary for the model's; absent: nothing.
absl::StatusOr<std::vector<int32_t>> ReadOwnTokens(const Checkpoint& checkpoint,
                                                   const DraftHeadSpec& spec) {
  const TensorView* offsets = checkpoint.Find("d2t");
  if (offsets != nullptr && (offsets->dtype != DType::kI64 ||
                             offsets->shape != std::vector<int64_t>{spec.own_vocabulary})) {
    return absl::InvalidArgumentError(Concat("tensor 'd2t' ", DTypeName(offsets->dtype), " ",
                                             offsets->ShapeString(), "; expected I64 [",
                                             spec.own_vocabulary, "]"));
  }
  std::vector<int32_t> own(static_cast<size_t>(spec.decoder.vocab_size), -1);
  for (int64_t i = 0; i < spec.own_vocabulary; ++i) {
    int64_t offset = 0;
    if (offsets != nullptr) {
      std::memcpy(&offset, static_cast<const char*>(offsets->data) + i * int64_t{sizeof(offset)},
                  sizeof(offset));
    }
    const bool is_token = offset >= -i && offset < spec.decoder.vocab_size - i;
    if (!is_token || own[static_cast<size_t>(i + offset)] >= 0) {
      return absl::InvalidArgumentError(
          Concat("tensor 'd2t' adds ", offset, " to token ", i,
                 is_token ? ": another one has that token already"
                          : Concat("; expected a token below ", spec.decoder.vocab_size)));
    }
    own[static_cast<size_t>(i + offset)] = static_cast<int32_t>(i);
  }
  return own;
}

absl::StatusOr<OpenedDraftHead> OpenEagle3(HfDirectory files, const std::string& directory,
                                           const DecoderSpec& model, bool random_weights) {
  OpenedDraftHead head;
  PINGTI_ASSIGN_OR_RETURN(head.spec,
                          ReadEagle3Config(JsonFields(files.config.get_object(), ""), model));
  Checkpoint::Parts parts;
  parts.path = directory;
  parts.format = "safetensors";
  parts.tensors = std::move(files.tensors);
  parts.files = std::move(files.files);
  bool has_embedding = false;
  for (TensorView& tensor : parts.tensors) {
    tensor.name = Eagle3TensorName(tensor.name);
    has_embedding |= tensor.name == head.spec.decoder.embedding + ".weight";
  }
  if (!has_embedding) {
    if (head.spec.hidden() != model.hidden_size) {
      return absl::InvalidArgumentError(
          Concat("'hidden_size' is ", head.spec.hidden(), " and there is no tensor '",
                 head.spec.decoder.embedding, ".weight'; expected it, or the model's size, ",
                 model.hidden_size));
    }
    head.spec.decoder.embedding.clear();
  }
  parts.spec = head.spec.decoder;
  const std::vector<WeightSpec> weights = DeclaredHeadWeights(head.spec);
  if (random_weights) parts.tensors = TensorsWithoutData(weights);
  head.checkpoint = std::make_unique<Checkpoint>(std::move(parts));
  PINGTI_RETURN_IF_ERROR(CheckTensors(*head.checkpoint, weights));
  PINGTI_ASSIGN_OR_RETURN(head.own_token, ReadOwnTokens(*head.checkpoint, head.spec));
  return head;
}

}  // namespace

absl::StatusOr<OpenedDraftHead> OpenDraftHead(const std::string& directory,
                                              const DecoderSpec& model, bool random_weights) {
  PINGTI_ASSIGN_OR_RETURN(HfDirectory files,
                          ReadHfDirectory(directory, /*with_tensors=*/!random_weights));
  absl::StatusOr<OpenedDraftHead> head =
      OpenEagle3(std::move(files), directory, model, random_weights);
  if (head.ok()) return head;
  return absl::Status(head.status().code(),
                      Concat(directory, ": ", std::string(head.status().message())));
}

absl::StatusOr<OpenedDraftHead> OpenMtpModule(const Checkpoint& model) {
  const std::optional<MtpSpec>& mtp = model.spec().mtp;
  if (!mtp.has_value()) {
    return absl::InvalidArgumentError(
        Concat(model.path(),
               " has no multi-token-prediction module: expected a model whose "
               "config.json has 'num_nextn_predict_layers', or another speculation "
               "than mtp"));
  }
  if (mtp->num_modules != 1) {
    return absl::UnimplementedError(Concat(model.path(), ": 'num_nextn_predict_layers' is ",
                                           mtp->num_modules, "; expected 1 for speculation mtp"));
  }
  OpenedDraftHead head;
  head.spec = MtpHeadSpec(model.spec());
  for (const WeightSpec& weight : DeclaredHeadWeights(head.spec)) {
    for (const RowBlock& part : JoinedParts(weight)) {
      const absl::Status found = FindModuleTensors(model, weight, part).status();
      if (found.ok()) continue;
      return absl::Status(found.code(),
                          Concat(model.path(), ": of the module for speculation mtp, ",
                                 std::string(found.message())));
    }
  }
  return head;
}

}  // namespace pingti::worker
