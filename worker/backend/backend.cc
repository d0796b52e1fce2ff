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

class PlainValues : public HostBuffer {
 public:
  explicit PlainValues(int64_t num_values) : values_(static_cast<size_t>(num_values)) {}
  std::span<float> values() override { return values_; }

 private:
  std::vector<float> values_;
};

absl::Status NoAdapters(std::string_view backend) {
  return absl::UnimplementedError(Concat("backend '", backend, "' has no adapters"));
}

absl::Status NoLatentAttention(std::string_view backend, std::string_view operation) {
  return absl::UnimplementedError(
      Concat("backend '", backend, "' has no latent attention: ", operation));
}

}  // namespace

absl::StatusOr<std::unique_ptr<HostBuffer>> Backend::AllocateHost(int64_t num_values) {
  return std::make_unique<PlainValues>(num_values);
}

absl::StatusOr<std::unique_ptr<LoraSlots>> Backend::AllocateLora(
    std::span<const LoraShape> /*products*/) {
  return NoAdapters(name());
}

absl::Status Backend::SetLora(LoraSlots& /*slots*/, int32_t /*slot*/,
                              std::shared_ptr<const LoraImage> /*image*/) {
  return NoAdapters(name());
}

absl::Status Backend::CheckLora(const LoraShape& /*shape*/) const { return NoAdapters(name()); }

absl::Status Backend::AdaptedLogits(const LinearWeight& /*weight*/, const LoraWeights& /*adapters*/,
                                    const Operand& /*x*/, std::span<const int32_t> /*tokens*/,
                                    MatrixView /*logits*/) {
  return NoAdapters(name());
}

absl::Status Backend::AdaptedEmbed(const EmbeddingTable& /*table*/, const LoraWeights& /*adapters*/,
                                   MatrixView /*out*/) {
  return NoAdapters(name());
}

absl::Status Backend::AdaptedLinear(const LinearWeight& /*weight*/, const LoraWeights& /*adapters*/,
                                    const Operand& /*x*/, MatrixView /*out*/) {
  return NoAdapters(name());
}

absl::Status Backend::AdaptedExpertLinear(const LinearWeight& /*weight*/,
                                          const LoraWeights& /*adapters*/, const Operand& /*x*/,
                                          RowOrder /*order*/, MatrixView /*out*/) {
  return NoAdapters(name());
}

absl::Status Backend::HeadLinear(const LinearWeight& /*weight*/, const HeadsView& /*x*/,
                                 const HeadsView& /*out*/, const QuantizedView& /*form*/) {
  return NoLatentAttention(name(), "HeadLinear");
}

absl::Status Backend::RopeAndAppendLatent(const HeadsView& /*q*/, MatrixView /*kv*/,
                                          const LatentAttentionShape& /*shape*/,
                                          const DeviceBuffer& /*norm_weight*/, float /*eps*/,
                                          KvCache& /*cache*/, int64_t /*layer*/,
                                          const HeadsView& /*out*/) {
  return NoLatentAttention(name(), "RopeAndAppendLatent");
}

absl::Status Backend::LatentAttention(MatrixView /*q*/, const LatentAttentionShape& /*shape*/,
                                      const KvCache& /*cache*/, int64_t /*layer*/,
                                      MatrixView /*out*/) {
  return NoLatentAttention(name(), "LatentAttention");
}

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

bool Fits(const LatentAttentionShape& attention, const KvLayerShape& layer) {
  return layer == LatentLayer(attention.latent_dim, attention.rope_dim);
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
