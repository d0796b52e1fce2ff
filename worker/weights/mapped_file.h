// A whole file mapped read-only: weights are read from the page cache, never copied as a whole.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace pingti::worker {

// Immutable once open; thread-safe. Views of its bytes live as long as it does. (A file that
// someone truncates while it is mapped ends the process with SIGBUS, as with every memory-mapped
// reader.)
class MappedFile {
 public:
  // Errors: NotFound, PermissionDenied, FailedPrecondition (not a regular file), Internal; each
  // names the path.
  static absl::StatusOr<std::unique_ptr<MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  std::string_view bytes() const { return {static_cast<const char*>(data_), size_}; }

  // Takes the pages that hold `part` of bytes() out of this process's memory; whoever reads them
  // again gets them from the file. A part that is not of this file is left alone.
  void DropPages(std::string_view part) const;

 private:
  MappedFile(std::string path, void* data, size_t size)
      : path_(std::move(path)), data_(data), size_(size) {}

  const std::string path_;
  void* const data_;
  const size_t size_;
};

}  // namespace pingti::worker
