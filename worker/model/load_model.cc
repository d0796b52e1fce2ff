#include "worker/model/load_model.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/model/decoder_model.h"
#include "worker/model/packed_module.h"
#include "worker/model/rope_spec.h"
#include "worker/quant/ggml_blocks.h"

namespace pingti::worker {
namespace {

// A compressed checkpoint has said which of its layers are int8.
bool HasInt8Vocabulary(const Checkpoint& checkpoint, const LoadOptions& options) {
  return options.format == WeightFormat::kInt8 && !options.wide_vocabulary &&
         !checkpoint.compressed_int8().present;
}

// Takes tensors out of the checkpoint, checks them, and prepares them on the backend.
class Loader {
 public:
  Loader(const Checkpoint& checkpoint, Backend* backend, const LoadOptions& options)
      : checkpoint_(checkpoint),
        config_(checkpoint.config()),
        backend_(backend),
        options_(options) {}

  absl::StatusOr<DecoderWeights> Load() {
    DecoderWeights weights;
    // The configuration holds these already.
    if (const TensorView* freqs = checkpoint_.Find("rope_freqs.weight")) MarkUsed(*freqs);
    PINGTI_RETURN_IF_ERROR(LoadEmbedding(&weights));
    for (int64_t i = 0; i < config_.num_layers; ++i) {
      PINGTI_ASSIGN_OR_RETURN(DecoderLayerWeights layer, LoadLayer(i));
      weights.layers.emplace_back(i, std::move(layer), Attention(i), NormEps());
    }
    PINGTI_ASSIGN_OR_RETURN(weights.final_norm, Norm("model.norm.weight", config_.hidden_size));
    ReportProgress();
    PINGTI_RETURN_IF_ERROR(CheckAllUsed());
    return weights;
  }

  absl::StatusOr<DecoderLayerWeights> LoadLayer(int64_t i) {
    const std::string layer = Concat("model.layers.", i, ".");
    const std::string attention = layer + "self_attn.";
    const int64_t hidden = config_.hidden_size;
    const int64_t q_rows = config_.num_heads * config_.head_dim;
    const int64_t kv_rows = config_.num_kv_heads * config_.head_dim;
    DecoderLayerWeights weights;
    PINGTI_ASSIGN_OR_RETURN(weights.input_norm, Norm(layer + "input_layernorm.weight", hidden));
    PINGTI_ASSIGN_OR_RETURN(weights.post_norm,
                            Norm(layer + "post_attention_layernorm.weight", hidden));
    if (config_.qk_norm) {
      PINGTI_ASSIGN_OR_RETURN(weights.q_norm, Norm(attention + "q_norm.weight", config_.head_dim));
      PINGTI_ASSIGN_OR_RETURN(weights.k_norm, Norm(attention + "k_norm.weight", config_.head_dim));
    }
    PINGTI_ASSIGN_OR_RETURN(weights.qkv,
                            Linear({{attention + "q_proj", q_rows, config_.num_heads},
                                    {attention + "k_proj", kv_rows, config_.num_kv_heads},
                                    {attention + "v_proj", kv_rows}},
                                   hidden, config_.qkv_bias, BlockFormat()));
    PINGTI_ASSIGN_OR_RETURN(
        weights.o, Linear({{attention + "o_proj", hidden}}, q_rows, config_.o_bias, BlockFormat()));
    PINGTI_ASSIGN_OR_RETURN(weights.gate_up,
                            Linear({{layer + "mlp.gate_proj", config_.intermediate_size},
                                    {layer + "mlp.up_proj", config_.intermediate_size}},
                                   hidden, config_.mlp_bias, BlockFormat()));
    PINGTI_ASSIGN_OR_RETURN(weights.down,
                            Linear({{layer + "mlp.down_proj", hidden}}, config_.intermediate_size,
                                   config_.mlp_bias, BlockFormat()));
    return weights;
  }

 private:
  float NormEps() const { return static_cast<float>(config_.rms_norm_eps); }

  AttentionShape Attention(int64_t layer) const {
    return {config_.num_heads, config_.num_kv_heads, config_.head_dim,
            static_cast<float>(1.0 / std::sqrt(static_cast<double>(config_.head_dim))),
            config_.window[static_cast<size_t>(layer)]};
  }

  absl::StatusOr<const TensorView*> Take(const std::string& name,
                                         const std::vector<int64_t>& shape) {
    const TensorView* tensor = checkpoint_.Find(name);
    if (tensor == nullptr) {
      return absl::InvalidArgumentError(Concat("tensor '", name, "' is missing"));
    }
    if (tensor->shape != shape) {
      TensorView expected;
      expected.shape = shape;
      return absl::InvalidArgumentError(Concat("tensor '", name, "' ", DTypeName(tensor->dtype),
                                               " ", tensor->ShapeString(), ": expected shape ",
                                               expected.ShapeString()));
    }
    if (!CanDequantize(tensor->dtype)) {
      return absl::UnimplementedError(
          Concat("tensor '", name, "': dtype ", DTypeName(tensor->dtype)));
    }
    MarkUsed(*tensor);
    return tensor;
  }

