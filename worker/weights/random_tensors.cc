#include "worker/weights/random_tensors.h"

#include <string>
#include <utility>

#include "common/base/strings.h"

namespace pingti::worker {
namespace {

class Lister {
 public:
  explicit Lister(const ModelConfig& config) : config_(config) {}

  std::vector<TensorView> List() {
    const int64_t hidden = config_.hidden_size;
    Add("model.embed_tokens.weight", {config_.vocab_size, hidden});
    if (!config_.tie_embeddings) Add("lm_head.weight", {config_.vocab_size, hidden});
    Add("model.norm.weight", {hidden});
    for (int64_t i = 0; i < config_.num_layers; ++i) AddLayer(Concat("model.layers.", i, "."));
    return std::move(tensors_);
  }

 private:
  void Add(const std::string& name, std::vector<int64_t> shape) {
    TensorView tensor;
    tensor.name = name;
    tensor.dtype = DType::kBf16;
    tensor.shape = std::move(shape);
    tensor.bytes = tensor.NumElements() * 2;
    tensors_.push_back(std::move(tensor));
  }

  void AddLinear(const std::string& name, int64_t rows, int64_t cols, bool bias) {
    Add(name + ".weight", {rows, cols});
    if (bias) Add(name + ".bias", {rows});
  }

  void AddLayer(const std::string& layer) {
    const int64_t hidden = config_.hidden_size;
    const int64_t inner = config_.intermediate_size;
    const int64_t q = config_.num_heads * config_.head_dim;
    const int64_t kv = config_.num_kv_heads * config_.head_dim;
    Add(layer + "input_layernorm.weight", {hidden});
    Add(layer + "post_attention_layernorm.weight", {hidden});
    if (config_.qk_norm) {
      Add(layer + "self_attn.q_norm.weight", {config_.head_dim});
      Add(layer + "self_attn.k_norm.weight", {config_.head_dim});
    }
    AddLinear(layer + "self_attn.q_proj", q, hidden, config_.qkv_bias);
    AddLinear(layer + "self_attn.k_proj", kv, hidden, config_.qkv_bias);
    AddLinear(layer + "self_attn.v_proj", kv, hidden, config_.qkv_bias);
    AddLinear(layer + "self_attn.o_proj", hidden, q, config_.o_bias);
    AddLinear(layer + "mlp.gate_proj", inner, hidden, config_.mlp_bias);
    AddLinear(layer + "mlp.up_proj", inner, hidden, config_.mlp_bias);
    AddLinear(layer + "mlp.down_proj", hidden, inner, config_.mlp_bias);
  }

  const ModelConfig& config_;
  std::vector<TensorView> tensors_;
};

}  // namespace

std::vector<TensorView> ListRandomTensors(const ModelConfig& config) {
  return Lister(config).List();
}

}  // namespace pingti::worker
