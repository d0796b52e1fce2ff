#include "router/pipeline/mailbox.h"

#include <gtest/gtest.h>

#include <functional>
#include <thread>
#include <vector>

namespace pingti::router {
namespace {

TEST(Mailbox, HandlesOneEventAtATimeAndLosesNone) {
  Mailbox<int> mailbox;
  int inside = 0;
  int sum = 0;
  const auto handle = [&](int event) {
    EXPECT_EQ(++inside, 1);
    sum += event;
    --inside;
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10'000; ++i) mailbox.Deliver(1, handle);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(sum, 40'000);
}

TEST(Mailbox, AnEventFromInsideWaitsItsTurn) {
  Mailbox<int> mailbox;
  std::vector<int> order;
  std::function<void(int)> handle = [&](int event) {
    if (event == 1) mailbox.Deliver(2, [&](int next) { handle(next); });
    order.push_back(event);
  };
  mailbox.Deliver(1, handle);
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

}  // namespace
}  // namespace pingti::router
