#include "router/api/client_ids.h"

#include <gtest/gtest.h>

#include <string>

namespace pingti::router {
namespace {

TEST(ClientIds, WellFormedOnesAreTakenUp) {
  const std::string parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  const ClientIds ids = ReadClientIds("trace:7/a_b-c.d=+@~", parent);
  EXPECT_EQ(ids.request_id, "trace:7/a_b-c.d=+@~");
  EXPECT_EQ(ids.trace_parent, parent);
  EXPECT_EQ(ReadClientIds(std::string(128, 'a'), "").request_id, std::string(128, 'a'));
}

TEST(ClientIds, WhatCouldNotStandInALogLineOrAHeaderIsLeftOut) {
  for (const std::string& bad : {std::string(), std::string(129, 'a'), std::string("a b"),
                                 std::string("a\"b"), std::string("a\r\nx: y"), std::string("ü")}) {
    EXPECT_EQ(ReadClientIds(bad, "").request_id, "") << bad;
  }
}

TEST(ClientIds, MalformedTraceParentsAreLeftOut) {
  for (const char* bad : {"", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
                          "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                          "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
                          "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                          "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
                          "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x",
                          "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01"}) {
    EXPECT_EQ(ReadClientIds("", bad).trace_parent, "") << bad;
  }
}

}  // namespace
}  // namespace pingti::router
