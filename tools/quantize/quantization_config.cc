#include "tools/quantize/quantization_config.h"

#include <boost/json.hpp>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/weights/mapped_file.h"

namespace pingti::tools {
namespace {

namespace json = boost::json;

// Integers of `bits` bits; a group_size of 0 is none.
json::value Integers(int bits, const char* strategy, int64_t group_size, bool dynamic) {
  json::value size = nullptr;
  if (group_size > 0) size = group_size;
  return {{"num_bits", bits},     {"type", "int"},      {"symmetric", true},
          {"strategy", strategy}, {"group_size", size}, {"dynamic", dynamic}};
}

}  // namespace

absl::StatusOr<std::string> QuantizedConfig(const std::string& original_path, WeightScheme scheme,
                                            int64_t group_size,
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
  const bool int4 = scheme == WeightScheme::kInt4;
  const json::value group = {
      {"targets", json::array{"Linear"}},
      {"weights",
       int4 ? Integers(4, "group", group_size, false) : Integers(8, "channel", 0, false)},
      {"input_activations", int4 ? json::value(nullptr) : Integers(8, "token", 0, true)},
      {"output_activations", nullptr}};
  config.get_object()["quantization_config"] = {
      {"quant_method", "compressed-tensors"}, {"format", int4 ? "pack-quantized" : "int-quantized"},
      {"quantization_status", "compressed"},  {"config_groups", {{"group_0", group}}},
      {"ignore", std::move(ignore)},          {"kv_cache_scheme", nullptr}};
  return json::serialize(config) + "\n";
}

}  // namespace pingti::tools
