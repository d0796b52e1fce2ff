// The --device flag of commands that run a model in their own process.
#pragma once

#include "CLI/CLI.hpp"
#include "worker/backend/device_choice.h"

namespace pingti::tools {

// `choice` outlives `command`.
void AddDeviceFlag(CLI::App* command, worker::DeviceChoice* choice);

}  // namespace pingti::tools
