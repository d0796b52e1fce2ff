// Finds stop strings in streamed text and holds back only what may still become one.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pingti::text {

// The strings, compiled once for all sequences that stop at them: an Aho-Corasick automaton of
// about 50 bytes per byte of them. Immutable; thread-safe.
class StopStrings {
 public:
  // Empty strings in `stops` are ignored by contract of the caller: validation refuses them.
  explicit StopStrings(std::vector<std::string> stops);

 private:
  friend class StopMatcher;
  struct Node {
    std::vector<std::pair<char, int>> children;
    int failure = 0;
    int depth = 0;
    int stop = -1;  // index of the stop string that is complete here
  };
  int Child(int node, char c) const;
  int Next(int node, char c) const;
  void LinkFailures();

  std::vector<Node> nodes_;
  std::vector<std::string> stops_;
};

// One sequence's. Thread-compatible.
class StopMatcher {
 public:
  // `stops` must outlive this.
  explicit StopMatcher(const StopStrings* stops) : stops_(stops) {}

  struct Result {
    std::string text;      // safe to send now
    bool stopped = false;  // a stop string was completed; `text` ends right before it
    std::string matched;   // which one
  };
  // Adds text. After a result with stopped == true nothing more may be pushed. Linear
  // time.
  Result Push(std::string_view text);

  // The text held back when the sequence ended by itself.
  std::string Finish();

 private:
  const StopStrings* const stops_;
  int state_ = 0;
  std::string held_;
  size_t seen_ = 0;  // bytes of held_ that went through the automaton
};

}  // namespace pingti::text
