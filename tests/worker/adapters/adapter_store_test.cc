#include "worker/adapters/adapter_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/testing/source_dir.h"

namespace pingti::worker {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Fixture(const std::string& name) {
  return SourcePath("tests/golden/model/tiny_adapters/") + name;
}

TEST(AdapterStoreTest, AdaptersAreFoundByTheirIdsUntilTheyAreUnloaded) {
  AdapterStore store([](const Adapter&) { return absl::OkStatus(); });
  const AdapterPtr a = *store.Load("a", Fixture("llama3_qv"));
  const AdapterPtr b = *store.Load("b", Fixture("llama3_qv"));
  EXPECT_EQ(store.Find(a->id), a);
  EXPECT_EQ(store.Find(b->id), b);
  EXPECT_EQ(store.Find("none"), nullptr);
  EXPECT_EQ(store.All(), (std::vector<AdapterPtr>{a, b}));
  ASSERT_TRUE(store.Unload("a").ok());
  EXPECT_EQ(store.Find(a->id), nullptr);
  EXPECT_FALSE(a->modules.empty()) << "who uses it keeps it";
  EXPECT_TRUE(absl::IsNotFound(store.Unload("a")));
  EXPECT_TRUE(store.Load("a", Fixture("llama3_mlp")).ok());
}

TEST(AdapterStoreTest, ANameIsTakenOnce) {
  AdapterStore store([](const Adapter&) { return absl::OkStatus(); });
  ASSERT_TRUE(store.Load("a", Fixture("llama3_qv")).ok());
  const absl::Status again = store.Load("a", Fixture("llama3_mlp")).status();
  EXPECT_TRUE(absl::IsAlreadyExists(again)) << again;
  EXPECT_THAT(std::string(again.message()), HasSubstr(Fixture("llama3_qv")));
  EXPECT_TRUE(absl::IsInvalidArgument(store.Load("", Fixture("llama3_qv")).status()));
}

TEST(AdapterStoreTest, WhatTheModelCannotTakeIsRefusedWithItsPath) {
  AdapterStore store([](const Adapter&) { return absl::InvalidArgumentError("too wide"); });
  EXPECT_EQ(std::string(store.Load("a", Fixture("llama3_qv")).status().message()),
            Fixture("llama3_qv") + ": too wide");
  EXPECT_TRUE(store.All().empty());
}

TEST(AdapterStoreTest, SettingsAreNamesAndPaths) {
  EXPECT_EQ(*SplitAdapterSetting("sql=/adapters/sql=2"),
            std::pair(std::string("sql"), std::string("/adapters/sql=2")));
  for (const char* bad : {"", "sql", "=/adapters", "sql="}) {
    EXPECT_THAT(std::string(SplitAdapterSetting(bad).status().message()),
                StartsWith(std::string("loras: '") + bad));
  }
}

}  // namespace
}  // namespace pingti::worker
