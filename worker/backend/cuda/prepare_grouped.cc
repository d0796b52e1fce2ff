// Part of cuda_linear.h: rows of a checkpoint to the grouped forms. GGUF's Q4_0 and Q8_0 keep their
// numbers, as do experts in MXFP4 and, in 8 bits, the types that Q8_0 holds; anything else becomes
// 8 bits with a scale per 128 values. Packed words of Hugging Face checkpoints: prepare_packed.cc.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "common/base/status_macros.h"
#include "pingti/kernels/gemm_w4a16.h"
#include "worker/backend/cuda/cuda_linear.h"
#include "worker/backend/cuda/cuda_status.h"
#include "worker/backend/cuda/prepare.h"
#include "worker/quant/ggml_repack.h"
#include "worker/quant/source_rows.h"
#include "worker/tensor/float16.h"

namespace pingti::worker::cuda {
namespace {

// 2^(exponent - 127) in bf16, of which the least is subnormal.
uint16_t PowerOfTwo(uint8_t exponent) {
  return static_cast<uint16_t>(exponent == 0 ? 0x0040 : exponent << 7);
}

// `groups` blocks of Q4_0 or Q8_0 (f16 scale, then 32 values) or of MXFP4 (exponent, then 32
// values) as the kernels' kRowMajor words: values in order, 4 or 8 bits each, integers unsigned;
// their scales apart, of MXFP4 in bf16.
void WriteGroups(DType type, const uint8_t* block, int64_t groups, uint8_t* out, uint8_t* scales) {
  const bool four = type != DType::kQ8_0;
  const int64_t group_bytes = four ? kFileGroup / 2 : kFileGroup;
  const int64_t scale_bytes = BlockBytes(type) - group_bytes;
  for (int64_t g = 0; g < groups; ++g, block += BlockBytes(type), out += group_bytes) {
    const uint16_t power = PowerOfTwo(block[0]);
    std::memcpy(scales + 2 * g, type == DType::kMxfp4 ? static_cast<const void*>(&power) : block,
                sizeof(power));
    const uint8_t* q = block + scale_bytes;
    for (int64_t i = 0; i < group_bytes; ++i) {
      if (!four) {
        out[i] = static_cast<uint8_t>(q[i] ^ 0x80);  // signed to offset by 128
      } else {
        // Value i is in the low half of byte i, value i + 16 in the high half.
        const int64_t at = 2 * i % 16;
        out[i] = 2 * i < 16 ? static_cast<uint8_t>((q[at] & 15) | ((q[at + 1] & 15) << 4))
                            : static_cast<uint8_t>((q[at] >> 4) | (q[at + 1] & 0xf0));
      }
    }
  }
}

// A row of blocks of a file, in 4 bits if they have so many and in 8 bits otherwise; then the row's
// scales.
void WriteFileGroups(const TensorView& tensor, bool four, const uint8_t* block, uint8_t* out) {
  const int64_t groups = tensor.shape[1] / kFileGroup;
  const int64_t group_bytes = four ? kFileGroup / 2 : kFileGroup;
  uint8_t* scales = out + groups * group_bytes;
  if (four || tensor.dtype == DType::kQ8_0) {
    return WriteGroups(tensor.dtype, block, groups, out, scales);
  }
  constexpr int64_t kMaxGroups = 8;  // of a block
  const int64_t per_block = BlockElements(tensor.dtype) / kFileGroup;
  uint8_t repacked[kMaxGroups * 34];
  for (int64_t g = 0; g < groups; g += per_block, block += BlockBytes(tensor.dtype)) {
    RepackAsQ8_0(tensor.dtype, block, repacked);
    WriteGroups(DType::kQ8_0, repacked, per_block, out + g * group_bytes, scales + 2 * g);
  }
}

// The values of any row, quantized to 8 bits with a scale per kOwnGroup values, in the same form.
void WriteOwnGroups(const std::vector<float>& values, uint8_t* out) {
  const auto cols = static_cast<int64_t>(values.size());
  uint8_t* scales = out + cols;
  for (int64_t begin = 0; begin < cols; begin += kOwnGroup, scales += 2) {
    const float* group = values.data() + begin;
    const int64_t count = std::min(kOwnGroup, cols - begin);
    float largest = 0.0f;
    for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::fabs(group[i]));
    const uint16_t scale = FloatToF16(largest / 127.0f);
    std::memcpy(scales, &scale, 2);
    const float step = F16ToFloat(scale);
    const float inverse = step > 0.0f ? 1.0f / step : 0.0f;
    for (int64_t i = 0; i < count; ++i) {
      const float q = std::clamp(std::nearbyint(group[i] * inverse), -127.0f, 127.0f);
      out[begin + i] = static_cast<uint8_t>(static_cast<int>(q) + 128);
    }
  }
}

// The checkpoint layout of a stack on the device, freed when it is repacked.
struct GroupedWords {
  std::unique_ptr<CudaBuffer> words;   // [rows, cols] of 4 or 8 bits
  std::unique_ptr<CudaBuffer> scales;  // f16 [rows, groups]
  int64_t row_bytes = 0;               // of words
  int64_t groups = 0;
};

// Part of a stack whose first row is `at`. `four`: the file has 4 bits, and they stay.
absl::Status LoadGroupedPart(const MatrixSource& part, bool from_file, bool four, int64_t at,
                             const GroupedWords& into, WeightUpload* upload, cudaStream_t stream) {
  const int64_t rows = part.tensor.shape[0];
  const int64_t cols = part.tensor.shape[1];
  uint8_t* words = into.words->as<uint8_t>() + at * into.row_bytes;
  uint8_t* scales = into.scales->as<uint8_t>() + at * into.groups * 2;
  if (part.tensor.data == nullptr) {
    const std::vector<uint16_t> scale(
        static_cast<size_t>(rows * into.groups),
        FloatToF16(std::sqrt(3.0f / static_cast<float>(cols)) / 127.0f));
    PINGTI_RETURN_IF_CUDA_ERROR(
        cudaMemcpyAsync(scales, scale.data(), scale.size() * 2, cudaMemcpyHostToDevice, stream));
    return FillRandom(words, rows * cols, kernels::DType::kI8, cols, SeedOf(part), stream);
  }
  const auto pitch = static_cast<size_t>(into.row_bytes + into.groups * 2);
  const auto split = [&](int64_t first, int64_t count) -> absl::Status {
    const auto width = static_cast<size_t>(into.row_bytes);
    PINGTI_RETURN_IF_CUDA_ERROR(
        cudaMemcpy2DAsync(words + first * into.row_bytes, width, upload->staging(), pitch, width,
                          static_cast<size_t>(count), cudaMemcpyDeviceToDevice, stream));
    const auto scale_width = static_cast<size_t>(into.groups) * 2;
    PINGTI_RETURN_IF_CUDA_ERROR(cudaMemcpy2DAsync(
        scales + first * into.groups * 2, scale_width, upload->staging() + into.row_bytes, pitch,
        scale_width, static_cast<size_t>(count), cudaMemcpyDeviceToDevice, stream));
    return absl::OkStatus();
  };
  const auto write = [&](int64_t first, int64_t last, uint8_t* out) {
    SourceRows source(part);
    std::vector<float> values(static_cast<size_t>(from_file ? 0 : cols));
    for (int64_t row = first; row < last; ++row, out += pitch) {
      if (from_file) {
        WriteFileGroups(part.tensor, four, source.Raw(row), out);
      } else {
        source.ReadF32(row, row + 1, values.data());
        WriteOwnGroups(values, out);
      }
    }
  };
  return upload->StagedRows(rows, static_cast<int64_t>(pitch), write, split);
}

}  // namespace

