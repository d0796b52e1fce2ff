#include "worker/engine/groups/forked_samples.h"

#include <memory>

namespace pingti::worker {

void ForkSamples(RequestGroup* group, Scheduler* scheduler) {
  Sequence& first = group->samples[0]->sequence;
  const bool queued = first.state != Sequence::State::kIdle;
  first.hold_back = 0;
  group->forked = true;
  for (int32_t i = 1; i < group->request.sampling.best_of; ++i) {
    Sample* sample = group->AddSample();
    sample->sequence.tokens.reserve(first.tokens.capacity());
    sample->sequence.blocks.reserve(first.blocks.capacity());
    sample->sequence.block_hashes.reserve(first.block_hashes.capacity());
    sample->sampling.Reset(&group->sampling, i, group->request.prompt_token_ids, {},
                           group->num_prompt() + group->max_output);
    if (group->samples[0]->grammar != nullptr) {
      sample->grammar = std::make_unique<GrammarState>(*group->samples[0]->grammar);
    }
    scheduler->Fork(first, &sample->sequence);
  }
  if (!queued) scheduler->Add(&first);
}

}  // namespace pingti::worker
