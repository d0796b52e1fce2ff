// Where the API keys come from: the settings, and a file that is read again when it changes, so
// that a new Secret counts without a restart.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "router/admission/admission.h"
#include "router/admission/api_keys.h"

namespace pingti::router {

// Thread-compatible; the keys themselves are thread-safe.
class ApiKeysSource {
 public:
  // `inline_keys` are separated by commas; `file`, unless empty, is in either form of key_table.h.
  // Errors: NotFound when the file cannot be read; InvalidArgument when it has no keys, and those
  // of AddKeys.
  static absl::StatusOr<ApiKeysSource> Open(std::string inline_keys, std::string file);

  // What was read last. The object stays the same while its keys are replaced.
  const ApiKeys& keys() const { return *keys_; }

  // Looks at the file. New keys count from now on, here and for the limits of `admission`. A
  // file that is gone or has an error changes nothing; the error is logged once, and is the answer
  // until the file is mended.
  absl::Status Reload(AdmissionController* admission);

 private:
  ApiKeysSource(std::string inline_keys, std::string file)
      : inline_keys_(std::move(inline_keys)), file_(std::move(file)) {}
  absl::StatusOr<std::string> Read() const;
  absl::StatusOr<ApiKeys> Parse(const std::string& text) const;

  std::string inline_keys_;
  std::string file_;
  std::string text_;     // of the file, as last read
  absl::Status status_;  // of that text
  std::unique_ptr<ApiKeys> keys_;
};

}  // namespace pingti::router
