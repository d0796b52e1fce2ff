#include "worker/speculation/model_drafts.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "common/base/log.h"
#include "worker/engine/request_group.h"

namespace pingti::worker {

struct ModelDrafts::Context : DraftMemory {
  explicit Context(std::list<Context*>* list)
      : by_use(list), place(list->insert(list->end(), this)) {}
  ~Context() override { by_use->erase(place); }

  std::vector<int32_t> tokens;  // whose keys and values are in the blocks
  size_t num_certain = 0;       // of them that are the text's; behind them drafts may stand
  std::vector<BlockLease> blocks;
  uint64_t used_in_call = 0;
  std::list<Context*>* const by_use;
  const std::list<Context*>::iterator place;
};

ModelDrafts::ModelDrafts(Model* model, int32_t vocab_size, const Options& options)
    : model_(model), vocab_size_(vocab_size), options_(options), pool_(options.num_blocks) {}

bool ModelDrafts::Reserve(Context* context, size_t num_blocks) {
  if (num_blocks > static_cast<size_t>(pool_.total())) return false;
  while (context->blocks.size() < num_blocks) {
    BlockLease lease = pool_.Allocate();
    if (!lease.empty()) {
      context->blocks.push_back(std::move(lease));
      continue;
    }
    Context* oldest = by_use_.front();
    if (oldest->used_in_call == call_) return false;
    oldest->blocks.clear();
    oldest->tokens.clear();
    oldest->num_certain = 0;
    by_use_.splice(by_use_.end(), by_use_, oldest->place);
  }
  return true;
}

ModelDrafts::Context* ModelDrafts::Prepare(DraftAsk* ask) {
  const std::vector<int32_t>& text = ask->sequence->tokens;
  const size_t longest = text.size() + static_cast<size_t>(ask->most);
  if (longest > static_cast<size_t>(model_->max_context_tokens())) return nullptr;
  if (*ask->memory == nullptr) *ask->memory = std::make_unique<Context>(&by_use_);
  auto* context = static_cast<Context*>(ask->memory->get());
  // Drafts that did not stand are read no more. The last token is always read anew: its logits are
  // what is drawn from.
  std::vector<int32_t>& known = context->tokens;
  const size_t most = std::min(known.size(), text.size() - 1);
  size_t same = std::min(context->num_certain, most);
  while (same < most && known[same] == text[same]) ++same;
  known.resize(same);
  context->num_certain = same;
  const bool is_readable = std::all_of(text.begin() + static_cast<std::ptrdiff_t>(same), text.end(),
                                       [&](int32_t token) { return token < model_->vocab_size(); });
  if (!is_readable) return nullptr;
  context->used_in_call = call_;
  by_use_.splice(by_use_.end(), by_use_, context->place);
  const auto block_tokens = static_cast<size_t>(options_.block_tokens);
  if (!Reserve(context, (longest + block_tokens - 1) / block_tokens)) return nullptr;
  return context;
}

void ModelDrafts::Propose(std::span<DraftAsk> asks) {
  if (failed_) return;
  ++call_;
  turns_.clear();
  for (DraftAsk& ask : asks) {
    if (turns_.size() == static_cast<size_t>(options_.max_batch_size)) break;
    if (Context* context = Prepare(&ask); context != nullptr) {
      turns_.push_back({&ask, context, ask.most});
    }
  }
  int32_t left = options_.max_batch_tokens;
  while (Run(&left)) {
  }
}

bool ModelDrafts::Run(int32_t* left) {
  in_batch_.clear();
  drawing_.clear();
  token_ids_.clear();
  positions_.clear();
  query_start_.assign(1, 0);
  context_len_.clear();
  logit_tokens_.clear();
  rows_.clear();
  int32_t room = options_.max_batch_tokens;
  for (Turn& turn : turns_) {
    const auto drafts = static_cast<int32_t>(turn.ask->drafts.size());
    const int32_t pending = static_cast<int32_t>(turn.ask->sequence->tokens.size()) + drafts -
                            static_cast<int32_t>(turn.context->tokens.size());
    const int32_t may = drafts > 0 ? room : std::min(room, *left);
    const int32_t num_tokens = std::min(pending, may);
    if (drafts >= turn.most || num_tokens <= 0) continue;
    Add(turn, num_tokens);
    room -= num_tokens;
    if (drafts == 0) *left -= num_tokens;
    if (num_tokens < pending) continue;
    drawing_.push_back(&turn);
    logit_tokens_.push_back(static_cast<int32_t>(token_ids_.size()) - 1);
  }
  if (in_batch_.empty()) return false;

  size_t width = 1;
  for (const Turn* turn : in_batch_) width = std::max(width, turn->context->blocks.size());
  block_table_.assign(in_batch_.size() * width, 0);
  for (size_t i = 0; i < in_batch_.size(); ++i) {
    const std::vector<BlockLease>& blocks = in_batch_[i]->context->blocks;
    for (size_t j = 0; j < blocks.size(); ++j) block_table_[i * width + j] = blocks[j].block();
  }
  ForwardBatch batch{token_ids_,   positions_,   query_start_,
                     context_len_, block_table_, static_cast<int32_t>(width),
                     logit_tokens_};
  absl::Status status = model_->Forward(batch, {});
  if (status.ok() && !drawing_.empty()) {
    sampled_.resize(drawing_.size());
    status = model_->Sample(rows_, sampled_);
  }
  if (!status.ok()) {
    LogError("the draft model failed; nothing is proposed any more",
             {{"error", status.ToString()}});
    failed_ = true;
    return false;
  }
  TakeDraws();
  return true;
}

void ModelDrafts::Add(const Turn& turn, int32_t num_tokens) {
  const Sequence& sequence = *turn.ask->sequence;
  const std::vector<int32_t>& drafts = turn.ask->drafts;
  std::vector<int32_t>& known = turn.context->tokens;
  for (int32_t i = 0; i < num_tokens; ++i) {
    const size_t position = known.size();
    const int32_t token = position < sequence.tokens.size()
                              ? sequence.tokens[position]
                              : drafts[position - sequence.tokens.size()];
    token_ids_.push_back(token);
    positions_.push_back(static_cast<int32_t>(position));
    known.push_back(token);
  }
  query_start_.push_back(static_cast<int32_t>(token_ids_.size()));
  context_len_.push_back(static_cast<int32_t>(known.size()));
  in_batch_.push_back(&turn);
  if (known.size() < sequence.tokens.size() + drafts.size()) return;  // nothing is drawn yet
  const RequestGroup& group = *sequence.group;
  const Sample& sample = *group.samples[sequence.index];
  const bool suppresses_stops = group.SuppressesStops(sample, static_cast<int32_t>(drafts.size()));
  SamplingRow row = sample.sampling.Row(static_cast<int32_t>(known.size()), suppresses_stops, -1);
  if (model_->vocab_size() != vocab_size_) {
    // They speak of the served model's vocabulary, which this one's may be shorter than.
    row.allowed_mask = {};
    row.token_counts = {};
    row.logit_bias = {};
  }
  rows_.push_back(row);
}

void ModelDrafts::TakeDraws() {
  for (size_t i = 0; i < drawing_.size(); ++i) {
    Turn* turn = drawing_[i];
    const int32_t token = sampled_[i].token_id;
    if (sampled_[i].logits_not_finite || token < 0 || token >= vocab_size_) {
      turn->most = 0;
    } else {
      turn->ask->drafts.push_back(token);
    }
  }
}

}  // namespace pingti::worker
