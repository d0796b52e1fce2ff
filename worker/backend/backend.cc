#include "worker/backend/backend.h"

#include <chrono>

#include "common/base/check.h"
#include "common/base/strings.h"

namespace pingti::worker {
namespace {

class HostTimer : public DeviceTimer {
 public:
  explicit HostTimer(const Clock* clock) : clock_(clock) {}

  absl::Status Mark() override {
    marks_.push_back(clock_->Now());
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<double>> Take() override {
    std::vector<double> seconds;
    for (size_t i = 1; i < marks_.size(); ++i) {
      seconds.push_back(std::chrono::duration<double>(marks_[i] - marks_[i - 1]).count());
    }
    marks_.clear();
    return seconds;
  }

 private:
  const Clock* const clock_;
  std::vector<std::chrono::steady_clock::time_point> marks_;
};

}  // namespace

std::unique_ptr<DeviceTimer> Backend::MakeTimer(const Clock* clock) {
  return std::make_unique<HostTimer>(clock);
}

bool Fits(const AttentionShape& attention, const KvLayerShape& layer) {
  if (layer.planes.size() != 2) return false;
  const KvPlane key{KvPlaneKind::kKey, attention.num_kv_heads, attention.head_dim};
  const KvPlane value{KvPlaneKind::kValue, attention.num_kv_heads, attention.head_dim};
  const bool sees_all = attention.window == 0;
  return layer.planes[0] == key && layer.planes[1] == value &&
         (layer.window == 0 || (!sees_all && attention.window <= layer.window));
}

absl::Status CheckBlocks(const KvCacheShape& shape, const KvBlockLayout& layout,
                         std::span<const int32_t> blocks, size_t bytes) {
  for (const int32_t block : blocks) {
    if (block < 0 || block >= shape.num_blocks) {
      return absl::InvalidArgumentError(
          Concat("KV block ", block, "; expected 0 to ", shape.num_blocks - 1));
    }
  }
  const size_t expected = blocks.size() * static_cast<size_t>(layout.bytes);
  if (bytes != expected) {
    return absl::InvalidArgumentError(Concat("host memory of ", bytes, " bytes for ", blocks.size(),
                                             " KV blocks; expected ", expected));
  }
  return absl::OkStatus();
}

absl::Status CheckDistinct(const KvCacheShape& shape, std::span<const int32_t> blocks) {
  std::vector<bool> seen(static_cast<size_t>(shape.num_blocks));
  for (const int32_t block : blocks) {
    if (seen[static_cast<size_t>(block)]) {
      return absl::InvalidArgumentError(
          Concat("KV block ", block, " is named twice; expected blocks that differ"));
    }
    seen[static_cast<size_t>(block)] = true;
  }
  return absl::OkStatus();
}

std::string_view WeightFormatName(WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32:
      return "f32";
    case WeightFormat::kBf16:
      return "bf16";
    case WeightFormat::kInt8:
      return "int8";
    case WeightFormat::kInt8Weights:
      return "int8_weights";
    case WeightFormat::kStored:
      return "stored";
  }
  CheckFailed(__FILE__, __LINE__, "known WeightFormat", "");
}

}  // namespace pingti::worker
