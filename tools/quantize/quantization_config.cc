#include "tools/quantize/quantization_config.h"

#include <boost/json.hpp>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/weights/mapped_file.h"

namespace pingti::tools {
namespace {

namespace json = boost::json;

json::value Scheme(const char* strategy, bool dynamic) {
  return {{"num_bits", 8},        {"type", "int"},         {"symmetric", true},
          {"strategy", strategy}, {"group_size", nullptr}, {"dynamic", dynamic}};
}

}  // namespace

absl::StatusOr<std::string> QuantizedConfig(const std::string& original_path,
                                            const std::vector<std::string>& kept_modules) {
  PINGTI_ASSIGN_OR_RETURN(const auto file, worker::MappedFile::Open(original_path));
  json::error_code error;
  json::value config =
      json::parse(json::string_view(file->bytes().data(), file->bytes().size()), error);
  if (error || !config.is_object()) {
    return absl::InvalidArgumentError(Concat(original_path, ": expected a JSON object"));
  }
  json::array ignore;
  for (const std::string& module : kept_modules) ignore.emplace_back(module);
  const json::value group = {{"targets", json::array{"Linear"}},
                             {"weights", Scheme("channel", false)},
                             {"input_activations", Scheme("token", true)},
                             {"output_activations", nullptr}};
  config.get_object()["quantization_config"] = {
      {"quant_method", "compressed-tensors"}, {"format", "int-quantized"},
      {"quantization_status", "compressed"},  {"config_groups", {{"group_0", group}}},
      {"ignore", std::move(ignore)},          {"kv_cache_scheme", nullptr}};
  return json::serialize(config) + "\n";
}

}  // namespace pingti::tools
