#include "worker/weights/safetensors_file.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cstring>
#include <optional>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::worker {
namespace {

namespace json = boost::json;

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's limit
constexpr size_t kMaxDims = 8;
// A parsed value takes many times the bytes of its text; a tensor's entry has about a dozen.
constexpr size_t kMaxHeaderValues = 2'000'000;

std::optional<DType> ParseDType(std::string_view name) {
  if (name == "BOOL") return DType::kU8;
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBf16, DType::kF8E4M3, DType::kI8,
                      DType::kI32, DType::kI64, DType::kU8}) {
    if (DTypeName(dtype) == name) return dtype;
  }
  return std::nullopt;
}

std::string_view View(const json::string& text) { return {text.data(), text.size()}; }

std::optional<uint64_t> AsUnsigned(const json::value& value) {
  if (const int64_t* i = value.if_int64()) {
    if (*i >= 0) return static_cast<uint64_t>(*i);
  }
  if (const uint64_t* u = value.if_uint64()) return *u;
  return std::nullopt;
}

const json::value* Field(const json::object& object, std::string_view key) {
  return object.if_contains(json::string_view(key.data(), key.size()));
}

struct Placed {
  TensorView tensor;
  uint64_t begin = 0;
  uint64_t end = 0;
};

absl::Status ReadShape(const std::string& what, const json::object& entry, uint64_t data_bytes,
                       TensorView* tensor) {
  const json::value* shape = Field(entry, "shape");
  if (shape == nullptr || !shape->is_array() || shape->get_array().size() > kMaxDims) {
    return absl::InvalidArgumentError(
        Concat(what, ": 'shape' is not an array of at most ", kMaxDims, " numbers"));
  }
  uint64_t elements = 1;
  for (const json::value& item : shape->get_array()) {
    const std::optional<uint64_t> dim = AsUnsigned(item);
    if (!dim.has_value() || (elements > 0 && *dim > data_bytes / elements)) {
      return absl::InvalidArgumentError(Concat(what, ": shape ", json::serialize(*shape),
                                               " does not fit in ", data_bytes,
                                               " bytes of tensor data"));
    }
    elements *= *dim;
    tensor->shape.push_back(static_cast<int64_t>(*dim));
  }
  return absl::OkStatus();
}

absl::StatusOr<Placed> ReadEntry(std::string_view name, const json::value& value,
                                 uint64_t data_bytes) {
  const std::string what = Concat("tensor '", name, "'");
  if (!value.is_object()) {
    return absl::InvalidArgumentError(Concat(what, ": entry is not an object"));
  }
  const json::object& entry = value.get_object();
  for (const auto& item : entry) {
    const std::string_view key(item.key().data(), item.key().size());
    if (key != "dtype" && key != "shape" && key != "data_offsets") {
      return absl::InvalidArgumentError(Concat(what, ": unknown field '", key, "'"));
    }
  }
  Placed placed;
  placed.tensor.name = std::string(name);
  const json::value* dtype = Field(entry, "dtype");
  if (dtype == nullptr || !dtype->is_string()) {
    return absl::InvalidArgumentError(Concat(what, ": 'dtype' is missing"));
  }
  const std::optional<DType> parsed = ParseDType(View(dtype->get_string()));
  if (!parsed.has_value()) {
    return absl::UnimplementedError(Concat(what, ": dtype ", View(dtype->get_string()),
                                           "; expected F32, F16, BF16, I8, I32, I64, U8 or BOOL"));
  }
  placed.tensor.dtype = *parsed;
  PINGTI_RETURN_IF_ERROR(ReadShape(what, entry, data_bytes, &placed.tensor));
  const json::value* offsets = Field(entry, "data_offsets");
  std::optional<uint64_t> begin;
  std::optional<uint64_t> end;
  if (offsets != nullptr && offsets->is_array() && offsets->get_array().size() == 2) {
    begin = AsUnsigned(offsets->get_array()[0]);
    end = AsUnsigned(offsets->get_array()[1]);
  }
  if (!begin.has_value() || !end.has_value() || *begin > *end || *end > data_bytes) {
    return absl::InvalidArgumentError(
        Concat(what, ": 'data_offsets' ",
               offsets == nullptr ? std::string("missing") : json::serialize(*offsets),
               "; expected two ascending numbers up to ", data_bytes, " (truncated file?)"));
  }
  placed.begin = *begin;
  placed.end = *end;
  const int64_t expected = placed.tensor.NumElements() * BlockBytes(*parsed);
  placed.tensor.bytes = static_cast<int64_t>(*end - *begin);
  if (placed.tensor.bytes != expected) {
    return absl::InvalidArgumentError(Concat(what, " ", DTypeName(*parsed), " ",
                                             placed.tensor.ShapeString(), ": ", placed.tensor.bytes,
                                             " bytes; expected ", expected));
  }
  return placed;
}

