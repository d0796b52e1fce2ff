#include "common/base/memory_budget.h"

#include <gtest/gtest.h>

#include <random>
#include <thread>
#include <utility>
#include <vector>

namespace pingti {
namespace {

TEST(MemoryBudgetTest, TakesUpToItsLimitAndNotOneByteMore) {
  MemoryBudget budget(10);
  EXPECT_TRUE(budget.Take(7));
  EXPECT_FALSE(budget.Take(4));
  EXPECT_TRUE(budget.Take(3));
  EXPECT_FALSE(budget.Take(1));
  EXPECT_TRUE(budget.Take(0));
  budget.Give(10);
  EXPECT_EQ(budget.used(), 0u);
}

TEST(MemoryBudgetTest, LeasesGrowMoveAndGiveBack) {
  MemoryBudget budget(100);
  {
    MemoryBudget::Lease a(&budget);
    EXPECT_TRUE(a.GrowTo(60));
    EXPECT_TRUE(a.GrowTo(50)) << "it never shrinks";
    EXPECT_EQ(a.bytes(), 60u);
    EXPECT_FALSE(a.GrowTo(101));
    EXPECT_EQ(budget.used(), 60u) << "a refusal changes nothing";
    MemoryBudget::Lease b = std::move(a);
    EXPECT_EQ(budget.used(), 60u);
    MemoryBudget::Lease c(&budget);
    EXPECT_TRUE(c.GrowTo(40));
    c = std::move(b);
    EXPECT_EQ(budget.used(), 60u) << "the 40 are given back";
  }
  EXPECT_EQ(budget.used(), 0u);
  MemoryBudget::Lease none;
  EXPECT_TRUE(none.GrowTo(1000));
}

TEST(MemoryBudgetTest, ThreadsNeverHoldMoreThanTheLimit) {
  constexpr size_t kLimit = 1000;
  MemoryBudget budget(kLimit);
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&, seed] {
      std::mt19937 random(seed);
      for (int i = 0; i < 20'000; ++i) {
        MemoryBudget::Lease lease(&budget);
        lease.GrowTo(random() % 500);
        ASSERT_LE(budget.used(), kLimit);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(budget.used(), 0u);
}

}  // namespace
}  // namespace pingti
