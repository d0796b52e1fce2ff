#include "tools/device_flag.h"

#include "tools/flag_checks.h"

namespace pingti::tools {

void AddDeviceFlags(CLI::App* command, worker::DeviceChoice* choice, int* gpu_index) {
  using worker::DeviceChoice;
  TakesOneOf<DeviceChoice>(
      command->add_option("--device", *choice, "auto takes a CUDA GPU where there is one"),
      {{"auto", DeviceChoice::kAuto}, {"cpu", DeviceChoice::kCpu}, {"cuda", DeviceChoice::kCuda}});
  command
      ->add_option("--gpu-index", *gpu_index,
                   "Which GPU, counted from 0 among those that the process sees")
      ->check(CLI::Range(0, 127));
}

}  // namespace pingti::tools
