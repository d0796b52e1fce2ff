// Beam search on real models against transformers' generate(num_beams=4): every length penalty and
// way of stopping early, all hypotheses that are returned. tests/golden/beam/make_model_beams.py
// makes what is expected. On the CPU, whose sums are those of float32.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

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

// All cases of a checkpoint in one batch, which is smaller than they are together.
TEST(BeamsOnModels, GiveWhatTransformersGives) {
  const std::vector<BeamCase> cases = ReadBeamCases();
  ASSERT_GE(cases.size(), 40u);
  std::map<std::string, std::vector<const BeamCase*>> by_checkpoint;
  for (const BeamCase& c : cases) by_checkpoint[c.checkpoint].push_back(&c);
  for (const auto& [name, of_checkpoint] : by_checkpoint) {
    auto checkpoint = OpenCheckpoint(SourcePath("tests/golden/model/tiny/") + name);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    const std::unique_ptr<testing::DeviceUnderTest> device = testing::MakeDeviceUnderTest();
    LoadOptions options;
    options.format = WeightFormat::kF32;
    auto model = LoadModel(**checkpoint, device->backend(), options);
    ASSERT_TRUE(model.ok()) << model.status();
    CoreSetup setup;
    setup.num_blocks = 128;
    setup.max_sequences = 10;
    CoreDriver driver(model->get(), setup);
    for (size_t i = 0; i < of_checkpoint.size(); ++i) {
      Request request = of_checkpoint[i]->request;
      request.sequence_id = i;
      driver.Submit(std::move(request));
    }
    driver.RunAll();
    for (size_t i = 0; i < of_checkpoint.size(); ++i) {
      const BeamCase& c = *of_checkpoint[i];
      SCOPED_TRACE(::testing::Message()
                   << name << ", length penalty " << c.request.sampling.beam.length_penalty
                   << ", early stopping "
                   << static_cast<int>(c.request.sampling.beam.early_stopping) << ", "
                   << c.request.stop.stop_token_ids.size() << " stops");
      for (size_t answer = 0; answer < c.outputs.size(); ++answer) {
        EXPECT_EQ(driver.Get(i, static_cast<int32_t>(answer)).tokens, c.outputs[answer]);
      }
    }
  }
}

}  // namespace
}  // namespace pingti::worker
