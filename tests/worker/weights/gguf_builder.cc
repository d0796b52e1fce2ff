#include "tests/worker/weights/gguf_builder.h"

namespace pingti::worker::testing {
namespace {

template <typename T>
void Put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void PutString(std::string& out, std::string_view text) {
  Put<uint64_t>(out, text.size());
  out.append(text);
}

}  // namespace

void GgufBuilder::AddU32(std::string_view key, uint32_t value) {
  PutString(values_, key);
  Put<uint32_t>(values_, 4);
  Put(values_, value);
  ++num_values_;
}

void GgufBuilder::AddF32(std::string_view key, float value) {
  PutString(values_, key);
  Put<uint32_t>(values_, 6);
  Put(values_, value);
  ++num_values_;
}

void GgufBuilder::AddString(std::string_view key, std::string_view value) {
  PutString(values_, key);
  Put<uint32_t>(values_, 8);
  PutString(values_, value);
  ++num_values_;
}

void GgufBuilder::AddStrings(std::string_view key, const std::vector<std::string>& list) {
  PutString(values_, key);
  Put<uint32_t>(values_, 9);
  Put<uint32_t>(values_, 8);
  Put<uint64_t>(values_, list.size());
  for (const std::string& text : list) PutString(values_, text);
  ++num_values_;
}

void GgufBuilder::AddTensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type,
                            uint64_t bytes) {
  PutString(tensors_, name);
  Put<uint32_t>(tensors_, static_cast<uint32_t>(dims.size()));
  for (uint64_t dim : dims) Put(tensors_, dim);
  Put(tensors_, type);
  Put<uint64_t>(tensors_, forced_offset_ != ~uint64_t{0} ? forced_offset_ : data_bytes_);
  forced_offset_ = ~uint64_t{0};
  data_bytes_ += (bytes + 31) / 32 * 32;
  ++num_tensors_;
}

std::string GgufBuilder::Build(uint32_t version) const {
  std::string out = BuildStructure(version);
  out.resize(out.size() + data_bytes_, '\0');
  return out;
}

std::string GgufBuilder::BuildStructure(uint32_t version) const {
  std::string out = "GGUF";
  Put(out, version);
  Put(out, num_tensors_);
  Put(out, num_values_);
  out += values_;
  out += tensors_;
  out.resize((out.size() + 31) / 32 * 32, '\0');
  return out;
}

GgufBuilder TinyLlama() {
  GgufBuilder builder;
  builder.AddString("general.architecture", "llama");
  builder.AddU32("llama.block_count", 1);
  builder.AddU32("llama.context_length", 64);
  builder.AddU32("llama.embedding_length", 32);
  builder.AddU32("llama.feed_forward_length", 32);
  builder.AddU32("llama.attention.head_count", 2);
  builder.AddU32("llama.attention.head_count_kv", 1);
  builder.AddF32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  builder.AddString("tokenizer.ggml.model", "gpt2");
  builder.AddStrings("tokenizer.ggml.tokens", {"a", "b", "c", "d"});
  builder.AddU32("tokenizer.ggml.eos_token_id", 2);
  const auto matrix = [&](const char* name, uint64_t rows) {
    builder.AddTensor(name, {32, rows}, 8, rows * 34);
  };
  const auto norm = [&](const char* name) { builder.AddTensor(name, {32}, 0, 128); };
  matrix("token_embd.weight", 4);
  norm("output_norm.weight");
  norm("blk.0.attn_norm.weight");
  norm("blk.0.ffn_norm.weight");
  matrix("blk.0.attn_q.weight", 32);
  matrix("blk.0.attn_k.weight", 16);
  matrix("blk.0.attn_v.weight", 16);
  matrix("blk.0.attn_output.weight", 32);
  matrix("blk.0.ffn_gate.weight", 32);
  matrix("blk.0.ffn_up.weight", 32);
  matrix("blk.0.ffn_down.weight", 32);
  return builder;
}

}  // namespace pingti::worker::testing
