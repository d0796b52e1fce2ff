// Which device a setting asks for. Next: choose/choose_device.h.
#pragma once

namespace pingti::worker {

// kAuto: a CUDA device where the program has CUDA and there is one, else the CPU.
enum class DeviceChoice { kAuto, kCpu, kCuda };

}  // namespace pingti::worker