  void MarkUsed(const TensorView& tensor) {
    if (used_.insert(tensor.name).second) done_bytes_ += tensor.bytes;
  }

  void ReportProgress() const {
    if (options_.progress) options_.progress(done_bytes_, checkpoint_.weight_bytes());
  }

  absl::StatusOr<std::vector<float>> Values(const std::string& name, int64_t count) {
    PINGTI_ASSIGN_OR_RETURN(const TensorView* tensor, Take(name, {count}));
    std::vector<float> values(static_cast<size_t>(count));
    if (tensor->data == nullptr) return values;
    Dequantize(tensor->dtype, tensor->data, count, values.data());
    return values;
  }

  absl::StatusOr<std::unique_ptr<DeviceBuffer>> Norm(const std::string& name, int64_t count) {
    PINGTI_ASSIGN_OR_RETURN(std::vector<float> values, Values(name, count));
    if (checkpoint_.Find(name)->data == nullptr) std::fill(values.begin(), values.end(), 1.0f);
    return backend_->UploadF32(values);
  }

  struct MatrixName {
    std::string name;  // without ".weight"
    int64_t rows;
    int64_t interleaved_heads = 0;
  };

  absl::StatusOr<MatrixSource> Matrix(const MatrixName& wanted, int64_t cols) {
    if (checkpoint_.packed().present && checkpoint_.Find(wanted.name + ".weight") == nullptr) {
      return Packed(wanted, cols);
    }
    PINGTI_ASSIGN_OR_RETURN(const TensorView* tensor,
                            Take(wanted.name + ".weight", {wanted.rows, cols}));
    MatrixSource source;
    source.tensor = *tensor;
    if (tensor->dtype == DType::kI8) {
      PINGTI_ASSIGN_OR_RETURN(source.row_scale, RowScale(wanted));
    }
    source.interleaved_heads = checkpoint_.qk_rows_interleaved() ? wanted.interleaved_heads : 0;
    return source;
  }

  absl::StatusOr<MatrixSource> Packed(const MatrixName& wanted, int64_t cols) {
    PINGTI_ASSIGN_OR_RETURN(PackedModule module,
                            FindPackedModule(checkpoint_, wanted.name, wanted.rows, cols));
    for (const TensorView* tensor : module.tensors) {
      MarkUsed(*tensor);
      sources_.push_back(*tensor);
    }
    MatrixSource source;
    source.tensor = module.weights.words;
    source.tensor.shape = {wanted.rows, cols};
    source.packed = std::move(module.weights);
    return source;
  }

  // compressed-tensors keeps one scale per output channel beside an int8 weight, as [rows, 1].
  absl::StatusOr<std::vector<float>> RowScale(const MatrixName& wanted) {
    if (!checkpoint_.compressed_int8().present) {
      return absl::InvalidArgumentError(
          Concat("tensor '", wanted.name, ".weight' is I8, but config.json names no quantization"));
    }
    const std::string name = wanted.name + ".weight_scale";
    PINGTI_ASSIGN_OR_RETURN(const TensorView* tensor, Take(name, {wanted.rows, 1}));
    std::vector<float> scale(static_cast<size_t>(wanted.rows));
    Dequantize(tensor->dtype, tensor->data, wanted.rows, scale.data());
    return scale;
  }

  // Weights that a compressed checkpoint left in 16 bit stay so: that is its per-layer fallback.
  WeightFormat BlockFormat() const {
    const bool keep = checkpoint_.compressed_int8().present;
    return options_.format == WeightFormat::kInt8 && keep ? WeightFormat::kStored : options_.format;
  }

  // Embedding and output projection: the latter decides between tokens, so its activations are
  // never rounded to int8.
  WeightFormat VocabularyFormat() const {
    if (options_.format != WeightFormat::kInt8) return options_.format;
    return HasInt8Vocabulary(checkpoint_, options_) ? WeightFormat::kInt8Weights
                                                    : WeightFormat::kStored;
  }

  absl::StatusOr<std::unique_ptr<LinearWeight>> Linear(const std::vector<MatrixName>& names,
                                                       int64_t cols, bool bias, WeightFormat format,
                                                       bool f32_out = false) {
    LinearSource source;
    source.format = format;
    source.f32_out = f32_out;
    for (const MatrixName& name : names) {
      PINGTI_ASSIGN_OR_RETURN(MatrixSource part, Matrix(name, cols));
      source.parts.push_back(std::move(part));
    }
    if (bias || HasOwnBias(names)) {
      for (const MatrixName& name : names) {
        PINGTI_RETURN_IF_ERROR(AppendBias(name, bias, &source.bias));
      }
    }
    PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<LinearWeight> weight, backend_->PrepareLinear(source));
    ReleaseSources(source);
    ReportProgress();
    return weight;
  }

  // The file must not stay in memory beside what was made of it.
  void ReleaseSources(const LinearSource& source) {
    for (const MatrixSource& part : source.parts) sources_.push_back(part.tensor);
    // A page that is read brings its neighbours, so some of the last matrix's are there again.
    for (const TensorView& tensor : released_) checkpoint_.Release(tensor);
    for (const TensorView& tensor : sources_) checkpoint_.Release(tensor);
    released_ = std::exchange(sources_, {});
  }

