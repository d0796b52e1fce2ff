// Beam search on real models against transformers' generate(num_beams=4): every length penalty and
// way of stopping early; scores that penalties, biases, grammars and min_tokens adjust; texts that
// end beams; log-probabilities; all hypotheses that are returned.
// tests/golden/beam/make_model_beams.py makes what is expected. On the CPU, whose sums are those of
// float32.
#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/grammar/grammar.h"
#include "tests/testing/source_dir.h"
#include "tests/worker/backend/device_under_test.h"
#include "tests/worker/engine/engine_testing.h"
#include "worker/model/load_model.h"
#include "worker/model/open_checkpoint.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {
namespace {

struct BeamCase {
  std::string checkpoint;
  Request request;
  std::vector<std::vector<int32_t>> outputs;
};

std::vector<int32_t> ReadTokens(std::istream* in) {
  size_t count = 0;
  *in >> count;
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) *in >> token;
  return tokens;
}

std::vector<BeamCase> ReadBeamCases() {
  std::ifstream file(SourcePath("tests/golden/beam/tiny_beams.txt"));
  std::vector<BeamCase> cases;
  std::string word;
  while (file >> word) {
    BeamCase c;
    int early = 0;
    SamplingParameters& sampling = c.request.sampling;
    file >> c.checkpoint >> sampling.beam.num_beams >> sampling.n >> sampling.beam.length_penalty >>
        early >> c.request.stop.max_tokens;
    sampling.beam.early_stopping = static_cast<EarlyStopping>(early);
    c.request.stop.stop_token_ids = ReadTokens(&file);
    c.request.prompt_token_ids = ReadTokens(&file);
    for (int32_t i = 0; i < sampling.n; ++i) c.outputs.push_back(ReadTokens(&file));
    cases.push_back(std::move(c));
  }
  return cases;
}

// A search whose scores are adjusted, or that ends at texts.
struct AdjustedCase {
  std::string checkpoint;
  Request request;
  std::vector<std::vector<int32_t>> outputs;
  std::vector<std::vector<float>> logprobs;
};

std::vector<std::string> ReadWords(std::istream* in) {
  size_t count = 0;
  *in >> count;
  std::vector<std::string> words(count);
  for (std::string& word : words) *in >> word;
  return words;
}

std::vector<AdjustedCase> ReadAdjustedCases() {
  std::ifstream file(SourcePath("tests/golden/beam/tiny_adjusted_beams.txt"));
  std::vector<AdjustedCase> cases;
  std::string word;
  while (file >> word) {
    AdjustedCase c;
    SamplingParameters& sampling = c.request.sampling;
    StopParameters& stop = c.request.stop;
    size_t num_biases = 0;
    file >> c.checkpoint >> sampling.beam.num_beams >> sampling.n >> stop.max_tokens >>
        stop.min_tokens >> sampling.repetition_penalty >> sampling.presence_penalty >>
        sampling.frequency_penalty >> num_biases;
    sampling.logit_bias.resize(num_biases);
    for (TokenBias& bias : sampling.logit_bias) file >> bias.token_id >> bias.bias;
    stop.stop_texts = ReadWords(&file);
    file >> word;
    if (word != "-") c.request.grammar = {grammar::GrammarSource::Kind::kRegex, word};
    c.request.prompt_token_ids = ReadTokens(&file);
    c.request.logprobs = {true, 2, false};
    for (int32_t i = 0; i < sampling.n; ++i) {
      c.outputs.push_back(ReadTokens(&file));
      std::vector<float>& logprobs = c.logprobs.emplace_back(c.outputs.back().size());
      for (float& logprob : logprobs) file >> logprob;
    }
    cases.push_back(std::move(c));
  }
  return cases;
}

// As letter_of in make_model_beams.py.
std::shared_ptr<const grammar::Vocabulary> LetterVocabulary(int32_t size) {
  std::vector<std::string> texts(static_cast<size_t>(size));
  for (int32_t t = 3; t < size; ++t) {
    texts[static_cast<size_t>(t)] = std::string(1, static_cast<char>('a' + t % 26));
  }
  return std::make_shared<const grammar::Vocabulary>(texts, std::vector<int32_t>{kEos}, size);
}

