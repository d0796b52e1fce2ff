// Any bytes as a GGUF file: parsed or refused, and every tensor lies within the bytes.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "worker/model/open_checkpoint.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto parts = pingti::worker::ParseGgufCheckpoint(bytes);
  if (!parts.ok()) return 0;
  for (const pingti::worker::TensorView& tensor : parts->tensors) {
    const char* begin = static_cast<const char*>(tensor.data);
    if (begin < bytes.data() || tensor.bytes > bytes.data() + bytes.size() - begin) std::abort();
  }
  return 0;
}
