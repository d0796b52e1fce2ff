// Reads many streamed answers at once on one thread, and counts their events.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace pingti::bench {

// Confined to its thread.
class StreamReader {
 public:
  StreamReader();
  // Closes all connections, which cancels their requests.
  ~StreamReader();
  StreamReader(const StreamReader&) = delete;
  StreamReader& operator=(const StreamReader&) = delete;

  // Asks for one more streamed chat completion.
  void Open(uint16_t port, const std::string& body);
  // Reads what comes within `seconds`.
  void Read(double seconds);

  // Answers that have begun; events with text; calls that read some.
  size_t num_started() const { return num_started_; }
  uint64_t num_events() const { return num_events_; }
  uint64_t num_reads() const { return num_reads_; }

 private:
  struct Stream {
    int socket;
    std::string unread;  // the beginning of an event
    bool started = false;
  };

  void ReadSome(Stream* stream);

  const int epoll_;
  std::vector<Stream> streams_;
  std::string buffer_ = std::string(256 << 10, '\0');
  size_t num_started_ = 0;
  uint64_t num_events_ = 0;
  uint64_t num_reads_ = 0;
};

}  // namespace pingti::bench
