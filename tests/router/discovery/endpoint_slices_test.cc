#include "router/discovery/endpoint_slices.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "boost/json.hpp"
#include "common/base/strings.h"

namespace pingti::router {
namespace {

struct EndpointText {
  std::string address;
  std::string conditions = R"("ready":true)";
  std::string more{};
};

boost::json::value SliceOf(const std::string& name, const std::vector<EndpointText>& endpoints,
                           const std::string& type = "IPv4") {
  std::string text;
  for (const EndpointText& endpoint : endpoints) {
    text += Concat(text.empty() ? "" : ",", R"({"addresses":[")", endpoint.address,
                   R"("],"conditions":{)", endpoint.conditions, "}", endpoint.more, "}");
  }
  return boost::json::parse(Concat(R"({"metadata":{"name":")", name, R"("},"addressType":")", type,
                                   R"(","ports":[{"name":"admin","port":9091},)",
                                   R"({"name":"grpc","port":9001}],"endpoints":[)", text, "]}"));
}

// "a:1 b:1*": * marks those of another zone.
std::string Taken(EndpointSlices* slices) {
  std::string text;
  for (const WorkerAddress& worker : slices->Take()) {
    text += Concat(text.empty() ? "" : " ", worker.address, worker.other_zone ? "*" : "");
  }
  return text;
}

TEST(EndpointSlices, TheReadyOnesAreTaken) {
  EndpointSlices slices("grpc", "");
  ASSERT_TRUE(
      slices
          .Put(SliceOf("s", {{"10.0.0.1"},
                             {"10.0.0.2", R"("ready":false)"},
                             {"10.0.0.3", ""},
                             {"10.0.0.4", R"("ready":null)"},
                             {"10.0.0.5", R"("ready":false,"serving":true,"terminating":true)"}}))
          .ok());
  EXPECT_EQ(Taken(&slices), "10.0.0.1:9001 10.0.0.3:9001 10.0.0.4:9001");
}

TEST(EndpointSlices, OneThatEndsStaysUntilItIsGone) {
  EndpointSlices slices("grpc", "");
  const auto put = [&](const std::string& conditions) {
    ASSERT_TRUE(slices.Put(SliceOf("s", {{"10.0.0.1", conditions}})).ok());
  };
  put(R"("ready":true,"serving":true,"terminating":false)");
  EXPECT_EQ(Taken(&slices), "10.0.0.1:9001");
  put(R"("ready":false,"serving":true,"terminating":true)");
  EXPECT_EQ(Taken(&slices), "10.0.0.1:9001");
  put(R"("ready":false,"serving":false,"terminating":true)");
  EXPECT_EQ(Taken(&slices), "10.0.0.1:9001") << "it drains: its sequences still run";
  put(R"("ready":false,"serving":false,"terminating":false)");
  EXPECT_EQ(Taken(&slices), "") << "it is alive and says that it does not serve";
  put(R"("ready":false,"serving":true,"terminating":true)");
  EXPECT_EQ(Taken(&slices), "") << "nothing begins at one that ends";
}

TEST(EndpointSlices, ManySlicesAreOneService) {
  EndpointSlices slices("9001", "");
  ASSERT_TRUE(slices.Put(SliceOf("a", {{"10.0.0.1"}, {"10.0.0.2"}})).ok());
  ASSERT_TRUE(slices.Put(SliceOf("b", {{"10.0.0.3"}})).ok());
  EXPECT_EQ(Taken(&slices), "10.0.0.1:9001 10.0.0.2:9001 10.0.0.3:9001");
  // An endpoint on its way from one slice to the other stands in both, then in the other.
  ASSERT_TRUE(slices.Put(SliceOf("b", {{"10.0.0.3"}, {"10.0.0.2"}})).ok());
  EXPECT_EQ(Taken(&slices), "10.0.0.1:9001 10.0.0.2:9001 10.0.0.3:9001");
  ASSERT_TRUE(slices.Put(SliceOf("a", {{"10.0.0.1"}})).ok());
  EXPECT_EQ(Taken(&slices), "10.0.0.1:9001 10.0.0.2:9001 10.0.0.3:9001");
  ASSERT_TRUE(slices.Remove(SliceOf("b", {})).ok());
  EXPECT_EQ(Taken(&slices), "10.0.0.1:9001");
  slices.Clear();
  EXPECT_EQ(Taken(&slices), "");
}

