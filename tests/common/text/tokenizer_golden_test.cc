// Tokenizers against the ids and texts of Hugging Face tokenizers.
// Golden file: tests/golden/text/tokenizer_cases.json and its script.
#include <gtest/gtest.h>

#include <algorithm>

#include "common/text/detokenizer.h"
#include "common/text/tokenizer.h"
#include "tests/common/text/golden_file.h"

namespace pingti::text {
namespace {

using boost::json::array;
using boost::json::object;
using boost::json::value;

std::vector<TokenId> ToIds(const value& ids) {
  return boost::json::value_to<std::vector<int>>(ids);
}

std::vector<TokenId> Encode(const Tokenizer& tokenizer, std::string_view text,
                            const EncodeOptions& options = {}) {
  std::vector<TokenId> ids;
  const absl::Status status = tokenizer.Encode(text, options, &ids);
  EXPECT_TRUE(status.ok()) << status;
  return ids;
}

std::string Decode(const Tokenizer& tokenizer, const std::vector<TokenId>& ids, bool skip_special) {
  Detokenizer detokenizer(&tokenizer, skip_special);
  std::string text;
  for (const TokenId id : ids) text += detokenizer.Push(id);
  return text + detokenizer.Finish();
}

class TokenizerGoldenTest : public testing::Test {
 protected:
  TokenizerGoldenTest() : golden_(ReadGoldenJson("tokenizer_cases.json")) {}

  const object& Vocabulary(std::string_view name) const {
    return golden_.at("vocabularies").at(name).as_object();
  }

  // The tokenizer.json of one configuration, with its vocabulary put back. Files have merges as
  // "left right" or as pairs: the character vocabulary gets pairs.
  std::string TokenizerJson(const value& test) const {
    object config = test.at("config").as_object();
    object& model = config.at("model").as_object();
    const std::string name(model.at("vocab").as_string());
    object vocab;
    for (const value& token : Vocabulary(name).at("vocab").as_array()) {
      const size_t id = vocab.size();
      vocab[token.as_string()] = id;
    }
    model["vocab"] = std::move(vocab);
    array merges = Vocabulary(name).at("merges").as_array();
    if (name == "characters") {
      for (value& merge : merges) {
        const std::string text(merge.as_string());
        const size_t space = text.find(' ');
        merge = array{text.substr(0, space), text.substr(space + 1)};
      }
    }
    model["merges"] = std::move(merges);
    return boost::json::serialize(config);
  }

  const value& Configuration(std::string_view name) const {
    for (const value& test : golden_.at("tokenizers").as_array()) {
      if (test.at("name").as_string() == name) return test;
    }
    throw std::out_of_range("no configuration " + std::string(name));
  }

  void ExpectIds(const Tokenizer& tokenizer, const value& test) const {
    const array& texts = golden_.at("texts").as_array();
    for (size_t i = 0; i < texts.size(); ++i) {
      SCOPED_TRACE(boost::json::serialize(texts[i]));
      EXPECT_EQ(Encode(tokenizer, texts[i].as_string()), ToIds(List(test.at("ids").at(i))));
    }
  }

  const value& List(const value& number) const {
    return golden_.at("lists").at(number.to_number<size_t>());
  }

  // The GGUF keys for a vocabulary: tokens by id, those of `added` with type 3.
  GgufTokenizerData GgufData(const value& test) const {
    const std::string name(test.at("config").at("model").at("vocab").as_string());
    const object& vocabulary = Vocabulary(name);
    GgufTokenizerData data;
    for (const value& token : vocabulary.at("vocab").as_array()) {
      data.tokens.emplace_back(token.as_string());
    }
    data.token_types.assign(data.tokens.size(), 1);
    for (const auto& added : test.at("config").at("added_tokens").as_array()) {
      data.token_types[added.at("id").to_number<size_t>()] = 3;
    }
    for (const value& merge : vocabulary.at("merges").as_array()) {
      data.merges.emplace_back(merge.as_string());
    }
    return data;
  }

