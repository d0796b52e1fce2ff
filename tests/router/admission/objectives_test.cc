#include "router/admission/objectives.h"

#include <gtest/gtest.h>

namespace pingti::router {
namespace {

using std::chrono::milliseconds;

TEST(ParseObjectives, AClassHasATime) {
  const auto objectives = ParseObjectives({"interactive=1.5s", "batch=2m"});
  ASSERT_TRUE(objectives.ok()) << objectives.status();
  EXPECT_EQ(*objectives, (FirstTokenObjectives{{"batch", milliseconds(120'000)},
                                               {"interactive", milliseconds(1500)}}));
  EXPECT_TRUE(ParseObjectives({})->empty());
}

TEST(ParseObjectives, WhatIsNoneIsRefusedByName) {
  for (const char* text : {"", "interactive", "=2s", "interactive=", "interactive=soon",
                           "interactive=0s", "interactive=-1s"}) {
    const absl::Status status = ParseObjectives({"other=1s", text}).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
    EXPECT_NE(status.message().find(text), absl::string_view::npos) << status;
  }
  EXPECT_TRUE(absl::IsInvalidArgument(ParseObjectives({"a=1s", "a=1s"}).status()));
}

}  // namespace
}  // namespace pingti::router
