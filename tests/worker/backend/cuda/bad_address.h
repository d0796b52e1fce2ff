// Makes a device's context unusable the way a wrong kernel would: with an illegal address. Test
// code only; nothing on the device can be used afterwards in this process.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>

#include "worker/backend/backend.h"

namespace pingti::worker::testing {

// Normalises rows at an address that no allocation has (lower ones, as 1 << 40, the driver may
// map). Returns when the work was issued, which may be before the device has seen the error.
// `weight`: f32 [64].
inline void BadAddress(Backend* backend, const DeviceBuffer& weight) {
  MatrixView nowhere;
  nowhere.data = reinterpret_cast<void*>(uintptr_t{3} << 44);
  nowhere.rows = 1;
  nowhere.cols = 64;
  nowhere.stride = 64;
  nowhere.dtype = backend->activation_dtype();
  EXPECT_TRUE(backend->RmsNorm(nowhere, weight, 1e-6f, nowhere).ok());
}

}  // namespace pingti::worker::testing
