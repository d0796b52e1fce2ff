#include "worker/weights/hf_quantization.h"

#include <boost/json.hpp>
#include <optional>
#include <string>
#include <tuple>

#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::worker {
namespace {

namespace json = boost::json;

constexpr char kPrefix[] = "quantization_config.";
constexpr int64_t kMaxGroup = int64_t{1} << 24;

// group_size as files spell it, -1 for one group, to PackedQuantization's.
absl::StatusOr<int64_t> ReadGroupSize(const JsonFields& fields, const std::string& prefix) {
  PINGTI_ASSIGN_OR_RETURN(const int64_t size, fields.RequiredInt("group_size", -1, kMaxGroup));
  if (size == -1) return 0;
  if (size != 32 && size != 64 && (size == 0 || size % 128 != 0)) {
    return absl::UnimplementedError(
        Concat("'", prefix, "group_size' ", size, "; expected 32, 64, a multiple of 128, or -1"));
  }
  return size;
}

absl::StatusOr<int> ReadBits(const JsonFields& fields, const std::string& prefix, const char* key,
                             bool eight_too) {
  PINGTI_ASSIGN_OR_RETURN(const int64_t bits, fields.RequiredInt(key, 1, 64));
  if (bits == 4 || (bits == 8 && eight_too)) return static_cast<int>(bits);
  return absl::UnimplementedError(
      Concat("'", prefix, key, "' ", bits, "; expected ", eight_too ? "4 or 8" : "4"));
}

absl::Status ExpectString(const JsonFields& fields, const char* key, std::string_view fallback,
                          std::initializer_list<std::string_view> expected) {
  PINGTI_ASSIGN_OR_RETURN(const std::optional<std::string> value, fields.String(key));
  std::string names;
  for (const std::string_view name : expected) {
    if (value.value_or(std::string(fallback)) == name) return absl::OkStatus();
    names += Concat(names.empty() ? "" : " or ", name);
  }
  return absl::UnimplementedError(
      Concat("'", kPrefix, key, "' '", value.value_or(""), "'; expected ", names));
}

// Source: AutoGPTQ's and GPTQModel's quantize_config. Whether columns were reordered (desc_act)
// shows in g_idx, and whether values are symmetric (sym) in the zeros, so neither is asked here.
absl::StatusOr<PackedQuantization> ReadGptq(const JsonFields& fields) {
  PackedQuantization packed;
  packed.present = true;
  packed.method = "gptq";
  packed.layout = PackedLayout::kGptq;
  packed.needs_zeros = true;
  PINGTI_ASSIGN_OR_RETURN(packed.bits, ReadBits(fields, kPrefix, "bits", /*eight_too=*/true));
  PINGTI_ASSIGN_OR_RETURN(packed.group_size, ReadGroupSize(fields, kPrefix));
  PINGTI_RETURN_IF_ERROR(ExpectString(fields, "checkpoint_format", "gptq", {"gptq", "gptq_v2"}));
  PINGTI_ASSIGN_OR_RETURN(const std::optional<std::string> format,
                          fields.String("checkpoint_format"));
  packed.zero_offset = format.value_or("gptq") == "gptq" ? 1 : 0;
  // GPTQModel: patterns of modules with numbers of their own.
  PINGTI_ASSIGN_OR_RETURN(const json::object* dynamic, fields.Object("dynamic"));
  packed.varies = dynamic != nullptr && !dynamic->empty();
  PINGTI_ASSIGN_OR_RETURN(const std::optional<bool> marlin, fields.Bool("is_marlin_format"));
  if (marlin.value_or(false)) {
    return absl::UnimplementedError(Concat("'", kPrefix, "is_marlin_format'"));
  }
  return packed;
}

// Source: AutoAWQ's quant_config. zero_point false: modules may come without zeros.
absl::StatusOr<PackedQuantization> ReadAwq(const JsonFields& fields) {
  PackedQuantization packed;
  packed.present = true;
  packed.method = "awq";
  packed.layout = PackedLayout::kAwq;
  PINGTI_ASSIGN_OR_RETURN(packed.bits, ReadBits(fields, kPrefix, "bits", /*eight_too=*/false));
  PINGTI_ASSIGN_OR_RETURN(packed.group_size, ReadGroupSize(fields, kPrefix));
  PINGTI_RETURN_IF_ERROR(ExpectString(fields, "version", "gemm", {"gemm", "GEMM"}));
  PINGTI_RETURN_IF_ERROR(ExpectString(fields, "backend", "autoawq", {"autoawq"}));
  PINGTI_ASSIGN_OR_RETURN(const std::optional<bool> zeros, fields.Bool("zero_point"));
  packed.needs_zeros = zeros.value_or(true);
  return packed;
}

// Source: auto-round's quantization_config. It packs as GPTQ or AWQ do, and says which.
absl::StatusOr<PackedQuantization> ReadAutoRound(const JsonFields& fields) {
  PINGTI_ASSIGN_OR_RETURN(std::optional<std::string> packing, fields.String("packing_format"));
  if (!packing.has_value()) {
    PINGTI_ASSIGN_OR_RETURN(packing, fields.String("backend"));
  }
  const std::string name = packing.value_or("");
  PackedQuantization packed;
  if (name.find("gptq") != std::string::npos) {
    PINGTI_ASSIGN_OR_RETURN(packed, ReadGptq(fields));
  } else if (name.find("awq") != std::string::npos) {
    packed.present = true;
    packed.layout = PackedLayout::kAwq;
    packed.needs_zeros = true;
    PINGTI_ASSIGN_OR_RETURN(packed.bits, ReadBits(fields, kPrefix, "bits", /*eight_too=*/false));
    PINGTI_ASSIGN_OR_RETURN(packed.group_size, ReadGroupSize(fields, kPrefix));
  } else {
    return absl::UnimplementedError(
        Concat("'", kPrefix, "packing_format' '", name,
               "'; expected auto_round:auto_gptq or auto_round:auto_awq"));
  }
  packed.method = "auto-round";
  PINGTI_ASSIGN_OR_RETURN(const json::object* extra, fields.Object("extra_config"));
  packed.varies = packed.layout == PackedLayout::kGptq && extra != nullptr && !extra->empty();
  return packed;
}

// bitsandbytes keeps what its layers need beside each matrix; see bitsandbytes.h.
absl::Status CheckBitsAndBytes(const JsonFields& fields) {
  PINGTI_ASSIGN_OR_RETURN(const std::optional<bool> eight, fields.Bool("load_in_8bit"));
  PINGTI_ASSIGN_OR_RETURN(const std::optional<bool> four, fields.Bool("load_in_4bit"));
  if (eight.value_or(false) == four.value_or(false)) {
    return absl::UnimplementedError(
        Concat("'", kPrefix, "load_in_8bit' and 'load_in_4bit'; expected one of them to be true"));
  }
  if (eight.value_or(false)) return absl::OkStatus();
  PINGTI_RETURN_IF_ERROR(ExpectString(fields, "bnb_4bit_quant_type", "fp4", {"nf4"}));
  return ExpectString(fields, "bnb_4bit_quant_storage", "uint8", {"uint8"});
}

// int8 weights, symmetric, one scale per output channel, with activations quantized per token while
// running.
absl::Status CheckInt8Group(const std::string& prefix, const JsonFields& w,
                            const json::object* inputs) {
  PINGTI_ASSIGN_OR_RETURN(const int64_t bits, w.RequiredInt("num_bits", 1, 64));
  PINGTI_ASSIGN_OR_RETURN(const std::optional<std::string> type, w.String("type"));
  PINGTI_ASSIGN_OR_RETURN(const std::optional<std::string> strategy, w.String("strategy"));
  PINGTI_ASSIGN_OR_RETURN(const std::optional<bool> symmetric, w.Bool("symmetric"));
  if (bits != 8 || type.value_or("int") != "int" || strategy.value_or("") != "channel" ||
      !symmetric.value_or(true)) {
    return absl::UnimplementedError(
        Concat("'", prefix, "weights' are ", bits, "-bit ", type.value_or("int"), ", strategy '",
               strategy.value_or(""), "', ", symmetric.value_or(true) ? "symmetric" : "asymmetric",
               "; expected 8-bit int, strategy 'channel', symmetric"));
  }
  if (inputs == nullptr) return absl::OkStatus();
  const JsonFields a(*inputs, prefix + "input_activations.");
  PINGTI_ASSIGN_OR_RETURN(const std::optional<bool> dynamic, a.Bool("dynamic"));
  PINGTI_ASSIGN_OR_RETURN(const std::optional<bool> input_symmetric, a.Bool("symmetric"));
  PINGTI_ASSIGN_OR_RETURN(const std::optional<std::string> input_strategy, a.String("strategy"));
  if (!dynamic.value_or(false) || !input_symmetric.value_or(true) ||
      input_strategy.value_or("") != "token") {
    return absl::UnimplementedError(
        Concat("'", prefix, "input_activations': expected dynamic, symmetric, strategy 'token'"));
  }
  return absl::OkStatus();
}

// One group of "pack-quantized": weights of 4 or 8 bits with a scale per group or per row,
// activations as they are.
absl::StatusOr<PackedQuantization> ReadPackedGroup(const std::string& prefix, const JsonFields& w,
                                                   const json::object* inputs) {
  const std::string weights = prefix + "weights.";
  PackedQuantization packed;
  packed.present = true;
  packed.method = "compressed-tensors";
  packed.layout = PackedLayout::kRowMajor;
  PINGTI_ASSIGN_OR_RETURN(packed.bits, ReadBits(w, weights, "num_bits", /*eight_too=*/true));
  PINGTI_ASSIGN_OR_RETURN(const std::optional<std::string> type, w.String("type"));
  PINGTI_ASSIGN_OR_RETURN(const std::optional<std::string> strategy, w.String("strategy"));
  PINGTI_ASSIGN_OR_RETURN(const std::optional<bool> symmetric, w.Bool("symmetric"));
  const std::string_view groups = strategy.has_value() ? std::string_view(*strategy) : "";
  if (type.value_or("int") != "int" || (groups != "group" && groups != "channel")) {
    return absl::UnimplementedError(Concat("'", prefix, "weights' are ", type.value_or("int"),
                                           ", strategy '", groups,
                                           "'; expected int, strategy 'group' or 'channel'"));
  }
  if (groups == "group") {
    PINGTI_ASSIGN_OR_RETURN(packed.group_size, ReadGroupSize(w, weights));
  }
  packed.needs_zeros = !symmetric.value_or(true);
  if (inputs != nullptr) {
    return absl::UnimplementedError(
        Concat("'", prefix, "input_activations' beside packed weights; expected null"));
  }
  return packed;
}

bool SameScheme(const PackedQuantization& a, const PackedQuantization& b) {
  return std::tie(a.bits, a.group_size, a.needs_zeros) ==
         std::tie(b.bits, b.group_size, b.needs_zeros);
}

absl::Status ReadGroup(const std::string& name, const json::value& value, bool packed,
                       HfQuantization* out) {
  const std::string prefix = Concat(kPrefix, "config_groups.", name, ".");
  if (!value.is_object()) {
    return absl::InvalidArgumentError(
        Concat("'", kPrefix, "config_groups.", name, "' is not an object"));
  }
  const JsonFields fields(value.get_object(), prefix);
  PINGTI_ASSIGN_OR_RETURN(const json::object* weights, fields.Object("weights"));
  if (weights == nullptr) {
    return absl::InvalidArgumentError(Concat("'", prefix, "weights' is missing"));
  }
  const JsonFields w(*weights, prefix + "weights.");
  PINGTI_ASSIGN_OR_RETURN(const json::object* inputs, fields.Object("input_activations"));
  if (!packed) return CheckInt8Group(prefix, w, inputs);
  PINGTI_ASSIGN_OR_RETURN(PackedQuantization group, ReadPackedGroup(prefix, w, inputs));
  if (out->packed.present && !SameScheme(group, out->packed)) {
    return absl::UnimplementedError(
        Concat("'", prefix, "weights' differ from the other groups'; expected one scheme"));
  }
  out->packed = std::move(group);
  return absl::OkStatus();
}

absl::Status ReadCompressedTensors(const JsonFields& fields, HfQuantization* out) {
  PINGTI_RETURN_IF_ERROR(ExpectString(fields, "format", "", {"int-quantized", "pack-quantized"}));
  PINGTI_ASSIGN_OR_RETURN(const std::optional<std::string> format, fields.String("format"));
  const bool packed = *format == "pack-quantized";
  if (fields.Find("kv_cache_scheme") != nullptr) {
    return absl::UnimplementedError(Concat("'", kPrefix, "kv_cache_scheme'"));
  }
  PINGTI_ASSIGN_OR_RETURN(const json::object* groups, fields.Object("config_groups"));
  if (groups == nullptr || groups->empty()) {
    return absl::InvalidArgumentError(Concat("'", kPrefix, "config_groups' is missing or empty"));
  }
  for (const auto& item : *groups) {
    const std::string name(item.key().data(), item.key().size());
    PINGTI_RETURN_IF_ERROR(ReadGroup(name, item.value(), packed, out));
  }
  if (packed) return absl::OkStatus();
  PINGTI_ASSIGN_OR_RETURN(out->int8.ignored_modules, fields.StringList("ignore"));
  out->int8.present = true;
  return absl::OkStatus();
}

// Source: config.json of DeepSeek-V3. Modules that are listed as not converted show in their types.
absl::StatusOr<Fp8Blocks> ReadFp8(const JsonFields& fields) {
  PINGTI_RETURN_IF_ERROR(ExpectString(fields, "fmt", "e4m3", {"e4m3"}));
  PINGTI_RETURN_IF_ERROR(ExpectString(fields, "activation_scheme", "dynamic", {"dynamic"}));
  PINGTI_ASSIGN_OR_RETURN(const std::vector<int64_t> sizes, fields.IntList("weight_block_size"));
  if (sizes.size() != 2 || sizes[0] < 1 || sizes[1] < 1 || sizes[0] > kMaxGroup ||
      sizes[1] > kMaxGroup) {
    return absl::UnimplementedError(
        Concat("'", kPrefix, "weight_block_size': expected the rows and columns of a block"));
  }
  return Fp8Blocks{true, sizes[0], sizes[1]};
}

}  // namespace

