// See stream_reader.h.
#include "tools/bench/stream_reader.h"

#include <string.h>

#include <algorithm>
#include <charconv>

namespace pingti::tools {
namespace {

constexpr size_t kLongestLine = 64u << 10;
constexpr size_t kLongestEvent = 16u << 20;
constexpr size_t kLongestError = 500;
constexpr std::string_view kData = "data: ";

// Position behind `needle`, or npos. memmem is several times faster than string_view::find.
size_t FindEnd(std::string_view text, std::string_view needle) {
  const void* at = memmem(text.data(), text.size(), needle.data(), needle.size());
  if (at == nullptr) return std::string_view::npos;
  return static_cast<const char*>(at) - text.data() + needle.size();
}

// Whether any member of that name, which ends in `":"`, has text; servers may send an empty
// "content" before "reasoning_content". Names inside text cannot match: their quotes are escaped.
bool HasText(std::string_view event, std::string_view name) {
  while (true) {
    const size_t at = FindEnd(event, name);
    if (at >= event.size()) return false;
    if (event[at] != '"') return true;
    event.remove_prefix(at);
  }
}

int64_t NumberAfter(std::string_view event, std::string_view name) {
  const size_t at = FindEnd(event, name);
  int64_t number = -1;
  if (at != std::string_view::npos) {
    std::from_chars(event.data() + at, event.data() + event.size(), number);
  }
  return number;
}

bool StartsWithNoCase(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() &&
         strncasecmp(text.data(), prefix.data(), prefix.size()) == 0;
}

}  // namespace

StreamMarks StreamReader::Feed(std::string_view bytes) {
  StreamMarks marks;
  bool going = true;
  while (going && state_ != State::kEnded) {
    switch (state_) {
      case State::kHead:
      case State::kTrailer:
        going = TakeHead(&bytes, &marks);
        break;
      case State::kChunkSize:
      case State::kChunkEnd:
        going = TakeChunkSize(&bytes, &marks);
        break;
      case State::kChunk:
      case State::kLength:
        going = TakeBody(&bytes, &marks);
        break;
      case State::kEnded:
        break;
    }
  }
  marks.ended = state_ == State::kEnded && !marks.broken;
  return marks;
}

bool StreamReader::TakeLine(std::string_view* bytes, std::string_view* line) {
  if (kept_taken_) {
    kept_.clear();
    kept_taken_ = false;
  }
  const size_t end = bytes->find('\n');
  if (end == std::string_view::npos) {
    kept_.append(*bytes);
    return false;
  }
  *line = bytes->substr(0, end);
  bytes->remove_prefix(end + 1);
  if (!kept_.empty()) {
    kept_.append(*line);
    *line = kept_;
    kept_taken_ = true;
  }
  if (line->ends_with('\r')) line->remove_suffix(1);
  return true;
}

// A line of the head, or of the trailers behind the last chunk.
bool StreamReader::TakeHead(std::string_view* bytes, StreamMarks* marks) {
  std::string_view line;
  if (!TakeLine(bytes, &line)) {
    marks->broken = kept_.size() > kLongestLine;
    return false;
  }
  if (state_ == State::kTrailer) {
    if (line.empty()) state_ = State::kEnded;
    return true;
  }
  if (status_ == 0) {
    const size_t space = line.find(' ');
    if (!line.starts_with("HTTP/1.") || space == std::string_view::npos ||
        std::from_chars(line.data() + space + 1, line.data() + line.size(), status_).ec !=
            std::errc()) {
      marks->broken = true;
      return false;
    }
    keep_alive_ = !line.starts_with("HTTP/1.0");
    return true;
  }
  if (!line.empty()) {
    ReadHeader(line);
    return true;
  }
  if (chunked_) {
    state_ = State::kChunkSize;
  } else {
    state_ = left_ > 0 ? State::kLength : State::kEnded;
  }
  return true;
}

void StreamReader::ReadHeader(std::string_view line) {
  constexpr std::string_view kLength = "content-length:";
  if (StartsWithNoCase(line, "transfer-encoding:")) chunked_ = true;
  if (StartsWithNoCase(line, "connection: close")) keep_alive_ = false;
  if (!StartsWithNoCase(line, kLength)) return;
  line.remove_prefix(kLength.size());
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  std::from_chars(line.data(), line.data() + line.size(), left_);
}

// The line before a chunk, or the empty one behind it.
bool StreamReader::TakeChunkSize(std::string_view* bytes, StreamMarks* marks) {
  std::string_view line;
  if (!TakeLine(bytes, &line)) {
    marks->broken = kept_.size() > kLongestLine;
    return false;
  }
  if (state_ == State::kChunkEnd) {
    state_ = State::kChunkSize;
    return true;
  }
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), left_, 16);
  if (error != std::errc()) {
    marks->broken = true;
    return false;
  }
  state_ = left_ == 0 ? State::kTrailer : State::kChunk;
  return true;
}

bool StreamReader::TakeBody(std::string_view* bytes, StreamMarks* marks) {
  if (bytes->empty()) return false;
  const std::string_view piece = bytes->substr(0, left_);
  Body(piece, marks);
  bytes->remove_prefix(piece.size());
  left_ -= piece.size();
  if (left_ == 0) state_ = state_ == State::kChunk ? State::kChunkEnd : State::kEnded;
  return !marks->broken;
}

void StreamReader::Body(std::string_view bytes, StreamMarks* marks) {
  if (status_ != 200) {
    error_.append(bytes.substr(0, kLongestError - std::min(kLongestError, error_.size())));
    return;
  }
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    if (end == std::string_view::npos) {
      kept_event_.append(bytes);
      marks->broken = kept_event_.size() > kLongestEvent;
      return;
    }
    if (kept_event_.empty()) {
      EventLine(bytes.substr(0, end), marks);
    } else {
      kept_event_.append(bytes.substr(0, end));
      EventLine(kept_event_, marks);
      kept_event_.clear();
    }
    bytes.remove_prefix(end + 1);
  }
}

void StreamReader::EventLine(std::string_view line, StreamMarks* marks) {
  if (!line.starts_with(kData)) return;
  const std::string_view event = line.substr(kData.size());
  // Also finds "reasoning_content".
  if (HasText(event, "content\":\"") || HasText(event, "\"text\":\"") ||
      HasText(event, "\"arguments\":\"")) {
    ++marks->text_events;
    return;
  }
  if (event.starts_with("[DONE]")) {
    done_ = true;
  } else if (event.starts_with("{\"error\":")) {
    error_ = std::string(event.substr(0, kLongestError));
  } else if (FindEnd(event, "\"usage\":{") != std::string_view::npos) {
    prompt_tokens_ = NumberAfter(event, "\"prompt_tokens\":");
    completion_tokens_ = NumberAfter(event, "\"completion_tokens\":");
  }
}

}  // namespace pingti::tools
