#include "router/grpc/read_turns.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "tests/testing/fake_clock.h"

namespace pingti::router {
namespace {

using std::chrono::milliseconds;

struct Call : ReadTurns::Reader {
  void OnTurn() override { ++turns; }
  void OnOverdue() override { ++overdue; }
  int turns = 0;
  int overdue = 0;
};

class ReadTurnsTest : public ::testing::Test {
 protected:
  testing::FakeClock clock_;
  ReadTurns turns_{{.in_all = 4, .per_connection = 2}, &clock_};
};

TEST_F(ReadTurnsTest, AConnectionWaitsForItsOwnCalls) {
  Call a[3];
  Call b;
  for (Call& call : a) turns_.Enter(&call, "a");
  turns_.Enter(&b, "b");
  EXPECT_EQ(a[0].turns + a[1].turns, 2);
  EXPECT_EQ(a[2].turns, 0);
  EXPECT_EQ(b.turns, 1);
  EXPECT_FALSE(turns_.Leave(&a[1]));
  EXPECT_EQ(a[2].turns, 1);
}

TEST_F(ReadTurnsTest, ConnectionsTakeTurnsHoweverManyCallsOneHas) {
  Call a[6];
  Call b[6];
  Call late;
  for (Call& call : a) turns_.Enter(&call, "a");
  for (Call& call : b) turns_.Enter(&call, "b");
  turns_.Enter(&late, "late");
  EXPECT_EQ(late.turns, 0);
  turns_.Leave(&a[0]);
  EXPECT_EQ(late.turns, 1);
}

TEST_F(ReadTurnsTest, AMessageThatDoesNotComeGivesWayToOthers) {
  Call slow[4];
  Call other;
  for (int i = 0; i < 4; ++i) turns_.Enter(&slow[i], i < 2 ? "a" : "b");
  clock_.Advance(milliseconds(30'000));
  turns_.Tick();
  EXPECT_EQ(slow[0].overdue, 0) << "nobody waits";
  turns_.Enter(&other, "c");
  turns_.Tick();
  turns_.Tick();
  EXPECT_EQ(slow[0].overdue, 1);
  EXPECT_EQ(slow[1].overdue, 0) << "one place is enough";
  turns_.Leave(&slow[0]);
  EXPECT_EQ(other.turns, 1);
}

TEST_F(ReadTurnsTest, NoMessageTakesForEver) {
  Call slow;
  turns_.Enter(&slow, "a");
  clock_.Advance(milliseconds(60'000));
  turns_.Tick();
  turns_.Tick();
  EXPECT_EQ(slow.overdue, 1);
}

TEST_F(ReadTurnsTest, WhoLeavesBeforeItsTurnIsForgotten) {
  Call reading[2];
  Call waiting;
  for (Call& call : reading) turns_.Enter(&call, "a");
  turns_.Enter(&waiting, "a");
  EXPECT_TRUE(turns_.Leave(&waiting));
  EXPECT_FALSE(turns_.Leave(&waiting));
  for (Call& call : reading) EXPECT_FALSE(turns_.Leave(&call));
  EXPECT_EQ(waiting.turns, 0);
}

TEST_F(ReadTurnsTest, AnyOrderOfEventsKeepsTheLimitsAndForgetsNobody) {
  std::mt19937 random(5);
  std::vector<std::unique_ptr<Call>> calls;
  std::vector<int> connection_of;
  std::set<size_t> inside;
  for (int round = 0; round < 5'000; ++round) {
    if (random() % 2 == 0 || inside.empty()) {
      inside.insert(calls.size());
      calls.push_back(std::make_unique<Call>());
      connection_of.push_back(static_cast<int>(random() % 5));
      turns_.Enter(calls.back().get(), std::to_string(connection_of.back()));
    } else {
      const auto it = std::next(inside.begin(), random() % inside.size());
      const bool had_turn = calls[*it]->turns == 1;
      EXPECT_EQ(turns_.Leave(calls[*it].get()), !had_turn);
      inside.erase(it);
    }
    int reading = 0;
    int reading_of[5] = {};
    bool may_read[5] = {};
    for (const size_t i : inside) {
      reading += calls[i]->turns;
      reading_of[connection_of[i]] += calls[i]->turns;
      may_read[connection_of[i]] |= calls[i]->turns == 0;
    }
    EXPECT_LE(reading, 4);
    for (int i = 0; i < 5; ++i) {
      EXPECT_LE(reading_of[i], 2);
      EXPECT_FALSE(may_read[i] && reading_of[i] < 2 && reading < 4);
    }
  }
  for (const size_t i : inside) turns_.Leave(calls[i].get());
}

}  // namespace
}  // namespace pingti::router
