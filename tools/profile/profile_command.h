// `pingti profile MODEL`: which part of a prefill and of a decode step takes how long.
#pragma once

#include "CLI/CLI.hpp"
#include "tools/profile/step_profile.h"

namespace pingti::tools {

struct ProfileCommandOptions {
  ProfileOptions profile;
  bool json = false;
};

// Declares the subcommand; `options` outlives `app`.
CLI::App* AddProfile(CLI::App* app, ProfileCommandOptions* options);

// Prints the table, or JSON, on stdout. Returns the exit status.
int RunProfile(const ProfileCommandOptions& options);

}  // namespace pingti::tools