  value golden_;
};

TEST_F(TokenizerGoldenTest, TokenizerJsonGivesTheIdsOfHuggingFace) {
  ASSERT_GT(golden_.at("texts").as_array().size(), 60u);
  for (const value& test : golden_.at("tokenizers").as_array()) {
    SCOPED_TRACE(std::string(test.at("name").as_string()));
    const auto tokenizer = MakeJsonTokenizer(TokenizerJson(test));
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    ExpectIds(**tokenizer, test);
    EXPECT_EQ(Encode(**tokenizer, "a b", {.add_special_tokens = true}),
              ToIds(test.at("with_special")));
  }
}

TEST_F(TokenizerGoldenTest, TruncationAndPaddingOfAFileAreForTrainersAndIgnored) {
  const value& test = Configuration("gpt-2");
  object config = boost::json::parse(TokenizerJson(test)).as_object();
  config["truncation"] = {{"max_length", 2}, {"strategy", "LongestFirst"}, {"stride", 0}};
  config["padding"] = {{"strategy", {{"Fixed", 512}}}, {"pad_id", 0}, {"pad_token", "<|end|>"}};
  const auto tokenizer = MakeJsonTokenizer(boost::json::serialize(config));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  ExpectIds(**tokenizer, test);
}

TEST_F(TokenizerGoldenTest, StreamedTokensGiveTheTextThatHuggingFaceDecodes) {
  for (const value& test : golden_.at("tokenizers").as_array()) {
    SCOPED_TRACE(std::string(test.at("name").as_string()));
    const auto tokenizer = MakeJsonTokenizer(TokenizerJson(test));
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    const array& sequences = golden_.at("random_ids").as_array();
    for (size_t i = 0; i < sequences.size(); ++i) {
      EXPECT_EQ(Decode(**tokenizer, ToIds(sequences[i]), true),
                std::string(List(test.at("decoded")).at(i).as_string()));
    }
  }
}

TEST_F(TokenizerGoldenTest, GgufFamiliesGiveTheIdsOfTheirTokenizerJson) {
  // Each family's names, and the configuration that has its tokenizer.json.
  constexpr std::pair<const char*, const char*> kGgufFamilies[] = {
      {"smollm", "smollm"},
      {"starcoder", "smollm"},
      {"refact", "smollm"},
      {"gpt-2", "gpt-2"},
      {"phi-2", "gpt-2"},
      {"llama-bpe", "llama-bpe"},
      {"llama3", "llama-bpe"},
      {"falcon3", "llama-bpe"},
      {"dbrx", "dbrx"},
      {"smaug-bpe", "dbrx"},
      {"qwen2", "qwen2"},
      {"deepseek-r1-qwen", "qwen2"},
      {"qwen35", "qwen35"},
      {"deepseek-llm", "deepseek-llm"},
      {"deepseek-coder", "deepseek-coder"},
      {"deepseek-v3", "deepseek-v3"},
      {"falcon", "falcon"},
      {"tekken", "tekken"},
      {"gpt-4o", "gpt-4o"},
      {"command-r", "command-r"},
      {"gpt-neox", "gpt-neox"},
      {"mpt", "gpt-neox"},
      {"olmo", "gpt-neox"},
      {"default", "default"},
      {"", "default"}};
  for (const auto& [name, configuration] : kGgufFamilies) {
    SCOPED_TRACE(name);
    GgufTokenizerData data = GgufData(Configuration(configuration));
    data.model = "gpt2";
    data.pre = name;
    const auto tokenizer = MakeGgufTokenizer(std::move(data));
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    ExpectIds(**tokenizer, Configuration(configuration));
  }
}

TEST_F(TokenizerGoldenTest, GgufSentencePieceGivesTheIdsOfItsTokenizerJson) {
  const value& test = Configuration("llama");
  GgufTokenizerData data = GgufData(test);
  data.model = "llama";
  data.unknown_token_id = 0;
  data.bos_token_id = 1;
  for (size_t i = 0; i < data.tokens.size(); ++i) {
    data.scores.push_back(-static_cast<float>(i));
    if (data.tokens[i].starts_with("<0x")) data.token_types[i] = 6;
  }
  const auto tokenizer = MakeGgufTokenizer(std::move(data));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  ExpectIds(**tokenizer, test);
  EXPECT_EQ(Encode(**tokenizer, "a b", {.add_special_tokens = true}),
            ToIds(test.at("with_special")));
  EXPECT_EQ(Decode(**tokenizer, Encode(**tokenizer, "a b\xF0\x9F\x98\x80"), true),
            "a b\xF0\x9F\x98\x80");
}

TEST_F(TokenizerGoldenTest, BytesThatAreNotUtf8BecomeByteTokensBetweenTheirNeighbours) {
  const auto bytes = MakeJsonTokenizer(TokenizerJson(Configuration("gpt-2")));
  const auto characters = MakeJsonTokenizer(TokenizerJson(Configuration("llama")));
  ASSERT_TRUE(bytes.ok() && characters.ok());
  for (const std::string bad :
       {"\xFF", "\xC3", "\xE4\xBD", "\xED\xA0\x80", "\xF5\x80", "\xC0\x80"}) {
    for (const auto* tokenizer : {&**bytes, &**characters}) {
      const std::vector<TokenId> ids = Encode(*tokenizer, "one " + bad + "two");
      std::vector<TokenId> expected = Encode(*tokenizer, "one ");
      std::string spelled;
      for (size_t i = 0; i < bad.size(); ++i) {
        ASSERT_LT(expected.size() + i, ids.size());
        spelled += tokenizer->TokenBytes(ids[expected.size() + i]);
      }
      EXPECT_EQ(spelled, bad);
      EXPECT_TRUE(std::equal(expected.begin(), expected.end(), ids.begin()));
    }
  }
}

TEST_F(TokenizerGoldenTest, SpelledOutControlTokensStayTextWhenTheyAreNotParsed) {
  for (const value& test : golden_.at("tokenizers").as_array()) {
    const auto tokenizer = MakeJsonTokenizer(TokenizerJson(test));
    ASSERT_TRUE(tokenizer.ok());
    for (const value& text : golden_.at("texts").as_array()) {
      for (const TokenId id :
           Encode(**tokenizer, text.as_string(), {.parse_special_tokens = false})) {
        EXPECT_FALSE((*tokenizer)->IsSpecial(id)) << boost::json::serialize(text);
      }
    }
  }
}

TEST_F(TokenizerGoldenTest, TiktokenFilesGiveTheIdsOfTheSamePairsByRank) {
  // The byte vocabulary as ranks: single bytes and merges in order are what tiktoken stores.
  const value& test = Configuration("qwen2");
  const auto reference = MakeJsonTokenizer(TokenizerJson(test));
  ASSERT_TRUE(reference.ok());
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string file;
  for (TokenId id = 2; id < (*reference)->vocab_size(); ++id) {
    const std::string_view bytes = (*reference)->TokenBytes(id);
    for (size_t i = 0; i < bytes.size(); i += 3) {
      const size_t left = std::min<size_t>(3, bytes.size() - i);
      uint32_t group = 0;
      for (size_t k = 0; k < 3; ++k) {
        group = group << 8 | (k < left ? static_cast<uint8_t>(bytes[i + k]) : 0u);
      }
      for (size_t k = 0; k < 4; ++k) file += k <= left ? kDigits[group >> (18 - 6 * k) & 63] : '=';
    }
    file += ' ' + std::to_string(id - 2) + '\n';
  }
  const std::string pattern(test.at("config")
                                .at("pre_tokenizer")
                                .at("pretokenizers")
                                .at(0)
                                .at("pattern")
                                .at("Regex")
                                .as_string());
  const auto tokenizer = MakeTiktokenTokenizer(
      file, {.split_pattern = pattern, .special_tokens = {"<|end|>"}, .normalize_nfc = true});
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const TokenId end = (*reference)->vocab_size() - 2;
  EXPECT_EQ((*tokenizer)->FindToken("<|end|>"), end);
  EXPECT_TRUE((*tokenizer)->IsSpecial(end));
  for (const char* text :
       {"Hello, world!  it's 12345\n\n x", "caf\u00e9 cafe\u0301 \u4f60\u597d"}) {
    std::string decoded = Decode(**tokenizer, Encode(**tokenizer, text), false);
    EXPECT_EQ(decoded, Decode(**reference, Encode(**reference, text), false));
  }
  EXPECT_EQ(Encode(**tokenizer, "a<|end|>").back(), end);
}

}  // namespace
}  // namespace pingti::text
