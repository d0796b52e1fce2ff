// The flags that pick the device, of commands that run a model in their own process.
#pragma once

#include "CLI/CLI.hpp"
#include "worker/backend/device_choice.h"

namespace pingti::tools {

// --device and --gpu-index. Both outlive `command`.
void AddDeviceFlags(CLI::App* command, worker::DeviceChoice* choice, int* gpu_index);

}  // namespace pingti::tools