absl::Status LoadGrouped(const LinearSource& source, CudaLinearWeight* weight, WeightUpload* upload,
                         cudaStream_t stream) {
  const int64_t group_size = weight->matrix_format.group_size;
  const bool four = weight->matrix_format.element != ElementType::kInt8;
  const bool from_file = group_size == kFileGroup;
  const kernels::WeightBits bits = four ? kernels::WeightBits::k4 : kernels::WeightBits::k8;
  const int n = static_cast<int>(weight->rows);
  const int k = static_cast<int>(weight->cols);
  GroupedWords dense;
  dense.groups = (weight->cols + group_size - 1) / group_size;
  dense.row_bytes = weight->cols / (four ? 2 : 1);
  PINGTI_ASSIGN_OR_RETURN(
      weight->values,
      CudaBuffer::Make(static_cast<int64_t>(kernels::PackedWeightBytes(n, k, bits))));
  PINGTI_ASSIGN_OR_RETURN(weight->scales, CudaBuffer::Make(weight->rows * dense.groups * 2));
  PINGTI_ASSIGN_OR_RETURN(dense.words, CudaBuffer::Make(weight->rows * dense.row_bytes));
  PINGTI_ASSIGN_OR_RETURN(dense.scales, CudaBuffer::Make(weight->rows * dense.groups * 2));
  int64_t at = 0;
  for (const MatrixSource& part : source.parts) {
    PINGTI_RETURN_IF_ERROR(LoadGroupedPart(part, from_file, four, at, dense, upload, stream));
    at += part.tensor.shape[0];
  }
  kernels::RepackWeightsParams repack;
  repack.n = n;
  repack.k = k;
  repack.bits = bits;
  repack.layout = kernels::WeightLayout::kRowMajor;
  repack.source = dense.words->as<const uint32_t>();
  repack.packed = weight->values->data();
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchRepackWeights(repack, stream));
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchTransposeScales(
      dense.scales->data(), weight->scales->data(), n, static_cast<int>(dense.groups), stream));
  PINGTI_RETURN_IF_CUDA_ERROR(cudaStreamSynchronize(stream));
  return absl::OkStatus();
}

}  // namespace pingti::worker::cuda
