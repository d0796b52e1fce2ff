// adapter_config.json, as PEFT writes it for LoRA (source: peft's LoraConfig). What would change
// the answer and is not supported here is refused by name. Pure; thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/text/regex.h"

namespace pingti::worker {

class PeftConfig {
 public:
  // Errors: InvalidArgument, or Unimplemented naming the field and its value.
  static absl::StatusOr<PeftConfig> Parse(std::string_view json);

  const std::string& base_model() const { return base_model_; }
  // The modules that are named one by one; empty where an expression or a keyword stands for them.
  const std::vector<std::string>& target_modules() const { return target_modules_; }
  // The stacks of experts' matrices that are adapted, which are parameters and no modules: names
  // that end in "experts.gate_up_proj" or "experts.down_proj".
  const std::vector<std::string>& target_parameters() const { return target_parameters_; }
  // Of a module or parameter, by its whole name: rank and factor. Errors: those of the patterns'
  // search.
  absl::StatusOr<int64_t> RankOf(std::string_view module) const;
  absl::StatusOr<double> ScaleOf(std::string_view module) const;

 private:
  // Values for modules whose names match (.*\.)?(key), the first key that does.
  using Pattern = std::vector<std::pair<text::Regex, double>>;

  PeftConfig() = default;
  static absl::StatusOr<double> ValueOf(const Pattern& pattern, std::string_view module,
                                        double fallback);

  std::string base_model_;
  std::vector<std::string> target_modules_;
  std::vector<std::string> target_parameters_;
  int64_t rank_ = 0;
  double alpha_ = 0;
  bool rank_stabilized_ = false;
  Pattern ranks_;
  Pattern alphas_;
};

}  // namespace pingti::worker
