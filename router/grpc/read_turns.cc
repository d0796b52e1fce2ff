// See read_turns.h.
#include "router/grpc/read_turns.h"

#include <algorithm>

namespace pingti::router {

void ReadTurns::Enter(Reader* reader, const std::string& name) {
  MutexLock lock(&mutex_);
  const auto connection = connections_.try_emplace(name).first;
  connection->second.waiting.push_back(reader);
  waiting_.emplace(reader, connection);
  PutInLine(connection);
  Advance();
}

bool ReadTurns::Leave(Reader* reader) {
  MutexLock lock(&mutex_);
  if (const auto waits = waiting_.find(reader); waits != waiting_.end()) {
    const auto connection = waits->second;
    std::erase(connection->second.waiting, reader);
    waiting_.erase(waits);
    EraseIfIdle(connection);
    return true;
  }
  const auto reads = std::find_if(reading_.begin(), reading_.end(),
                                  [&](const Reading& one) { return one.reader == reader; });
  if (reads == reading_.end()) return false;
  const auto connection = reads->connection;
  reading_.erase(reads);
  --connection->second.reading;
  PutInLine(connection);
  EraseIfIdle(connection);
  Advance();
  return false;
}

void ReadTurns::Tick() {
  MutexLock lock(&mutex_);
  const auto now = clock_->Now();
  size_t others = line_.size();
  for (Reading& one : reading_) {
    if (one.overdue) {
      if (others > 0) --others;  // this one is about to make room
      continue;
    }
    const bool too_long = now - one.since >= limits_.longest;
    const bool gives_way = others > 0 && now - one.since >= limits_.grace;
    if (!too_long && !gives_way) continue;
    if (others > 0) --others;
    one.overdue = true;
    one.reader->OnOverdue();
  }
}

void ReadTurns::PutInLine(Connections::iterator connection) {
  Connection& one = connection->second;
  if (one.in_line || one.waiting.empty() || one.reading >= limits_.per_connection) return;
  one.in_line = true;
  line_.push_back(connection);
}

void ReadTurns::EraseIfIdle(Connections::iterator connection) {
  Connection& one = connection->second;
  if (!one.waiting.empty()) return;
  if (one.in_line) std::erase(line_, connection);
  one.in_line = false;
  if (one.reading == 0) connections_.erase(connection);
}

void ReadTurns::Advance() {
  while (reading_.size() < limits_.in_all && !line_.empty()) {
    const auto connection = line_.front();
    line_.pop_front();
    Connection& one = connection->second;
    one.in_line = false;
    Reader* const reader = one.waiting.front();
    one.waiting.pop_front();
    waiting_.erase(reader);
    ++one.reading;
    reading_.push_back({reader, connection, clock_->Now()});
    PutInLine(connection);
    reader->OnTurn();
  }
}

}  // namespace pingti::router
