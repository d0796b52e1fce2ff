// Reads the structure of a GGUF file, versions 2 and 3, little-endian (source: the GGUF
// specification). Every length, count and offset of the file is checked before it is used: a
// truncated or hostile file gives an error that names what is wrong, never a bad access.
// Next: gguf_keys.h; worker/model/families, which give the keys and tensors their meaning.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/tensor/tensor_view.h"

namespace pingti::worker {

// Numbers are widened; strings are views of the file.
using GgufValue =
    std::variant<uint64_t, int64_t, double, bool, std::string_view, std::vector<std::string_view>,
                 std::vector<int64_t>, std::vector<double>>;

// Parsed form of the bytes given to Parse, which must outlive it. Immutable; thread-safe.
class GgufFile {
 public:
  // Errors: InvalidArgument (malformed), Unimplemented (version, tensor type). Messages name the
  // key or tensor, the value and what was expected; the caller adds the path.
  static absl::StatusOr<GgufFile> Parse(std::string_view bytes);

  // Takes over the tensors of a further part of a model that is split into several files. Errors:
  // InvalidArgument naming a tensor that both have.
  absl::Status AddPart(const GgufFile& part);

  const std::vector<TensorView>& tensors() const { return tensors_; }
  // Null when absent.
  const TensorView* FindTensor(std::string_view name) const;
  uint32_t version() const { return version_; }

  // Null when the key is absent.
  const GgufValue* Find(std::string_view key) const;

  // Typed look-ups; nullopt when the key is absent. Errors: InvalidArgument when the value has
  // another type or does not fit.
  absl::StatusOr<std::optional<int64_t>> Int(std::string_view key) const;
  absl::StatusOr<std::optional<double>> Float(std::string_view key) const;
  absl::StatusOr<std::optional<bool>> Bool(std::string_view key) const;
  absl::StatusOr<std::optional<std::string_view>> String(std::string_view key) const;
  // Null when absent.
  absl::StatusOr<const std::vector<std::string_view>*> Strings(std::string_view key) const;
  absl::StatusOr<const std::vector<int64_t>*> Ints(std::string_view key) const;
  absl::StatusOr<const std::vector<double>*> Floats(std::string_view key) const;

 private:
  class Parser;

  uint32_t version_ = 0;
  std::map<std::string_view, GgufValue> values_;
  std::vector<TensorView> tensors_;
};

}  // namespace pingti::worker
