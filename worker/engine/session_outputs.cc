#include "worker/engine/session_outputs.h"

#include <algorithm>
#include <span>
#include <utility>

#include "common/base/check.h"

namespace pingti::worker {

void SessionOutputs::Open(SessionId id, std::unique_ptr<SessionSink> sink) {
  const auto [it, is_new] = sessions_.try_emplace(id);
  PINGTI_CHECK(is_new);
  it->second.sink = std::move(sink);
}

void SessionOutputs::Close(SessionId id) { sessions_.erase(id); }

void SessionOutputs::Accept(SessionId id, uint64_t sequence_id) {
  Session& session = sessions_.at(id);
  session.highest_sequence_id = std::max(session.highest_sequence_id, sequence_id);
  session.accepted_any = true;
}

SequenceOutput* SessionOutputs::For(RequestGroup* group, Sample* sample, int32_t sample_index) {
  Session& session = sessions_.at(group->session);
  // A token and its ending share one output; they follow each other directly.
  if (session.num_outputs > 0) {
    SequenceOutput& last = session.outputs[session.num_outputs - 1];
    if (last.sequence_id == group->request.sequence_id && last.sample_index == sample_index &&
        !last.finish) {
      return &last;
    }
  }
  SequenceOutput* output = Add(&session, group->request.sequence_id);
  output->sample_index = sample_index;
  output->interval = group->request.output_interval;
  if (!sample->has_output) {
    sample->has_output = true;
    output->cached_prompt_tokens = std::max(group->cached_prompt_tokens, 0);
    if (sample_index == 0) output->prompt_logprobs = std::move(group->prompt_logprobs);
  }
  return output;
}

SequenceOutput* SessionOutputs::Add(SessionId id, uint64_t sequence_id) {
  return Add(&sessions_.at(id), sequence_id);
}

SequenceOutput* SessionOutputs::Add(Session* session, uint64_t sequence_id) {
  if (session->num_outputs == session->outputs.size()) session->outputs.emplace_back();
  SequenceOutput* output = &session->outputs[session->num_outputs++];
  output->sequence_id = sequence_id;
  output->sample_index = 0;
  output->token_ids.clear();
  output->logprobs.clear();
  output->prompt_logprobs.clear();
  output->finish.reset();
  output->cached_prompt_tokens = 0;
  output->interval = std::chrono::milliseconds(0);
  return output;
}

void SessionOutputs::Publish(uint64_t step) {
  for (auto& [id, session] : sessions_) {
    if (session.accepted_any) session.sink->OnAccepted(session.highest_sequence_id);
    session.accepted_any = false;
    if (session.num_outputs == 0) continue;
    session.sink->OnStep(step, std::span(session.outputs).first(session.num_outputs));
    session.num_outputs = 0;
  }
}

}  // namespace pingti::worker
