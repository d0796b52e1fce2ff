#include "worker/engine/request_table.h"

#include <utility>

#include "common/base/check.h"

namespace pingti::worker {

void RequestTable::CloseSession(uint64_t session) {
  const auto it = sessions_.find(session);
  if (it == sessions_.end()) return;
  size_ -= it->second.size();
  sessions_.erase(it);
}

RequestGroup* RequestTable::Add(std::unique_ptr<RequestGroup> group) {
  Groups& groups = sessions_.at(group->session);
  const uint64_t id = group->request.sequence_id;
  const auto [it, is_new] = groups.emplace(id, std::move(group));
  PINGTI_CHECK(is_new);
  ++size_;
  return it->second.get();
}

RequestGroup* RequestTable::Find(uint64_t session, uint64_t sequence_id) const {
  const auto groups = sessions_.find(session);
  if (groups == sessions_.end()) return nullptr;
  const auto it = groups->second.find(sequence_id);
  return it == groups->second.end() ? nullptr : it->second.get();
}

void RequestTable::Erase(const RequestGroup* group) {
  const size_t erased = sessions_.at(group->session).erase(group->request.sequence_id);
  PINGTI_CHECK(erased == 1);
  --size_;
}

}  // namespace pingti::worker
