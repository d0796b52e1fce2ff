// Reads what a watch of EndpointSlices answers: JSON events, a line each, in pieces of any size.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "router/discovery/endpoint_slices.h"

namespace pingti::router {

// Of one event at most.
inline constexpr size_t kMaxWatchEventBytes = 16u << 20;

// Takes the events of one watch ("Efficient detection of changes" in Kubernetes' API concepts):
// ADDED, MODIFIED and DELETED change a slice, a BOOKMARK tells its version alone, and so does a
// kind that is not known; ERROR ends the watch. Thread-compatible.
class WatchEvents {
 public:
  // Both must outlive this. `version`: the newest resourceVersion, from which the next watch goes
  // on; an ERROR empties it, so that a list comes next. `on_event`: called for each event taken.
  WatchEvents(EndpointSlices* slices, std::string* version, std::function<void()> on_event)
      : slices_(slices), version_(version), on_event_(std::move(on_event)) {}

  // Takes the events that are whole with these bytes, up to one that cannot be read. Errors:
  // InvalidArgument; ResourceExhausted: an event does not end; OutOfRange: the server has forgotten
  // the version (410 Gone); Unavailable: it sent another ERROR. After one there is nothing more to
  // feed.
  absl::Status Feed(std::string_view piece);

 private:
  absl::Status Take(std::string_view line);

  EndpointSlices* const slices_;
  std::string* const version_;
  const std::function<void()> on_event_;
  std::string input_;  // an event's beginning
};

}  // namespace pingti::router
