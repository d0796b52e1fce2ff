// All requests that are queued or running, by session and sequence_id.
//
// Owns them. Confined to the engine thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>

#include "worker/engine/request_group.h"

namespace pingti::worker {

class RequestTable {
 public:
  void OpenSession(uint64_t session) { sessions_.try_emplace(session); }
  bool has_session(uint64_t session) const { return sessions_.count(session) > 0; }
  // Forgets the session and its requests.
  void CloseSession(uint64_t session);

  // REQUIRES: the session is open, and has no request of this sequence_id.
  RequestGroup* Add(std::unique_ptr<RequestGroup> group);
  // Null when there is none, or no such session.
  RequestGroup* Find(uint64_t session, uint64_t sequence_id) const;
  // Frees a request of this table.
  void Erase(const RequestGroup* group);
  size_t size() const { return size_; }

  // Calls visit(RequestGroup*); the table must not change meanwhile.
  template <typename Visit>
  void ForEach(const Visit& visit) const {
    for (const auto& [session, groups] : sessions_) {
      for (const auto& [id, group] : groups) visit(group.get());
    }
  }
  template <typename Visit>
  void ForEachOf(uint64_t session, const Visit& visit) const {
    const auto it = sessions_.find(session);
    if (it == sessions_.end()) return;
    for (const auto& [id, group] : it->second) visit(group.get());
  }

 private:
  using Groups = std::unordered_map<uint64_t, std::unique_ptr<RequestGroup>>;

  std::unordered_map<uint64_t, Groups> sessions_;
  size_t size_ = 0;
};

}  // namespace pingti::worker
