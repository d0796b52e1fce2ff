// The typed look-ups of GgufFile. Next: gguf_parser.cc, which fills it.
#include "worker/weights/gguf_file.h"

#include <limits>
#include <set>

#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::worker {

absl::Status GgufFile::AddPart(const GgufFile& part) {
  std::set<std::string_view> names;
  for (const TensorView& tensor : tensors_) names.insert(tensor.name);
  for (const TensorView& tensor : part.tensors_) {
    if (names.contains(tensor.name)) {
      return absl::InvalidArgumentError(
          Concat("tensor '", tensor.name, "' is in another part too"));
    }
  }
  tensors_.insert(tensors_.end(), part.tensors_.begin(), part.tensors_.end());
  return absl::OkStatus();
}

const GgufValue* GgufFile::Find(std::string_view key) const {
  const auto it = values_.find(key);
  return it == values_.end() ? nullptr : &it->second;
}

const TensorView* GgufFile::FindTensor(std::string_view name) const {
  for (const TensorView& tensor : tensors_) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

namespace {

absl::Status WrongType(std::string_view key, std::string_view expected) {
  return absl::InvalidArgumentError(
      Concat("metadata key '", key, "' has another type than expected: ", expected));
}

template <typename T>
absl::StatusOr<const T*> Get(const GgufValue* value, std::string_view key,
                             std::string_view expected) {
  if (value == nullptr) return nullptr;
  if (const T* held = std::get_if<T>(value)) return held;
  return WrongType(key, expected);
}

}  // namespace

absl::StatusOr<std::optional<int64_t>> GgufFile::Int(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* i = std::get_if<int64_t>(value)) return *i;
  if (const auto* u = std::get_if<uint64_t>(value)) {
    if (*u <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return static_cast<int64_t>(*u);
    }
  }
  return WrongType(key, "an integer");
}

absl::StatusOr<std::optional<double>> GgufFile::Float(std::string_view key) const {
  PINGTI_ASSIGN_OR_RETURN(const double* value, Get<double>(Find(key), key, "a float"));
  return value == nullptr ? std::nullopt : std::optional<double>(*value);
}

absl::StatusOr<std::optional<bool>> GgufFile::Bool(std::string_view key) const {
  PINGTI_ASSIGN_OR_RETURN(const bool* value, Get<bool>(Find(key), key, "a boolean"));
  return value == nullptr ? std::nullopt : std::optional<bool>(*value);
}

absl::StatusOr<std::optional<std::string_view>> GgufFile::String(std::string_view key) const {
  PINGTI_ASSIGN_OR_RETURN(const std::string_view* value,
                          Get<std::string_view>(Find(key), key, "a string"));
  return value == nullptr ? std::nullopt : std::optional<std::string_view>(*value);
}

absl::StatusOr<const std::vector<std::string_view>*> GgufFile::Strings(std::string_view key) const {
  return Get<std::vector<std::string_view>>(Find(key), key, "an array of strings");
}

absl::StatusOr<const std::vector<int64_t>*> GgufFile::Ints(std::string_view key) const {
  return Get<std::vector<int64_t>>(Find(key), key, "an array of integers");
}

absl::StatusOr<const std::vector<double>*> GgufFile::Floats(std::string_view key) const {
  return Get<std::vector<double>>(Find(key), key, "an array of floats");
}

}  // namespace pingti::worker
