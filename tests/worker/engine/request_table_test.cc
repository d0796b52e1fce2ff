// Requests by session and id.
#include "worker/engine/request_table.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/worker/engine/engine_testing.h"

namespace pingti::worker {
namespace {

std::unique_ptr<RequestGroup> Make(uint64_t session, uint64_t id) {
  RequestLimits limits;
  limits.vocab_size = 64;
  limits.max_context_tokens = 100;
  return std::make_unique<RequestGroup>(MakeRequest(id, {5, 6}, 4), session, id, limits, 4);
}

TEST(RequestTable, TheSameIdInTwoSessionsIsTwoRequests) {
  RequestTable table;
  table.OpenSession(1);
  table.OpenSession(2);
  RequestGroup* a = table.Add(Make(1, 9));
  RequestGroup* b = table.Add(Make(2, 9));
  EXPECT_EQ(table.Find(1, 9), a);
  EXPECT_EQ(table.Find(2, 9), b);
  EXPECT_EQ(table.Find(1, 8), nullptr);
  EXPECT_EQ(table.Find(3, 9), nullptr);
  table.Erase(a);
  EXPECT_EQ(table.Find(1, 9), nullptr);
  EXPECT_EQ(table.size(), 1u);
}

TEST(RequestTable, AClosedSessionTakesItsRequestsWithIt) {
  RequestTable table;
  table.OpenSession(1);
  table.OpenSession(2);
  for (uint64_t id = 1; id <= 3; ++id) table.Add(Make(1, id));
  table.Add(Make(2, 4));
  std::set<uint64_t> seen;
  table.ForEachOf(1, [&](RequestGroup* group) { seen.insert(group->request.sequence_id); });
  EXPECT_EQ(seen, (std::set<uint64_t>{1, 2, 3}));
  table.CloseSession(1);
  EXPECT_FALSE(table.has_session(1));
  EXPECT_EQ(table.size(), 1u);
  seen.clear();
  table.ForEach([&](RequestGroup* group) { seen.insert(group->request.sequence_id); });
  EXPECT_EQ(seen, std::set<uint64_t>{4});
}

}  // namespace
}  // namespace pingti::worker
