// Adapters' matrices on the device, in bf16. All that a slot has, of all products, lies together,
// and an image in page-locked host memory has the same layout: one copy puts an adapter into its
// slot. Slots and images have room for the largest rank, whatever an adapter's is. Confined to the
// engine thread, but for images (see LoraSlots).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/mutex.h"
#include "worker/backend/cuda/device_memory.h"
#include "worker/backend/lora.h"

namespace pingti::worker::cuda {

// Where a slot has a product's matrices: bytes from its start.
struct LoraPlace {
  int64_t a = 0;            // bf16 [modules, padded_rank, in_features]
  int64_t b = 0;            // bf16 [out_features, padded_rank]
  int64_t ranks = 0;        // i32 [modules]
  int64_t padded_rank = 0;  // the largest, filled up for the kernels
};

// Page-locked memory for images, each of one slot. That of a few images that are gone is kept for
// the next ones: to lock pages takes long, and the device may wait for it. Thread-safe.
class LoraImageMemory {
 public:
  LoraImageMemory(int device, int64_t bytes) : device_(device), bytes_(bytes) {}

  absl::StatusOr<PinnedBuffer> Take();
  void GiveBack(PinnedBuffer buffer);

 private:
  const int device_;
  const int64_t bytes_;
  Mutex mutex_;
  std::vector<PinnedBuffer> spare_ PINGTI_GUARDED_BY(mutex_);
};

struct CudaLoraImage : LoraImage {
  CudaLoraImage(std::shared_ptr<LoraImageMemory> of, PinnedBuffer buffer, size_t num_products)
      : memory(std::move(of)), bytes(std::move(buffer)), changes(num_products) {}
  ~CudaLoraImage() override { memory->GiveBack(std::move(bytes)); }

  const std::shared_ptr<LoraImageMemory> memory;
  PinnedBuffer bytes;
  std::vector<bool> changes;  // by product: whether the adapter adds to it
};

class CudaLoraWeights : public LoraWeights {
 public:
  CudaLoraWeights(LoraShape shape, const LoraPlace& place)
      : LoraWeights(std::move(shape)), place_(place) {}

  // Whether some adapter adds to this product.
  bool is_used() const;
  int64_t padded_rank() const { return place_.padded_rank; }
  // In the first slot, on the device; those of others are slot_bytes() apart.
  const void* a() const { return slots_ + place_.a; }
  const void* b() const { return slots_ + place_.b; }
  const int32_t* ranks() const { return reinterpret_cast<const int32_t*>(slots_ + place_.ranks); }
  int64_t slot_bytes() const { return slot_bytes_; }

 private:
  friend class CudaLoraSlots;

  const LoraPlace place_;
  const uint8_t* slots_ = nullptr;
  int64_t slot_bytes_ = 0;
  std::vector<bool> used_;  // by slot
};

class CudaLoraSlots : public LoraSlots {
 public:
  // Slots without adapters. Errors: ResourceExhausted; Unimplemented, naming sizes that the kernels
  // do not take.
  static absl::StatusOr<std::unique_ptr<CudaLoraSlots>> Make(std::span<const LoraShape> products,
                                                             int device);

  // See Backend::CheckLora.
  static absl::Status Check(const LoraShape& shape);

  const CudaLoraWeights& product(size_t index) const override { return *products_[index]; }
  absl::StatusOr<std::unique_ptr<LoraImage>> NewImage() const override;
  absl::Status Fill(size_t product, const LoraMatrices& matrices, LoraImage* image) const override;

  // See Backend::SetLora. Issues one copy on `stream`. Returns whether products that some adapter
  // adds to are others than before.
  absl::StatusOr<bool> Set(int32_t slot, std::shared_ptr<const LoraImage> image,
                           cudaStream_t stream);

 private:
  // What was copied into a slot, kept until that copy is done and another takes its place.
  struct Slot {
    std::shared_ptr<const CudaLoraImage> image;
    CudaEvent copied;
  };

  CudaLoraSlots() = default;

  std::vector<std::unique_ptr<CudaLoraWeights>> products_;
  int64_t slot_bytes_ = 0;
  std::unique_ptr<CudaBuffer> device_;  // [slots, slot_bytes_]
  std::shared_ptr<LoraImageMemory> memory_;
  std::vector<Slot> slots_;
};

}  // namespace pingti::worker::cuda
