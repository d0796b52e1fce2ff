// A model on disk: what it is made of, its tensors by name, and what the router needs to turn text
// into tokens. Weights stay in the mapped files.
//
// Next: worker/model/open_checkpoint.h, which makes one; worker/model/load_model.h, which turns it
// into a Model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "worker/spec/decoder_spec.h"
#include "worker/tensor/packed_weights.h"
#include "worker/tensor/tensor_view.h"
#include "worker/weights/mapped_file.h"

namespace pingti::worker {

// The tokenizer.ggml.* keys of a GGUF file, unchanged; see proto message GgufTokenizer.
struct GgufTokenizerKeys {
  std::string model;
  std::string pre;
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<int32_t> token_types;
  std::vector<std::string> merges;
  std::optional<int64_t> bos_token_id;
  std::optional<int64_t> eos_token_id;
  std::optional<int64_t> unknown_token_id;
  std::optional<int64_t> padding_token_id;
  std::optional<bool> add_bos_token;
  std::optional<bool> add_eos_token;
  std::optional<bool> add_space_prefix;
};

// The checkpoint's own sampling defaults (generation_config.json); unset where it is silent.
struct SamplingHints {
  std::optional<double> temperature;
  std::optional<double> top_p;
  std::optional<int64_t> top_k;
  std::optional<double> min_p;
  std::optional<double> repetition_penalty;
};

// What turns messages into tokens and back. Exactly one of the tokenizer forms is set, or none when
// the checkpoint has no tokenizer.
struct TextAssets {
  std::string tokenizer_json;             // contents of tokenizer.json
  std::optional<GgufTokenizerKeys> gguf;  // from a GGUF file
  std::string tiktoken;                   // contents of a .tiktoken file
  std::string tokenizer_config_json;      // contents, for the router
  std::string chat_template;              // Jinja2; empty: none
  std::map<std::string, std::string> named_templates;
  std::optional<int64_t> bos_token_id;
  std::vector<int64_t> eos_token_ids;
  std::optional<int64_t> pad_token_id;
  bool add_bos_token = false;
  SamplingHints sampling;
};

// int8 weights of a compressed-tensors checkpoint: per-output-channel scales, symmetric.
struct CompressedInt8 {
  bool present = false;
  std::vector<std::string> ignored_modules;  // kept in 16 bit
  // Activations are meant to stay as they are (bitsandbytes, whose outliers are never rounded).
  bool weights_only = false;
};

// F8_E4M3 weights with a scale per block of rows and columns (".weight_scale_inv"), as DeepSeek-V3
// publishes them. They become bf16 or int8 while they are loaded.
struct Fp8Blocks {
  bool present = false;
  int64_t rows = 0;
  int64_t cols = 0;
};

// Weight-only quantized matrices packed into words. Which modules are packed shows in their
// tensors: "x.qweight" or "x.weight_packed" in place of "x.weight".
struct PackedQuantization {
  bool present = false;
  std::string method;  // "gptq", "awq", "compressed-tensors"
  PackedLayout layout = PackedLayout::kGptq;
  int bits = 4;
  int64_t group_size = 0;  // 0: one group for all columns
  bool needs_zeros = false;
  int zero_offset = 0;  // see PackedWeights
  // Modules have bits and group sizes of their own ("dynamic"), which their tensors' shapes tell.
  bool varies = false;
};

// Immutable; thread-safe. Tensor views point into files that it keeps mapped.
class Checkpoint {
 public:
  struct Parts {
    std::string path;
    std::string format;  // "gguf", "safetensors", "random"
    DecoderSpec spec;
    TextAssets text;
    std::vector<TensorView> tensors;  // under the file's own names
    std::vector<std::unique_ptr<MappedFile>> files;
    std::vector<std::unique_ptr<std::byte[]>> memory;  // of tensors that are not in a file as such
    CompressedInt8 compressed_int8;
    PackedQuantization packed;
    Fp8Blocks fp8;
    bool mxfp4 = false;
    std::string display_name;
  };

  explicit Checkpoint(Parts parts);

  const std::string& path() const { return parts_.path; }
  const std::string& format() const { return parts_.format; }
  // A name for people, from the file's metadata or its path.
  const std::string& display_name() const { return parts_.display_name; }
  const DecoderSpec& spec() const { return parts_.spec; }
  const TextAssets& text() const { return parts_.text; }
  const CompressedInt8& compressed_int8() const { return parts_.compressed_int8; }
  const PackedQuantization& packed() const { return parts_.packed; }
  const Fp8Blocks& fp8() const { return parts_.fp8; }
  // Stacks of experts may be MXFP4 in two tensors, "x_blocks" and "x_scales", as gpt-oss's are: see
  // worker/quant/stacked_rows.h.
  bool mxfp4() const { return parts_.mxfp4; }

  const std::vector<TensorView>& tensors() const { return parts_.tensors; }
  // Null when absent. Names are the file's own: "model.layers.0.mlp.up_proj.weight" of safetensors,
  // "blk.0.ffn_up.weight" of GGUF.
  const TensorView* Find(std::string_view name) const;

  // Takes a tensor's file pages out of memory once its values were taken over; they can still be
  // read, and then come from the file again.
  void Release(const TensorView& tensor) const;

  // Sum over all weight tensors, the values that words pack one by one; scales and zero points of
  // quantized weights do not count.
  int64_t num_parameters() const;
  int64_t weight_bytes() const;
  // "Q4_1", "BF16", "I8", "gptq-int4": the type that most of the values have.
  std::string dominant_format() const;

 private:
  const Parts parts_;
  std::map<std::string, size_t, std::less<>> by_name_;
};

}  // namespace pingti::worker
