#include "router/grpc/wire_check.h"

#include <gmock/gmock.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "proto/pingti/v1/inference.pb.h"

namespace pingti::router {
namespace {

using ::testing::HasSubstr;

absl::Status Check(const std::string& bytes) {
  google::protobuf::io::ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()));
  return CheckWire(*v1::ChatRequest::descriptor(), &stream);
}

std::string Repeated(const std::string& piece, size_t count) {
  std::string all;
  for (size_t i = 0; i < count; ++i) all += piece;
  return all;
}

v1::ChatRequest FullRequest() {
  v1::ChatRequest chat;
  chat.set_model("m");
  for (int i = 0; i < 3; ++i) {
    v1::Message* message = chat.add_messages();
    message->set_role("assistant");
    message->set_content(std::string(1'000, 'x'));
    message->add_tool_calls()->set_arguments_json("{}");
  }
  chat.mutable_params()->set_temperature(0.5f);
  chat.mutable_params()->set_seed(~0ull);
  chat.mutable_params()->set_priority(-1);
  for (int i = 0; i < 100; ++i) (*chat.mutable_params()->mutable_logit_bias())[i] = 1;
  for (int i = 0; i < 100; ++i) chat.mutable_params()->add_stop_token_ids(i * 1'000);
  chat.mutable_params()->mutable_response_format()->set_json_schema("{}");
  return chat;
}

TEST(WireCheckTest, WhatAClientWritesPasses) {
  EXPECT_TRUE(Check("").ok());
  EXPECT_TRUE(Check(FullRequest().SerializeAsString()).ok());
}

TEST(WireCheckTest, FieldsAreCountedAtEveryDepth) {
  const std::string empty_message("\x12\x00", 2);
  EXPECT_TRUE(Check(Repeated(empty_message, kMaxWireFields)).ok());
  EXPECT_THAT(std::string(Check(Repeated(empty_message, kMaxWireFields + 1)).message()),
              HasSubstr("pingti.v1.ChatRequest.messages"));
  v1::ChatRequest chat;
  *chat.add_messages()->mutable_role() = "user";
  for (size_t i = 0; i < kMaxWireFields; ++i) chat.mutable_messages(0)->add_tool_calls();
  EXPECT_THAT(std::string(Check(chat.SerializeAsString()).message()),
              HasSubstr("pingti.v1.Message.tool_calls"));
  // Field 1000, a number.
  EXPECT_THAT(std::string(Check(Repeated("\xc0\x3e\x01", kMaxWireFields + 1)).message()),
              HasSubstr("unknown fields of pingti.v1.ChatRequest"));
}

TEST(WireCheckTest, APackedListIsOneField) {
  v1::CompleteRequest complete;
  for (size_t i = 0; i < kMaxWireFields + 1; ++i) complete.mutable_token_ids()->add_ids(7);
  const std::string bytes = complete.SerializeAsString();
  google::protobuf::io::ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()));
  EXPECT_TRUE(CheckWire(*v1::CompleteRequest::descriptor(), &stream).ok());
}

TEST(WireCheckTest, GroupsAreNoPartOfTheApi) {
  EXPECT_THAT(std::string(Check("\x0b\x0c").message()),
              HasSubstr("the bytes are no pingti.v1.ChatRequest"));
}

TEST(WireCheckTest, WhatPassesTakesNoMoreThanItsFieldsMay) {
  // The part with the largest object, as often as it may stand there.
  const std::string bytes = Repeated(std::string("\x12\x00", 2), kMaxWireFields);
  v1::ChatRequest parsed;
  ASSERT_TRUE(parsed.ParseFromString(bytes));
  EXPECT_LT(parsed.SpaceUsedLong(), 200 * kMaxWireFields);
}

// Nothing that protobuf would parse into more fields than are allowed may pass.
size_t CountFields(const google::protobuf::Message& message) {
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  reflection.ListFields(message, &fields);
  size_t count = static_cast<size_t>(reflection.GetUnknownFields(message).field_count());
  for (const auto* field : fields) {
    const int size = field->is_repeated() ? reflection.FieldSize(message, field) : 1;
    if (!field->is_packed()) count += static_cast<size_t>(size);
    if (field->message_type() == nullptr) continue;
    for (int i = 0; i < size; ++i) {
      count += CountFields(field->is_repeated() ? reflection.GetRepeatedMessage(message, field, i)
                                                : reflection.GetMessage(message, field));
    }
  }
  return count;
}

TEST(WireCheckTest, DamagedBytesPassOnlyWithinTheLimit) {
  std::mt19937 random(7);
  v1::ChatRequest many = FullRequest();
  for (size_t i = 0; i < kMaxWireFields - 10; ++i) many.add_tools();
  const std::string legal = many.SerializeAsString();
  for (int round = 0; round < 200; ++round) {
    std::string bytes = legal;
    for (int i = 0; i < 4; ++i) bytes[random() % 4'000] = static_cast<char>(random());
    v1::ChatRequest parsed;
    if (Check(bytes).ok() && parsed.ParseFromString(bytes)) {
      EXPECT_LE(CountFields(parsed), kMaxWireFields);
    }
  }
}

}  // namespace
}  // namespace pingti::router
