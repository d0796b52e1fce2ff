// Adapters that come and go while a worker serves.
#include "worker/server/adapter_changes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <string>

#include "common/base/strings.h"
#include "tests/testing/await.h"
#include "tests/testing/source_dir.h"

namespace pingti::worker {
namespace {

using testing::AwaitOrDie;
using ::testing::HasSubstr;

std::string TinyAdapter(const std::string& name) {
  return SourcePath("tests/golden/model/tiny_adapters/") + name;
}

class AdapterChangesTest : public ::testing::Test {
 protected:
  absl::StatusOr<AdapterPtr> Load(const std::string& name, const std::string& path) {
    std::promise<absl::StatusOr<AdapterPtr>> result;
    changes_.Load(name, path, [&](const absl::StatusOr<AdapterPtr>& loaded) {
      if (loaded.ok()) return result.set_value(loaded);
      result.set_value(Own(loaded.status()));
    });
    return AwaitOrDie(result.get_future(), Concat("adapter ", name, " to be loaded"));
  }
  absl::Status Unload(const std::string& name) {
    std::promise<absl::Status> result;
    changes_.Unload(name, [&](const absl::StatusOr<AdapterPtr>& unloaded) {
      result.set_value(Own(unloaded.status()));
    });
    return AwaitOrDie(result.get_future(), Concat("adapter ", name, " to be unloaded"));
  }

  absl::StatusOr<std::string> Fetch(const std::string& id) {
    std::promise<absl::StatusOr<std::string>> result;
    changes_.Fetch(id, [&](const absl::StatusOr<AdapterPtr>& fetched) {
      if (fetched.ok()) return result.set_value((*fetched)->name);
      result.set_value(Own(fetched.status()));
    });
    return AwaitOrDie(result.get_future(), Concat("adapter ", id, " to be fetched"));
  }

  // Shares nothing with the changes' thread: Abseil counts references where the thread sanitizer
  // does not see it.
  static absl::Status Own(const absl::Status& status) {
    return absl::Status(status.code(), status.message());
  }

  AdapterStore store_{[](const Adapter&) { return absl::OkStatus(); }, 1};
  std::atomic<int> told_{0};
  AdapterChanges changes_{&store_, [this] { ++told_; }, nullptr};
};

TEST_F(AdapterChangesTest, RoutersAreToldOfEachChangeBeforeItsAnswer) {
  const auto loaded = Load("a", TinyAdapter("llama3_qv"));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(told_, 1);
  EXPECT_EQ(store_.Find((*loaded)->id), *loaded);
  EXPECT_TRUE(Unload("a").ok());
  EXPECT_EQ(told_, 2);
  EXPECT_EQ(store_.Find((*loaded)->id), nullptr);
}

TEST_F(AdapterChangesTest, DroppedAdaptersAreReadAgainWithoutAWordToRouters) {
  std::string ids[2];
  for (int i = 0; i < 2; ++i) ids[i] = (*Load(i == 0 ? "a" : "b", TinyAdapter("llama3_qv")))->id;
  for (int turn = 0; turn < 3; ++turn) {
    EXPECT_EQ(*Fetch(ids[0]), "a");
    EXPECT_EQ(*Fetch(ids[1]), "b");
  }
  EXPECT_EQ(store_.num_dropped(), 7);
  EXPECT_EQ(told_, 2);
  EXPECT_TRUE(absl::IsNotFound(Fetch("none").status()));
}

TEST_F(AdapterChangesTest, RequestsThatWaitTogetherGetEachItsOwnAdapter) {
  std::string ids[2];
  for (int i = 0; i < 2; ++i) ids[i] = (*Load(i == 0 ? "a" : "b", TinyAdapter("llama3_qv")))->id;
  // The thread is held in the answer to another change.
  std::promise<void> held;
  std::promise<void> go_on;
  changes_.Load("c", TinyAdapter("llama3_qv"), [&](const absl::StatusOr<AdapterPtr>&) {
    held.set_value();
    AwaitOrDie(go_on.get_future(), "the test to let the changes go on");
  });
  AwaitOrDie(held.get_future(), "the change to be made");
  std::promise<std::string> names[5];
  for (size_t i = 0; i < 5; ++i) {
    changes_.Fetch(ids[i % 2], [&names, i](const absl::StatusOr<AdapterPtr>& fetched) {
      names[i].set_value(fetched.ok() ? (*fetched)->name : "");
    });
  }
  go_on.set_value();
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(AwaitOrDie(names[i].get_future(), "an adapter"), i % 2 == 0 ? "a" : "b") << i;
  }
}

TEST_F(AdapterChangesTest, WhatFailsChangesNothing) {
  ASSERT_TRUE(Load("a", TinyAdapter("llama3_qv")).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(Load("a", TinyAdapter("llama3_qv")).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Load("b", "").status()));
  EXPECT_THAT(std::string(Load("b", TinyAdapter("none")).status().message()),
              HasSubstr("adapter_config.json"));
  EXPECT_TRUE(absl::IsNotFound(Unload("b")));
  EXPECT_EQ(told_, 1);
  EXPECT_EQ(store_.All().size(), 1u);
}

}  // namespace
}  // namespace pingti::worker
