// Low-rank adapters of a matrix product (Hu et al., "LoRA: Low-Rank Adaptation of Large Language
// Models"): a row of an adapter gets y = x W^T + (x A^T) B^T, where A is [rank, in_features] and B
// [out_features, rank]. Next: backend.h (AllocateLora, SetLora, AdaptedLinear).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pingti::worker {

// A sequence that uses no adapter, where slots are named.
inline constexpr int32_t kNoAdapterSlot = -1;

// What adapters add to.
enum class LoraUse {
  kRows,       // a product with a row for each of the step's tokens, of activations
  kLogits,     // one into f32 logits, with rows for some of the step's tokens
  kEmbedding,  // rows of tokens: x is the unit vector of a token, and in_features are the table's
  kExperts,    // a product with a row for each token and expert that was chosen for it
};

// Room for the adapters of one product, which may stack the rows of several modules.
struct LoraShape {
  // Columns of the product that belong to one module and lie together.
  struct Part {
    int32_t module = 0;
    int64_t columns = 0;
  };
  int64_t in_features = 0;
  int32_t num_modules = 0;  // each has an A of its own
  std::vector<Part> parts;  // all columns of the product, in order
  int64_t max_rank = 0;     // of a module
  int32_t num_slots = 0;    // adapters that are here at once
  LoraUse use = LoraUse::kRows;
  // Of kExperts: so many have matrices of their own. Modules and parts are those of one expert.
  int64_t experts = 1;

  int64_t out_features() const;
  // Values of all slots: A and B of every expert's modules at the largest rank.
  int64_t num_values() const;
};

// One adapter's matrices for one product. What they are multiplied with is in B. Where there are
// experts, these are all modules or parts of the first one, then those of the next.
struct LoraMatrices {
  std::vector<int64_t> ranks;         // of each module; 0: the adapter leaves it as it is
  std::vector<std::vector<float>> a;  // of each module: [rank, in_features]
  std::vector<std::vector<float>> b;  // of each part: [columns, rank of its module]

  // Whether the product is left as it is.
  bool empty() const;
};

// The slots of one product on a backend's device.
class LoraWeights {
 public:
  explicit LoraWeights(LoraShape shape) : shape_(std::move(shape)) {}
  virtual ~LoraWeights() = default;
  const LoraShape& shape() const { return shape_; }

 private:
  const LoraShape shape_;
};

// One adapter's matrices for all products, in host memory and in the form that the slots have them
// in: putting it into a slot is a copy, or less. Thread-safe once it is filled.
class LoraImage {
 public:
  virtual ~LoraImage() = default;
};

// The slots of all of a model's products on a backend's device. What is said of images may be
// called by any thread, also while steps run.
class LoraSlots {
 public:
  virtual ~LoraSlots() = default;
  // In the order of the shapes that the slots were made of.
  virtual const LoraWeights& product(size_t index) const = 0;

  // Of an adapter that changes nothing. Errors: ResourceExhausted.
  virtual absl::StatusOr<std::unique_ptr<LoraImage>> NewImage() const = 0;
  // Puts into the image what the adapter adds to a product. REQUIRES: an image of these slots that
  // nobody else has yet; matrices of the product's shape, with ranks of at most its max_rank.
  virtual absl::Status Fill(size_t product, const LoraMatrices& matrices,
                            LoraImage* image) const = 0;
};

}  // namespace pingti::worker
