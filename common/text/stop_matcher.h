// Finds stop strings in streamed text and holds back only what may still become one.
// Thread-compatible: one object per sequence.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pingti::text {

class StopMatcher {
 public:
  // Empty strings in `stops` are ignored by contract of the caller: validation refuses them.
  explicit StopMatcher(std::vector<std::string> stops);

  struct Result {
    std::string text;      // safe to send now
    bool stopped = false;  // a stop string was completed; `text` ends right before it
    std::string matched;   // which one
  };
  // Adds text. After a result with stopped == true nothing more may be pushed. Linear time: an
  // Aho-Corasick automaton over `stops`.
  Result Push(std::string_view text);

  // The text held back when the sequence ended by itself.
  std::string Finish();

 private:
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
  int state_ = 0;
  std::string held_;
  size_t seen_ = 0;  // bytes of held_ that went through the automaton
};

}  // namespace pingti::text
