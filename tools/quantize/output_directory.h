// A directory that appears complete or not at all: it is filled under another name beside its place
// and renamed at the end. Whatever goes wrong before, the half-filled one is removed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pingti::tools {

// "WHAT PATH: reason of errno", with the status code that fits.
absl::Status FileError(std::string_view what, std::string_view path);

// Writes a small file and flushes it to the disk.
absl::Status WriteFile(const std::string& path, std::string_view content);

// Confined to one thread.
class OutputDirectory {
 public:
  // Errors: AlreadyExists when there is something at `path`; ResourceExhausted when fewer than
  // `needed_bytes` are free there; otherwise those of the file system. Each names the path.
  static absl::StatusOr<std::unique_ptr<OutputDirectory>> Create(const std::string& path,
                                                                 int64_t needed_bytes);
  // Removes the directory with all that is in it, unless Commit succeeded.
  ~OutputDirectory();
  OutputDirectory(const OutputDirectory&) = delete;
  OutputDirectory& operator=(const OutputDirectory&) = delete;

  // Where to write until Commit.
  const std::string& partial_path() const { return partial_; }

  // Copies the files that go with weights (tokenizer, generation settings, template, licence) from
  // the directory `source`. Returns the names of those left out, weights and config.json not
  // counted.
  absl::StatusOr<std::vector<std::string>> CopyCompanions(const std::string& source);

  // Errors: AlreadyExists when something appeared at the path meanwhile.
  absl::Status Commit();

 private:
  OutputDirectory(std::string path, std::string partial);

  const std::string path_;
  const std::string partial_;
  bool committed_ = false;
};

}  // namespace pingti::tools
