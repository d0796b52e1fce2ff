// What tokenizers refuse, by name, and their small promises.
#include "common/text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/common/text/golden_file.h"

namespace pingti::text {
namespace {

using testing::HasSubstr;

// Eight byte tokens, one merge and a control token.
GgufTokenizerData SmallGguf() {
  GgufTokenizerData data;
  data.model = "gpt2";
  data.pre = "gpt-2";
  data.tokens = {"<|end|>", "a", "b", "c", "\u0120", "ab", "\u0120a"};
  data.token_types = {3, 1, 1, 1, 1, 1, 1};
  data.merges = {"a b", "\u0120 a"};
  data.eos_token_id = 0;
  return data;
}

boost::json::object SmallJson() {
  return boost::json::parse(R"({"added_tokens": [], "normalizer": null, "post_processor": null,
      "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
      "decoder": {"type": "ByteLevel"},
      "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})")
      .as_object();
}

std::string JsonError(const boost::json::object& config, absl::StatusCode code) {
  const auto tokenizer = MakeJsonTokenizer(boost::json::serialize(config));
  EXPECT_EQ(tokenizer.status().code(), code) << tokenizer.status();
  return std::string(tokenizer.status().message());
}

TEST(TokenizerTest, MergesApplyByRankAndLeftFirst) {
  const auto tokenizer = MakeGgufTokenizer(SmallGguf());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  std::vector<TokenId> ids;
  ASSERT_TRUE((*tokenizer)->Encode("abab ab<|end|>c", {}, &ids).ok());
  EXPECT_EQ(ids, (std::vector<TokenId>{5, 5, 4, 5, 0, 3}));
  EXPECT_EQ((*tokenizer)->FindToken("<|end|>"), 0);
  EXPECT_EQ((*tokenizer)->FindToken(" a"), 6);
  EXPECT_EQ((*tokenizer)->FindToken("zz"), std::nullopt);
  EXPECT_EQ((*tokenizer)->eos_token_id(), 0);
  EXPECT_EQ((*tokenizer)->TokenBytes(6), " a");
  EXPECT_EQ((*tokenizer)->TokenBytes(-1), "");
  EXPECT_EQ((*tokenizer)->TokenBytes(7), "");
  EXPECT_FALSE((*tokenizer)->IsSpecial(7));
}

TEST(TokenizerTest, LongWordsGiveWhatShortOnesGive) {
  const auto tokenizer = MakeGgufTokenizer(SmallGguf());
  ASSERT_TRUE(tokenizer.ok());
  std::string word;
  std::vector<TokenId> expected;
  for (int i = 0; i < 5000; ++i) {
    word += "abc";
    expected.insert(expected.end(), {5, 3});
  }
  std::vector<TokenId> ids;
  ASSERT_TRUE((*tokenizer)->Encode(word, {}, &ids).ok());
  EXPECT_EQ(ids, expected);
}

TEST(TokenizerTest, BosAndEosSurroundTheTextWhenTheFileSaysSo) {
  GgufTokenizerData data = SmallGguf();
  data.bos_token_id = 0;
  data.add_bos_token = true;
  data.add_eos_token = true;
  const auto tokenizer = MakeGgufTokenizer(data);
  ASSERT_TRUE(tokenizer.ok());
  std::vector<TokenId> ids;
  ASSERT_TRUE((*tokenizer)->Encode("a", {.add_special_tokens = true}, &ids).ok());
  EXPECT_EQ(ids, (std::vector<TokenId>{0, 1, 0}));
  data.bos_token_id.reset();
  EXPECT_THAT(std::string(MakeGgufTokenizer(data).status().message()), HasSubstr("bos_token_id"));
}

TEST(TokenizerTest, GgufMistakesAreNamed) {
  const auto error = [](void (*change)(GgufTokenizerData*)) {
    GgufTokenizerData data = SmallGguf();
    change(&data);
    return std::string(MakeGgufTokenizer(std::move(data)).status().message());
  };
  EXPECT_THAT(error([](auto* d) { d->model = "bert"; }), HasSubstr("'bert'"));
  EXPECT_THAT(error([](auto* d) { d->pre = "viking"; }), HasSubstr("'viking'"));
  EXPECT_THAT(error([](auto* d) { d->tokens.clear(); }), HasSubstr("tokens"));
  EXPECT_THAT(error([](auto* d) { d->token_types.pop_back(); }), HasSubstr("token_type"));
  EXPECT_THAT(error([](auto* d) { d->token_types[1] = 9; }), HasSubstr("token_type[1]"));
  EXPECT_THAT(error([](auto* d) { d->merges[1] = "ab"; }), HasSubstr("merges[1]"));
  EXPECT_THAT(error([](auto* d) { d->merges[0] = "a c"; }), HasSubstr("'a c'"));
  EXPECT_THAT(error([](auto* d) { d->eos_token_id = 99; }), HasSubstr("eos_token_id is 99"));
  EXPECT_THAT(error([](auto* d) { d->model = "llama"; }), HasSubstr("scores"));
}

TEST(TokenizerTest, MostOfAVocabularyMayBeAddedTokens) {
  constexpr TokenId kAdded = 40;
  boost::json::object config = SmallJson();
  for (TokenId i = 0; i < kAdded; ++i) {
    config["added_tokens"].as_array().push_back(
        {{"id", 3 + i}, {"content", "<extra_" + std::to_string(i) + ">"}, {"special", true}});
  }
  const auto tokenizer = MakeJsonTokenizer(boost::json::serialize(config));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocab_size(), 3 + kAdded);
  EXPECT_EQ((*tokenizer)->FindToken("ab"), 2);
  EXPECT_EQ((*tokenizer)->FindToken("<extra_40>"), std::nullopt);
  for (TokenId i = 0; i < kAdded; ++i) {
    const std::string spelling = "<extra_" + std::to_string(i) + ">";
    EXPECT_EQ((*tokenizer)->FindToken(spelling), 3 + i);
    std::vector<TokenId> ids;
    ASSERT_TRUE((*tokenizer)->Encode("ab" + spelling + "a", {}, &ids).ok());
    EXPECT_EQ(ids, (std::vector<TokenId>{2, 3 + i, 0}));
  }
}

TEST(TokenizerTest, UnsupportedJsonPartsAreRefusedByName) {
  const auto with = [](const char* part, const char* json) {
    boost::json::object config = SmallJson();
    config[part] = boost::json::parse(json);
    return JsonError(config, absl::StatusCode::kUnimplemented);
  };
  EXPECT_THAT(with("model", R"({"type": "Unigram"})"), HasSubstr("'Unigram'"));
  EXPECT_THAT(with("model", R"({"type": "BPE", "dropout": 0.1})"), HasSubstr("dropout"));
  EXPECT_THAT(with("model", R"({"end_of_word_suffix": "</w>"})"), HasSubstr("end_of_word_suffix"));
  EXPECT_THAT(with("normalizer", R"({"type": "StripAccents"})"), HasSubstr("'StripAccents'"));
  EXPECT_THAT(with("pre_tokenizer", R"({"type": "UnicodeScripts"})"),
              HasSubstr("'UnicodeScripts'"));
  EXPECT_THAT(with("decoder", R"({"type": "CTC"})"), HasSubstr("'CTC'"));
  EXPECT_THAT(with("post_processor", R"({"type": "BertProcessing"})"),
              HasSubstr("'BertProcessing'"));
  EXPECT_THAT(with("pre_tokenizer", R"({"type": "Sequence", "pretokenizers": [
      {"type": "ByteLevel"}, {"type": "Punctuation"}]})"),
              HasSubstr("behind ByteLevel"));
}

