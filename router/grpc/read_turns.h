// Whose message is read. gRPC keeps a message until all of it is there, however slowly it comes, so
// what may be in its hands is bounded by how many are read at once.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/mutex.h"

namespace pingti::router {

struct ReadLimits {
  size_t in_all = 16;
  size_t per_connection = 4;
  // A message may take so long to arrive; where other connections wait for their turn, `grace`.
  std::chrono::milliseconds longest{60'000};
  std::chrono::milliseconds grace{1'000};
};

// Connections take turns; calls of one connection go in the order in which they came. A message
// that is not all there after `grace` gives way to those that wait. Thread-safe.
class ReadTurns {
 public:
  // Called with the lock held: must only start an operation of gRPC's.
  class Reader {
   public:
    virtual ~Reader() = default;
    virtual void OnTurn() = 0;
    // It took too long. Leave follows.
    virtual void OnOverdue() = 0;
  };

  // `clock` must outlive this.
  ReadTurns(ReadLimits limits, const Clock* clock) : limits_(limits), clock_(clock) {}
  // Waits until whoever left last has let go of the lock.
  ~ReadTurns() { MutexLock lock(&mutex_); }
  ReadTurns(const ReadTurns&) = delete;
  ReadTurns& operator=(const ReadTurns&) = delete;

  // `reader` hears of its turn, now or later, and must stay until it has left.
  void Enter(Reader* reader, const std::string& connection);
  // Its message is there, or will not come. True: its turn had not come. No-op when it has left.
  bool Leave(Reader* reader);
  // Ends the turns that are over. Call it every now and then.
  void Tick();

 private:
  struct Connection {
    size_t reading = 0;
    std::deque<Reader*> waiting{};
    bool in_line = false;
  };
  using Connections = std::map<std::string, Connection, std::less<>>;
  struct Reading {
    Reader* reader;
    Connections::iterator connection;
    std::chrono::steady_clock::time_point since;
    bool overdue = false;
  };

  void PutInLine(Connections::iterator connection) PINGTI_REQUIRES(mutex_);
  void EraseIfIdle(Connections::iterator connection) PINGTI_REQUIRES(mutex_);
  // Gives turns while there are any.
  void Advance() PINGTI_REQUIRES(mutex_);

  const ReadLimits limits_;
  const Clock* const clock_;
  Mutex mutex_;
  Connections connections_ PINGTI_GUARDED_BY(mutex_);  // those with calls that read or wait
  std::map<Reader*, Connections::iterator> waiting_ PINGTI_GUARDED_BY(mutex_);
  // Connections with calls that wait and may read, next first.
  std::deque<Connections::iterator> line_ PINGTI_GUARDED_BY(mutex_);
  std::vector<Reading> reading_ PINGTI_GUARDED_BY(mutex_);  // longest first
};

}  // namespace pingti::router
