// Reads one streamed HTTP/1.1 answer as cheaply as a load generator has to: finds where the body's
// events are and which of them carry text, without building anything.
//
// Pure: bytes in, marks out. Thread-compatible. Sources: RFC 9112 sections 4, 6 and 7.1 (status
// line, message body, chunked coding); the OpenAI API reference for the events.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace pingti::tools {

// What one Feed brought.
struct StreamMarks {
  int text_events = 0;  // events with words, thoughts or a call's arguments in them
  bool ended = false;   // the answer is complete
  bool broken = false;  // this is not HTTP
};

class StreamReader {
 public:
  StreamMarks Feed(std::string_view bytes);

  // 0 until the head is there.
  int status() const { return status_; }
  // The server let the connection open for another request. Known when ended.
  bool keep_alive() const { return keep_alive_; }
  // "[DONE]" was there: the stream was not cut off.
  bool done() const { return done_; }
  // The message of an error event, or the body of an answer that is no 200, cut to 500 bytes.
  const std::string& error() const { return error_; }
  // Of the usage event; -1: there was none.
  int64_t prompt_tokens() const { return prompt_tokens_; }
  int64_t completion_tokens() const { return completion_tokens_; }

 private:
  enum class State { kHead, kChunkSize, kChunk, kChunkEnd, kTrailer, kLength, kEnded };

  // Each takes what it can from the front of `bytes`; false: more is needed, or broken.
  bool TakeHead(std::string_view* bytes, StreamMarks* marks);
  bool TakeChunkSize(std::string_view* bytes, StreamMarks* marks);
  bool TakeBody(std::string_view* bytes, StreamMarks* marks);
  // A whole line without its end, from `bytes` or from what was kept before.
  bool TakeLine(std::string_view* bytes, std::string_view* line);
  void ReadHeader(std::string_view line);
  void Body(std::string_view bytes, StreamMarks* marks);
  void EventLine(std::string_view line, StreamMarks* marks);

  State state_ = State::kHead;
  int status_ = 0;
  bool chunked_ = false;
  bool keep_alive_ = true;
  bool done_ = false;
  uint64_t left_ = 0;  // bytes of the chunk or the body
  std::string kept_;   // the start of a line of HTTP
  bool kept_taken_ = false;
  std::string kept_event_;  // the start of a line of the event stream
  std::string error_;
  int64_t prompt_tokens_ = -1;
  int64_t completion_tokens_ = -1;
};

}  // namespace pingti::tools
