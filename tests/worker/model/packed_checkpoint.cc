#include "tests/worker/model/packed_checkpoint.h"

#include <boost/json.hpp>
#include <utility>

#include "common/base/check.h"
#include "common/base/strings.h"
#include "worker/model/open_checkpoint.h"
#include "worker/weights/hf_quantization.h"
#include "worker/weights/json_fields.h"

namespace pingti::worker::testing {
namespace {

constexpr int64_t kHidden = 64;
constexpr int64_t kInner = 160;  // no multiple of 64 or 128
constexpr int64_t kKvRows = 32;
constexpr int64_t kVocab = 96;
constexpr int64_t kLayers = 2;

// One step of 8 bits is a sixteenth of one of 4.
constexpr float kStep4 = 0.02f;
constexpr float kStep8 = kStep4 / 16;

constexpr char kCompressed4[] =
    R"({"quant_method":"compressed-tensors","format":"pack-quantized","ignore":["lm_head"],)"
    R"("config_groups":{"group_0":{"targets":["Linear"],"weights":{"num_bits":4,"type":"int",)"
    R"("strategy":"group","group_size":32,"symmetric":true}}}})";
constexpr char kCompressed4Asymmetric[] =
    R"({"quant_method":"compressed-tensors","format":"pack-quantized",)"
    R"("config_groups":{"group_0":{"weights":{"num_bits":4,"type":"int",)"
    R"("strategy":"group","group_size":128,"symmetric":false}}}})";
constexpr char kCompressed8Channel[] =
    R"({"quant_method":"compressed-tensors","format":"pack-quantized",)"
    R"("config_groups":{"group_0":{"weights":{"num_bits":8,"type":"int",)"
    R"("strategy":"channel","symmetric":true}}}})";

}  // namespace

const std::vector<PackedForm>& PackedForms() {
  constexpr auto kGptq = PackedLayout::kGptq;
  constexpr auto kAwq = PackedLayout::kAwq;
  constexpr auto kRowMajor = PackedLayout::kRowMajor;
  constexpr DType kF16 = DType::kF16;
  constexpr DType kBf16 = DType::kBf16;
  static const std::vector<PackedForm> forms = {
      {"gptq4",
       R"({"quant_method":"gptq","bits":4,"group_size":32,"sym":false})",
       {kGptq, 4, 0, 0, 32, true, 1, kF16, kStep4}},
      {"gptq4_v2",
       R"({"quant_method":"gptq","bits":4,"group_size":128,"checkpoint_format":"gptq_v2"})",
       {kGptq, 4, 0, 0, 128, true, 0, kF16, kStep4}},
      {"gptq8",
       R"({"quant_method":"gptq","bits":8,"group_size":-1})",
       {kGptq, 8, 0, 0, 0, true, 1, kF16, kStep8, true}},
      {"gptq4_symmetric",
       R"({"quant_method":"gptq","bits":4,"group_size":64,"sym":true})",
       {kGptq, 4, 0, 0, 64, true, 1, kF16, kStep4, true}},
      {"gptq8_asymmetric",
       R"({"quant_method":"gptq","bits":8,"group_size":128})",
       {kGptq, 8, 0, 0, 128, true, 1, kF16, kStep8}},
      {"awq",
       R"({"quant_method":"awq","bits":4,"group_size":64,"version":"gemm"})",
       {kAwq, 4, 0, 0, 64, true, 0, kF16, kStep4}},
      {"awq_symmetric",
       R"({"quant_method":"awq","bits":4,"group_size":32,"version":"gemm","zero_point":false})",
       {kAwq, 4, 0, 0, 32, false, 0, kF16, kStep4}},
      {"compressed4", kCompressed4, {kRowMajor, 4, 0, 0, 32, false, 0, kBf16, kStep4}},
      {"compressed4_asymmetric",
       kCompressed4Asymmetric,
       {kRowMajor, 4, 0, 0, 128, true, 0, kF16, kStep4}},
      {"compressed8_channel",
       kCompressed8Channel,
       {kRowMajor, 8, 0, 0, 0, false, 0, kBf16, kStep8}},
  };
  return forms;
}

PackedCheckpoint::PackedCheckpoint(const PackedForm& form, uint32_t seed)
    : form_(form), rng_(seed) {
  const std::string json = Concat(
      R"({"architectures":["Qwen2ForCausalLM"],"hidden_size":64,"intermediate_size":160,)"
      R"("num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"vocab_size":96,)"
      R"("max_position_embeddings":256,"quantization_config":)",
      form.quantization_config, "}");
  const absl::StatusOr<DecoderSpec> spec = ParseHfConfig(json);
  PINGTI_CHECK_MSG(spec.ok(), spec.status().ToString());
  spec_ = *spec;
  const boost::json::value root = *ParseJsonObject(json);
  const auto quantization = ReadHfQuantization(JsonFields(root.get_object(), ""));
  PINGTI_CHECK_MSG(quantization.ok(), quantization.status().ToString());
  config_ = quantization->packed;
  AddPlain("model.embed_tokens.weight", {kVocab, kHidden}, 0.0f);
  AddPlain("lm_head.weight", {kVocab, kHidden}, 0.0f);
  AddPlain("model.norm.weight", {kHidden}, 1.0f);
  for (int64_t i = 0; i < kLayers; ++i) {
    const std::string layer = Concat("model.layers.", i, ".");
    AddPlain(layer + "input_layernorm.weight", {kHidden}, 1.0f);
    AddPlain(layer + "post_attention_layernorm.weight", {kHidden}, 1.0f);
    AddPlain(layer + "self_attn.q_proj.bias", {kHidden}, 0.0f);
    AddPlain(layer + "self_attn.k_proj.bias", {kKvRows}, 0.0f);
    AddPlain(layer + "self_attn.v_proj.bias", {kKvRows}, 0.0f);
    AddModule(layer + "self_attn.q_proj", kHidden, kHidden);
    AddModule(layer + "self_attn.k_proj", kKvRows, kHidden);
    AddModule(layer + "self_attn.v_proj", kKvRows, kHidden);
    AddModule(layer + "mlp.gate_proj", kInner, kHidden);
    AddModule(layer + "mlp.up_proj", kInner, kHidden);
    AddModule(layer + "mlp.down_proj", kHidden, kInner);
    // A module that the quantizer left alone.
    if (i == 0) {
      AddPlain(layer + "self_attn.o_proj.weight", {kHidden, kHidden}, 0.0f);
    } else {
      AddModule(layer + "self_attn.o_proj", kHidden, kHidden);
    }
  }
}

