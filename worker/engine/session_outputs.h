// The outputs of a step, by session: collected while results are taken, handed to each session's
// sink at the step's end.
//
// Owns the sinks. The memory of outputs is reused from step to step. Confined to the engine thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "worker/engine/request.h"
#include "worker/engine/request_group.h"

namespace pingti::worker {

using SessionId = uint64_t;

class SessionOutputs {
 public:
  // `id` is unique for the process's life.
  void Open(SessionId id, std::unique_ptr<SessionSink> sink);
  // Drops the session's outputs without a word. An unknown id is fine.
  void Close(SessionId id);

  // Notes that a request has come. REQUIRES here and below: the session is open.
  void Accept(SessionId id, uint64_t sequence_id);

  // Where what a sample got in this step goes; as sample `sample_index` to the client. The same
  // output as in the call before if that was for the same sample, which must not have ended. A
  // sample's first output says what was cached, and brings the prompt's log-probabilities.
  SequenceOutput* For(RequestGroup* group, Sample* sample, int32_t sample_index);
  // An empty output of its own, for what never became a request.
  SequenceOutput* Add(SessionId id, uint64_t sequence_id);

  // Gives the sinks what came since the last time.
  void Publish(uint64_t step);

 private:
  struct Session {
    std::unique_ptr<SessionSink> sink;
    // outputs[0, num_outputs) belong to this step; the rest keeps its memory.
    std::vector<SequenceOutput> outputs;
    size_t num_outputs = 0;
    uint64_t highest_sequence_id = 0;
    bool accepted_any = false;  // since the last publication
  };

  static SequenceOutput* Add(Session* session, uint64_t sequence_id);

  std::unordered_map<SessionId, Session> sessions_;
};

}  // namespace pingti::worker
