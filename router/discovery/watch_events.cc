// See watch_events.h.
#include "router/discovery/watch_events.h"

#include <utility>

#include "boost/json.hpp"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/discovery/kubernetes_json.h"

namespace pingti::router {
namespace {

constexpr int kGone = 410;

absl::Status ErrorEvent(const boost::json::object& object) {
  const std::string message = Concat("the watch ended: ", boost::json::serialize(object));
  const boost::json::value* code = object.if_contains("code");
  const bool is_gone = code != nullptr && code->is_int64() && code->get_int64() == kGone;
  return is_gone ? absl::OutOfRangeError(message) : absl::UnavailableError(message);
}

}  // namespace

absl::Status WatchEvents::Feed(std::string_view piece) {
  input_ += piece;
  size_t begin = 0;
  for (size_t end; (end = input_.find('\n', begin)) != std::string::npos; begin = end + 1) {
    PINGTI_RETURN_IF_ERROR(Take(std::string_view(input_).substr(begin, end - begin)));
  }
  input_.erase(0, begin);
  if (input_.size() <= kMaxWatchEventBytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      Concat("an event of the watch is larger than ", kMaxWatchEventBytes >> 20, " MiB"));
}

absl::Status WatchEvents::Take(std::string_view line) {
  if (line.empty()) return absl::OkStatus();
  PINGTI_ASSIGN_OR_RETURN(const boost::json::object event,
                          ParseObject("an event of the watch", line));
  const boost::json::value* object = event.if_contains("object");
  const boost::json::value* type_value = event.if_contains("type");
  if (object == nullptr || !object->is_object() || type_value == nullptr ||
      !type_value->is_string()) {
    return absl::InvalidArgumentError("an event of the watch has no type or no object");
  }
  const boost::json::string& type = type_value->get_string();
  if (type == "ERROR") {
    version_->clear();  // a list always tells the truth, whatever the error was
    return ErrorEvent(object->get_object());
  }
  if (type == "ADDED" || type == "MODIFIED") {
    PINGTI_RETURN_IF_ERROR(slices_->Put(*object));
  } else if (type == "DELETED") {
    PINGTI_RETURN_IF_ERROR(slices_->Remove(*object));
  }
  std::string version = MetadataText(object->get_object(), "resourceVersion");
  if (!version.empty()) *version_ = std::move(version);
  on_event_();
  return absl::OkStatus();
}

}  // namespace pingti::router
