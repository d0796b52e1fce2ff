#include "worker/weights/weights_digest.h"

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "common/base/sha256.h"

namespace pingti::worker {
namespace {

constexpr int64_t kPieceBytes = 64;
constexpr int64_t kPieces = 4;

}  // namespace

std::string WeightsDigest(const Checkpoint& checkpoint) {
  Sha256Hasher hasher;
  for (const TensorView& tensor : checkpoint.tensors()) {
    hasher.Update(tensor.name);
    if (tensor.data == nullptr) continue;
    const auto* bytes = static_cast<const char*>(tensor.data);
    const int64_t piece = std::min(kPieceBytes, tensor.bytes);
    for (int64_t i = 0; i < kPieces; ++i) {
      const int64_t offset = (tensor.bytes - piece) * i / (kPieces - 1);
      hasher.Update(std::string_view(bytes + offset, static_cast<size_t>(piece)));
    }
  }
  return ToHex(hasher.Finish());
}

}  // namespace pingti::worker
