#include "worker/grammar/mask_budget.h"

#include <gtest/gtest.h>

namespace pingti::worker {
namespace {

constexpr MaskLimits kLimits{.most = 100, .per_step = 20, .small = 2};

TEST(MaskBudgetTest, WhatIsSpentOnCreditIsSavedUpAgain) {
  MaskBudget budget(kLimits);
  budget.BeginStep(false);
  EXPECT_EQ(budget.MostWork(false), 100);
  budget.Spend(99);
  EXPECT_EQ(budget.MostWork(false), 100) << "something is left";
  budget.Spend(100);
  for (int step = 0; step < 5; ++step) {
    EXPECT_FALSE(budget.has_left());
    EXPECT_EQ(budget.MostWork(false), 2);
    EXPECT_EQ(budget.MostWork(true), 0);
    budget.BeginStep(false);
  }
  EXPECT_TRUE(budget.has_left());
}

TEST(MaskBudgetTest, NoMoreThanOneMaskIsSavedUp) {
  MaskBudget budget(kLimits);
  for (int step = 0; step < 100; ++step) budget.BeginStep(false);
  budget.Spend(100);
  EXPECT_FALSE(budget.has_left());
}

TEST(MaskBudgetTest, WhoIsAloneHoldsNobodyUp) {
  MaskBudget budget(kLimits);
  budget.Spend(1'000);
  budget.BeginStep(true);
  EXPECT_TRUE(budget.has_left());
}

}  // namespace
}  // namespace pingti::worker
