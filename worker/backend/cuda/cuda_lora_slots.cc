// See cuda_lora_slots.h.
#include "worker/backend/cuda/cuda_lora_slots.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "pingti/kernels/lora.h"
#include "worker/backend/cuda/cuda_status.h"
#include "worker/tensor/float16.h"

namespace pingti::worker::cuda {
namespace {

constexpr int64_t kImageValueBytes = 2;  // bf16
constexpr int64_t kAlignment = 256;
constexpr size_t kSpareImages = 2;

int64_t FilledUp(int64_t value, int64_t step) { return (value + step - 1) / step * step; }
int64_t FilledRank(int64_t rank) { return FilledUp(rank, kernels::kLoraRankStep); }

// Places of the next `bytes` in a slot.
int64_t Place(int64_t bytes, int64_t* end) {
  return std::exchange(*end, FilledUp(*end + bytes, kAlignment));
}

LoraPlace PlaceOf(const LoraShape& shape, int64_t* end) {
  LoraPlace place;
  place.padded_rank = FilledRank(shape.max_rank);
  place.a =
      Place(shape.num_modules * place.padded_rank * shape.in_features * kImageValueBytes, end);
  place.b = Place(shape.out_features() * place.padded_rank * kImageValueBytes, end);
  place.ranks = Place(shape.num_modules * int64_t{sizeof(int32_t)}, end);
  return place;
}

// Rounds `rows` rows of `cols` values into rows of `width` values, `stride` apart, with zeros
// behind.
void Round(const std::vector<float>& values, int64_t rows, int64_t cols, int64_t width,
           int64_t stride, uint16_t* out) {
  for (int64_t row = 0; row < rows; ++row, out += stride) {
    const float* from = values.data() + row * cols;
    std::fill(std::transform(from, from + cols, out, FloatToBf16), out + width, uint16_t{0});
  }
}

}  // namespace

absl::StatusOr<PinnedBuffer> LoraImageMemory::Take() {
  {
    MutexLock lock(&mutex_);
    if (!spare_.empty()) {
      PinnedBuffer buffer = std::move(spare_.back());
      spare_.pop_back();
      return buffer;
    }
  }
  PINGTI_RETURN_IF_CUDA_ERROR(cudaSetDevice(device_));
  return PinnedBuffer::Make(bytes_);
}

void LoraImageMemory::GiveBack(PinnedBuffer buffer) {
  MutexLock lock(&mutex_);
  if (spare_.size() < kSpareImages) spare_.push_back(std::move(buffer));
}

bool CudaLoraWeights::is_used() const {
  return std::any_of(used_.begin(), used_.end(), [](bool used) { return used; });
}

absl::Status CudaLoraSlots::Check(const LoraShape& shape) {
  if (shape.use == LoraUse::kExperts) {
    return absl::UnimplementedError("backend 'cuda' has no adapters of experts");
  }
  const bool columns_fit =
      std::all_of(shape.parts.begin(), shape.parts.end(),
                  [](const LoraShape::Part& part) { return part.columns % 8 == 0; });
  const bool inputs_fit = shape.in_features % 8 == 0 || shape.use == LoraUse::kEmbedding;
  if (inputs_fit && columns_fit &&
      shape.parts.size() <= static_cast<size_t>(kernels::kMaxLoraParts) &&
      shape.max_rank <= kernels::kMaxLoraRank) {
    return absl::OkStatus();
  }
  return absl::UnimplementedError(Concat(
      "adapters of a ", shape.use == LoraUse::kEmbedding ? "table" : "product", " [",
      shape.out_features(), ", ", shape.in_features, "] in ", shape.parts.size(),
      " parts, of rank ", shape.max_rank, ": expected sizes that are multiples of 8, at most ",
      kernels::kMaxLoraParts, " parts and a rank of at most ", kernels::kMaxLoraRank));
}

absl::StatusOr<std::unique_ptr<CudaLoraSlots>> CudaLoraSlots::Make(
    std::span<const LoraShape> products, int device) {
  std::unique_ptr<CudaLoraSlots> slots(new CudaLoraSlots());
  int64_t num_slots = 0;
  for (const LoraShape& shape : products) {
    PINGTI_RETURN_IF_ERROR(Check(shape));
    PINGTI_CHECK(num_slots == 0 || num_slots == shape.num_slots);
    num_slots = shape.num_slots;
    slots->products_.push_back(
        std::make_unique<CudaLoraWeights>(shape, PlaceOf(shape, &slots->slot_bytes_)));
  }
  PINGTI_ASSIGN_OR_RETURN(slots->device_, CudaBuffer::MakeZeroed(num_slots * slots->slot_bytes_));
  for (const auto& product : slots->products_) {
    product->slots_ = slots->device_->as<const uint8_t>();
    product->slot_bytes_ = slots->slot_bytes_;
    product->used_.resize(static_cast<size_t>(num_slots));
  }
  slots->slots_ = std::vector<Slot>(static_cast<size_t>(num_slots));
  slots->memory_ = std::make_shared<LoraImageMemory>(device, slots->slot_bytes_);
  return slots;
}

absl::StatusOr<std::unique_ptr<LoraImage>> CudaLoraSlots::NewImage() const {
  PINGTI_ASSIGN_OR_RETURN(PinnedBuffer bytes, memory_->Take());
  for (const auto& product : products_) {
    std::memset(bytes.data() + product->place_.ranks, 0,
                static_cast<size_t>(product->shape().num_modules) * sizeof(int32_t));
  }
  return std::make_unique<CudaLoraImage>(memory_, std::move(bytes), products_.size());
}

absl::Status CudaLoraSlots::Fill(size_t product, const LoraMatrices& matrices,
                                 LoraImage* image) const {
  const LoraShape& shape = products_[product]->shape();
  const LoraPlace& place = products_[product]->place_;
  PINGTI_CHECK(matrices.ranks.size() == static_cast<size_t>(shape.num_modules) &&
               matrices.b.size() == shape.parts.size());
  auto& cuda_image = *static_cast<CudaLoraImage*>(image);
  uint8_t* const bytes = cuda_image.bytes.data();
  const int64_t in = shape.in_features;
  for (size_t m = 0; m < matrices.ranks.size(); ++m) {
    const int64_t rank = matrices.ranks[m];
    PINGTI_CHECK(rank <= shape.max_rank);
    reinterpret_cast<int32_t*>(bytes + place.ranks)[m] = static_cast<int32_t>(rank);
    auto* a = reinterpret_cast<uint16_t*>(bytes + place.a) +
              static_cast<int64_t>(m) * place.padded_rank * in;
    Round(matrices.a[m], rank, in, in, in, a);
    std::fill(a + rank * in, a + FilledRank(rank) * in, uint16_t{0});
  }
  auto* b = reinterpret_cast<uint16_t*>(bytes + place.b);
  for (size_t p = 0; p < matrices.b.size(); ++p) {
    const LoraShape::Part& part = shape.parts[p];
    const int64_t rank = matrices.ranks[static_cast<size_t>(part.module)];
    Round(matrices.b[p], part.columns, rank, FilledRank(rank), place.padded_rank, b);
    b += part.columns * place.padded_rank;
  }
  cuda_image.changes[product] = !matrices.empty();
  return absl::OkStatus();
}

absl::StatusOr<bool> CudaLoraSlots::Set(int32_t slot, std::shared_ptr<const LoraImage> image,
                                        cudaStream_t stream) {
  const auto index = static_cast<size_t>(slot);
  PINGTI_CHECK(slot >= 0 && index < slots_.size() && image != nullptr);
  auto from = std::static_pointer_cast<const CudaLoraImage>(std::move(image));
  PINGTI_RETURN_IF_ERROR(slots_[index].copied.Wait());  // of an earlier step: it is done
  PINGTI_RETURN_IF_CUDA_ERROR(cudaMemcpyAsync(device_->as<uint8_t>() + slot * slot_bytes_,
                                              from->bytes.data(), static_cast<size_t>(slot_bytes_),
                                              cudaMemcpyHostToDevice, stream));
  slots_[index].image = from;
  PINGTI_RETURN_IF_ERROR(slots_[index].copied.Record(stream));
  bool others = false;
  for (size_t i = 0; i < products_.size(); ++i) {
    CudaLoraWeights& product = *products_[i];
    const bool was_used = product.is_used();
    product.used_[index] = from->changes[i];
    others |= product.is_used() != was_used;
  }
  return others;
}

}  // namespace pingti::worker::cuda
