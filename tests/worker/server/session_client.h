// One router's end of a session with a worker server, for tests.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "common/base/strings.h"
#include "proto/pingti/worker/v1/worker.grpc.pb.h"
#include "tests/testing/wait_for.h"

namespace pingti::worker {

using pingti::testing::kPatience;

// Blocks in reads, for at most kPatience over its life.
class Client {
 public:
  explicit Client(uint16_t port)
      : stub_(v1::Worker::NewStub(
            grpc::CreateChannel(Concat("127.0.0.1:", port), grpc::InsecureChannelCredentials()))) {
    context_.set_deadline(std::chrono::system_clock::now() + kPatience);
    stream_ = stub_->Session(&context_);
  }
  ~Client() {
    context_.TryCancel();
    if (!finished_) Finish();
  }

  // Reads what is left and returns how the session ended.
  grpc::Status Finish() {
    v1::SessionResponse rest;
    while (stream_->Read(&rest)) {
    }
    finished_ = true;
    return stream_->Finish();
  }

  v1::Worker::Stub* stub() { return stub_.get(); }
  grpc::ClientReaderWriter<v1::SessionRequest, v1::SessionResponse>* stream() {
    return stream_.get();
  }

  void Hello(uint32_t output_credit = 0, uint32_t version = 1) {
    v1::SessionRequest request;
    request.mutable_hello()->set_protocol_version(version);
    request.mutable_hello()->set_router_id("test");
    request.mutable_hello()->set_initial_output_credit(output_credit);
    stream_->Write(request);
  }
  void Submit(uint64_t id, std::vector<uint32_t> prompt, uint32_t max_tokens,
              uint32_t output_interval_ms = 0) {
    v1::SessionRequest request;
    v1::Sequence* sequence = request.mutable_submit()->add_sequences();
    sequence->set_sequence_id(id);
    sequence->mutable_prompt_token_ids()->Add(prompt.begin(), prompt.end());
    sequence->mutable_stop()->set_max_tokens(max_tokens);
    sequence->mutable_stop()->set_ignore_eos(true);
    sequence->set_output_interval_ms(output_interval_ms);
    stream_->Write(request);
  }
  // Reads until `done`; collects outputs. False when the stream ended first.
  bool ReadUntil(const std::function<bool(const v1::SessionResponse&)>& done) {
    v1::SessionResponse response;
    while (stream_->Read(&response)) {
      for (const auto& output : response.step_output().outputs()) {
        auto& tokens = tokens_[output.sequence_id()];
        tokens.insert(tokens.end(), output.token_ids().begin(), output.token_ids().end());
        if (output.has_finish()) finishes_[output.sequence_id()] = output.finish();
      }
      num_step_outputs_ += response.has_step_output() ? 1 : 0;
      if (done(response)) return true;
    }
    return false;
  }
  bool ReadUntilFinished(size_t count) {
    return ReadUntil([&](const auto&) { return finishes_.size() >= count; });
  }

  grpc::ClientContext context_;
  std::unique_ptr<v1::Worker::Stub> stub_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::SessionRequest, v1::SessionResponse>> stream_;
  std::map<uint64_t, std::vector<uint32_t>> tokens_;
  std::map<uint64_t, v1::Finish> finishes_;
  int num_step_outputs_ = 0;
  bool finished_ = false;
};

}  // namespace pingti::worker
