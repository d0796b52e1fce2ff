// See objectives.h.
#include "router/admission/objectives.h"

#include <string_view>

#include "common/base/strings.h"
#include "common/base/units.h"

namespace pingti::router {

absl::StatusOr<FirstTokenObjectives> ParseObjectives(const std::vector<std::string>& texts) {
  FirstTokenObjectives objectives;
  for (const std::string& text : texts) {
    const auto bad = [&](std::string_view why) {
      return absl::InvalidArgumentError(Concat("first token objective '", text, "': ", why));
    };
    const size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0) return bad("expected CLASS=DURATION");
    const auto time = ParseDuration(std::string_view(text).substr(equals + 1));
    if (!time.ok()) return bad(std::string(time.status().message()));
    if (time->count() <= 0) return bad("expected a time above zero");
    if (!objectives.emplace(text.substr(0, equals), *time).second) {
      return bad("the class is given twice");
    }
  }
  return objectives;
}

}  // namespace pingti::router
