// See matcher.h.
#include "common/grammar/matcher.h"

#include <algorithm>
#include <utility>

#include "common/base/strings.h"

namespace pingti::grammar {
namespace {

// Beyond this a new, empty memory is begun.
constexpr size_t kMemoryBytes = 8 << 20;
constexpr size_t kMostMaskBytes = 4 << 20;

}  // namespace

CompiledGrammar::CompiledGrammar(Automaton automaton, std::shared_ptr<const Vocabulary> vocabulary)
    : automaton_(std::move(automaton)),
      vocabulary_(std::move(vocabulary)),
      token_masks_(&automaton_, vocabulary_.get()),
      memory_(std::make_shared<Memory>(&automaton_)) {}

std::shared_ptr<CompiledGrammar::Memory> CompiledGrammar::Current(
    const std::shared_ptr<Memory>& memory, ConfigId* config) {
  if (memory_->configurations.memory_bytes() > kMemoryBytes) {
    work_before_ = work();
    memory_ = std::make_shared<Memory>(&automaton_);
  }
  if (memory != memory_) {
    *config = memory_->configurations.Import(memory->configurations, *config);
  }
  return memory_;
}

void CompiledGrammar::Warm(const Clock& clock, std::chrono::steady_clock::time_point deadline) {
  // States of counted calls have a frame that counts below them; others may have any. What a state
  // alone decides is asked for as matchers will ask for it.
  for (int32_t call = -1; call < automaton_.num_calls(); ++call) {
    if (automaton_.counting_alike(call) != call) continue;
    std::vector<bool> seen(automaton_.num_states(), false);
    std::vector<StateId> states{call < 0 ? automaton_.start() : automaton_.start_of(call)};
    for (size_t i = 0; i < states.size(); ++i) {
      const StateId state = states[i];
      const auto add = [&](StateId next) {
        if (!seen[next]) states.push_back(next);
        seen[next] = true;
      };
      for (const Automaton::CallMove& move : automaton_.calls(state)) {
        // A counted call's states are worked out with its own frame.
        if (call < 0 && !automaton_.call(move.call).counted()) add(automaton_.start_of(move.call));
        add(move.to);
      }
      for (const Automaton::ByteMove& move : automaton_.bytes(state)) add(move.to);
      if (automaton_.bytes(state).empty()) continue;
      if (clock.Now() >= deadline) return;
      token_masks_.Prepare(&memory_->configurations, state, call, kMaskWork);
    }
  }
}

size_t CompiledGrammar::memory_bytes() const {
  return automaton_.memory_bytes() + token_masks_.memory_bytes() +
         memory_->configurations.memory_bytes() +
         memory_->masks.size() * vocabulary_->mask_words() * sizeof(uint32_t);
}

Matcher::Matcher(std::shared_ptr<CompiledGrammar> grammar)
    : grammar_(std::move(grammar)),
      memory_(grammar_->memory_),
      config_(memory_->configurations.start()) {}

absl::Status Matcher::CheckOverflow() const {
  if (!memory_->configurations.overflowed()) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      "the grammar reads this text in too many ways: expected a less ambiguous one");
}

absl::Status Matcher::Accept(int32_t token) {
  const Vocabulary& vocabulary = grammar_->vocabulary();
  if (vocabulary.is_end_token(token)) {
    if (!ended_ && !can_end()) {
      return absl::InvalidArgumentError(
          Concat("token ", token, " ends the text: expected it to match the grammar first"));
    }
    ended_ = true;
    return absl::OkStatus();
  }
  const std::string_view bytes = vocabulary.bytes(token);
  if (ended_ || bytes.empty()) {
    return absl::InvalidArgumentError(Concat("token ", token, " may not stand in a matching text"));
  }
  memory_ = grammar_->Current(memory_, &config_);
  ConfigId next = config_;
  for (const char byte : bytes) {
    next = memory_->configurations.Step(next, static_cast<uint8_t>(byte));
    if (next != kDeadConfig) continue;
    if (const absl::Status status = CheckOverflow(); !status.ok()) return status;
    return absl::InvalidArgumentError(
        Concat("token ", token, " does not continue a matching text"));
  }
  config_ = next;
  return absl::OkStatus();
}

absl::Status Matcher::FillMask(std::span<uint32_t> mask, int64_t most_work) {
  const Vocabulary& vocabulary = grammar_->vocabulary();
  memory_ = grammar_->Current(memory_, &config_);
  if (ended_) {
    std::fill(mask.begin(), mask.end(), 0u);
    for (const int32_t end : vocabulary.end_token_ids()) mask[end >> 5] |= 1u << (end & 31);
    return absl::OkStatus();
  }
  auto& masks = memory_->masks;
  auto it = masks.find(config_);
  if (it == masks.end()) {
    const auto later = [&] {
      std::fill(mask.begin(), mask.end(), 0u);
      return absl::UnavailableError("the mask costs more work than may be spent on it now");
    };
    if (most_work <= 0) return later();
    if (masks.size() * vocabulary.mask_words() * sizeof(uint32_t) > kMostMaskBytes) masks.clear();
    it = masks.emplace(config_, std::vector<uint32_t>(vocabulary.mask_words())).first;
    if (!grammar_->token_masks_.Fill(&memory_->configurations, config_, most_work, it->second)) {
      if (most_work < kMaskWork) {
        masks.erase(it);
        return later();
      }
      it->second = {};
    }
  }
  if (it->second.empty()) {
    std::fill(mask.begin(), mask.end(), 0u);
    return absl::ResourceExhaustedError(
        "working out which tokens may come next is too expensive: expected a grammar that can go "
        "on in fewer ways");
  }
  std::copy(it->second.begin(), it->second.end(), mask.begin());
  if (std::any_of(mask.begin(), mask.end(), [](uint32_t word) { return word != 0; })) {
    return absl::OkStatus();
  }
  if (const absl::Status status = CheckOverflow(); !status.ok()) return status;
  return absl::FailedPreconditionError(
      "no token can continue the text as the grammar demands: it is nested too deeply, or the "
      "vocabulary lacks a byte");
}

bool Matcher::can_end() const { return ended_ || config().accepting; }

}  // namespace pingti::grammar
