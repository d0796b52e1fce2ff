// The YAML source of load.cc.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/config/schema.h"

namespace pingti::config {

// Sets the keys found in the file, which is one flat mapping or empty, and returns them. Errors:
// NotFound (cannot be read), InvalidArgument with file name and line.
absl::StatusOr<std::vector<const Key*>> ApplyYamlFile(Schema& schema, const std::string& path);

}  // namespace pingti::config
