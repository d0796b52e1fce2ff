// Order, bounds, deadlines and closing.
#include "common/base/bounded_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "tests/testing/wait_for.h"

namespace pingti {
namespace {

using SteadyClock = std::chrono::steady_clock;

// A wait that fails rather than hangs.
SteadyClock::time_point LongEnough() { return SteadyClock::now() + testing::kPatience; }

TEST(BoundedQueueTest, KeepsOrderAndRefusesWhenFull) {
  BoundedQueue<std::unique_ptr<int>> queue(2);
  EXPECT_TRUE(queue.TryPush(std::make_unique<int>(1)));
  EXPECT_TRUE(queue.TryPush(std::make_unique<int>(2)));
  auto third = std::make_unique<int>(3);
  EXPECT_FALSE(queue.TryPush(std::move(third)));
  EXPECT_NE(third, nullptr) << "a refused item stays with the caller";
  EXPECT_EQ(queue.size(), 2u);
  EXPECT_EQ(**queue.Pop(), 1);
  EXPECT_EQ(**queue.Pop(), 2);
  EXPECT_FALSE(queue.Pop(SteadyClock::now()).has_value());
}

TEST(BoundedQueueTest, WaitsEndAtTheirDeadline) {
  BoundedQueue<int> queue(1);
  const auto past = SteadyClock::now();
  EXPECT_FALSE(queue.Pop(past).has_value());
  EXPECT_FALSE(queue.Pop(past + std::chrono::milliseconds(5)).has_value());
  EXPECT_TRUE(queue.Push(1, past)) << "room needs no wait";
  EXPECT_FALSE(queue.Push(2, SteadyClock::now() + std::chrono::milliseconds(5)));
  EXPECT_EQ(*queue.Pop(past), 1) << "an item that is there needs no wait";
}

TEST(BoundedQueueTest, PushWaitsForRoom) {
  BoundedQueue<int> queue(1);
  ASSERT_TRUE(queue.TryPush(1));
  std::thread producer([&] { EXPECT_TRUE(queue.Push(2, LongEnough())); });
  EXPECT_EQ(*queue.Pop(LongEnough()), 1);
  EXPECT_EQ(*queue.Pop(LongEnough()), 2);
  producer.join();
}

TEST(BoundedQueueTest, CloseLetsConsumersDrainAndWakesEverybody) {
  BoundedQueue<int> queue(1);
  ASSERT_TRUE(queue.TryPush(1));
  std::thread producer([&] { EXPECT_FALSE(queue.Push(2, LongEnough())); });
  queue.Close();
  producer.join();
  EXPECT_TRUE(queue.closed());
  EXPECT_FALSE(queue.TryPush(3));
  EXPECT_EQ(*queue.Pop(LongEnough()), 1);
  EXPECT_FALSE(queue.Pop(LongEnough()).has_value());

  BoundedQueue<int> empty(1);
  std::thread consumer([&] { EXPECT_FALSE(empty.Pop(LongEnough()).has_value()); });
  empty.Close();
  consumer.join();
}

TEST(BoundedQueueTest, EveryItemArrivesOnceAmongManyThreads) {
  constexpr int kThreads = 3;
  constexpr int kItems = 2000;
  BoundedQueue<int> queue(7);
  std::vector<std::atomic<int>> seen(kThreads * kItems);
  std::vector<std::thread> producers, consumers;
  for (int t = 0; t < kThreads; ++t) {
    producers.emplace_back([&, t] {
      for (int i = 0; i < kItems; ++i) {
        ASSERT_TRUE(queue.Push(t * kItems + i, LongEnough()));
      }
    });
    consumers.emplace_back([&] {
      while (const auto item = queue.Pop(LongEnough())) ++seen[static_cast<size_t>(*item)];
    });
  }
  for (std::thread& producer : producers) producer.join();
  queue.Close();
  for (std::thread& consumer : consumers) consumer.join();
  for (const auto& count : seen) EXPECT_EQ(count, 1);
}

}  // namespace
}  // namespace pingti
