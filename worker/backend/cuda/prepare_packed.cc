// Part of cuda_linear.h: packed words of Hugging Face checkpoints (GPTQ, AWQ, compressed-tensors)
// to groups. Words go to the device as they lie in the file and are repacked there; what no kernel
// multiplies is read as bf16 like any other matrix (prepare_linear.cc).
#include <algorithm>
#include <cstring>
#include <vector>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "pingti/kernels/gemm_w4a16.h"
#include "worker/backend/cuda/cuda_linear.h"
#include "worker/backend/cuda/cuda_status.h"
#include "worker/backend/cuda/prepare.h"

namespace pingti::worker::cuda {
namespace {

kernels::WeightLayout LayoutOf(const PackedWeights& packed) {
  switch (packed.layout) {
    case PackedLayout::kGptq:
      return kernels::WeightLayout::kGptq;
    case PackedLayout::kAwq:
      return kernels::WeightLayout::kAwq;
    case PackedLayout::kRowMajor:
      break;
  }
  return kernels::WeightLayout::kRowMajor;
}

// A tensor's bytes as they are.
absl::Status UploadRaw(const TensorView& tensor, uint8_t* target, WeightUpload* upload) {
  constexpr int64_t kPieceBytes = 64 << 10;
  const auto* data = static_cast<const uint8_t*>(tensor.data);
  const int64_t pieces = tensor.bytes / kPieceBytes;
  PINGTI_RETURN_IF_ERROR(upload->Rows(
      pieces, kPieceBytes,
      [data](int64_t first, int64_t last, uint8_t* out) {
        std::memcpy(out, data + first * kPieceBytes,
                    static_cast<size_t>((last - first) * kPieceBytes));
      },
      target));
  const int64_t done = pieces * kPieceBytes;
  if (done == tensor.bytes) return absl::OkStatus();
  return upload->Rows(
      1, tensor.bytes - done,
      [&](int64_t, int64_t, uint8_t* out) {
        std::memcpy(out, data + done, static_cast<size_t>(tensor.bytes - done));
      },
      target + done);
}

// Loads the parts of one stack, one after the other. Its buffers hold a part at a time: everything
// happens in the order of one stream.
class PackedStack {
 public:
  PackedStack(CudaLinearWeight* weight, int64_t groups, WeightUpload* upload, cudaStream_t stream)
      : weight_(weight),
        groups_(groups),
        bits_(weight->matrix_format.element == ElementType::kInt4 ? kernels::WeightBits::k4
                                                                  : kernels::WeightBits::k8),
        upload_(upload),
        stream_(stream) {}

  absl::Status Allocate(const LinearSource& source) {
    int64_t raw_bytes = 0;
    int64_t lines_bytes = 0;
    for (const MatrixSource& part : source.parts) {
      const PackedWeights& packed = *part.packed;
      raw_bytes =
          std::max({raw_bytes, packed.words.bytes, packed.scales.bytes, packed.zeros.bytes});
      lines_bytes = std::max(lines_bytes, packed.rows * groups_ * 2);
    }
    PINGTI_ASSIGN_OR_RETURN(raw_, CudaBuffer::Make(raw_bytes));
    PINGTI_ASSIGN_OR_RETURN(lines_, CudaBuffer::Make(lines_bytes));
    PINGTI_ASSIGN_OR_RETURN(weight_->values, CudaBuffer::Make(PackedBytes(weight_->rows)));
    PINGTI_ASSIGN_OR_RETURN(weight_->scales, CudaBuffer::Make(weight_->rows * groups_ * 2));
    if (weight_->matrix_format.has_zeros) {
      PINGTI_ASSIGN_OR_RETURN(weight_->zeros, CudaBuffer::Make(weight_->rows * groups_));
    }
    return absl::OkStatus();
  }

  // `row`: of the stack, where the part begins.
  absl::Status Load(const PackedWeights& packed, int64_t row) {
    PINGTI_RETURN_IF_ERROR(LoadWords(packed, row));
    PINGTI_RETURN_IF_ERROR(LoadScales(packed, row));
    return weight_->zeros == nullptr ? absl::OkStatus() : LoadZeros(packed, row);
  }

 private:
  int64_t PackedBytes(int64_t rows) const {
    return static_cast<int64_t>(
        kernels::PackedWeightBytes(static_cast<int>(rows), static_cast<int>(weight_->cols), bits_));
  }

  absl::Status LoadWords(const PackedWeights& packed, int64_t row) {
    PINGTI_RETURN_IF_ERROR(UploadRaw(packed.words, raw_->as<uint8_t>(), upload_));
    kernels::RepackWeightsParams params;
    params.n = static_cast<int>(packed.rows);
    params.k = static_cast<int>(packed.cols);
    params.bits = bits_;
    params.layout = LayoutOf(packed);
    params.source = raw_->as<uint32_t>();
    params.packed = weight_->values->as<uint8_t>() + PackedBytes(row);
    PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchRepackWeights(params, stream_));
    return absl::OkStatus();
  }

