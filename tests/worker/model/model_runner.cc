#include "tests/worker/model/model_runner.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace pingti::worker::testing {

ModelRunner::ModelRunner(Model* model, const RunnerOptions& options)
    : model_(model), options_(options) {
  PINGTI_CHECK(model_
                   ->Allocate(options.num_blocks, options.block_tokens, options.max_batch_tokens,
                              options.max_batch_size)
                   .ok());
  // A fixed stride that shares no factor with a power of two scatters neighbours.
  for (int32_t i = 0; i < options.num_blocks; ++i) {
    free_.push_back(static_cast<int32_t>((int64_t{i} * 37 + 11) % options.num_blocks));
  }
  blocks_.resize(static_cast<size_t>(options.max_batch_size));
  lengths_.resize(static_cast<size_t>(options.max_batch_size));
}

int32_t ModelRunner::TakeBlock() {
  PINGTI_CHECK(!free_.empty());
  const int32_t block = free_.back();
  free_.pop_back();
  return block;
}

void ModelRunner::Adopt(int32_t s, int32_t length) {
  const auto i = static_cast<size_t>(s);
  PINGTI_CHECK(lengths_[i] == 0);
  lengths_[i] = length;
  while (static_cast<int32_t>(blocks_[i].size()) * options_.block_tokens < length) {
    blocks_[i].push_back(TakeBlock());
  }
}

absl::StatusOr<std::vector<int32_t>> ModelRunner::Step(
    const std::vector<std::vector<int32_t>>& tokens) {
  std::vector<int32_t> ids, positions, start{0}, context, logit_tokens, owners;
  size_t width = 1;
  for (size_t s = 0; s < tokens.size(); ++s) {
    if (tokens[s].empty()) continue;
    for (int32_t id : tokens[s]) {
      ids.push_back(id);
      positions.push_back(lengths_[s]++);
    }
    while (static_cast<int32_t>(blocks_[s].size()) * options_.block_tokens < lengths_[s]) {
      blocks_[s].push_back(TakeBlock());
    }
    width = std::max(width, blocks_[s].size());
    start.push_back(static_cast<int32_t>(ids.size()));
    context.push_back(lengths_[s]);
    logit_tokens.push_back(static_cast<int32_t>(ids.size()) - 1);
    owners.push_back(static_cast<int32_t>(s));
  }
  std::vector<int32_t> table(owners.size() * width, -1);
  for (size_t row = 0; row < owners.size(); ++row) {
    const std::vector<int32_t>& blocks = blocks_[static_cast<size_t>(owners[row])];
    std::copy(blocks.begin(), blocks.end(), table.begin() + static_cast<int64_t>(row * width));
  }
  std::vector<int32_t> adapter_slots;
  if (!options_.adapter_slots.empty()) {
    for (const int32_t s : owners) {
      const auto i = static_cast<size_t>(s);
      adapter_slots.push_back(i < options_.adapter_slots.size() ? options_.adapter_slots[i]
                                                                : kNoAdapterSlot);
    }
  }
  ForwardBatch batch{ids,          positions,
                     start,        context,
                     table,        static_cast<int32_t>(width),
                     logit_tokens, options_.highest_only,
                     adapter_slots};
  PINGTI_RETURN_IF_ERROR(model_->Forward(batch, {}));
  std::vector<SamplingRow> rows(owners.size());
  for (SamplingRow& row : rows) row.temperature = 0.0f;
  std::vector<SampledToken> sampled(owners.size());
  PINGTI_RETURN_IF_ERROR(model_->Sample(rows, sampled));
  std::vector<int32_t> next(tokens.size(), -1);
  for (size_t row = 0; row < owners.size(); ++row) {
    next[static_cast<size_t>(owners[row])] = sampled[row].token_id;
  }
  return next;
}

