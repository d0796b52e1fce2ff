#include "router/reload.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "common/base/strings.h"

namespace pingti::router {
namespace {

class SettingsReloadTest : public ::testing::Test {
 protected:
  SettingsReloadTest()
      : path_((std::filesystem::path(::testing::TempDir()) / Concat("settings-", ::getpid()))
                  .string()) {}
  ~SettingsReloadTest() override { std::filesystem::remove(path_); }

  void Write(const std::string& text) {
    std::ofstream(path_ + ".new") << "workers: [a:1]\n" << text;
    std::filesystem::rename(path_ + ".new", path_);
  }
  SettingsReload Make(std::vector<const char*> flags = {}) {
    argv_ = {"pingti-router", "--config", path_.c_str()};
    argv_.insert(argv_.end(), flags.begin(), flags.end());
    return SettingsReload(static_cast<int>(argv_.size()), argv_.data(), environment_,
                          [this](const RouterConfig& config) {
                            if (config.policy == "unknown") return absl::InvalidArgumentError("no");
                            applied_.push_back(config);
                            return absl::OkStatus();
                          });
  }

  const std::string path_;
  std::vector<const char*> argv_;
  const char* environment_[1] = {nullptr};
  std::vector<RouterConfig> applied_;
};

TEST_F(SettingsReloadTest, AChangedFileIsPutIntoForce) {
  Write("max_queued_sequences: 7\n");
  SettingsReload reload = Make();
  EXPECT_TRUE(reload.Look(false).ok());
  EXPECT_TRUE(applied_.empty()) << "nothing has changed";
  Write("max_queued_sequences: 8\nmodels: [m]\nmodel_aliases: [x=m]\n");
  EXPECT_TRUE(reload.Look(false).ok());
  ASSERT_EQ(applied_.size(), 1u);
  EXPECT_EQ(applied_[0].admission.max_queued_sequences, 8u);
  EXPECT_EQ(applied_[0].model_aliases, std::vector<std::string>{"x=m"});
  EXPECT_TRUE(reload.Look(false).ok());
  EXPECT_EQ(applied_.size(), 1u) << "once";
  EXPECT_TRUE(reload.Look(/*asked=*/true).ok());
  EXPECT_EQ(applied_.size(), 2u) << "again when asked to";
}

TEST_F(SettingsReloadTest, AFileWithAnErrorIsAnErrorUntilItIsMended) {
  Write("");
  SettingsReload reload = Make();
  for (const char* bad : {"max_queued_sequence: 8\n", "max_queued_sequences: none\n", "a: [\n",
                          "policy: unknown\n"}) {
    Write(bad);
    EXPECT_TRUE(absl::IsInvalidArgument(reload.Look(false))) << bad;
    EXPECT_TRUE(absl::IsInvalidArgument(reload.Look(false))) << bad;
  }
  std::filesystem::remove(path_);
  EXPECT_TRUE(absl::IsNotFound(reload.Look(false)));
  EXPECT_TRUE(applied_.empty());
  Write("max_queued_sequences: 9\n");
  EXPECT_TRUE(reload.Look(false).ok());
  ASSERT_EQ(applied_.size(), 1u);
}

TEST_F(SettingsReloadTest, FlagsGoOnToWin) {
  Write("max_queued_sequences: 7\n");
  SettingsReload reload = Make({"--max-queued-sequences", "3"});
  Write("max_queued_sequences: 8\nmax_priority: 2\n");
  EXPECT_TRUE(reload.Look(false).ok());
  ASSERT_EQ(applied_.size(), 1u);
  EXPECT_EQ(applied_[0].admission.max_queued_sequences, 3u);
  EXPECT_EQ(applied_[0].admission.max_priority, 2);
}

TEST_F(SettingsReloadTest, WhatNeedsARestartIsNamedInTheLog) {
  Write("");
  SettingsReload reload = Make();
  Write("http_port: 1\nstall_timeout: 9s\n");
  ::testing::internal::CaptureStderr();
  EXPECT_TRUE(reload.Look(false).ok());
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(log.find("http_port, stall_timeout"), std::string::npos) << log;
}

TEST_F(SettingsReloadTest, WithoutAFileThereIsNothingToRead) {
  const char* argv[] = {"pingti-router", "--workers", "a:1"};
  SettingsReload reload(3, argv, environment_,
                        [](const RouterConfig&) { return absl::InternalError("called"); });
  EXPECT_TRUE(reload.Look(true).ok());
}

}  // namespace
}  // namespace pingti::router
