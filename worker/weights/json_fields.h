// Typed look-ups in a JSON object that name the field when they fail. For worker/weights and the
// families' pages.
#pragma once

#include <boost/json/fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace pingti::worker {

// Borrows the object. A field that is absent or null counts as not there.
class JsonFields {
 public:
  JsonFields(const boost::json::object& object, std::string prefix)
      : object_(object), prefix_(std::move(prefix)) {}

  const boost::json::value* Find(std::string_view key) const;
  // The field as messages name it: "rope_scaling.factor".
  std::string Name(std::string_view key) const { return prefix_ + std::string(key); }

  absl::StatusOr<std::optional<int64_t>> Int(std::string_view key) const;
  absl::StatusOr<std::optional<double>> Number(std::string_view key) const;
  absl::StatusOr<std::optional<bool>> Bool(std::string_view key) const;
  absl::StatusOr<std::optional<std::string>> String(std::string_view key) const;
  // One integer or an array of them; empty when absent.
  absl::StatusOr<std::vector<int64_t>> IntList(std::string_view key) const;
  // Empty when absent.
  absl::StatusOr<std::vector<std::string>> StringList(std::string_view key) const;
  // Null when absent.
  absl::StatusOr<const boost::json::object*> Object(std::string_view key) const;

  // InvalidArgument when absent or out of [min, max].
  absl::StatusOr<int64_t> RequiredInt(std::string_view key, int64_t min, int64_t max) const;
  absl::StatusOr<std::optional<int64_t>> IntIn(std::string_view key, int64_t min,
                                               int64_t max) const;
  absl::StatusOr<int64_t> IntOr(std::string_view key, int64_t fallback, int64_t min,
                                int64_t max) const;
  // InvalidArgument when out of [min, max].
  absl::StatusOr<std::optional<double>> NumberIn(std::string_view key, double min,
                                                 double max) const;
  absl::StatusOr<double> NumberOr(std::string_view key, double fallback, double min,
                                  double max) const;
  absl::StatusOr<bool> BoolOr(std::string_view key, bool fallback) const;

 private:
  absl::Status Wrong(std::string_view key, std::string_view expected) const;

  const boost::json::object& object_;
  const std::string prefix_;  // of field names in messages: "rope_scaling."
};

// Errors: InvalidArgument when `text` is not a JSON object.
absl::StatusOr<boost::json::value> ParseJsonObject(std::string_view text);

}  // namespace pingti::worker
