// Profiles on a GPU: stages in device time, steps as served from their records.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "tests/tools/gpu_checkpoint.h"
#include "tools/profile/step_profile.h"

namespace pingti::tools {
namespace {

namespace fs = std::filesystem;

class StepProfileCudaTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ =
        fs::path(::testing::TempDir()) / ("pingti_profile_cuda_" + std::to_string(::getpid()));
    testing::WriteGpuCheckpoint(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  ProfileOptions Options() const {
    ProfileOptions options;
    options.model = folder_;
    options.device = worker::DeviceChoice::kCuda;
    options.batch = 3;
    options.context = 100;
    options.decode_steps = 5;
    return options;
  }

  static void ExpectWholeProfile(const ProfileOptions& options) {
    const auto profile = ProfileModel(options, RealClock());
    ASSERT_TRUE(profile.ok()) << profile.status();
    EXPECT_EQ(profile->device, "cuda");
    ASSERT_EQ(profile->phases.size(), 2u);
    for (const PhaseProfile& phase : profile->phases) {
      double share = 0.0;
      for (const StageTime& stage : phase.stages) {
        EXPECT_GT(stage.seconds, 0.0) << phase.name << " " << stage.name;
        share += stage.share;
      }
      EXPECT_NEAR(share, 1.0, 1e-9) << phase.name;
      EXPECT_GT(phase.seconds, 0.0) << phase.name;
      EXPECT_LE(StageSum(phase), phase.profiled_seconds * (1 + 1e-9)) << phase.name;
    }
    EXPECT_FALSE(profile->phases[0].recorded);
    EXPECT_TRUE(profile->phases[1].recorded);
  }

  std::string folder_;
};

TEST_F(StepProfileCudaTest, StagesAddUpAndDecodeStepsAreServedFromTheirRecord) {
  ExpectWholeProfile(Options());
}

TEST_F(StepProfileCudaTest, LongPrefillTakesSeveralSteps) {
  ProfileOptions options = Options();
  options.max_batch_tokens = 64;
  ExpectWholeProfile(options);
  EXPECT_EQ(ProfileModel(options, RealClock())->phases[0].steps, 5);
}

TEST_F(StepProfileCudaTest, RandomWeightsNeedOnlyTheConfiguration) {
  fs::remove(folder_ + "/model.safetensors");
  ProfileOptions options = Options();
  options.random_weights = true;
  options.format = worker::WeightFormat::kInt8;
  options.kv_format = worker::KvFormat::kInt8;
  ExpectWholeProfile(options);
}

}  // namespace
}  // namespace pingti::tools
