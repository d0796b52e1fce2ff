// A head beside its model says what float64 made of the papers' equations (make_eagle3_heads.py and
// make_mtp_modules.py in tests/golden/model), in prompts of any chunks and in chains behind them;
// heads that do not fit are refused by name. On the device that the program is linked for.
#include "worker/model/draft_head.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <memory>
#include <numeric>
#include <ostream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "tests/testing/source_dir.h"
#include "tests/worker/backend/device_under_test.h"
#include "worker/comm/choose/rank_group.h"
#include "worker/model/load_model.h"
#include "worker/model/open_checkpoint.h"
#include "worker/model/open_draft_head.h"
#include "worker/model/tensor_parallel_model.h"

namespace pingti::worker {
namespace {

namespace json = boost::json;
using ::testing::HasSubstr;

constexpr int32_t kBlockTokens = 16;

struct HeadCase {
  const char* name;
  const char* model;  // all in tests/golden/model
  const char* head;   // of EAGLE-3; null: the model's own module
  const char* expected;
  int num_ranks = 1;
};

void PrintTo(const HeadCase& tested, std::ostream* out) { *out << tested.name; }

constexpr HeadCase kCases[] = {
    {"part", "tiny/llama_mqa_bias_tied_d64", "eagle3/part", "eagle3/part/expected.json"},
    {"whole", "tiny/llama_mqa_bias_tied_d64", "eagle3/whole", "eagle3/whole/expected.json"},
    {"mimo", "tiny/mimo_d64", nullptr, "tiny/mimo_d64/expected_mtp.json"},
    {"part_two_ranks", "tiny/llama_mqa_bias_tied_d64", "eagle3/part", "eagle3/part/expected.json",
     2},
    {"mimo_two_ranks", "tiny/mimo_d64", nullptr, "tiny/mimo_d64/expected_mtp.json", 2},
    {"deepseek", "tiny/deepseek_v3_d576", nullptr, "tiny/deepseek_v3_d576/expected_mtp.json"},
    {"deepseek_two_ranks", "tiny/deepseek_v3_d576", nullptr,
     "tiny/deepseek_v3_d576/expected_mtp.json", 2},
};

std::string GoldenPath(const std::string& name) { return SourcePath("tests/golden/model/") + name; }

std::string HeadPath(const std::string& name) {
  return SourcePath("tests/golden/model/eagle3/") + name;
}

std::string ReadFile(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::unique_ptr<Checkpoint> OpenTarget(const char* name = "tiny/llama_mqa_bias_tied_d64") {
  auto checkpoint = OpenCheckpoint(GoldenPath(name));
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  return *std::move(checkpoint);
}

std::vector<int32_t> Ints(const json::value& values) {
  std::vector<int32_t> ints;
  for (const json::value& value : values.as_array()) ints.push_back(value.to_number<int32_t>());
  return ints;
}

class DraftHeadTest : public ::testing::TestWithParam<HeadCase> {
 protected:
  void SetUp() override {
    target_ = OpenTarget(GetParam().model);
    auto head = GetParam().head == nullptr
                    ? OpenMtpModule(*target_)
                    : OpenDraftHead(GoldenPath(GetParam().head), target_->spec());
    ASSERT_TRUE(head.ok()) << head.status();
    opened_ = *std::move(head);
    device_ = testing::MakeDeviceUnderTest();
    if (GetParam().num_ranks > 1 && !OpenGroup()) GTEST_SKIP() << "takes two GPUs";
    ASSERT_NO_FATAL_FAILURE(Load());
    ASSERT_TRUE(model_->Allocate(8, kBlockTokens, 32, 4).ok());
    head_ = model_->draft_head();
    ASSERT_NE(head_, nullptr);
    expected_ = json::parse(ReadFile(GoldenPath(GetParam().expected)));
    tokens_ = Ints(expected_.at("prompt"));
    tokens_.push_back(expected_.at("next_token").to_number<int32_t>());
    // Blocks of the text, then the head's spare ones.
    table_ = {5, 2};
    for (int32_t i = 0; i < head_->spare_blocks_per_seq(); ++i) {
      table_.push_back(head_->first_spare_block() + i);
    }
  }

  // False: there are not as many devices.
  bool OpenGroup() {
    DeviceRequest request;
    request.choice = device_->is_exact() ? DeviceChoice::kCpu : DeviceChoice::kCuda;
    request.cpu_threads = GetParam().num_ranks;
    auto group = RankGroup::Open(request, GetParam().num_ranks);
    if (!device_->is_exact() && absl::IsInvalidArgument(group.status())) return false;
    EXPECT_TRUE(group.ok()) << group.status();
    group_ = *std::move(group);
    return true;
  }

  void Load() {
    LoadOptions options;
    options.format = device_->is_exact() ? WeightFormat::kF32 : WeightFormat::kBf16;
    options.draft_head = &opened_;
    if (group_ == nullptr) {
      auto model = LoadModel(*target_, device_->backend(), options);
      ASSERT_TRUE(model.ok()) << model.status();
      model_ = *std::move(model);
      return;
    }
    const auto load = [&](int rank) {
      return LoadRank(*target_, group_->device(rank).backend.get(), options,
                      group_->TakeCommunicator(rank));
    };
    auto model = TensorParallelModel::Load(group_->threads(), load, [] {});
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
  }

  // The model computes tokens [begin, end), which the head is to read. If it draws, the last
  // `drawn` of them are its batch.
  void Read(int32_t begin, int32_t end, int32_t drawn) {
    std::vector<int32_t> positions(static_cast<size_t>(end - begin));
    std::iota(positions.begin(), positions.end(), begin);
    const std::vector<int32_t> start{0, end - begin};
    const std::vector<int32_t> context{end};
    const std::span<const int32_t> ids =
        std::span(tokens_).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    ASSERT_TRUE(
        model_->Forward({ids, positions, start, context, std::span(table_).first(2), 2, {}}, {})
            .ok());
    std::vector<UnreadToken> unread;
    for (int32_t at = begin; at < end; ++at) {
      unread.push_back({table_[static_cast<size_t>(at / kBlockTokens)], at % kBlockTokens, at,
                        tokens_[static_cast<size_t>(at) + 1], at - begin});
    }
    head_->Note(unread);
    if (drawn == 0) return;
    std::vector<int32_t> states(static_cast<size_t>(drawn));
    std::iota(states.begin(), states.end(), end - drawn - begin);
    RunHead(std::span(tokens_).subspan(static_cast<size_t>(end - drawn) + 1, states.size()),
            end - drawn, states, /*is_chain=*/false);
  }

  void RunHead(std::span<const int32_t> ids, int32_t position, std::span<const int32_t> states,
               bool is_chain) {
    std::vector<int32_t> positions(ids.size());
    std::iota(positions.begin(), positions.end(), position);
    const std::vector<int32_t> start{0, static_cast<int32_t>(ids.size())};
    const std::vector<int32_t> context{position + static_cast<int32_t>(ids.size())};
    const absl::Status status =
        head_->Forward({ids, positions, start, context, table_, static_cast<int32_t>(table_.size()),
                        states, is_chain});
    ASSERT_TRUE(status.ok()) << status;
  }

  SampledToken Draw(int32_t num_top) {
    SamplingRow row;
    row.temperature = 0.0f;
    row.num_top_logprobs = num_top;
    std::vector<SampledToken> drawn(1);
    EXPECT_TRUE(head_->Sample({&row, 1}, drawn).ok());
    return drawn[0];
  }

  // What the head says behind the prompt, and the chain of drafts.
  void ExpectDrafts() {
    const std::vector<int32_t> own = Ints(expected_.at("tokens"));
    const json::array& logprobs = expected_.at("logprobs").as_array();
    const std::vector<int32_t> drafts = Ints(expected_.at("drafts"));
    const double tolerance = device_->is_exact() ? 2e-4 : 0.25;
    SampledToken drawn = Draw(10);
    ASSERT_EQ(drawn.top.size(), 10u);
    for (const TopLogprob& top : drawn.top) {
      const auto at = std::find(own.begin(), own.end(), top.token_id);
      ASSERT_NE(at, own.end()) << "token " << top.token_id << " is not the head's";
      const auto index = static_cast<size_t>(at - own.begin());
      EXPECT_NEAR(top.logprob, logprobs[index].to_number<double>(), tolerance) << top.token_id;
    }
    const auto length = static_cast<int32_t>(tokens_.size());
    // In bf16 one link of the chain may fall otherwise.
    int others_allowed = device_->is_exact() ? 0 : 1;
    for (size_t i = 0; i < drafts.size(); ++i) {
      if (drawn.token_id != drafts[i]) {
        ASSERT_GE(--others_allowed, 0) << "draft " << i << " is " << drawn.token_id;
      }
      if (i + 1 == drafts.size()) break;
      const std::vector<int32_t> row{0};
      ASSERT_NO_FATAL_FAILURE(RunHead(std::span(drafts).subspan(i, 1),
                                      length - 1 + static_cast<int32_t>(i), row, true));
      drawn = Draw(-1);
    }
  }

  std::unique_ptr<Checkpoint> target_;
  OpenedDraftHead opened_;
  std::unique_ptr<testing::DeviceUnderTest> device_;
  std::unique_ptr<RankGroup> group_;  // null: one rank
  std::unique_ptr<Model> model_;
  DraftHead* head_ = nullptr;
  json::value expected_;
  std::vector<int32_t> tokens_;
  std::vector<int32_t> table_;
};

TEST_P(DraftHeadTest, DraftsWhatTheEquationsSay) {
  const auto length = static_cast<int32_t>(tokens_.size()) - 1;
  ASSERT_NO_FATAL_FAILURE(Read(0, length, length));
  ExpectDrafts();
}

TEST_P(DraftHeadTest, DraftsTheSameBehindAPromptInChunks) {
  const auto length = static_cast<int32_t>(tokens_.size()) - 1;
  ASSERT_NO_FATAL_FAILURE(Read(0, 7, 0));
  ASSERT_NO_FATAL_FAILURE(Read(7, 19, 3));
  ASSERT_NO_FATAL_FAILURE(Read(19, length - 1, 0));
  ASSERT_NO_FATAL_FAILURE(Read(length - 1, length, 1));
  ExpectDrafts();
  // Again, over keys and values that the chain has left.
  ASSERT_NO_FATAL_FAILURE(Read(length - 4, length, 2));
  ExpectDrafts();
}

TEST_P(DraftHeadTest, DraftsTheSameHoweverLateItReads) {
  const auto length = static_cast<int32_t>(tokens_.size()) - 1;
  // Chunk after chunk until there is no room for more states, which makes it read on the way.
  for (int32_t round = 0; round < 40; ++round) {
    ASSERT_NO_FATAL_FAILURE(Read(0, 11, 0));
    ASSERT_NO_FATAL_FAILURE(Read(11, length, 0));
  }
  ASSERT_NO_FATAL_FAILURE(Read(length - 1, length, 1));
  ExpectDrafts();
}

TEST_P(DraftHeadTest, DraftsTheSameBehindACopyOfABlockThatItHasNotRead) {
  const auto length = static_cast<int32_t>(tokens_.size()) - 1;
  ASSERT_NO_FATAL_FAILURE(Read(0, length - 1, 0));
  // The first block goes to another place, and something else takes its own.
  const std::vector<BlockCopy> copies{{table_[0], 7}};
  const std::vector<int32_t> no_tokens{0};
  ForwardBatch empty;
  empty.query_start = no_tokens;
  ASSERT_TRUE(model_->Forward(empty, copies).ok());
  const int32_t before = std::exchange(table_[0], 7);
  const std::vector<UnreadToken> other{{before, 0, 0, 3, 0}};
  ASSERT_NO_FATAL_FAILURE(Read(length - 1, length, 0));
  head_->Note(other);
  ASSERT_NO_FATAL_FAILURE(Read(length - 1, length, 1));
  ExpectDrafts();
}

// A device that records pads so many sequences to more than they have tokens.
TEST_P(DraftHeadTest, DraftsTheSameForEachOfManySequences) {
  constexpr int32_t kSeqs = 33;
  ASSERT_TRUE(model_->Allocate(8, kBlockTokens, 64, 64).ok());
  const auto length = static_cast<int32_t>(tokens_.size()) - 1;
  ASSERT_NO_FATAL_FAILURE(Read(0, length, 0));
  // All of them are of this text, with spare blocks of their own behind it.
  const auto spares = head_->spare_blocks_per_seq();
  const int32_t width = 2 + spares;
  std::vector<int32_t> table, start{0};
  for (int32_t s = 0; s < kSeqs; ++s) {
    table.insert(table.end(), table_.begin(), table_.begin() + 2);
    for (int32_t i = 0; i < spares; ++i) {
      table.push_back(head_->first_spare_block() + s * spares + i);
    }
    start.push_back(s + 1);
  }
  const std::vector<int32_t> drafts = Ints(expected_.at("drafts"));
  std::vector<int32_t> ids(kSeqs, tokens_.back());
  std::vector<int32_t> states(kSeqs, length - 1);
  std::vector<SamplingRow> rows(kSeqs);
  for (SamplingRow& row : rows) row.temperature = 0.0f;
  for (int32_t i = 0; i < static_cast<int32_t>(drafts.size()); ++i) {
    const std::vector<int32_t> positions(kSeqs, length - 1 + i), context(kSeqs, length + i);
    ASSERT_TRUE(head_->Forward({ids, positions, start, context, table, width, states, i > 0}).ok());
    std::vector<SampledToken> drawn(kSeqs);
    ASSERT_TRUE(head_->Sample(rows, drawn).ok());
    for (int32_t s = 0; s < kSeqs; ++s) {
      const auto at = static_cast<size_t>(s);
      EXPECT_EQ(drawn[at].token_id, drawn[0].token_id) << "sequence " << s << ", draft " << i;
      if (device_->is_exact()) {
        EXPECT_EQ(drawn[at].token_id, drafts[static_cast<size_t>(i)]);
      }
      ids[at] = drawn[at].token_id;
      states[at] = s;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Heads, DraftHeadTest, ::testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string(test.param.name); });

// A copy of a head with one field of its config.json replaced.
absl::Status OpenWith(const std::string& name, const std::string& key, const json::value& value) {
  const std::filesystem::path copy =
      std::filesystem::path(::testing::TempDir()) / ("eagle3_" + name + "_" + key);
  std::filesystem::create_directories(copy);
  std::filesystem::copy_file(HeadPath(name) + "/model.safetensors", copy / "model.safetensors",
                             std::filesystem::copy_options::overwrite_existing);
  json::object config = json::parse(ReadFile(HeadPath(name) + "/config.json")).as_object();
  config[key] = value;
  std::ofstream(copy / "config.json") << json::serialize(config);
  const std::unique_ptr<Checkpoint> target = OpenTarget();
  const absl::Status status = OpenDraftHead(copy.string(), target->spec()).status();
  std::filesystem::remove_all(copy);
  return status;
}

TEST(OpenDraftHead, RefusesByNameWhatDoesNotFit) {
  const struct {
    const char* head;
    const char* key;
    json::value value;
    const char* says;
  } cases[] = {
      {"part", "architectures", json::array{"LlamaForCausalLM"}, "expected LlamaForCausalLMEagle3"},
      {"part", "vocab_size", 97, "'vocab_size' is 97; expected the model's, 96"},
      {"part", "head_dim", 32, "'head_dim' is 32; expected the model's, 64"},
      {"part", "num_hidden_layers", 2, "'num_hidden_layers' is 2; expected 1"},
      {"part", "target_hidden_size", 64, "is 64; expected the model's, 48"},
      {"part", "draft_vocab_size", 41, "expected shape [41, 48]"},
      {"part", "draft_vocab_size", nullptr, "lm_head.weight"},
      {"part", "bias", true, "fc.bias"},
      {"whole", "bias", false, "fc.bias"},
      {"whole", "eagle_aux_hidden_state_layer_ids", json::array{2}, "layers 0 to 1"},
      {"whole", "eagle_aux_hidden_state_layer_ids", json::array{1, 1}, "twice"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.key);
    const absl::Status status = OpenWith(c.head, c.key, c.value);
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.says));
  }
}

// A copy of a model's directory with other fields in its config.json.
std::unique_ptr<Checkpoint> OpenModelWith(const std::string& name, const json::object& fields) {
  const std::filesystem::path copy = std::filesystem::path(::testing::TempDir()) / ("mtp_" + name);
  std::filesystem::create_directories(copy);
  std::filesystem::copy_file(GoldenPath("tiny/" + name) + "/model.safetensors",
                             copy / "model.safetensors",
                             std::filesystem::copy_options::overwrite_existing);
  json::object config =
      json::parse(ReadFile(GoldenPath("tiny/" + name) + "/config.json")).as_object();
  for (const auto& field : fields) config[field.key()] = field.value();
  std::ofstream(copy / "config.json") << json::serialize(config);
  auto checkpoint = OpenCheckpoint(copy.string());
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  std::filesystem::remove_all(copy);
  return *std::move(checkpoint);
}

TEST(OpenMtpModule, RefusesByNameWhatIsNotThere) {
  const auto message = [](const Checkpoint& checkpoint) {
    return std::string(OpenMtpModule(checkpoint).status().message());
  };
  EXPECT_THAT(message(*OpenTarget()), HasSubstr("no multi-token-prediction module"));
  EXPECT_THAT(message(*OpenModelWith("mimo_d64", {{"num_nextn_predict_layers", 2}})),
              HasSubstr("'num_nextn_predict_layers' is 2; expected 1"));
  const json::object as_mimo{{"architectures", {"MiMoForCausalLM"}},
                             {"num_nextn_predict_layers", 1}};
  EXPECT_THAT(message(*OpenModelWith("qwen2_int8_d64", as_mimo)),
              HasSubstr("tensor 'model.mtp_layers.0.hidden_layernorm.weight' is missing"));
}

TEST(OpenMtpModule, AModelWithoutItsModuleRuns) {
  const json::object as_mimo{{"architectures", {"MiMoForCausalLM"}},
                             {"num_nextn_predict_layers", 1}};
  const std::unique_ptr<Checkpoint> checkpoint = OpenModelWith("qwen2_int8_d64", as_mimo);
  const auto device = testing::MakeDeviceUnderTest();
  const auto model = LoadModel(*checkpoint, device->backend(), {});
  EXPECT_TRUE(model.ok()) << model.status();
}

}  // namespace
}  // namespace pingti::worker
