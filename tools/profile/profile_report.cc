// How a profile looks; see step_profile.h.
#include <boost/json.hpp>
#include <cstdio>

#include "common/base/strings.h"
#include "tools/profile/step_profile.h"

namespace pingti::tools {
namespace {

namespace json = boost::json;

template <typename... Args>
std::string Format(const char* format, Args... args) {
  char text[160];
  std::snprintf(text, sizeof(text), format, args...);
  return text;
}

std::string PhaseTable(const PhaseProfile& phase) {
  std::string out = phase.steps == 1 ? Format("\n%s, %lld tokens\n", phase.name.c_str(),
                                              static_cast<long long>(phase.tokens))
                                     : Format("\n%s, %lld tokens in %d steps\n", phase.name.c_str(),
                                              static_cast<long long>(phase.tokens), phase.steps);
  out += Format("  %s as served%s: %.3f ms, %.1f tokens/s\n", phase.steps == 1 ? "step" : "steps",
                phase.recorded ? " (recorded)" : "", phase.seconds * 1e3,
                static_cast<double>(phase.tokens) / phase.seconds);
  out += Format("  sum of stages: %.3f ms\n", StageSum(phase) * 1e3);
  for (const StageTime& stage : phase.stages) {
    out += Format("  %-11s %10.3f ms %6.1f %%\n", stage.name.c_str(), stage.seconds * 1e3,
                  stage.share * 100.0);
  }
  return out;
}

json::value PhaseJson(const PhaseProfile& phase) {
  json::array stages;
  for (const StageTime& stage : phase.stages) {
    stages.push_back({{"name", stage.name}, {"seconds", stage.seconds}, {"share", stage.share}});
  }
  return {{"name", phase.name},
          {"tokens", phase.tokens},
          {"steps", phase.steps},
          {"seconds", phase.seconds},
          {"recorded", phase.recorded},
          {"tokens_per_second", static_cast<double>(phase.tokens) / phase.seconds},
          {"stage_sum_seconds", StageSum(phase)},
          {"profiled_seconds", phase.profiled_seconds},
          {"stages", std::move(stages)}};
}

}  // namespace

double StageSum(const PhaseProfile& phase) {
  double sum = 0.0;
  for (const StageTime& stage : phase.stages) {
    if (stage.name != "host" && stage.name != "tokenizer") sum += stage.seconds;
  }
  return sum;
}

std::string ProfileTable(const ModelProfile& profile) {
  const std::string ranks = profile.tensor_parallel == 1
                                ? ""
                                : Concat(profile.tensor_parallel, " ranks",
                                         profile.expert_parallel ? " with whole experts: " : ": ");
  std::string out = Concat(profile.model, " on ", ranks, profile.device_name, " (", profile.device,
                           "), ", profile.format, ", keys and values ", profile.kv_format,
                           ", batch ", profile.batch, ", context ", profile.context, "\n");
  for (const PhaseProfile& phase : profile.phases) out += PhaseTable(phase);
  return out;
}

std::string ProfileJson(const ModelProfile& profile) {
  json::array phases;
  for (const PhaseProfile& phase : profile.phases) phases.push_back(PhaseJson(phase));
  const json::value root = {{"model", profile.model},
                            {"device", profile.device},
                            {"device_name", profile.device_name},
                            {"format", profile.format},
                            {"kv_format", profile.kv_format},
                            {"batch", profile.batch},
                            {"context", profile.context},
                            {"max_batch_tokens", profile.max_batch_tokens},
                            {"tensor_parallel", profile.tensor_parallel},
                            {"expert_parallel", profile.expert_parallel},
                            {"phases", std::move(phases)}};
  return json::serialize(root) + "\n";
}

}  // namespace pingti::tools
