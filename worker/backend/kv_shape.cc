#include "worker/backend/kv_shape.h"

#include "common/base/check.h"
#include "common/base/strings.h"

namespace pingti::worker {

std::string_view KvPlaneKindName(KvPlaneKind kind) {
  switch (kind) {
    case KvPlaneKind::kKey:
      return "key";
    case KvPlaneKind::kValue:
      return "value";
    case KvPlaneKind::kLatent:
      return "latent";
  }
  CheckFailed(__FILE__, __LINE__, "known KvPlaneKind", "");
}

std::string KvLayerShape::ToString() const {
  std::string text;
  for (const KvPlane& plane : planes) {
    text += Concat(text.empty() ? "" : ", ", KvPlaneKindName(plane.kind), " ", plane.heads, " x ",
                   plane.head_dim);
  }
  if (text.empty()) text = "nothing";
  if (window != 0) text += Concat(", window ", window);
  return text;
}

KvLayerShape KeyValueLayer(int64_t heads, int64_t head_dim, int64_t window) {
  return {{{KvPlaneKind::kKey, heads, head_dim}, {KvPlaneKind::kValue, heads, head_dim}}, window};
}

KvLayerShape LatentLayer(int64_t latent_dim, int64_t rope_dim) {
  return {{{KvPlaneKind::kLatent, 1, latent_dim + rope_dim}}};
}

absl::Status ExpectKeysAndValuesOrLatents(std::string_view backend,
                                          std::span<const KvLayerShape> layers) {
  for (size_t i = 0; i < layers.size(); ++i) {
    const KvLayerShape& layer = layers[i];
    if (layer.planes.empty()) continue;
    const KvPlane& first = layer.planes.front();
    if (layer != KeyValueLayer(first.heads, first.head_dim, layer.window) &&
        layer != LatentLayer(first.head_dim, 0)) {
      return absl::UnimplementedError(Concat(
          backend, " attention: layer ", i, " keeps ", layer.ToString(),
          "; expected a key and a value plane of equal sizes, or a latent plane of one head"));
    }
    if (first.heads < 1 || first.head_dim < 1 || layer.window < 0) {
      return absl::InvalidArgumentError(
          Concat("KV cache: layer ", i, " keeps ", layer.ToString(),
                 "; expected at least one head of one element, and no negative window"));
    }
  }
  return absl::OkStatus();
}

}  // namespace pingti::worker