absl::StatusOr<std::vector<float>> ModelRunner::AllLogprobs(int32_t row) {
  std::vector<LogprobRequest> requests;
  requests.reserve(static_cast<size_t>(model_->vocab_size()));
  for (int32_t token = 0; token < model_->vocab_size(); ++token)
    requests.push_back({row, token, 0});
  std::vector<SampledToken> results(requests.size());
  PINGTI_RETURN_IF_ERROR(model_->Logprobs(requests, results));
  std::vector<float> logprobs;
  logprobs.reserve(results.size());
  for (const SampledToken& result : results) logprobs.push_back(result.logprob);
  return logprobs;
}

absl::StatusOr<std::vector<int32_t>> ModelRunner::Greedy(int32_t s,
                                                         const std::vector<int32_t>& prompt,
                                                         int32_t num_tokens, int32_t chunk) {
  std::vector<std::vector<int32_t>> tokens(static_cast<size_t>(s) + 1);
  std::vector<int32_t>& own = tokens.back();
  std::vector<int32_t> next;
  for (size_t begin = 0; begin < prompt.size(); begin += static_cast<size_t>(chunk)) {
    const size_t end = std::min(prompt.size(), begin + static_cast<size_t>(chunk));
    own.assign(prompt.begin() + static_cast<int64_t>(begin),
               prompt.begin() + static_cast<int64_t>(end));
    PINGTI_ASSIGN_OR_RETURN(next, Step(tokens));
  }
  std::vector<int32_t> output{next.back()};
  while (static_cast<int32_t>(output.size()) < num_tokens) {
    own = {output.back()};
    PINGTI_ASSIGN_OR_RETURN(next, Step(tokens));
    output.push_back(next.back());
  }
  return output;
}

absl::StatusOr<std::vector<std::vector<int32_t>>> ModelRunner::GreedyBatch(
    const std::vector<std::vector<int32_t>>& prompts, int32_t num_tokens) {
  PINGTI_ASSIGN_OR_RETURN(std::vector<int32_t> next, Step(prompts));
  std::vector<std::vector<int32_t>> outputs(prompts.size());
  for (int32_t i = 0;; ++i) {
    std::vector<std::vector<int32_t>> tokens(prompts.size());
    for (size_t s = 0; s < prompts.size(); ++s) {
      outputs[s].push_back(next[s]);
      tokens[s] = {next[s]};
    }
    if (i + 1 == num_tokens) return outputs;
    PINGTI_ASSIGN_OR_RETURN(next, Step(tokens));
  }
}

absl::StatusOr<std::vector<std::vector<JudgedToken>>> ModelRunner::Judge(
    const std::vector<std::vector<int32_t>>& prompts,
    const std::vector<std::vector<int32_t>>& answers, int32_t chunk) {
  std::vector<std::vector<JudgedToken>> judged(prompts.size());
  std::vector<size_t> fed(prompts.size(), 0);  // of the prompt
  while (true) {
    std::vector<std::vector<int32_t>> tokens(prompts.size());
    std::vector<LogprobRequest> requests;
    std::vector<size_t> owners;
    int32_t num_rows = 0;
    for (size_t s = 0; s < prompts.size(); ++s) {
      const size_t done = judged[s].size();
      if (done == answers[s].size()) continue;
      if (fed[s] < prompts[s].size()) {
        const auto begin = prompts[s].begin() + static_cast<int64_t>(fed[s]);
        fed[s] = std::min(prompts[s].size(), fed[s] + static_cast<size_t>(chunk));
        tokens[s].assign(begin, prompts[s].begin() + static_cast<int64_t>(fed[s]));
      } else {
        tokens[s] = {answers[s][done - 1]};
      }
      if (fed[s] == prompts[s].size()) {
        requests.push_back({num_rows, answers[s][done], 1});
        owners.push_back(s);
      }
      ++num_rows;
    }
    if (num_rows == 0) return judged;
    PINGTI_RETURN_IF_ERROR(Step(tokens).status());
    std::vector<SampledToken> results(requests.size());
    PINGTI_RETURN_IF_ERROR(model_->Logprobs(requests, results));
    for (size_t i = 0; i < results.size(); ++i) {
      const TopLogprob& likeliest = results[i].top[0];
      judged[owners[i]].push_back(
          {likeliest.token_id, results[i].logprob, likeliest.logprob - results[i].logprob});
    }
  }
}

}  // namespace pingti::worker::testing
