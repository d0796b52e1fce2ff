// What a layer keeps of every token: the planes of the paged KV cache, declared layer by layer.
// Plain values. Next: backend.h (KvCacheShape, which lists layers), kv_block_layout.h (one block's
// bytes).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace pingti::worker {

enum class KvPlaneKind {
  kKey,
  kValue,
  kLatent,  // keys and values compressed to one vector, as in latent attention (MLA)
};
// "key", "value", "latent".
std::string_view KvPlaneKindName(KvPlaneKind kind);

// One vector of heads * head_dim elements per token.
struct KvPlane {
  KvPlaneKind kind = KvPlaneKind::kKey;
  int64_t heads = 0;
  int64_t head_dim = 0;

  bool operator==(const KvPlane&) const = default;
};

struct KvLayerShape {
  // Attention over keys and values keeps a key and a value plane of equal sizes, in this order;
  // latent attention one latent plane. Empty: the layer keeps nothing.
  std::vector<KvPlane> planes;
  // No query reads more than the last `window` tokens, itself included; 0: all are read.
  int64_t window = 0;

  bool operator==(const KvLayerShape&) const = default;
  std::string ToString() const;  // "key 8 x 128, value 8 x 128, window 4096"
};

// A layer of attention over `heads` keys and values of head_dim elements.
KvLayerShape KeyValueLayer(int64_t heads, int64_t head_dim, int64_t window = 0);

// A layer of latent attention: one vector per token, the normalized latent and behind it the
// rotated key that all heads share.
KvLayerShape LatentLayer(int64_t latent_dim, int64_t rope_dim);

// For a backend that has kernels for keys and values, and for latents. Errors, naming the layer:
// Unimplemented for planes that are neither none, nor a key and a value plane of equal sizes, nor
// one latent plane of one head without a window (`backend` is how the message names the backend);
// InvalidArgument for a size below 1 or a negative window.
absl::Status ExpectKeysAndValuesOrLatents(std::string_view backend,
                                          std::span<const KvLayerShape> layers);

}  // namespace pingti::worker