  // Lines [groups, rows of the part] of `element_bytes` to their columns of the stack's lines.
  absl::Status CopyLines(const void* lines, const PackedWeights& packed, int64_t row,
                         int64_t element_bytes, CudaBuffer* target) {
    const auto width = static_cast<size_t>(packed.rows * element_bytes);
    PINGTI_RETURN_IF_CUDA_ERROR(
        cudaMemcpy2DAsync(target->as<uint8_t>() + row * element_bytes,
                          static_cast<size_t>(weight_->rows * element_bytes), lines, width, width,
                          static_cast<size_t>(groups_), cudaMemcpyDeviceToDevice, stream_));
    return absl::OkStatus();
  }

  absl::Status LoadScales(const PackedWeights& packed, int64_t row) {
    PINGTI_RETURN_IF_ERROR(UploadRaw(packed.scales, raw_->as<uint8_t>(), upload_));
    const void* lines = raw_->data();
    if (packed.layout == PackedLayout::kRowMajor) {
      PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchTransposeScales(
          raw_->data(), lines_->data(), static_cast<int>(packed.rows), static_cast<int>(groups_),
          stream_));
      lines = lines_->data();
    }
    return CopyLines(lines, packed, row, 2, weight_->scales.get());
  }

  absl::Status LoadZeros(const PackedWeights& packed, int64_t row) {
    if (!packed.has_zeros()) {
      PINGTI_RETURN_IF_CUDA_ERROR(
          cudaMemset2DAsync(weight_->zeros->as<uint8_t>() + row, static_cast<size_t>(weight_->rows),
                            1 << (packed.bits - 1), static_cast<size_t>(packed.rows),
                            static_cast<size_t>(groups_), stream_));
      return absl::OkStatus();
    }
    PINGTI_RETURN_IF_ERROR(UploadRaw(packed.zeros, raw_->as<uint8_t>(), upload_));
    kernels::UnpackZerosParams params;
    params.n = static_cast<int>(packed.rows);
    params.num_groups = static_cast<int>(groups_);
    params.bits = bits_;
    params.layout = LayoutOf(packed);
    params.source = raw_->as<uint32_t>();
    params.offset = packed.zero_offset;
    params.zeros = lines_->as<uint8_t>();
    PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchUnpackZeros(params, stream_));
    return CopyLines(lines_->data(), packed, row, 1, weight_->zeros.get());
  }

  CudaLinearWeight* const weight_;
  const int64_t groups_;
  const kernels::WeightBits bits_;
  WeightUpload* const upload_;
  const cudaStream_t stream_;
  std::unique_ptr<CudaBuffer> raw_;    // a tensor as the file has it
  std::unique_ptr<CudaBuffer> lines_;  // a part's scales or zeros, [groups, rows]
};

}  // namespace

std::optional<MatrixFormat> PackedFormat(const LinearSource& source) {
  MatrixFormat format;
  int64_t rows = 0;
  for (const MatrixSource& part : source.parts) {
    const std::optional<PackedWeights>& first = source.parts[0].packed;
    const std::optional<PackedWeights>& packed = part.packed;
    if (!packed.has_value() || packed->has_group_index() || packed->bits != first->bits ||
        packed->group_size != first->group_size || packed->scales.dtype != first->scales.dtype ||
        rows % kRowsPerPackedBlock != 0) {
      return std::nullopt;
    }
    rows += packed->rows;
    format.has_zeros = format.has_zeros || packed->has_zeros();
  }
  if (rows % 8 != 0) return std::nullopt;
  const PackedWeights& packed = *source.parts[0].packed;
  format.element = packed.bits == 4 ? ElementType::kInt4 : ElementType::kInt8;
  format.group_size = packed.group_size;
  format.scale = packed.scales.dtype;
  return format;
}

absl::Status LoadPacked(const LinearSource& source, CudaLinearWeight* weight, WeightUpload* upload,
                        cudaStream_t stream) {
  PackedStack stack(weight, source.parts[0].packed->groups(), upload, stream);
  PINGTI_RETURN_IF_ERROR(stack.Allocate(source));
  int64_t row = 0;
  for (const MatrixSource& part : source.parts) {
    PINGTI_RETURN_IF_ERROR(stack.Load(*part.packed, row));
    row += part.packed->rows;
  }
  // The stack's buffers go when the stream is done with them.
  PINGTI_RETURN_IF_CUDA_ERROR(cudaStreamSynchronize(stream));
  return absl::OkStatus();
}

}  // namespace pingti::worker::cuda
