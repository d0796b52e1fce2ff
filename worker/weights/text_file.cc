#include "worker/weights/text_file.h"

#include <memory>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/weights/mapped_file.h"

namespace pingti::worker {
namespace {

// The largest known tokenizer.json has 35 MB.
constexpr size_t kMaxBytes = size_t{128} << 20;

}  // namespace

absl::Status InFile(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(), Concat(path, ": ", std::string(status.message())));
}

absl::StatusOr<std::optional<std::string>> ReadOptionalFile(const std::string& path) {
  absl::StatusOr<std::unique_ptr<MappedFile>> file = MappedFile::Open(path);
  if (absl::IsNotFound(file.status())) return std::nullopt;
  if (!file.ok()) return file.status();
  if ((*file)->bytes().size() > kMaxBytes) {
    return absl::InvalidArgumentError(Concat(path, ": ", (*file)->bytes().size(),
                                             " bytes; expected a text file of at most ",
                                             kMaxBytes));
  }
  return std::string((*file)->bytes());
}

absl::StatusOr<std::string> ReadRequiredFile(const std::string& path) {
  PINGTI_ASSIGN_OR_RETURN(std::optional<std::string> text, ReadOptionalFile(path));
  if (!text.has_value()) return absl::NotFoundError(Concat("'", path, "' does not exist"));
  return *std::move(text);
}

}  // namespace pingti::worker
