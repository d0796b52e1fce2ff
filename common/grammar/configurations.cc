// See configurations.h.
#include "common/grammar/configurations.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"

namespace pingti::grammar {
namespace {

// Ways of reading one text that are followed at once. Real grammars need a handful.
constexpr size_t kMostItems = 512;
// Memory beyond which nothing new is followed; owners start afresh long before.
constexpr size_t kMostBytes = 64 << 20;
// Calls within each other. Deeper nesting counts as not matching.
constexpr int32_t kMostDepth = 512;
// Work of a new move besides its visits, of a visit, and of as many comparisons with those before.
constexpr int64_t kMoveWork = 64;
constexpr int64_t kVisitWork = 16;
constexpr size_t kComparisonsPerWork = 8;

uint64_t Mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
  return hash ^ (hash >> 29);
}

uint64_t HashOf(const Configurations::Config& config) {
  uint64_t hash = config.accepting ? 1 : 2;
  for (const auto& item : config.items) {
    hash = Mix(hash, static_cast<uint64_t>(item.state) << 32 | static_cast<uint32_t>(item.frame));
  }
  for (const int32_t exit : config.exits) hash = Mix(hash, ~static_cast<uint64_t>(exit));
  return hash;
}

}  // namespace

size_t Configurations::FrameHash::operator()(const Frame& frame) const {
  uint64_t hash = Mix(static_cast<uint32_t>(frame.return_state), static_cast<uint32_t>(frame.call));
  hash = Mix(hash, static_cast<uint32_t>(frame.done));
  return Mix(hash, static_cast<uint32_t>(frame.parent));
}

Configurations::Configurations(const Automaton* automaton)
    : automaton_(automaton), num_classes_(automaton->num_byte_classes()) {
  building_ = Config();
  if (automaton_->accepts(automaton_->start())) building_.accepting = true;
  Visit(automaton_->start(), Intern(Frame()));
  Drain();
  start_ = Intern();
}

FrameId Configurations::Intern(Frame frame) {
  if (frame.parent >= 0) {
    frame.depth = frames_[frame.parent].depth + 1;
    frame.bottom_done = frames_[frame.parent].bottom_done;
  } else {
    frame.bottom_done = frame.done;
  }
  const auto [it, is_new] = frame_index_.try_emplace(frame, static_cast<FrameId>(frames_.size()));
  if (is_new) {
    frames_.push_back(frame);
    memory_bytes_ += 2 * sizeof(Frame) + 32;
  }
  return it->second;
}

// building_, numbered; kDeadConfig when nothing is in it.
ConfigId Configurations::Intern() {
  if (building_.items.empty() && building_.exits.empty() && !building_.accepting) {
    return kDeadConfig;
  }
  std::sort(building_.items.begin(), building_.items.end());
  std::sort(building_.exits.begin(), building_.exits.end());
  building_.exits.erase(std::unique(building_.exits.begin(), building_.exits.end()),
                        building_.exits.end());
  const uint64_t hash = HashOf(building_);
  const auto [begin, end] = config_index_.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    if (configs_[it->second] == building_) return it->second;
  }
  if (memory_bytes_ > kMostBytes) {
    overflowed_ = true;
    return kDeadConfig;
  }
  const ConfigId id = static_cast<ConfigId>(configs_.size());
  memory_bytes_ += sizeof(Config) + 64 + building_.items.size() * sizeof(Item) +
                   building_.exits.size() * sizeof(int32_t) + num_classes_ * sizeof(ConfigId);
  configs_.push_back(building_);
  config_index_.emplace(hash, id);
  next_.resize(next_.size() + num_classes_, kUnknownMove);
  return id;
}

void Configurations::Visit(StateId state, FrameId frame) {
  work_ += kVisitWork;
  pending_.push_back({state, frame});
}

// Follows calls and ends of rules until only states with byte moves are left. Ends: a rule that is
// called matches something, so a return is never followed by itself, and no rule calls itself on
// the left.
void Configurations::Drain() {
  visited_.clear();
  while (!pending_.empty()) {
    const Item item = pending_.back();
    pending_.pop_back();
    work_ += static_cast<int64_t>(visited_.size() / kComparisonsPerWork);
    if (std::find(visited_.begin(), visited_.end(), item) != visited_.end()) continue;
    if (visited_.size() >= kMostItems) {
      overflowed_ = true;
      pending_.clear();
      building_ = Config();
      return;
    }
    visited_.push_back(item);
    if (!automaton_->bytes(item.state).empty()) building_.items.push_back(item);
    for (const Automaton::CallMove& move : automaton_->calls(item.state)) Push(move, item.frame);
  }
}