absl::StatusOr<HfQuantization> ReadHfQuantization(const JsonFields& fields) {
  HfQuantization out;
  PINGTI_ASSIGN_OR_RETURN(const json::object* object, fields.Object("quantization_config"));
  if (object == nullptr) return out;
  const JsonFields quantization(*object, kPrefix);
  PINGTI_RETURN_IF_ERROR(ExpectString(quantization, "quant_method", "",
                                      {"gptq", "awq", "compressed-tensors", "bitsandbytes",
                                       "auto-round", "intel/auto-round", "fp8", "mxfp4"}));
  PINGTI_ASSIGN_OR_RETURN(const std::optional<std::string> method,
                          quantization.String("quant_method"));
  if (*method == "gptq") {
    PINGTI_ASSIGN_OR_RETURN(out.packed, ReadGptq(quantization));
  } else if (*method == "bitsandbytes") {
    PINGTI_RETURN_IF_ERROR(CheckBitsAndBytes(quantization));
    out.bitsandbytes = true;
  } else if (*method == "auto-round" || *method == "intel/auto-round") {
    PINGTI_ASSIGN_OR_RETURN(out.packed, ReadAutoRound(quantization));
  } else if (*method == "fp8") {
    PINGTI_ASSIGN_OR_RETURN(out.fp8, ReadFp8(quantization));
  } else if (*method == "mxfp4") {
    out.mxfp4 = true;  // which modules are shows in their tensors
  } else if (*method == "awq") {
    PINGTI_ASSIGN_OR_RETURN(out.packed, ReadAwq(quantization));
  } else {
    PINGTI_RETURN_IF_ERROR(ReadCompressedTensors(quantization, &out));
  }
  return out;
}

}  // namespace pingti::worker