TEST(TokenizerTest, JsonMistakesAreNamed) {
  const auto with = [](const char* part, const char* json) {
    boost::json::object config = SmallJson();
    config[part] = boost::json::parse(json);
    return JsonError(config, absl::StatusCode::kInvalidArgument);
  };
  EXPECT_THAT(with("model", "3"), HasSubstr("'model'"));
  EXPECT_THAT(with("decoder", "null"), HasSubstr("'decoder'"));
  EXPECT_THAT(with("model", R"({"vocab": {"a": "x"}, "merges": []})"), HasSubstr("'a'"));
  EXPECT_THAT(with("model", R"({"vocab": {"a": 99999999}, "merges": []})"), HasSubstr("99999999"));
  EXPECT_THAT(with("model", R"({"vocab": {"a": 0}, "merges": ["a b"]})"), HasSubstr("merges[0]"));
  EXPECT_THAT(with("model", R"({"vocab": {"a": 0}, "merges": [], "unk_token": "u"})"),
              HasSubstr("'u'"));
  EXPECT_THAT(with("pre_tokenizer",
                   R"({"type": "Split", "behavior": "Isolated", "pattern": {"Regex": "("}})"),
              HasSubstr("pattern '('"));
  EXPECT_THAT(with("added_tokens", R"([{"content": "x"}])"), HasSubstr("added_tokens[0].id"));
  EXPECT_EQ(MakeJsonTokenizer("{").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(MakeJsonTokenizer("[]").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(TokenizerTest, TiktokenMistakesNameTheLine) {
  const auto error = [](std::string_view file) {
    TiktokenOptions options;
    options.split_pattern = ".+";
    return std::string(MakeTiktokenTokenizer(file, options).status().message());
  };
  EXPECT_THAT(error(""), HasSubstr("no tokens"));
  EXPECT_THAT(error("YQ== 0\n???? 1\n"), HasSubstr("line 2"));
  EXPECT_THAT(error("YQ== 0\nYg== 0\n"), HasSubstr("rank 0 appears twice"));
  EXPECT_THAT(error("YQ== x\n"), HasSubstr("line 1"));
  EXPECT_THAT(error("YQ== 0\n"), HasSubstr("byte 0"));
}

TEST(TokenizerTest, QwenFilesHaveTheControlTokensOfTheirTokenizerBehindTheRanks) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string file;  // one token a byte
  for (size_t byte = 0; byte < 256; ++byte) {
    file += kDigits[byte >> 2];
    file += kDigits[(byte & 3) << 4];
    file += "== " + std::to_string(byte) + "\n";
  }
  const auto tokenizer = MakeQwenTokenizer(file);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocab_size(), 256 + 208);
  EXPECT_EQ((*tokenizer)->FindToken("<|endoftext|>"), 256);
  EXPECT_EQ((*tokenizer)->FindToken("<|im_start|>"), 257);
  EXPECT_EQ((*tokenizer)->FindToken("<|im_end|>"), 258);
  EXPECT_EQ((*tokenizer)->FindToken("<|extra_0|>"), 259);
  EXPECT_EQ((*tokenizer)->FindToken("<|extra_204|>"), 463);
  std::vector<TokenId> ids;
  ASSERT_TRUE((*tokenizer)->Encode("e\u0301<|im_end|>", {}, &ids).ok());
  EXPECT_EQ(ids, (std::vector<TokenId>{0xC3, 0xA9, 258}));  // composed: U+00E9
  EXPECT_TRUE((*tokenizer)->IsSpecial(463));
}

TEST(TokenizerTest, LlamaThreeFilesThatDoNotSayAddTheirBos) {
  GgufTokenizerData data = SmallGguf();
  data.pre = "llama-bpe";
  data.bos_token_id = 0;
  const auto encode = [](const GgufTokenizerData& keys) {
    std::vector<TokenId> ids;
    EXPECT_TRUE((*MakeGgufTokenizer(keys))->Encode("a", {.add_special_tokens = true}, &ids).ok());
    return ids;
  };
  EXPECT_EQ(encode(data), (std::vector<TokenId>{0, 1}));
  data.add_bos_token = false;
  EXPECT_EQ(encode(data), (std::vector<TokenId>{1}));
}

}  // namespace
}  // namespace pingti::text
