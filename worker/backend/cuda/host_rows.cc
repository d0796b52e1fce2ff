#include "worker/backend/cuda/host_rows.h"

#include <cstdint>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "worker/backend/cuda/cuda_status.h"
#include "worker/backend/cuda/device_memory.h"
#include "worker/tensor/float16.h"

namespace pingti::worker::cuda {
namespace {

// Bytes from one row to the next, and those of a row that count.
struct Pitch {
  size_t stride;
  size_t width;
  size_t rows;
};

Pitch PitchOf(const MatrixView& matrix, size_t num_values) {
  PINGTI_CHECK(static_cast<int64_t>(num_values) == matrix.rows * matrix.cols);
  PINGTI_CHECK(matrix.dtype == DType::kF32 || matrix.dtype == DType::kBf16);
  const auto element = static_cast<size_t>(BlockBytes(matrix.dtype));
  return {static_cast<size_t>(matrix.stride) * element, static_cast<size_t>(matrix.cols) * element,
          static_cast<size_t>(matrix.rows)};
}

class PinnedValues : public HostBuffer {
 public:
  PinnedValues(PinnedBuffer buffer, int64_t num_values)
      : buffer_(std::move(buffer)), num_values_(static_cast<size_t>(num_values)) {}

  std::span<float> values() override {
    return {reinterpret_cast<float*>(buffer_.data()), num_values_};
  }

 private:
  const PinnedBuffer buffer_;
  const size_t num_values_;
};

absl::Status Fetch(const MatrixView& matrix, const Pitch& pitch, void* dense, cudaStream_t stream) {
  if (pitch.stride == pitch.width) {
    PINGTI_RETURN_IF_CUDA_ERROR(cudaMemcpyAsync(dense, matrix.data, pitch.width * pitch.rows,
                                                cudaMemcpyDeviceToHost, stream));
  } else {
    PINGTI_RETURN_IF_CUDA_ERROR(cudaMemcpy2DAsync(dense, pitch.width, matrix.data, pitch.stride,
                                                  pitch.width, pitch.rows, cudaMemcpyDeviceToHost,
                                                  stream));
  }
  PINGTI_RETURN_IF_CUDA_ERROR(cudaStreamSynchronize(stream));
  return absl::OkStatus();
}

absl::Status Send(const void* dense, const Pitch& pitch, const MatrixView& matrix,
                  cudaStream_t stream) {
  PINGTI_RETURN_IF_CUDA_ERROR(cudaMemcpy2DAsync(matrix.data, pitch.stride, dense, pitch.width,
                                                pitch.width, pitch.rows, cudaMemcpyHostToDevice,
                                                stream));
  PINGTI_RETURN_IF_CUDA_ERROR(cudaStreamSynchronize(stream));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<HostBuffer>> MakeHostBuffer(int64_t num_values) {
  PINGTI_ASSIGN_OR_RETURN(PinnedBuffer buffer,
                          PinnedBuffer::Make(num_values * int64_t{sizeof(float)}));
  return std::make_unique<PinnedValues>(std::move(buffer), num_values);
}

absl::Status CopyToHost(MatrixView matrix, std::span<float> values, cudaStream_t stream) {
  const Pitch pitch = PitchOf(matrix, values.size());
  if (values.empty()) return absl::OkStatus();
  if (matrix.dtype == DType::kF32) return Fetch(matrix, pitch, values.data(), stream);
  std::vector<uint16_t> halves(values.size());
  PINGTI_RETURN_IF_ERROR(Fetch(matrix, pitch, halves.data(), stream));
  for (size_t i = 0; i < halves.size(); ++i) values[i] = Bf16ToFloat(halves[i]);
  return absl::OkStatus();
}

absl::Status CopyFromHost(std::span<const float> values, MatrixView matrix, cudaStream_t stream) {
  const Pitch pitch = PitchOf(matrix, values.size());
  if (values.empty()) return absl::OkStatus();
  if (matrix.dtype == DType::kF32) return Send(values.data(), pitch, matrix, stream);
  std::vector<uint16_t> halves(values.size());
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = FloatToBf16(values[i]);
  return Send(halves.data(), pitch, matrix, stream);
}

}  // namespace pingti::worker::cuda
