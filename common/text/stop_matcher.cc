// See stop_matcher.h. Source of the automaton: Aho and Corasick, CACM 18(6), 1975.
#include "common/text/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace pingti::text {

StopStrings::StopStrings(std::vector<std::string> stops) : nodes_(1), stops_(std::move(stops)) {
  for (size_t i = 0; i < stops_.size(); ++i) {
    int node = 0;
    for (const char c : stops_[i]) {
      int child = Child(node, c);
      if (child < 0) {
        child = static_cast<int>(nodes_.size());
        const int depth = nodes_[static_cast<size_t>(node)].depth + 1;
        nodes_[static_cast<size_t>(node)].children.emplace_back(c, child);
        nodes_.emplace_back();
        nodes_.back().depth = depth;
      }
      node = child;
    }
    nodes_[static_cast<size_t>(node)].stop = static_cast<int>(i);
  }
  LinkFailures();
}

int StopStrings::Child(int node, char c) const {
  for (const auto& [byte, child] : nodes_[static_cast<size_t>(node)].children) {
    if (byte == c) return child;
  }
  return -1;
}

int StopStrings::Next(int node, char c) const {
  while (true) {
    const int child = Child(node, c);
    if (child >= 0) return child;
    if (node == 0) return 0;
    node = nodes_[static_cast<size_t>(node)].failure;
  }
}

void StopStrings::LinkFailures() {
  std::vector<int> queue;
  for (const auto& [byte, child] : nodes_[0].children) queue.push_back(child);
  for (size_t i = 0; i < queue.size(); ++i) {
    const int node = queue[i];
    for (const auto& [byte, child] : nodes_[static_cast<size_t>(node)].children) {
      const int failure = Next(nodes_[static_cast<size_t>(node)].failure, byte);
      Node& target = nodes_[static_cast<size_t>(child)];
      target.failure = failure;
      // Of the stops that end here the longest counts; a shorter one is inherited.
      if (target.stop < 0) target.stop = nodes_[static_cast<size_t>(failure)].stop;
      queue.push_back(child);
    }
  }
}

StopMatcher::Result StopMatcher::Push(std::string_view text) {
  Result result;
  held_ += text;
  for (const char c : text) {
    state_ = stops_->Next(state_, c);
    ++seen_;
    const int stop = stops_->nodes_[static_cast<size_t>(state_)].stop;
    if (stop >= 0 && !stops_->stops_[static_cast<size_t>(stop)].empty()) {
      result.stopped = true;
      result.matched = stops_->stops_[static_cast<size_t>(stop)];
      result.text = held_.substr(0, seen_ - result.matched.size());
      held_.clear();
      seen_ = 0;
      return result;
    }
  }
  const size_t keep = static_cast<size_t>(stops_->nodes_[static_cast<size_t>(state_)].depth);
  result.text = held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  seen_ = held_.size();
  return result;
}

std::string StopMatcher::Finish() {
  state_ = 0;
  seen_ = 0;
  return std::exchange(held_, {});
}

}  // namespace pingti::text
