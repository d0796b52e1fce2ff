// `pingti quantize IN OUT`: an int8 copy of a checkpoint that other programs can load too.
#pragma once

#include <string>

#include "CLI/CLI.hpp"
#include "tools/quantize/quantizer.h"

namespace pingti::tools {

// Declares the subcommand; `options` outlives `app`.
CLI::App* AddQuantize(CLI::App* app, QuantizeOptions* options);

// Prints the report on stdout and progress on stderr. Returns the exit status: 0, 1 on an error,
// 130 after Ctrl-C (nothing is left then). Call it before other threads exist.
int RunQuantize(const QuantizeOptions& options);

// The report as people read it.
std::string FormatReport(const QuantizeReport& report);

}  // namespace pingti::tools
