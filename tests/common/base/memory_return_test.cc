#include "common/base/memory_return.h"

#include <gtest/gtest.h>

#include "tests/testing/fake_clock.h"

namespace pingti {
namespace {

constexpr size_t kMuch = MemoryReturn::kLeastBytes;

class MemoryReturnTest : public ::testing::Test {
 protected:
  // Takes and gives back between two looks.
  void Use(size_t bytes) {
    MemoryBudget::Lease lease(&budget_);
    ASSERT_TRUE(lease.GrowTo(bytes));
  }

  testing::FakeClock clock_;
  MemoryBudget budget_{4 * kMuch};
  int trims_ = 0;
  MemoryReturn memory_{&budget_, &clock_, [this] { ++trims_; }};
};

TEST_F(MemoryReturnTest, MemoryReturnsOnceTheUseHasFallen) {
  MemoryBudget::Lease lease(&budget_);
  ASSERT_TRUE(lease.GrowTo(2 * kMuch));
  memory_.Tick();
  EXPECT_EQ(trims_, 0) << "it is in use";
  lease.Release();
  memory_.Tick();
  memory_.Tick();
  EXPECT_EQ(trims_, 1);
}

TEST_F(MemoryReturnTest, AUseThatNoLookSawCounts) {
  Use(kMuch);
  memory_.Tick();
  EXPECT_EQ(trims_, 1);
}

TEST_F(MemoryReturnTest, LittleIsNotWorthIt) {
  for (int i = 0; i < 100; ++i) {
    Use(kMuch - 1);
    memory_.Tick();
    clock_.Advance(MemoryReturn::kInterval);
  }
  EXPECT_EQ(trims_, 0);
}

TEST_F(MemoryReturnTest, ItHappensNoMoreOftenThanTheInterval) {
  for (int i = 0; i < 100; ++i) {
    Use(2 * kMuch);
    memory_.Tick();
    clock_.Advance(std::chrono::milliseconds(MemoryReturn::kInterval) / 10);
  }
  EXPECT_EQ(trims_, 10);
}

}  // namespace
}  // namespace pingti
