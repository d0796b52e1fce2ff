// See token_masks.h.
#include "common/grammar/token_masks.h"

#include <algorithm>
#include <limits>

namespace pingti::grammar {
namespace {

// State masks are dropped and worked out anew beyond this.
constexpr size_t kMostCachedBytes = 64 << 20;
constexpr int32_t kNoLimit = std::numeric_limits<int32_t>::max();
// Work of an exit or a counted token, which are sorted.
constexpr int64_t kSortedWork = 16;
// Work of an exit that is read on from.
constexpr int64_t kFromWork = 4;
// Words of a mask that are merged with one unit of work.
constexpr size_t kWordsPerWork = 8;

void SetBit(std::span<uint32_t> mask, int32_t token) { mask[token >> 5] |= 1u << (token & 31); }
void ClearBit(std::span<uint32_t> mask, int32_t token) {
  mask[token >> 5] &= ~(1u << (token & 31));
}

// How many matches of the bottom call a text that ends in `config` needs: those that ended, and the
// one in progress.
int32_t NeedOf(const Configurations& configurations, const Configurations::Config& config) {
  int32_t need = config.exits.empty() ? kNoLimit : config.exits.front();
  for (const Configurations::Item& item : config.items) {
    need = std::min(need, configurations.frame(item.frame).bottom_done + 1);
  }
  return need;
}

// Reads the trie's nodes [begin, end), whose parent (if any) is at depth base - 1, from `from`, or
// up to the end of the work. visit(node, config) for every node that can be read.
template <typename Visit>
void Walk(const Vocabulary& vocabulary, Configurations* configurations, ConfigId from,
          int32_t begin, int32_t end, int64_t end_of_work, std::vector<ConfigId>* path,
          const Visit& visit) {
  if (begin >= end) return;
  const int32_t base = vocabulary.node(begin).depth;
  path->resize(static_cast<size_t>(vocabulary.max_depth()) + 1);
  (*path)[0] = from;
  for (int32_t i = begin; i < end && configurations->work() <= end_of_work;) {
    configurations->AddWork(1);
    const Vocabulary::Node& node = vocabulary.node(i);
    const int32_t depth = node.depth - base;
    const ConfigId config = configurations->Step((*path)[depth], node.byte);
    if (config == kDeadConfig) {
      i = node.subtree_end;
      continue;
    }
    visit(i, config);
    (*path)[depth + 1] = config;
    ++i;
  }
}

}  // namespace

bool TokenMasks::Fill(Configurations* configurations, ConfigId id, int64_t most_work,
                      std::span<uint32_t> mask) {
  const int64_t end_of_work = configurations->work() + most_work;
  std::fill(mask.begin(), mask.end(), 0u);
  if (memory_bytes_ > kMostCachedBytes) {
    masks_.clear();
    memory_bytes_ = 0;
  }
  // Copied: reading on adds configurations.
  const Configurations::Config config = configurations->config(id);
  for (const Configurations::Item& item : config.items) {
    const Configurations::Frame frame = configurations->frame(item.frame);
    const StateMask* state_mask =
        MaskOf(configurations, item.state, automaton_->counting_alike(frame.call), end_of_work);
    if (state_mask == nullptr) return false;
    int32_t least = 1;
    int32_t most = 1;
    if (frame.call >= 0) {
      const RuleCall& call = automaton_->call(frame.call);
      least = call.min - frame.done;
      most = call.max == kUnbounded ? kNoLimit : call.max - frame.done;
    }
    configurations->AddWork(static_cast<int64_t>(mask.size() / kWordsPerWork));
    SetStateTokens(*state_mask, most, mask);
    if (frame.return_state < 0 || state_mask->exits.empty()) continue;
    const ConfigId returned = configurations->Returned(item.frame);
    if (returned == kDeadConfig || configurations->config(returned).items.empty()) continue;
    SetExitTokens(configurations, *state_mask, least, most, returned, end_of_work, mask);
  }
  if (config.accepting) {
    for (const int32_t token : vocabulary_->end_token_ids()) SetBit(mask, token);
  }
  return configurations->work() <= end_of_work;
}

void TokenMasks::Prepare(Configurations* configurations, StateId state, int32_t call,
                         int64_t most_work) {
  if (memory_bytes_ > kMostCachedBytes) return;
  MaskOf(configurations, state, call, configurations->work() + most_work);
}

void TokenMasks::SetStateTokens(const StateMask& state_mask, int32_t left,
                                std::span<uint32_t> mask) {
  const auto& tokens = state_mask.tokens;
  const auto& before = state_mask.needs_before;
  size_t fit = tokens.size();
  if (!before.empty() && static_cast<size_t>(left) + 1 < before.size()) fit = before[left + 1];
  if (state_mask.bits.empty() || (!before.empty() && fit <= tokens.size() / 2)) {
    for (size_t i = 0; i < fit; ++i) SetBit(mask, tokens[i]);
    return;
  }
  std::span<const uint32_t> bits = state_mask.bits;
  if (fit < tokens.size()) {
    scratch_.assign(bits.begin(), bits.end());
    for (size_t i = fit; i < tokens.size(); ++i) ClearBit(scratch_, tokens[i]);
    bits = scratch_;
  }
  for (size_t i = 0; i < bits.size(); ++i) mask[i] |= bits[i];
}

void TokenMasks::SetExitTokens(Configurations* configurations, const StateMask& state_mask,
                               int32_t least, int32_t most, ConfigId returned, int64_t end_of_work,
                               std::span<uint32_t> mask) {
  configurations->AddWork(static_cast<int64_t>(state_mask.exits.size()));
  int32_t begin = 0;
  for (const StateMask::ExitByte& group : state_mask.exit_bytes) {
    const ConfigId next = configurations->Step(returned, group.byte);
    for (int32_t i = begin; i < group.end && next != kDeadConfig; ++i) {
      if (configurations->work() > end_of_work) return;
      const StateMask::Exit& exit = state_mask.exits[i];
      if (exit.done < least || exit.done > most) continue;
      SetFrom(configurations, next, exit.node, end_of_work, mask);
    }
    begin = group.end;
  }
}

void TokenMasks::SetFrom(Configurations* configurations, ConfigId from, int32_t node,
                         int64_t end_of_work, std::span<uint32_t> mask) {
  configurations->AddWork(kFromWork);
  for (const int32_t token : vocabulary_->tokens_at(node)) SetBit(mask, token);
  Walk(*vocabulary_, configurations, from, node + 1, vocabulary_->node(node).subtree_end,
       end_of_work, &path_, [&](int32_t i, ConfigId) {
         for (const int32_t token : vocabulary_->tokens_at(i)) SetBit(mask, token);
       });
}

const TokenMasks::StateMask* TokenMasks::MaskOf(Configurations* configurations, StateId state,
                                                int32_t call, int64_t end_of_work) {
  auto it = masks_.find({state, call});
  if (it == masks_.end()) {
    StateMask computed = Compute(configurations, state, call, end_of_work);
    if (configurations->work() > end_of_work) return nullptr;
    it = masks_.emplace(std::pair(state, call), std::move(computed)).first;
    const StateMask& made = it->second;
    memory_bytes_ += sizeof(StateMask) + 64 + 4 * made.tokens.capacity() +
                     4 * made.needs_before.capacity() + 4 * made.bits.capacity() +
                     sizeof(StateMask::Exit) * made.exits.capacity() +
                     sizeof(StateMask::ExitByte) * made.exit_bytes.capacity();
  }
  return &it->second;
}

void TokenMasks::AddExits(int32_t node, int32_t done, StateMask* state_mask) const {
  const int32_t end = vocabulary_->node(node).subtree_end;
  for (int32_t child = node + 1; child < end; child = vocabulary_->node(child).subtree_end) {
    state_mask->exits.push_back({child, done});
  }
}

void TokenMasks::SortExits(StateMask* state_mask) const {
  auto& exits = state_mask->exits;
  const auto byte = [this](const StateMask::Exit& exit) {
    return vocabulary_->node(exit.node).byte;
  };
  std::stable_sort(exits.begin(), exits.end(),
                   [&](const auto& a, const auto& b) { return byte(a) < byte(b); });
  exits.shrink_to_fit();
  for (size_t i = 0; i < exits.size(); ++i) {
    if (i + 1 < exits.size() && byte(exits[i + 1]) == byte(exits[i])) continue;
    state_mask->exit_bytes.push_back({byte(exits[i]), static_cast<int32_t>(i) + 1});
  }
}

TokenMasks::StateMask TokenMasks::Compute(Configurations* configurations, StateId state,
                                          int32_t call, int64_t end_of_work) const {
  StateMask result;
  std::vector<std::pair<int32_t, int32_t>> found;  // need, token
  std::vector<ConfigId> path;
  Walk(*vocabulary_, configurations, configurations->Relative(state, call), 0,
       vocabulary_->num_nodes(), end_of_work, &path, [&](int32_t node, ConfigId id) {
         const Configurations::Config& config = configurations->config(id);
         const auto tokens = vocabulary_->tokens_at(node);
         if (!tokens.empty()) {
           const int32_t need = call < 0 ? 1 : NeedOf(*configurations, config);
           for (const int32_t token : tokens) found.push_back({need, token});
           if (call >= 0) configurations->AddWork(kSortedWork);
         }
         const size_t exits_before = result.exits.size();
         for (const int32_t done : config.exits) AddExits(node, done, &result);
         configurations->AddWork(kSortedWork *
                                 static_cast<int64_t>(result.exits.size() - exits_before));
       });
  if (configurations->work() > end_of_work) return result;
  SortExits(&result);
  const bool dense = found.size() > vocabulary_->mask_words();
  if (dense) {
    result.bits.assign(vocabulary_->mask_words(), 0);
    for (const auto& [need, token] : found) SetBit(result.bits, token);
    if (call < 0) return result;
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  result.tokens.reserve(found.size());
  for (const auto& [need, token] : found) result.tokens.push_back(token);
  if (call < 0) return result;
  for (size_t i = 0; i < found.size(); ++i) {
    while (result.needs_before.size() <= static_cast<size_t>(found[i].first)) {
      result.needs_before.push_back(static_cast<int32_t>(i));
    }
  }
  result.needs_before.push_back(static_cast<int32_t>(found.size()));
  return result;
}

}  // namespace pingti::grammar
