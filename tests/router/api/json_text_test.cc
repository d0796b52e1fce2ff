#include "router/api/json_text.h"

#include <gtest/gtest.h>

namespace pingti::router {
namespace {

TEST(JsonString, EscapesWhatJsonNeeds) {
  EXPECT_EQ(JsonString("a\"b\\c\n\t\x01\x7f"), R"("a\"b\\c\n\t\u0001\u007f")");
  EXPECT_EQ(JsonString("Grüße 世界 🦙"), "\"Grüße 世界 🦙\"");
}

TEST(JsonString, ReplacesWhatIsNotUtf8) {
  EXPECT_EQ(JsonString("a\xff"
                       "b"),
            "\"a\xef\xbf\xbd"
            "b\"");
  EXPECT_EQ(JsonString("\xe4\xb8"), "\"\xef\xbf\xbd\"");
}

TEST(TypedEvent, HasItsNameAsTheTypeOfItsData) {
  std::string out;
  BeginTypedEvent("ping", &out);
  EXPECT_EQ(out + "}\n\n", "event: ping\ndata: {\"type\":\"ping\"}\n\n");
}

}  // namespace
}  // namespace pingti::router
