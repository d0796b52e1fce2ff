// GGUF files as OpenCheckpoint sees them: what is read, and that broken files are refused by name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include "tests/worker/weights/gguf_builder.h"
#include "worker/model/declared_tensors.h"
#include "worker/model/decoder_blocks.h"
#include "worker/model/open_checkpoint.h"
#include "worker/weights/checkpoint.h"
#include "worker/weights/gguf_file.h"

namespace pingti::worker {
namespace {

using testing::GgufBuilder;
using ::testing::HasSubstr;
using testing::TinyLlama;

std::string ErrorOf(const std::string& bytes) {
  return std::string(ParseGgufCheckpoint(bytes).status().message());
}

TEST(GgufTest, ReadsAModel) {
  const std::string bytes = TinyLlama().Build();
  const auto parts = ParseGgufCheckpoint(bytes);
  ASSERT_TRUE(parts.ok()) << parts.status();
  EXPECT_EQ(parts->spec.architecture, "llama");
  EXPECT_EQ(parts->spec.layers[0].attention.head_dim, 16);
  EXPECT_EQ(parts->spec.layers[0].attention.num_kv_heads, 1);
  EXPECT_EQ(parts->spec.vocab_size, 4);
  EXPECT_TRUE(parts->spec.tied_embeddings());
  EXPECT_EQ(parts->spec.layers[0].attention.qkv[0].interleaved_heads, 2);
  EXPECT_EQ(parts->spec.layers[0].attention.qkv[2].interleaved_heads, 0);
  EXPECT_EQ(parts->text.gguf->tokens, (std::vector<std::string>{"a", "b", "c", "d"}));
  EXPECT_EQ(parts->text.eos_token_ids, std::vector<int64_t>{2});
  EXPECT_EQ(parts->tensors[0].name, "token_embd.weight");
  EXPECT_EQ(parts->tensors[0].shape, (std::vector<int64_t>{4, 32}));
}

TEST(GgufTest, EveryTruncationIsAnError) {
  const std::string bytes = TinyLlama().Build();
  // The last tensor's data may end in padding that nothing needs.
  for (size_t size = 0; size + 32 < bytes.size(); ++size) {
    const std::string part = bytes.substr(0, size);
    EXPECT_FALSE(ParseGgufCheckpoint(part).ok()) << size;
  }
}

TEST(GgufTest, NoFlippedByteOfTheStructureReadsOutOfBounds) {
  const std::string bytes = TinyLlama().Build();
  const size_t structure = bytes.find("blk.0.ffn_down.weight") + 60;
  for (size_t i = 0; i < structure; ++i) {
    for (const char flip : {'\x01', '\x80', '\xff'}) {
      std::string changed = bytes;
      changed[i] = static_cast<char>(changed[i] ^ flip);
      const auto parts = ParseGgufCheckpoint(changed);
      if (!parts.ok()) continue;
      for (const TensorView& tensor : parts->tensors) {
        const char* begin = static_cast<const char*>(tensor.data);
        ASSERT_GE(begin, changed.data());
        ASSERT_LE(begin + tensor.bytes, changed.data() + changed.size());
      }
    }
  }
}

TEST(GgufTest, RefusalsNameWhatIsWrong) {
  EXPECT_THAT(ErrorOf("GGML file of old"), HasSubstr("does not begin with 'GGUF'"));
  EXPECT_THAT(ErrorOf(TinyLlama().Build(1)), HasSubstr("GGUF version 1; expected 2 or 3"));
  GgufBuilder twice = TinyLlama();
  twice.AddU32("llama.block_count", 1);
  EXPECT_THAT(ErrorOf(twice.Build()), HasSubstr("'llama.block_count' appears twice"));
  GgufBuilder old_type = TinyLlama();
  old_type.AddTensor("output.weight", {32, 4}, 40, 72);
  EXPECT_THAT(ErrorOf(old_type.Build()), HasSubstr("tensor 'output.weight': type NVFP4 (40)"));
  GgufBuilder ragged = TinyLlama();
  ragged.AddTensor("output.weight", {33, 4}, 8, 400);
  EXPECT_THAT(ErrorOf(ragged.Build()), HasSubstr("rows of 33 values; expected a multiple of 32"));
  GgufBuilder overlap = TinyLlama();
  overlap.set_next_offset(0);
  overlap.AddTensor("output.weight", {32, 4}, 8, 136);
  EXPECT_THAT(ErrorOf(overlap.Build()), HasSubstr("overlaps"));
  GgufBuilder crooked = TinyLlama();
  crooked.set_next_offset(3);
  crooked.AddTensor("output.weight", {32, 4}, 8, 136);
  EXPECT_THAT(ErrorOf(crooked.Build()), HasSubstr("offset 3; expected a multiple of 32"));
  GgufBuilder huge = TinyLlama();
  huge.AddTensor("output.weight", {uint64_t{1} << 62, 4}, 8, 32);
  EXPECT_THAT(ErrorOf(huge.Build()), HasSubstr("dimension 0 is 4611686018427387904"));
  GgufBuilder experts = TinyLlama();
  experts.AddU32("llama.expert_count", 8);
  EXPECT_THAT(ErrorOf(experts.Build()), HasSubstr("'llama.expert_used_count' is missing"));
  experts.AddU32("llama.expert_used_count", 2);
  EXPECT_THAT(ErrorOf(experts.Build()),
              HasSubstr("expert_count is 8, but no tensor is named blk.*.ffn_gate_exps.weight"));
  GgufBuilder family;
  family.AddString("general.architecture", "mamba");
  family.AddTensor("token_embd.weight", {32, 4}, 8, 136);
  EXPECT_THAT(ErrorOf(family.Build()), HasSubstr("architecture 'mamba'"));
}

TEST(GgufTest, ATensorThatNoBlockDeclaresIsRefused) {
  GgufBuilder stranger = TinyLlama();
  stranger.AddTensor("blk.0.ffn_gate_exps.weight", {32, 4}, 8, 136);
  const std::string bytes = stranger.Build();
  auto parts = ParseGgufCheckpoint(bytes);
  ASSERT_TRUE(parts.ok()) << parts.status();
  const Checkpoint checkpoint(*std::move(parts));
  const absl::Status status = CheckTensors(checkpoint, DeclaredWeights(checkpoint.spec()));
  EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
  EXPECT_THAT(
      std::string(status.message()),
      HasSubstr("'blk.0.ffn_gate_exps.weight' Q8_0 [4, 32] has no place in a 'llama' model"));
}

TEST(GgufTest, OpenNamesThePath) {
  EXPECT_THAT(std::string(OpenCheckpoint("/nonexistent/model.gguf").status().message()),
              HasSubstr("/nonexistent/model.gguf"));
}

}  // namespace
}  // namespace pingti::worker
