// `pingti bench`: measures a server under load that does not wait for it.
#pragma once

#include "CLI/CLI.hpp"
#include "tools/bench/options.h"

namespace pingti::tools {

// Declares the subcommand; `options` outlives `app`.
CLI::App* AddBench(CLI::App* app, BenchOptions* options);

// The exit statuses, beside 130 after Ctrl-C (what was measured is printed all the same).
enum BenchExit {
  kBenchGood = 0,
  kBenchFailures = 1,  // no server, or some requests failed
  kBenchBadArguments = 2,
  kBenchMissedGoodput = 3,  // --require-goodput
};

// Runs every load, prints the table to stdout and progress to stderr, writes the files asked for.
int RunBench(const BenchOptions& options);

}  // namespace pingti::tools
