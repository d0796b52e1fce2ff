// What routers are told of a checkpoint, and which checkpoints they take for the same model.
#include "worker/server/model_card.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/sha256.h"

namespace pingti::worker {
namespace {

Checkpoint::Parts MakeParts() {
  Checkpoint::Parts parts;
  parts.path = "/models/Tiny-1B/";
  parts.spec.architecture = "llama";
  parts.spec.hidden_size = 64;
  parts.spec.vocab_size = 100;
  parts.spec.layers.resize(2);
  parts.spec.layers[1].experts.emplace();
  parts.text.tokenizer_json = "{}";
  parts.text.chat_template = "{{ messages }}";
  TensorView tensor;
  tensor.name = "w";
  tensor.dtype = DType::kF32;
  tensor.shape = {2, 3};
  parts.tensors = {tensor};
  return parts;
}

CardFacts MakeFacts() {
  CardFacts facts;
  facts.weight_format = "bf16";
  facts.kv_format = "bf16";
  facts.max_context_tokens = 4096;
  facts.max_batch_tokens = 512;
  facts.max_batch_size = 32;
  facts.kv_block_tokens = 16;
  facts.kv_total_blocks = 1000;
  facts.vocab_size = 100;
  facts.created_unix_s = 1700;
  return facts;
}

ServedCard Build(Checkpoint::Parts parts, const CardFacts& facts = MakeFacts()) {
  auto served = BuildModelCard(Checkpoint(std::move(parts)), facts);
  EXPECT_TRUE(served.ok()) << served.status();
  return *std::move(served);
}

std::vector<std::string> Features(const v1::ModelCard& card) {
  return {card.features().begin(), card.features().end()};
}

TEST(ModelIdFromPathTest, IsTheLastPartWithoutItsSuffix) {
  for (const auto& [path, id] :
       std::vector<std::pair<std::string, std::string>>{{"model", "model"},
                                                        {"/models/Qwen3-0.6B", "Qwen3-0.6B"},
                                                        {"/models/Qwen3-0.6B///", "Qwen3-0.6B"},
                                                        {"a/tiny.gguf", "tiny"},
                                                        {"tiny.gguf", "tiny"},
                                                        {"a/.gguf", ".gguf"},
                                                        {"a/x.gguf", "x"},
                                                        {"a/tiny.gguf.bak", "tiny.gguf.bak"},
                                                        {"/", ""}}) {
    EXPECT_EQ(ModelIdFromPath(path), id) << path;
  }
}

TEST(ModelCardTest, SaysWhatIsServedAndWithinWhichLimits) {
  CardFacts facts = MakeFacts();
  facts.aliases = {"tiny", "small"};
  const v1::ModelCard card = Build(MakeParts(), facts).card;
  EXPECT_EQ(card.model_id(), "Tiny-1B");
  ASSERT_EQ(card.aliases_size(), 2);
  EXPECT_EQ(card.aliases(1), "small");
  EXPECT_EQ(card.architecture(), "llama");
  EXPECT_EQ(card.created_unix_s(), 1700);
  EXPECT_EQ(card.owned_by(), "pingti");
  EXPECT_EQ(card.kv_format(), "bf16");
  EXPECT_EQ(card.weight_format(), "bf16");
  EXPECT_EQ(card.max_context_tokens(), 4096u);
  EXPECT_EQ(card.max_batch_tokens(), 512u);
  EXPECT_EQ(card.max_batch_size(), 32u);
  EXPECT_EQ(card.kv_block_tokens(), 16u);
  EXPECT_EQ(card.kv_total_blocks(), 1000u);
  EXPECT_EQ(card.vocab_size(), 100u);
  facts.model_id = "own";
  EXPECT_EQ(Build(MakeParts(), facts).card.model_id(), "own");
  std::vector<std::string> features = {"logprobs", "prompt_logprobs", "beam_search",
                                       "beam_early_stopping", "output_interval"};
  EXPECT_EQ(Features(card), features);
  facts.grammars = true;
  features.insert(features.end(), {"beam_stop_texts", "grammar", "grammar_free_text",
                                   "grammar_frames", "grammar_messages"});
  EXPECT_EQ(Features(Build(MakeParts(), facts).card), features);
}

TEST(ModelCardTest, TheTokenizerIsAnAssetByItsHash) {
  const ServedCard json = Build(MakeParts());
  EXPECT_EQ(json.card.tokenizer().format(), v1::Asset::FORMAT_TOKENIZER_JSON);
  EXPECT_EQ(json.card.tokenizer().sha256(), ToHex(Sha256("{}")));
  EXPECT_EQ(json.card.tokenizer().size_bytes(), 2u);
  EXPECT_EQ(json.assets.at(json.card.tokenizer().sha256()), "{}");
  EXPECT_FALSE(json.card.has_tokenizer_config());
  EXPECT_EQ(json.assets.size(), 1u);

  Checkpoint::Parts parts = MakeParts();
  parts.text.tokenizer_json.clear();
  parts.text.tiktoken = "YQ== 0";
  parts.text.tokenizer_config_json = "{\"a\":1}";
  parts.text.named_templates = {{"tool_use", "t"}};
  const ServedCard tiktoken = Build(std::move(parts));
  EXPECT_EQ(tiktoken.card.tokenizer().format(), v1::Asset::FORMAT_TIKTOKEN);
  EXPECT_EQ(tiktoken.assets.at(tiktoken.card.tokenizer_config().sha256()), "{\"a\":1}");
  EXPECT_EQ(tiktoken.card.named_templates().at("tool_use"), "t");

  parts = MakeParts();
  parts.text.tokenizer_json.clear();
  const auto none = BuildModelCard(Checkpoint(std::move(parts)), MakeFacts());
  EXPECT_TRUE(absl::IsInvalidArgument(none.status())) << none.status();
  EXPECT_NE(none.status().ToString().find("no tokenizer"), std::string::npos);
}

TEST(ModelCardTest, KeysOfAGgufTokenizerAreSetWhereTheFileSetsThem) {
  Checkpoint::Parts parts = MakeParts();
  parts.text.tokenizer_json.clear();
  GgufTokenizerKeys& keys = parts.text.gguf.emplace();
  keys.model = "gpt2";
  keys.pre = "qwen2";
  keys.tokens = {"a", "b"};
  keys.scores = {-1, -2};
  keys.token_types = {1, 3};
  keys.merges = {"a b"};
  const auto parse = [](const ServedCard& served) {
    EXPECT_EQ(served.card.tokenizer().format(), v1::Asset::FORMAT_GGUF_TOKENIZER);
    v1::GgufTokenizer message;
    EXPECT_TRUE(message.ParseFromString(served.assets.at(served.card.tokenizer().sha256())));
    return message;
  };
  Checkpoint::Parts all = MakeParts();
  all.text.tokenizer_json.clear();
  all.text.gguf = keys;
  all.text.gguf->bos_token_id = 1;
  all.text.gguf->eos_token_id = 2;
  all.text.gguf->unknown_token_id = 3;
  all.text.gguf->padding_token_id = 4;
  all.text.gguf->add_bos_token = false;
  all.text.gguf->add_eos_token = true;
  all.text.gguf->add_space_prefix = false;
  const v1::GgufTokenizer few = parse(Build(std::move(parts)));
  EXPECT_EQ(few.model(), "gpt2");
  EXPECT_EQ(few.pre(), "qwen2");
  EXPECT_EQ(few.tokens(1), "b");
  EXPECT_EQ(few.scores(1), -2);
  EXPECT_EQ(few.token_types(1), 3);
  EXPECT_EQ(few.merges(0), "a b");
  EXPECT_FALSE(few.has_bos_token_id() || few.has_eos_token_id() || few.has_unknown_token_id() ||
               few.has_padding_token_id() || few.has_add_bos_token() || few.has_add_eos_token() ||
               few.has_add_space_prefix());
  const v1::GgufTokenizer message = parse(Build(std::move(all)));
  EXPECT_EQ(message.bos_token_id(), 1u);
  EXPECT_EQ(message.eos_token_id(), 2u);
  EXPECT_EQ(message.unknown_token_id(), 3u);
  EXPECT_EQ(message.padding_token_id(), 4u);
  EXPECT_TRUE(message.has_add_bos_token() && !message.add_bos_token());
  EXPECT_TRUE(message.add_eos_token());
  EXPECT_TRUE(message.has_add_space_prefix() && !message.add_space_prefix());
}

TEST(ModelCardTest, SpecialTokensAreOfTheVocabulary) {
  for (const int64_t id : {-1, 0, 99, 100}) {
    const bool is_token = id >= 0 && id < 100;
    for (const std::string name : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
      Checkpoint::Parts parts = MakeParts();
      if (name == "bos_token_id") parts.text.bos_token_id = id;
      if (name == "eos_token_id") parts.text.eos_token_ids = {0, id};
      if (name == "pad_token_id") parts.text.pad_token_id = id;
      const auto served = BuildModelCard(Checkpoint(std::move(parts)), MakeFacts());
      ASSERT_EQ(served.ok(), is_token) << name << " " << id;
      if (!is_token) {
        EXPECT_NE(served.status().ToString().find(name + " is " + std::to_string(id)),
                  std::string::npos);
        continue;
      }
      const v1::ModelCard& card = served->card;
      EXPECT_EQ(card.has_bos_token_id(), name == "bos_token_id");
      EXPECT_EQ(card.has_pad_token_id(), name == "pad_token_id");
      EXPECT_EQ(card.eos_token_ids_size(), name == "eos_token_id" ? 2 : 0);
    }
  }
}

TEST(ModelCardTest, DefaultsOfSamplingAreSetWhereTheCheckpointSetsThem) {
  const v1::SamplingDefaults none = Build(MakeParts()).card.sampling_defaults();
  EXPECT_FALSE(none.has_temperature() || none.has_top_p() || none.has_top_k() || none.has_min_p() ||
               none.has_repetition_penalty());
  Checkpoint::Parts parts = MakeParts();
  parts.text.sampling = {0.5, 0.25, 20, 0.125, 1.5};
  const v1::SamplingDefaults all = Build(std::move(parts)).card.sampling_defaults();
  EXPECT_EQ(all.temperature(), 0.5f);
  EXPECT_EQ(all.top_p(), 0.25f);
  EXPECT_EQ(all.top_k(), 20u);
  EXPECT_EQ(all.min_p(), 0.125f);
  EXPECT_EQ(all.repetition_penalty(), 1.5f);
}

TEST(ModelCardTest, WhateverChangesAnswersChangesTheFingerprint) {
  const std::string own = Build(MakeParts()).card.fingerprint();
  EXPECT_EQ(own.size(), 64u);
  EXPECT_EQ(Build(MakeParts()).card.fingerprint(), own);
  // Where it lies, and how much is served at once, do not.
  CardFacts facts = MakeFacts();
  facts.max_context_tokens = 10;
  facts.max_batch_size = 1;
  facts.model_id = "other";
  EXPECT_EQ(Build(MakeParts(), facts).card.fingerprint(), own);

  std::set<std::string> seen = {own};
  const std::vector<std::function<void(Checkpoint::Parts*, CardFacts*)>> changes = {
      [](auto* parts, auto*) { parts->spec.architecture = "qwen2"; },
      [](auto* parts, auto*) { parts->spec.hidden_size = 65; },
      [](auto* parts, auto*) { parts->spec.vocab_size = 101; },
      [](auto* parts, auto*) { parts->spec.rope.theta = 1e6; },
      [](auto* parts, auto*) { parts->spec.rope.scaling = RopeScaling::kYarn; },
      [](auto* parts, auto*) { parts->spec.rope.factor = 2; },
      [](auto* parts, auto*) { parts->spec.layers[0].attention.num_heads = 5; },
      [](auto* parts, auto*) { parts->spec.layers[0].attention.window = 7; },
      [](auto* parts, auto*) { parts->spec.layers[1].attention.window = 7; },
      [](auto* parts, auto*) { parts->spec.layers[0].attention_norm.eps = 1e-5; },
      [](auto* parts, auto*) { parts->spec.layers[1].experts->routing.experts_per_token = 9; },
      [](auto* parts, auto*) { parts->spec.layers[1].experts->inner = 9; },
      [](auto* parts, auto*) { parts->spec.layers[1].experts.reset(); },
      [](auto* parts, auto*) { parts->spec.layers.pop_back(); },
      [](auto* parts, auto*) { parts->tensors[0].name = "v"; },
      [](auto* parts, auto*) { parts->tensors[0].dtype = DType::kF16; },
      [](auto* parts, auto*) {
        parts->tensors[0].shape = {3, 2};
      },
      [](auto* parts, auto*) { parts->tensors.clear(); },
      [](auto* parts, auto*) { parts->text.tokenizer_json = "{ }"; },
      [](auto* parts, auto*) { parts->text.chat_template = "{{ tools }}"; },
      [](auto*, auto* served) { served->weight_format = "int8"; },
      [](auto*, auto* served) { served->kv_format = "int8"; },
      // A letter that goes from one part to the next.
      [](auto* parts, auto* served) {
        parts->text.chat_template += served->weight_format.front();
        served->weight_format.erase(0, 1);
      },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    Checkpoint::Parts parts = MakeParts();
    CardFacts changed = MakeFacts();
    changes[i](&parts, &changed);
    EXPECT_TRUE(seen.insert(Build(std::move(parts), changed).card.fingerprint()).second)
        << "change " << i;
  }
}

}  // namespace
}  // namespace pingti::worker
