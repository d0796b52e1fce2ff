// See split_output.h.
#include "worker/server/split_output.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

namespace pingti::worker {
namespace {

// The widest encodings of worker.proto's fields, with tags and lengths.
constexpr size_t kOutputBytes = 64;
constexpr size_t kFinishBytes = 96;
constexpr size_t kTokenBytes = 5;
constexpr size_t kLogprobBytes = 12;
constexpr size_t kTopBytes = 16;

size_t BytesOf(const TokenLogprobs& logprobs) {
  return kLogprobBytes + kTopBytes * logprobs.top.size();
}

size_t BytesOf(const std::vector<TokenLogprobs>& all) {
  size_t bytes = 0;
  for (const TokenLogprobs& logprobs : all) bytes += BytesOf(logprobs);
  return bytes;
}

size_t BytesAround(const SequenceOutput& output) {
  if (!output.finish) return kOutputBytes;
  return kOutputBytes + kFinishBytes + output.finish->status.message().size();
}

template <typename T>
void MoveFront(std::vector<T>* from, size_t count, std::vector<T>* to) {
  const auto end = from->begin() + static_cast<ptrdiff_t>(std::min(count, from->size()));
  to->insert(to->end(), std::make_move_iterator(from->begin()), std::make_move_iterator(end));
  from->erase(from->begin(), end);
}

}  // namespace

size_t BytesOnTheWire(const SequenceOutput& output) {
  return BytesAround(output) + kTokenBytes * output.token_ids.size() + BytesOf(output.logprobs) +
         BytesOf(output.prompt_logprobs);
}

bool SplitOff(SequenceOutput* output, size_t bytes, SequenceOutput* part) {
  part->sequence_id = output->sequence_id;
  part->sample_index = output->sample_index;
  part->cached_prompt_tokens = output->cached_prompt_tokens;
  size_t used = BytesAround(*output);
  size_t count = 0;
  const auto fits = [&](size_t more) {
    if (count > 0 && used + more > bytes) return false;
    used += more;
    ++count;
    return true;
  };

  const auto& prompt = output->prompt_logprobs;
  while (count < prompt.size() && fits(BytesOf(prompt[count]))) {
  }
  MoveFront(&output->prompt_logprobs, count, &part->prompt_logprobs);
  if (!output->prompt_logprobs.empty()) return false;

  const size_t before = count;
  while (count - before < output->token_ids.size()) {
    const size_t token = count - before;
    const size_t scores =
        token < output->logprobs.size() ? BytesOf(output->logprobs[token]) : size_t{0};
    if (!fits(kTokenBytes + scores)) break;
  }
  MoveFront(&output->token_ids, count - before, &part->token_ids);
  MoveFront(&output->logprobs, count - before, &part->logprobs);
  if (!output->token_ids.empty()) return false;
  part->finish = std::move(output->finish);
  return true;
}

}  // namespace pingti::worker