  // Quantizers' modules may carry a bias, of zeros, where the family has none.
  bool HasOwnBias(const std::vector<MatrixName>& names) const {
    return std::any_of(names.begin(), names.end(), [this](const MatrixName& name) {
      return HasPackedModule(checkpoint_, name.name) && checkpoint_.Find(name.name + ".bias");
    });
  }

  absl::Status AppendBias(const MatrixName& name, bool required, std::vector<float>* bias) {
    if (!required && checkpoint_.Find(name.name + ".bias") == nullptr) {
      bias->resize(bias->size() + static_cast<size_t>(name.rows));
      return absl::OkStatus();
    }
    PINGTI_ASSIGN_OR_RETURN(const std::vector<float> values,
                            Values(name.name + ".bias", name.rows));
    bias->insert(bias->end(), values.begin(), values.end());
    return absl::OkStatus();
  }

  absl::Status LoadEmbedding(DecoderWeights* weights) {
    const MatrixName name{"model.embed_tokens", config_.vocab_size};
    if (HasPackedModule(checkpoint_, name.name)) {
      return absl::UnimplementedError(
          Concat("module '", name.name, "' is quantized; expected a 16-bit embedding"));
    }
    PINGTI_ASSIGN_OR_RETURN(const MatrixSource embedding, Matrix(name, config_.hidden_size));
    PINGTI_ASSIGN_OR_RETURN(weights->embedding,
                            backend_->PrepareEmbedding(embedding, VocabularyFormat()));
    const MatrixName head{config_.tie_embeddings ? name.name : "lm_head", config_.vocab_size};
    // A tied checkpoint may still carry the copy.
    if (config_.tie_embeddings && checkpoint_.Find("lm_head.weight") != nullptr) {
      PINGTI_RETURN_IF_ERROR(
          Take("lm_head.weight", {config_.vocab_size, config_.hidden_size}).status());
    }
    PINGTI_ASSIGN_OR_RETURN(weights->lm_head,
                            Linear({head}, config_.hidden_size, false, VocabularyFormat(), true));
    return absl::OkStatus();
  }

  // A tensor that nothing took is a part of the model that would be left out in silence.
  absl::Status CheckAllUsed() const {
    for (const TensorView& tensor : checkpoint_.tensors()) {
      if (used_.count(tensor.name) == 0) {
        return absl::UnimplementedError(
            Concat("tensor '", tensor.name, "' ", DTypeName(tensor.dtype), " ",
                   tensor.ShapeString(), " has no place in a '", config_.architecture, "' model"));
      }
    }
    return absl::OkStatus();
  }

  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
  Backend* const backend_;
  const LoadOptions& options_;
  std::set<std::string> used_;
  std::vector<TensorView> sources_;   // of the packed modules that are being prepared
  std::vector<TensorView> released_;  // of the matrix before
  int64_t done_bytes_ = 0;
};

absl::Status WithPath(const Checkpoint& checkpoint, const absl::Status& status) {
  return absl::Status(status.code(),
                      Concat(checkpoint.path(), ": ", std::string(status.message())));
}

}  // namespace

int64_t EstimateWeightBytes(const Checkpoint& checkpoint, const LoadOptions& options) {
  const ModelConfig& config = checkpoint.config();
  const int64_t vocabulary = config.vocab_size * config.hidden_size;
  const int64_t blocks = checkpoint.num_parameters() - vocabulary * (config.tie_embeddings ? 1 : 2);
  switch (options.format) {
    case WeightFormat::kF32:
      return 4 * (blocks + 2 * vocabulary);
    case WeightFormat::kBf16:
      return 2 * (blocks + 2 * vocabulary);
    case WeightFormat::kInt8:
      return blocks + (HasInt8Vocabulary(checkpoint, options) ? 2 : 4) * vocabulary;
    case WeightFormat::kInt8Weights:
      return blocks + 2 * vocabulary;
    case WeightFormat::kStored:
      break;
  }
  return checkpoint.weight_bytes();
}

absl::StatusOr<std::unique_ptr<Model>> LoadModel(const Checkpoint& checkpoint, Backend* backend,
                                                 const LoadOptions& options) {
  absl::StatusOr<DecoderWeights> weights = Loader(checkpoint, backend, options).Load();
  if (!weights.ok()) return WithPath(checkpoint, weights.status());
  return std::make_unique<DecoderModel>(checkpoint.config(), options.format, options.kv_format,
                                        backend, std::make_unique<SingleRankCommunicator>(),
                                        *std::move(weights), MakeRotarySpec(checkpoint.config()));
}

absl::StatusOr<DecoderLayerWeights> LoadLayerWeights(const Checkpoint& checkpoint, Backend* backend,
                                                     const LoadOptions& options, int64_t layer) {
  absl::StatusOr<DecoderLayerWeights> weights =
      Loader(checkpoint, backend, options).LoadLayer(layer);
  if (!weights.ok()) return WithPath(checkpoint, weights.status());
  return weights;
}

}  // namespace pingti::worker
