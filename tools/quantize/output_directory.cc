#include "tools/quantize/output_directory.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/base/units.h"

namespace pingti::tools {
namespace {

namespace fs = std::filesystem;

// What the quantized checkpoint has its own of.
bool IsReplaced(const std::string& name) {
  return name == "config.json" || name == "model.safetensors.index.json" ||
         fs::path(name).extension() == ".safetensors";
}

bool IsCompanion(const std::string& name) {
  static constexpr std::array<std::string_view, 6> kExtensions = {".json",  ".jinja",    ".txt",
                                                                  ".model", ".tiktoken", ".md"};
  const std::string extension = fs::path(name).extension().string();
  return std::find(kExtensions.begin(), kExtensions.end(), extension) != kExtensions.end() ||
         name.rfind("LICENSE", 0) == 0 || name.rfind("NOTICE", 0) == 0;
}

// The directory that `path` will be an entry of.
std::string ParentOf(const std::string& path) {
  const fs::path parent = fs::path(path).parent_path();
  return parent.empty() ? "." : parent.string();
}

absl::Status FromErrorCode(std::string_view what, std::string_view path,
                           const std::error_code& code) {
  errno = code.value();
  return FileError(what, path);
}

}  // namespace

absl::Status FileError(std::string_view what, std::string_view path) {
  const int error = errno;
  const std::string message = Concat(what, " '", path, "': ", std::strerror(error));
  switch (error) {
    case ENOENT:
      return absl::NotFoundError(message);
    case EEXIST:
    case ENOTEMPTY:
      return absl::AlreadyExistsError(message);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(message);
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return absl::ResourceExhaustedError(message);
    default:
      return absl::InternalError(message);
  }
}

absl::Status WriteFile(const std::string& path, std::string_view content) {
  const int file = ::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
  if (file < 0) return FileError("cannot create", path);
  bool good = true;
  while (good && !content.empty()) {
    const ssize_t written = ::write(file, content.data(), content.size());
    good = written >= 0 || errno == EINTR;
    if (written > 0) content.remove_prefix(static_cast<size_t>(written));
  }
  good = good && ::fsync(file) == 0;
  absl::Status status = good ? absl::OkStatus() : FileError("cannot write", path);
  ::close(file);
  return status;
}

absl::StatusOr<std::unique_ptr<OutputDirectory>> OutputDirectory::Create(const std::string& path,
                                                                         int64_t needed_bytes) {
  std::string clean = path;
  while (clean.size() > 1 && clean.back() == '/') clean.pop_back();
  struct stat unused;
  if (::lstat(clean.c_str(), &unused) == 0) {
    return absl::AlreadyExistsError(Concat("output '", clean, "' exists; nothing is overwritten"));
  }
  struct statvfs space;
  const std::string parent = ParentOf(clean);
  if (::statvfs(parent.c_str(), &space) != 0) return FileError("cannot write to", parent);
  const int64_t free_bytes =
      static_cast<int64_t>(space.f_bavail) * static_cast<int64_t>(space.f_frsize);
  if (free_bytes < needed_bytes) {
    return absl::ResourceExhaustedError(Concat("output '", clean, "' needs about ",
                                               needed_bytes >> 20, " MiB; ", free_bytes >> 20,
                                               " MiB are free there"));
  }
  std::string partial = clean + ".partial-XXXXXX";
  if (::mkdtemp(partial.data()) == nullptr) return FileError("cannot create", partial);
  if (::chmod(partial.c_str(), 0755) != 0) return FileError("cannot create", partial);
  return std::unique_ptr<OutputDirectory>(
      new OutputDirectory(std::move(clean), std::move(partial)));
}

OutputDirectory::OutputDirectory(std::string path, std::string partial)
    : path_(std::move(path)), partial_(std::move(partial)) {}

OutputDirectory::~OutputDirectory() {
  std::error_code error;
  if (!committed_) fs::remove_all(partial_, error);
}

absl::StatusOr<std::vector<std::string>> OutputDirectory::CopyCompanions(
    const std::string& source) {
  std::error_code error;
  std::vector<std::string> left_out;
  std::vector<fs::path> entries;
  for (const auto& entry : fs::directory_iterator(source, error)) entries.push_back(entry.path());
  if (error) return FromErrorCode("cannot list", source, error);
  std::sort(entries.begin(), entries.end());
  for (const fs::path& entry : entries) {
    const std::string name = entry.filename().string();
    if (IsReplaced(name)) continue;
    if (!IsCompanion(name) || !fs::is_regular_file(entry, error)) {
      left_out.push_back(name);
      continue;
    }
    if (!fs::copy_file(entry, fs::path(partial_) / name, error)) {
      return FromErrorCode("cannot copy", entry.string(), error);
    }
  }
  return left_out;
}

absl::Status OutputDirectory::Commit() {
  if (::renameat2(AT_FDCWD, partial_.c_str(), AT_FDCWD, path_.c_str(), RENAME_NOREPLACE) != 0) {
    return FileError("cannot rename to", path_);
  }
  committed_ = true;
  return absl::OkStatus();
}

}  // namespace pingti::tools