class BeamsOnModels : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    auto checkpoint = OpenCheckpoint(SourcePath("tests/golden/model/tiny/") + GetParam());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    checkpoint_ = *std::move(checkpoint);
    device_ = testing::MakeDeviceUnderTest();
    LoadOptions options;
    options.format = WeightFormat::kF32;
    auto model = LoadModel(*checkpoint_, device_->backend(), options);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
    setup_.num_blocks = 128;  // less than all cases need together
    setup_.max_sequences = 10;
    setup_.vocabulary = LetterVocabulary(model_->vocab_size());
  }

  void Submit(CoreDriver* driver, uint64_t id, Request request) {
    request.sequence_id = id;
    const std::optional<grammar::GrammarSource> source = request.grammar;
    driver->core->Submit(1, std::move(request));
    if (!source.has_value()) return;
    auto automaton = grammar::CompileGrammar(*source, {});
    ASSERT_TRUE(automaton.ok()) << automaton.status();
    driver->core->SetGrammar(
        1, id,
        std::make_shared<grammar::CompiledGrammar>(*std::move(automaton), setup_.vocabulary));
  }

  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<testing::DeviceUnderTest> device_;
  std::unique_ptr<Model> model_;
  CoreSetup setup_;
};

TEST_P(BeamsOnModels, GiveWhatTransformersGives) {
  std::vector<BeamCase> cases = ReadBeamCases();
  ASSERT_GE(cases.size(), 40u);
  std::erase_if(cases, [](const BeamCase& c) { return c.checkpoint != GetParam(); });
  CoreDriver driver(model_.get(), setup_);
  for (size_t i = 0; i < cases.size(); ++i) Submit(&driver, i, cases[i].request);
  driver.RunAll();
  for (size_t i = 0; i < cases.size(); ++i) {
    const BeamCase& c = cases[i];
    SCOPED_TRACE(::testing::Message()
                 << "length penalty " << c.request.sampling.beam.length_penalty
                 << ", early stopping " << static_cast<int>(c.request.sampling.beam.early_stopping)
                 << ", " << c.request.stop.stop_token_ids.size() << " stops");
    for (size_t answer = 0; answer < c.outputs.size(); ++answer) {
      EXPECT_EQ(driver.Get(i, static_cast<int32_t>(answer)).tokens, c.outputs[answer]);
    }
  }
}

TEST_P(BeamsOnModels, GiveWhatTransformersGivesWithProcessorsAndTextsThatEndBeams) {
  std::vector<AdjustedCase> cases = ReadAdjustedCases();
  ASSERT_GE(cases.size(), 80u);
  std::erase_if(cases, [](const AdjustedCase& c) { return c.checkpoint != GetParam(); });
  CoreDriver driver(model_.get(), setup_);
  for (size_t i = 0; i < cases.size(); ++i) Submit(&driver, i, cases[i].request);
  driver.RunAll();
  for (size_t i = 0; i < cases.size(); ++i) {
    for (size_t answer = 0; answer < cases[i].outputs.size(); ++answer) {
      SCOPED_TRACE(::testing::Message() << "case " << i << ", answer " << answer);
      const Collected& got = driver.Get(i, static_cast<int32_t>(answer));
      ASSERT_TRUE(got.finish && got.finish->status.ok()) << got.finish->status;
      ASSERT_EQ(got.tokens, cases[i].outputs[answer]);
      ASSERT_EQ(got.logprobs.size(), got.tokens.size());
      for (size_t t = 0; t < got.tokens.size(); ++t) {
        EXPECT_NEAR(got.logprobs[t].logprob, cases[i].logprobs[answer][t], 1e-4);
        ASSERT_EQ(got.logprobs[t].top.size(), 2u);
        EXPECT_GE(got.logprobs[t].top[0].logprob, got.logprobs[t].logprob);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, BeamsOnModels,
                         ::testing::Values("llama3", "qwen3", "mistral_window"));

}  // namespace
}  // namespace pingti::worker
