// See kubernetes_json.h.
#include "router/discovery/kubernetes_json.h"

#include <utility>

#include "boost/json.hpp"
#include "common/base/strings.h"

namespace pingti::router {

absl::StatusOr<boost::json::object> ParseObject(std::string_view what, std::string_view text) {
  boost::system::error_code error;
  boost::json::value value = boost::json::parse({text.data(), text.size()}, error);
  if (!error && value.is_object()) return std::move(value.get_object());
  return absl::InvalidArgumentError(Concat(what, " is no JSON object: ", text.substr(0, 200)));
}

std::string MetadataText(const boost::json::object& object, std::string_view name) {
  const boost::json::value* metadata = object.if_contains("metadata");
  if (metadata == nullptr || !metadata->is_object()) return "";
  const boost::json::value* value = metadata->get_object().if_contains(name);
  if (value == nullptr || !value->is_string()) return "";
  return std::string(value->get_string().data(), value->get_string().size());
}

}  // namespace pingti::router
