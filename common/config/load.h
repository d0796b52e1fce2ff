// Fills a schema's fields from its sources, each overriding the one before: defaults, one YAML file
// (--config FILE or PINGTI_CONFIG), environment variables, flags.
//
// Key `max_batch_tokens` is variable PINGTI_MAX_BATCH_TOKENS and flag --max-batch-tokens. What no
// key answers to (a YAML key, a flag, a PINGTI_* variable) is an error that names the nearest one
// that exists. Variables that Kubernetes adds for Services (PINGTI_ROUTER_SERVICE_HOST and the
// like) are told apart by their form and left alone.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "common/config/schema.h"

namespace pingti::config {

// Holds a text when --help, --version or --print-config asked for it: print it to stdout and exit
// 0. Nothing: go on. Errors: InvalidArgument for settings, NotFound for the file; print the message
// to stderr and exit 2. The fields are then partly filled.
absl::StatusOr<std::optional<std::string>> Load(Schema& schema, int argc, const char* const* argv,
                                                const char* const* environment);

// The file that Load reads; empty: none is named. Errors: those of the command line.
absl::StatusOr<std::string> ConfigFile(const Schema& schema, int argc, const char* const* argv,
                                       const char* const* environment);

// The settings as they are now as YAML, each under its explanation. Loading it gives the same
// settings, but for secret ones, which are not shown. This is what deploy/config/*.yaml are made
// with.
std::string PrintConfig(const Schema& schema);

// All keys with defaults, ranges, flags and variables.
std::string Help(const Schema& schema);

}  // namespace pingti::config