void Configurations::Push(const Automaton::CallMove& move, FrameId parent) {
  const StateId start = automaton_->start_of(move.call);
  const bool counted = automaton_->call(move.call).counted();
  if (!counted && automaton_->only_accepts(move.to)) {
    // The caller ends where the called rule ends: no level of its own, so that lists written by
    // recursion on the right stay flat.
    return Visit(start, parent);
  }
  if (frames_[parent].depth >= kMostDepth) return;
  Frame frame;
  frame.return_state = move.to;
  frame.call = counted ? move.call : -1;
  frame.parent = parent;
  Visit(start, Intern(frame));
}

// The rule on top of `id` has ended.
void Configurations::Pop(FrameId id) {
  const Frame frame = frames_[id];
  const int32_t done = frame.done + 1;
  if (frame.call >= 0) {
    const RuleCall& call = automaton_->call(frame.call);
    const bool relative = frame.return_state == Frame::kUnknown;
    if (relative || call.max == kUnbounded || done < call.max) {
      Frame again = frame;
      again.done = !relative && call.max == kUnbounded ? std::min(done, call.min) : done;
      Visit(automaton_->start_of(frame.call), Intern(again));
    }
    if (!relative && done < call.min) return;
  }
  if (frame.return_state == Frame::kEndOfText) {
    building_.accepting = true;
  } else if (frame.return_state == Frame::kUnknown) {
    building_.exits.push_back(done);
  } else {
    const Item returned{frame.return_state, frame.parent};
    if (automaton_->accepts(returned.state)) Pop(returned.frame);
    Visit(returned.state, returned.frame);
  }
}

ConfigId Configurations::ComputeStep(ConfigId config, uint8_t byte) {
  building_ = Config();
  work_ += kMoveWork;
  const std::vector<Item> items = configs_[config].items;
  for (const Item& item : items) {
    for (const Automaton::ByteMove& move : automaton_->bytes(item.state)) {
      if (byte < move.bytes.first) break;
      if (byte > move.bytes.last) continue;
      if (automaton_->accepts(move.to)) Pop(item.frame);
      Visit(move.to, item.frame);
    }
  }
  Drain();
  const ConfigId next = Intern();
  next_[static_cast<size_t>(config) * num_classes_ + automaton_->byte_class(byte)] = next;
  return next;
}

ConfigId Configurations::Relative(StateId state, int32_t call) {
  Frame bottom;
  bottom.return_state = Frame::kUnknown;
  bottom.call = call;
  building_ = Config();
  building_.items.push_back({state, Intern(bottom)});
  return Intern();
}

ConfigId Configurations::Returned(FrameId id) {
  const auto known = returned_.find(id);
  if (known != returned_.end()) return known->second;
  const Frame frame = frames_[id];
  PINGTI_CHECK(frame.return_state >= 0);
  building_ = Config();
  if (automaton_->accepts(frame.return_state)) Pop(frame.parent);
  Visit(frame.return_state, frame.parent);
  Drain();
  const ConfigId config = Intern();
  returned_.emplace(id, config);
  memory_bytes_ += 48;
  return config;
}

ConfigId Configurations::Import(const Configurations& other, ConfigId config) {
  std::unordered_map<FrameId, FrameId> known;
  building_ = other.configs_[config];
  std::vector<Item> items = std::move(building_.items);
  for (Item& item : items) item.frame = ImportFrame(other, item.frame, &known);
  building_.items = std::move(items);
  return Intern();
}

FrameId Configurations::ImportFrame(const Configurations& other, FrameId id,
                                    std::unordered_map<FrameId, FrameId>* known) {
  const auto it = known->find(id);
  if (it != known->end()) return it->second;
  Frame frame = other.frames_[id];
  if (frame.parent >= 0) frame.parent = ImportFrame(other, frame.parent, known);
  const FrameId imported = Intern(frame);
  known->emplace(id, imported);
  return imported;
}

}  // namespace pingti::grammar
