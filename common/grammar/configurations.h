// Runs an automaton: all ways in which the bytes so far can be read, advanced byte by byte.
//
// A configuration is a set of (state, stack); stacks share their frames and both are interned, so
// that configurations can be compared and numbered, and moves between them are remembered: a
// deterministic automaton that is built while it is used (as RE2's lazy DFA). Ids stay valid as
// long as the object; nothing is ever freed, so an owner starts a new one when memory_bytes() has
// grown (Import moves a configuration over). Thread-compatible.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "common/grammar/automaton.h"

namespace pingti::grammar {

using ConfigId = int32_t;
using FrameId = int32_t;

inline constexpr ConfigId kDeadConfig = -1;

class Configurations {
 public:
  struct Item {
    StateId state;
    FrameId frame;

    friend auto operator<=>(const Item&, const Item&) = default;
  };

  // One level of a stack: where a call goes on when its rule has ended.
  struct Frame {
    // kEndOfText: the root rule's. kUnknown: the bottom of a stack that is only known from here on.
    static constexpr StateId kEndOfText = -1;
    static constexpr StateId kUnknown = -2;

    StateId return_state = kEndOfText;
    int32_t call = -1;  // -1: matched once
    int32_t done = 0;   // matches that have ended; stops counting where it makes no difference
    FrameId parent = -1;
    int32_t depth = 0;
    int32_t bottom_done = 0;  // `done` of the lowest frame

    friend bool operator==(const Frame&, const Frame&) = default;
  };

  struct Config {
    std::vector<Item> items;  // sorted; each has byte moves
    // Counts with which an unknown bottom frame's matches can have ended here.
    std::vector<int32_t> exits;
    bool accepting = false;  // the whole text may end here

    friend bool operator==(const Config&, const Config&) = default;
  };

  // `automaton` must outlive this.
  explicit Configurations(const Automaton* automaton);
  Configurations(const Configurations&) = delete;
  Configurations& operator=(const Configurations&) = delete;

  ConfigId start() const { return start_; }
  // kDeadConfig when the text cannot go on with `byte`.
  ConfigId Step(ConfigId config, uint8_t byte) {
    const ConfigId known =
        next_[static_cast<size_t>(config) * num_classes_ + automaton_->byte_class(byte)];
    return known != kUnknownMove ? known : ComputeStep(config, byte);
  }

  const Config& config(ConfigId id) const { return configs_[id]; }
  const Frame& frame(FrameId id) const { return frames_[id]; }

  // A state whose stack is unknown below one counted call (-1: none that counts): neither its
  // bounds nor its matches so far are known, so that it may go on and end after any number.
  ConfigId Relative(StateId state, int32_t call);
  // What follows when the top frame's call has matched for the last time. Not for frames that end
  // the text or are unknown.
  ConfigId Returned(FrameId frame);

  // The same configuration of another object over the same automaton.
  ConfigId Import(const Configurations& other, ConfigId config);

  // More ways of reading one text than are followed came up: such texts count as not matching.
  bool overflowed() const { return overflowed_; }
  // What was done so far, in units of about a byte that is read where it was read before. Callers
  // that loop over configurations add theirs. It counts and measures no time, so that what a budget
  // of work allows is the same on every machine.
  int64_t work() const { return work_; }
  void AddWork(int64_t units) { work_ += units; }
  size_t memory_bytes() const { return memory_bytes_; }

 private:
  static constexpr ConfigId kUnknownMove = -2;

  struct FrameHash {
    size_t operator()(const Frame& frame) const;
  };

  ConfigId ComputeStep(ConfigId config, uint8_t byte);
  FrameId Intern(Frame frame);
  ConfigId Intern();
  void Visit(StateId state, FrameId frame);
  void Drain();
  void Push(const Automaton::CallMove& move, FrameId parent);
  void Pop(FrameId frame);
  FrameId ImportFrame(const Configurations& other, FrameId frame,
                      std::unordered_map<FrameId, FrameId>* known);

  const Automaton* const automaton_;
  const size_t num_classes_;
  ConfigId start_ = kDeadConfig;
  std::vector<Frame> frames_;
  std::unordered_map<Frame, FrameId, FrameHash> frame_index_;
  std::vector<Config> configs_;
  std::unordered_multimap<uint64_t, ConfigId> config_index_;
  std::vector<ConfigId> next_;  // [configs, num_classes]
  std::unordered_map<FrameId, ConfigId> returned_;
  size_t memory_bytes_ = 0;
  bool overflowed_ = false;
  int64_t work_ = 0;

  // The configuration in the making.
  std::vector<Item> pending_;
  std::vector<Item> visited_;
  Config building_;
};

}  // namespace pingti::grammar