Checkpoint::Parts PackedCheckpoint::Parts(const std::vector<TensorView>& tensors,
                                          const PackedQuantization& packed) const {
  Checkpoint::Parts parts;
  parts.path = "dir/packed";
  parts.format = "safetensors";
  parts.spec = spec_;
  parts.packed = packed;
  parts.tensors = tensors;
  return parts;
}

void PackedCheckpoint::AddTensor(std::string name, DType dtype, std::vector<int64_t> shape,
                                 const void* data) {
  TensorView view{std::move(name), dtype, std::move(shape), data, 0};
  view.bytes = view.NumElements() * BlockBytes(dtype);
  packed_.push_back(std::move(view));
}

void PackedCheckpoint::AddPlain(const std::string& name, std::vector<int64_t> shape, float mean) {
  std::normal_distribution<float> normal(mean, 0.2f);
  std::vector<float>& values = floats_.emplace_back();
  int64_t count = 1;
  for (const int64_t dim : shape) count *= dim;
  for (int64_t i = 0; i < count; ++i) values.push_back(normal(rng_));
  AddTensor(name, DType::kF32, std::move(shape), values.data());
  dense_.push_back(packed_.back());
  num_parameters_ += count;
}

void PackedCheckpoint::AddModule(const std::string& name, int64_t rows, int64_t cols) {
  PackedSpec spec = form_.spec;
  spec.rows = rows;
  spec.cols = cols;
  if (spec.group_size == 0) spec.group_size = cols;
  BuiltPacked& built = modules_.emplace_back(BuildPacked(spec, &rng_));
  const PackedWeights weights = built.View();
  const bool compressed = spec.layout == PackedLayout::kRowMajor;
  AddTensor(name + (compressed ? ".weight_packed" : ".qweight"), DType::kI32, weights.words.shape,
            weights.words.data);
  AddTensor(name + (compressed ? ".weight_scale" : ".scales"), weights.scales.dtype,
            weights.scales.shape, weights.scales.data);
  if (weights.has_zeros()) {
    AddTensor(name + (compressed ? ".weight_zero_point" : ".qzeros"), DType::kI32,
              weights.zeros.shape, weights.zeros.data);
  }
  AddIndexAndShape(name, weights);
  TensorView plain{
      name + ".weight", DType::kF32, {rows, cols}, built.values.data(), rows * cols * 4};
  dense_.push_back(std::move(plain));
  num_parameters_ += rows * cols;
}

void PackedCheckpoint::AddIndexAndShape(const std::string& name, const PackedWeights& weights) {
  if (weights.layout == PackedLayout::kAwq) return;
  if (weights.layout == PackedLayout::kRowMajor) {
    shapes_.push_back({weights.rows, weights.cols});
    AddTensor(name + ".weight_shape", DType::kI64, {2}, shapes_.back().data());
    return;
  }
  std::vector<int32_t>& index = indices_.emplace_back();
  for (int64_t k = 0; k < weights.cols; ++k) {
    index.push_back(static_cast<int32_t>(k / weights.group_size));
  }
  AddTensor(name + ".g_idx", DType::kI32, {weights.cols}, index.data());
}

}  // namespace pingti::worker::testing
