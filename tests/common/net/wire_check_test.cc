#include "common/net/wire_check.h"

#include <gmock/gmock.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/stubs/logging.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "proto/pingti/v1/inference.pb.h"
#include "proto/pingti/worker/v1/worker.pb.h"

namespace pingti::net {
namespace {

using ::testing::HasSubstr;

template <typename Message = v1::ChatRequest>
absl::Status Check(const std::string& bytes) {
  google::protobuf::io::ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()));
  return CheckWire(*Message::descriptor(), bytes.size(), &stream);
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
  v1::ChatRequest chat = FullRequest();
  EXPECT_TRUE(Check(chat.SerializeAsString()).ok());
  for (int i = 0; i < 16'384; ++i) *chat.add_messages() = chat.messages(0);
  EXPECT_TRUE(Check(chat.SerializeAsString()).ok());
}

TEST(WireCheckTest, EveryPartCountsAtEveryDepth) {
  EXPECT_THAT(std::string(Check(Repeated(std::string("\x12\x00", 2), 1'000'000)).message()),
              HasSubstr("too many values, at pingti.v1.ChatRequest.messages"));
  v1::ChatRequest chat;
  v1::Message* message = chat.add_messages();
  for (int i = 0; i < 1'000'000; ++i) message->add_tool_calls();
  EXPECT_THAT(std::string(Check(chat.SerializeAsString()).message()),
              HasSubstr("at pingti.v1.Message.tool_calls"));
  // Field 1000, a number.
  EXPECT_THAT(std::string(Check(Repeated("\xc0\x3e\x01", 4'000'000)).message()),
              HasSubstr("an unknown field of pingti.v1.ChatRequest"));
}

TEST(WireCheckTest, APackedListCostsItsBytes) {
  v1::CompleteRequest complete;
  for (int i = 0; i < 4'000'000; ++i) complete.mutable_token_ids()->add_ids(7);
  EXPECT_TRUE(Check<v1::CompleteRequest>(complete.SerializeAsString()).ok());
}

TEST(WireCheckTest, GroupsAndOtherBytesAreRefused) {
  EXPECT_THAT(std::string(Check("\x0b\x0c").message()),
              HasSubstr("the bytes are no pingti.v1.ChatRequest"));
  EXPECT_FALSE(Check("\xff\xff\xff").ok());
}

// As many parts of each kind as pass, in what they really take.
template <typename Message>
void ExpectWithinTheLimit(const std::string& part) {
  size_t count = 1'000;
  while (Check<Message>(Repeated(part, count * 5 / 4)).ok()) count = count * 5 / 4;
  const std::string bytes = Repeated(part, count);
  Message parsed;
  ASSERT_TRUE(parsed.ParseFromString(bytes));
  EXPECT_LT(parsed.SpaceUsedLong(), kParsedBytes + kParsedPerByte * bytes.size())
      << part.size() << " bytes of " << Message::descriptor()->name();
}

TEST(WireCheckTest, NothingThatPassesTakesMoreThanItMay) {
  ExpectWithinTheLimit<v1::ChatRequest>(std::string("\x12\x00", 2));          // messages
  ExpectWithinTheLimit<v1::ChatRequest>(std::string("\x22\x00", 2));          // tools
  ExpectWithinTheLimit<v1::ChatRequest>(std::string("\x12\x02\x2a\x00", 4));  // tool_calls
  ExpectWithinTheLimit<v1::ChatRequest>(std::string("\x12\x02\x12\x00", 4));  // empty contents
  ExpectWithinTheLimit<v1::GenerationParams>(std::string("\x5a\x00", 2));     // stop
  ExpectWithinTheLimit<v1::GenerationParams>(std::string("\x5a\x01x", 3));
  ExpectWithinTheLimit<v1::GenerationParams>(std::string("\x60\x07", 2));     // ids, one by one
  ExpectWithinTheLimit<v1::ChatRequest>("\xc0\x3e\x01");                      // unknown
  ExpectWithinTheLimit<v1::ChatRequest>(std::string("\xc2\x3e\x00", 3));      // unknown text
  ExpectWithinTheLimit<worker::v1::SubmitBatch>(std::string("\x0a\x00", 2));  // sequences
  ExpectWithinTheLimit<worker::v1::StepOutput>(std::string("\x12\x00", 2));   // outputs
  ExpectWithinTheLimit<worker::v1::KvEvents>(std::string("\x12\x00", 2));
  ExpectWithinTheLimit<worker::v1::TokenLogprobs>(std::string("\x12\x00", 2));
}

// What is parsed without a walk would pass it: of each type of part, as many empty ones as fit.
TEST(WireCheckTest, NoSmallMessageTakesMoreThanItMay) {
  using google::protobuf::Descriptor;
  const auto check = [](const Descriptor& type) {
    for (int i = 0; i < type.field_count(); ++i) {
      const uint32_t tag = static_cast<uint32_t>(type.field(i)->number()) << 3 | 2;
      std::string part;
      for (uint32_t rest = tag; rest > 0; rest >>= 7) {
        part += static_cast<char>((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
      }
      part += '\0';
      const std::string bytes = Repeated(part, kSmallMessageBytes / part.size());
      google::protobuf::io::ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()));
      const absl::Status status = CheckWire(type, bytes.size(), &stream);
      EXPECT_TRUE(status.ok()) << type.field(i)->full_name() << ": " << status;
    }
  };
  for (const auto* file :
       {v1::ChatRequest::descriptor()->file(), worker::v1::Sequence::descriptor()->file()}) {
    for (int i = 0; i < file->message_type_count(); ++i) check(*file->message_type(i));
  }
}

TEST(WireCheckTest, DamagedBytesAreRefusedOrStayWithinTheLimit) {
  google::protobuf::SetLogHandler(nullptr);  // it would print a line each time
  std::mt19937 random(7);
  const std::string legal = FullRequest().SerializeAsString();
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = legal;
    for (int i = 0; i < 1 + round % 4; ++i) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    bytes.resize(random() % (bytes.size() + 1));
    v1::ChatRequest parsed;
    if (!Check(bytes).ok() || !parsed.ParseFromString(bytes)) continue;
    EXPECT_LT(parsed.SpaceUsedLong(), kParsedBytes + kParsedPerByte * bytes.size());
  }
}

}  // namespace
}  // namespace pingti::net
