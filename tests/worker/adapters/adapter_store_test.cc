#include "worker/adapters/adapter_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/testing/source_dir.h"

namespace pingti::worker {
namespace {

using ::testing::ElementsAre;
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
  EXPECT_EQ(store.All(), (std::vector<AdapterInfo>{{a->id, "a", Fixture("llama3_qv")},
                                                   {b->id, "b", Fixture("llama3_qv")}}));
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

TEST(AdapterStoreTest, OnesThatWereAskedForLongestAgoAreDroppedAndReadAgain) {
  AdapterStore store([](const Adapter&) { return absl::OkStatus(); }, 2);
  const auto load = [&](const std::string& name) {
    return (*store.Load(name, Fixture("llama3_qv")))->id;
  };
  const std::string a = load("a");
  const std::string b = load("b");
  EXPECT_NE(store.Find(a), nullptr);  // b is the oldest now
  const std::string c = load("c");
  EXPECT_EQ(store.Find(b), nullptr);
  EXPECT_EQ(store.num_dropped(), 1);
  EXPECT_TRUE(store.Has(b)) << "it is still offered";
  EXPECT_EQ(store.All().size(), 3u);
  const AdapterPtr again = *store.Fetch(b);
  EXPECT_EQ(again->id, b);
  EXPECT_EQ(store.Find(a), nullptr);
  EXPECT_NE(store.Find(c), nullptr);
  EXPECT_EQ(store.num_dropped(), 2);
}

// What tests prepare of an adapter.
struct RankImage : AdapterImage {
  explicit RankImage(int64_t highest) : rank(highest) {}
  const int64_t rank;
};

TEST(AdapterStoreTest, AdaptersAreKeptAsTheModelTakesThemAndAsNothingElse) {
  AdapterStore store([](const Adapter&) { return absl::OkStatus(); }, 2);
  ASSERT_TRUE(store.Load("before", Fixture("llama3_qv")).ok());
  std::vector<std::string> prepared;
  std::set<std::thread::id> threads;
  const auto prepare = [&](const Adapter& adapter) {
    prepared.push_back(adapter.name);
    threads.insert(std::this_thread::get_id());
    EXPECT_NE(adapter.memory, nullptr);
    return std::make_shared<const RankImage>(adapter.max_rank());
  };
  ASSERT_TRUE(store.PrepareWith(prepare).ok());
  EXPECT_THAT(prepared, ElementsAre("before"));
  const std::string before = store.All().front().id;
  std::thread([&] {
    ASSERT_TRUE(store.Load("b", Fixture("llama3_mlp")).ok());
    ASSERT_TRUE(store.Load("c", Fixture("llama3_mlp")).ok());  // drops the first one
    ASSERT_TRUE(store.Fetch(before).ok());
  }).join();
  EXPECT_THAT(prepared, ElementsAre("before", "b", "c", "before"));
  EXPECT_EQ(threads.size(), 2u) << "it is done by who loads";
  const AdapterPtr adapter = store.Find(before);
  EXPECT_EQ(adapter->name, "before");
  EXPECT_EQ(dynamic_cast<const RankImage&>(*adapter->image).rank, 4);
  EXPECT_EQ(adapter->memory, nullptr);
  EXPECT_TRUE(adapter->modules.empty());
  EXPECT_EQ(prepared.size(), 4u) << "one that is found is ready";
}

TEST(AdapterStoreTest, WhatCannotBePreparedIsRefusedWithItsPath) {
  AdapterStore store([](const Adapter&) { return absl::OkStatus(); });
  ASSERT_TRUE(store.Load("a", Fixture("llama3_qv")).ok());
  const absl::Status status =
      store.PrepareWith([](const Adapter&) { return absl::ResourceExhaustedError("no memory"); });
  EXPECT_EQ(status.message(), Fixture("llama3_qv") + ": no memory");
  EXPECT_EQ(store.Load("b", Fixture("llama3_mlp")).status().message(),
            Fixture("llama3_mlp") + ": no memory");
}

TEST(AdapterStoreTest, OneThatIsInUseIsNotReadAgain) {
  AdapterStore store([](const Adapter&) { return absl::OkStatus(); }, 1);
  const AdapterPtr a = *store.Load("a", Fixture("llama3_qv"));
  const AdapterPtr b = *store.Load("b", Fixture("llama3_qv"));
  EXPECT_EQ(store.Find(a->id), a);
  EXPECT_EQ(*store.Fetch(b->id), b);
}

TEST(AdapterStoreTest, AFetchFailsForUnknownOnesAndFilesThatChanged) {
  AdapterStore store([](const Adapter&) { return absl::OkStatus(); }, 1);
  EXPECT_TRUE(absl::IsNotFound(store.Fetch("none").status()));
  const std::filesystem::path folder = ::testing::TempDir() + "/changing_adapter";
  std::filesystem::remove_all(folder);
  std::filesystem::copy(Fixture("llama3_qv"), folder);
  const std::string a = (*store.Load("a", folder))->id;
  ASSERT_TRUE(store.Load("b", Fixture("llama3_qv")).ok());  // drops a
  std::filesystem::copy(
      Fixture("llama3_mlp"), folder,
      std::filesystem::copy_options::recursive | std::filesystem::copy_options::overwrite_existing);
  const absl::Status changed = store.Fetch(a).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(changed)) << changed;
  EXPECT_THAT(std::string(changed.message()), HasSubstr(folder.string()));
  std::filesystem::remove_all(folder);
  EXPECT_TRUE(absl::IsNotFound(store.Fetch(a).status()));
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
