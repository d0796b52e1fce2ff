// How a profile looks; see step_profile.h.
#include <boost/json.hpp>
#include <cstdio>

#include "common/base/strings.h"
#include "tools/profile/step_profile.h"

namespace pingti::tools {

namespace json = boost::json;

std::string ProfileTable(const ModelProfile& profile) {
  std::string out = Concat(profile.model, " on ", profile.device, ", ", profile.format, ", batch ",
                           profile.batch, ", context ", profile.context, "\n");
  char line[128];
  for (const PhaseProfile& phase : profile.phases) {
    std::snprintf(line, sizeof(line), "\n%s: %.3f ms a step of %lld tokens, %.1f tokens/s\n",
                  phase.name.c_str(), phase.seconds * 1e3, static_cast<long long>(phase.tokens),
                  static_cast<double>(phase.tokens) / phase.seconds);
    out += line;
    for (const StageTime& stage : phase.stages) {
      std::snprintf(line, sizeof(line), "  %-11s %10.3f ms %6.1f %%\n", stage.name.c_str(),
                    stage.seconds * 1e3, stage.share * 100.0);
      out += line;
    }
  }
  return out;
}

std::string ProfileJson(const ModelProfile& profile) {
  json::array phases;
  for (const PhaseProfile& phase : profile.phases) {
    json::array stages;
    for (const StageTime& stage : phase.stages) {
      stages.push_back({{"name", stage.name}, {"seconds", stage.seconds}, {"share", stage.share}});
    }
    phases.push_back({{"name", phase.name},
                      {"tokens", phase.tokens},
                      {"seconds", phase.seconds},
                      {"stages", std::move(stages)}});
  }
  const json::value root = {{"model", profile.model},     {"device", profile.device},
                            {"format", profile.format},   {"batch", profile.batch},
                            {"context", profile.context}, {"phases", std::move(phases)}};
  return json::serialize(root) + "\n";
}

}  // namespace pingti::tools