// The format allows neither gaps nor overlaps.
absl::Status CheckCoverage(const std::vector<Placed>& placed, uint64_t data_bytes) {
  uint64_t expected = 0;
  for (const Placed& item : placed) {
    if (item.begin != expected) {
      return absl::InvalidArgumentError(Concat("tensor '", item.tensor.name, "' begins at byte ",
                                               item.begin, " of the data; expected ", expected));
    }
    expected = item.end;
  }
  if (expected != data_bytes) {
    return absl::InvalidArgumentError(
        Concat("tensors end at byte ", expected, " of ", data_bytes, " bytes of data"));
  }
  return absl::OkStatus();
}

// At least as many as there are values in JSON text, and members of objects.
size_t CountValues(std::string_view text) {
  size_t count = 1;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (in_string && text[i] == '\\') {
      ++i;
    } else if (text[i] == '"') {
      in_string = !in_string;
    } else if (!in_string) {
      count += text[i] == ',' || text[i] == ':' || text[i] == '[' || text[i] == '{' ? 1 : 0;
    }
  }
  return count;
}

absl::StatusOr<json::value> ParseHeader(std::string_view header) {
  const size_t values = CountValues(header);
  if (values > kMaxHeaderValues) {
    return absl::InvalidArgumentError(Concat("header of ", header.size(), " bytes with ", values,
                                             " values; expected at most ", kMaxHeaderValues));
  }
  json::error_code error;
  json::parse_options options;
  options.max_depth = 8;
  json::value value =
      json::parse(json::string_view(header.data(), header.size()), error, {}, options);
  if (error) {
    return absl::InvalidArgumentError(Concat("header is not JSON: ", error.message()));
  }
  if (!value.is_object()) return absl::InvalidArgumentError("header is not a JSON object");
  return value;
}

}  // namespace

absl::StatusOr<std::vector<TensorView>> ParseSafetensors(std::string_view bytes) {
  uint64_t header_bytes = 0;
  if (bytes.size() < sizeof(header_bytes)) {
    return absl::InvalidArgumentError("truncated inside the header's length");
  }
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  if (header_bytes > kMaxHeaderBytes || header_bytes > bytes.size() - sizeof(header_bytes)) {
    return absl::InvalidArgumentError(Concat("header of ", header_bytes, " bytes; the file has ",
                                             bytes.size(), " and the format allows ",
                                             kMaxHeaderBytes));
  }
  PINGTI_ASSIGN_OR_RETURN(const json::value header,
                          ParseHeader(bytes.substr(sizeof(header_bytes), header_bytes)));
  const std::string_view data = bytes.substr(sizeof(header_bytes) + header_bytes);
  std::vector<Placed> placed;
  for (const auto& item : header.get_object()) {
    const std::string_view name(item.key().data(), item.key().size());
    if (name == "__metadata__") continue;
    PINGTI_ASSIGN_OR_RETURN(Placed entry, ReadEntry(name, item.value(), data.size()));
    placed.push_back(std::move(entry));
  }
  std::sort(placed.begin(), placed.end(), [](const Placed& a, const Placed& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  PINGTI_RETURN_IF_ERROR(CheckCoverage(placed, data.size()));
  std::vector<TensorView> tensors;
  tensors.reserve(placed.size());
  for (Placed& item : placed) {
    item.tensor.data = data.data() + item.begin;
    tensors.push_back(std::move(item.tensor));
  }
  return tensors;
}

}  // namespace pingti::worker
