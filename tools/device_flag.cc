#include "tools/device_flag.h"

#include <map>
#include <string>

namespace pingti::tools {

void AddDeviceFlag(CLI::App* command, worker::DeviceChoice* choice) {
  using worker::DeviceChoice;
  command
      ->add_option("--device", *choice,
                   "auto, cpu or cuda; auto takes a CUDA GPU where there is one")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, DeviceChoice>{{"auto", DeviceChoice::kAuto},
                                              {"cpu", DeviceChoice::kCpu},
                                              {"cuda", DeviceChoice::kCuda}}));
}

}  // namespace pingti::tools
