#include "tools/profile/step_profile.h"

#include <boost/json.hpp>
#include <set>
#include <string>

#include "gtest/gtest.h"
#include "tests/testing/source_dir.h"
#include "tools/profile/profiling_backend.h"

namespace pingti::tools {
namespace {

ProfileOptions Options() {
  ProfileOptions options;
  options.model = SourcePath("tests/golden/model/tiny/qwen2");
  options.batch = 3;
  options.context = 40;
  options.decode_steps = 5;
  options.device = worker::DeviceChoice::kCpu;
  options.threads = 1;
  return options;
}

TEST(ProfileModel, StagesAddUpToTheStepAndEachIsSeen) {
  const auto profile = ProfileModel(Options(), RealClock());
  ASSERT_TRUE(profile.ok()) << profile.status();
  ASSERT_EQ(profile->phases.size(), 2u);
  EXPECT_EQ(profile->phases[0].name, "prefill");
  EXPECT_EQ(profile->phases[0].tokens, 120);
  EXPECT_EQ(profile->phases[1].name, "decode");
  EXPECT_EQ(profile->phases[1].tokens, 3);
  for (const PhaseProfile& phase : profile->phases) {
    double share = 0.0;
    std::set<std::string> names;
    for (const StageTime& stage : phase.stages) {
      EXPECT_GT(stage.seconds, 0.0) << phase.name << " " << stage.name;
      share += stage.share;
      names.insert(stage.name);
    }
    EXPECT_NEAR(share, 1.0, 1e-9) << phase.name;
    EXPECT_EQ(names.size(), kNumStages);  // the host, and no sums of ranks
    EXPECT_EQ(names.count("sums"), 0u);
    EXPECT_EQ(phase.stages.back().name, "host");
    EXPECT_GT(phase.seconds, 0.0);
    EXPECT_LT(StageSum(phase), phase.profiled_seconds);
    EXPECT_EQ(phase.steps, 1);
    EXPECT_FALSE(phase.recorded);  // a CPU records nothing
  }
}

TEST(ProfileModel, SumsOfRanksAreAStageOfTheirOwn) {
  ProfileOptions options = Options();
  options.tensor_parallel = 2;
  const auto profile = ProfileModel(options, RealClock());
  ASSERT_TRUE(profile.ok()) << profile.status();
  EXPECT_EQ(profile->tensor_parallel, 2);
  for (const PhaseProfile& phase : profile->phases) {
    std::set<std::string> names;
    double share = 0.0;
    for (const StageTime& stage : phase.stages) {
      names.insert(stage.name);
      share += stage.share;
      EXPECT_GT(stage.seconds, 0.0) << phase.name << " " << stage.name;
    }
    EXPECT_NEAR(share, 1.0, 1e-9) << phase.name;
    EXPECT_EQ(names.size(), kNumStages + 1) << phase.name;  // and the host
  }
  EXPECT_NE(ProfileTable(*profile).find("on 2 ranks: "), std::string::npos);
  options.tensor_parallel = 64;
  const absl::Status status = ProfileModel(options, RealClock()).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
}

TEST(ProfileModel, RanksMayHoldWholeExperts) {
  ProfileOptions options = Options();
  options.model = SourcePath("tests/golden/model/tiny/qwen3_moe");
  options.expert_parallel = true;
  EXPECT_TRUE(absl::IsInvalidArgument(ProfileModel(options, RealClock()).status()));
  options.tensor_parallel = 2;
  const auto profile = ProfileModel(options, RealClock());
  ASSERT_TRUE(profile.ok()) << profile.status();
  EXPECT_NE(ProfileTable(*profile).find("on 2 ranks with whole experts: "), std::string::npos);
  EXPECT_NE(ProfileJson(*profile).find("\"expert_parallel\":true"), std::string::npos);
}

TEST(ProfileModel, PrefillTakesAsManyStepsAsTheirSizeAllows) {
  ProfileOptions options = Options();
  options.max_batch_tokens = 50;
  const auto profile = ProfileModel(options, RealClock());
  ASSERT_TRUE(profile.ok()) << profile.status();
  EXPECT_EQ(profile->phases[0].tokens, 120);
  EXPECT_EQ(profile->phases[0].steps, 3);
  options.max_batch_tokens = 2;
  const absl::Status status = ProfileModel(options, RealClock()).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_NE(status.message().find("max-batch-tokens 2"), absl::string_view::npos) << status;
}

TEST(ProfileModel, NamesWhatACpuDoesNotHave) {
  ProfileOptions options = Options();
  options.kv_format = worker::KvFormat::kInt8;
  absl::Status status = ProfileModel(options, RealClock()).status();
  EXPECT_NE(status.message().find("int8 KV cache"), absl::string_view::npos) << status;
  options = Options();
  options.random_weights = true;
  status = ProfileModel(options, RealClock()).status();
  EXPECT_NE(status.message().find("on a GPU only"), absl::string_view::npos) << status;
}

TEST(ProfileModel, TimesTheTokenizerOfAText) {
  const char* path = std::getenv("PINGTI_TEST_MODEL");
  if (path == nullptr) GTEST_SKIP() << "needs a model: make test sets PINGTI_TEST_MODEL";
  ProfileOptions options;
  options.model = path;
  options.text_file = SourcePath("LICENSE");
  options.context = 8;
  options.decode_steps = 1;
  options.prefill_steps = 1;
  options.device = worker::DeviceChoice::kCpu;
  const auto profile = ProfileModel(options, RealClock());
  ASSERT_TRUE(profile.ok()) << profile.status();
  EXPECT_EQ(profile->phases[0].stages.back().name, "tokenizer");
  EXPECT_GT(profile->phases[0].stages.back().seconds, 0.0);
  EXPECT_EQ(profile->phases[1].stages.back().name, "host");
}

TEST(ProfileModel, NamesAContextThatTheModelDoesNotHave) {
  ProfileOptions options = Options();
  options.context = 4000;
  const absl::Status status = ProfileModel(options, RealClock()).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_NE(status.message().find("4000"), absl::string_view::npos) << status;
}

TEST(ProfileReport, JsonAndTableHoldTheSame) {
  ModelProfile profile;
  profile.model = "tiny \"quoted\"";
  profile.device = "cpu";
  profile.format = "bf16";
  profile.batch = 2;
  profile.context = 64;
  profile.device_name = "CPU";
  profile.kv_format = "auto";
  profile.phases = {{"decode", 2, 0.004, {{"mlp", 0.003, 0.75}, {"host", 0.001, 0.25}}}};
  profile.phases[0].profiled_seconds = 0.004;
  profile.phases[0].recorded = true;
  const boost::json::value json = boost::json::parse(ProfileJson(profile));
  EXPECT_EQ(json.at("model").as_string(), "tiny \"quoted\"");
  const boost::json::value& phase = json.at("phases").at(0);
  EXPECT_EQ(phase.at("tokens").as_int64(), 2);
  EXPECT_EQ(phase.at("stages").at(0).at("name").as_string(), "mlp");
  EXPECT_EQ(phase.at("stages").at(0).at("share").as_double(), 0.75);
  EXPECT_EQ(phase.at("seconds").as_double(), 0.004);
  EXPECT_EQ(phase.at("stage_sum_seconds").as_double(), 0.003);
  EXPECT_EQ(phase.at("recorded").as_bool(), true);
  const std::string table = ProfileTable(profile);
  for (const char* expected :
       {"decode, 2 tokens\n  step as served (recorded): 4.000 ms, 500.0 tokens/s",
        "sum of stages: 3.000 ms", "mlp              3.000 ms   75.0 %"}) {
    EXPECT_NE(table.find(expected), std::string::npos) << expected << "\nin\n" << table;
  }
}

}  // namespace
}  // namespace pingti::tools
