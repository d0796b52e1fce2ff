// Any bytes as a safetensors file: parsed or refused, and every tensor lies within the bytes.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "worker/weights/safetensors_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto tensors = pingti::worker::ParseSafetensors(bytes);
  if (!tensors.ok()) return 0;
  for (const pingti::worker::TensorView& tensor : *tensors) {
    const char* begin = static_cast<const char*>(tensor.data);
    if (begin < bytes.data() || tensor.bytes > bytes.data() + bytes.size() - begin) std::abort();
  }
  return 0;
}