TEST(EndpointSlices, APodWithTwoAddressesIsOneWorker) {
  EndpointSlices slices("grpc", "");
  const std::string uid = R"(,"targetRef":{"kind":"Pod","uid":"u1"})";
  ASSERT_TRUE(slices.Put(SliceOf("six", {{"fd00::1", R"("ready":true)", uid}}, "IPv6")).ok());
  EXPECT_EQ(Taken(&slices), "[fd00::1]:9001");
  ASSERT_TRUE(slices.Put(SliceOf("four", {{"10.0.0.1", R"("ready":true)", uid}})).ok());
  EXPECT_EQ(Taken(&slices), "10.0.0.1:9001");
}

TEST(EndpointSlices, TheZoneIsToldFromHintsOrTheNode) {
  EndpointSlices slices("grpc", "eu-1");
  ASSERT_TRUE(slices
                  .Put(SliceOf(
                      "s", {{"1", "", R"(,"zone":"eu-1")"},
                            {"2", "", R"(,"zone":"eu-2")"},
                            {"3"},
                            {"4", "", R"(,"zone":"eu-2","hints":{"forZones":[{"name":"eu-1"}]})"},
                            {"5", "", R"(,"zone":"eu-1","hints":{"forZones":[{"name":"eu-2"}]})"}}))
                  .ok());
  EXPECT_EQ(Taken(&slices), "1:9001 2:9001* 3:9001 4:9001 5:9001*");
  EndpointSlices without_zone("grpc", "");
  ASSERT_TRUE(without_zone.Put(SliceOf("s", {{"2", "", R"(,"zone":"eu-2")"}})).ok());
  EXPECT_EQ(Taken(&without_zone), "2:9001");
}

TEST(EndpointSlices, APortIsFoundByName) {
  EndpointSlices slices("none", "");
  ASSERT_TRUE(slices.Put(SliceOf("s", {{"10.0.0.1"}})).ok());
  EXPECT_EQ(Taken(&slices), "") << "the slice has no such port";
  EndpointSlices admin("admin", "");
  ASSERT_TRUE(admin.Put(SliceOf("s", {{"10.0.0.1"}})).ok());
  EXPECT_EQ(Taken(&admin), "10.0.0.1:9091");
}

TEST(EndpointSlices, AnAddressOrAPortThatIsNoneIsNotTaken) {
  EndpointSlices slices("grpc", "");
  EXPECT_TRUE(absl::IsInvalidArgument(slices.Put(SliceOf("s", {{"10.0.0.1"}, {""}}))));
  EXPECT_EQ(Taken(&slices), "");
  for (const auto& [port, taken] :
       {std::pair<int, std::string>{0, ""}, {-1, ""}, {65536, ""}, {65535, "10.0.0.1:65535"}}) {
    ASSERT_TRUE(slices
                    .Put(boost::json::parse(Concat(
                        R"({"metadata":{"name":"s"},"addressType":"IPv4","ports":[{"name":"grpc",)",
                        R"("port":)", port, R"(}],"endpoints":[{"addresses":["10.0.0.1"]}]})")))
                    .ok());
    EXPECT_EQ(Taken(&slices), taken);
  }
}

TEST(EndpointSlices, WhatIsNoSliceIsRefusedAndChangesNothing) {
  EndpointSlices slices("9001", "");
  ASSERT_TRUE(slices.Put(SliceOf("s", {{"10.0.0.1"}})).ok());
  for (const char* text : {"1", "{}", R"({"metadata":{}})", R"({"metadata":{"name":7}})",
                           R"({"metadata":{"name":"s"},"endpoints":[1]})",
                           R"({"metadata":{"name":"s"},"endpoints":[{"addresses":[7]}]})"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(slices.Put(boost::json::parse(text)))) << text;
  }
  EXPECT_EQ(Taken(&slices), "10.0.0.1:9001");
  // Absent and null lists are empty ones.
  ASSERT_TRUE(slices.Put(boost::json::parse(R"({"metadata":{"name":"s"},"endpoints":null})")).ok());
  EXPECT_EQ(Taken(&slices), "");
}

}  // namespace
}  // namespace pingti::router
