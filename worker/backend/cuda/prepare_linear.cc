// Part of cuda_linear.h: from checkpoint matrices to weights on the device.
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "pingti/kernels/gemm_w4a16.h"
#include "pingti/kernels/quantize.h"
#include "pingti/kernels/random_fill.h"
#include "worker/backend/cuda/cuda_linear.h"
#include "worker/backend/cuda/cuda_status.h"
#include "worker/quant/ggml_blocks.h"
#include "worker/tensor/float16.h"

namespace pingti::worker::cuda {
namespace {

constexpr int64_t kMaxQuantizedCols = 32768;  // of the quantizing kernels

bool AllParts(const LinearSource& source, DType dtype) {
  for (const MatrixSource& part : source.parts) {
    if (part.tensor.dtype != dtype || part.tensor.data == nullptr) return false;
  }
  return true;
}

int64_t TotalRows(const LinearSource& source) {
  int64_t rows = 0;
  for (const MatrixSource& part : source.parts) rows += part.tensor.shape[0];
  return rows;
}

absl::Status CheckSource(const LinearSource& source) {
  if (source.parts.empty()) return absl::InvalidArgumentError("a linear layer without weights");
  for (const MatrixSource& part : source.parts) {
    const TensorView& tensor = part.tensor;
    const std::string what =
        Concat("tensor '", tensor.name, "' ", DTypeName(tensor.dtype), " ", tensor.ShapeString());
    if (tensor.shape.size() != 2 || tensor.shape[0] < 1 ||
        tensor.shape[1] != source.parts[0].tensor.shape[1]) {
      return absl::InvalidArgumentError(Concat(what, ": expected a matrix as wide as its peers"));
    }
    if (tensor.shape[1] % 8 != 0) {
      return absl::UnimplementedError(
          Concat(what, ": the CUDA backend needs rows of a multiple of 8"));
    }
    if (part.packed.has_value()) {
      PINGTI_RETURN_IF_ERROR(CheckPackedPart(part));
      continue;
    }
    if (!CanDequantize(tensor.dtype)) {
      return absl::UnimplementedError(Concat(what, ": not a type of weights"));
    }
    if (tensor.shape[1] % BlockElements(tensor.dtype) != 0) {
      return absl::InvalidArgumentError(
          Concat(what, ": expected rows of a multiple of ", BlockElements(tensor.dtype)));
    }
    const bool needs_scale = tensor.dtype == DType::kI8 && tensor.data != nullptr;
    const size_t scales = needs_scale ? static_cast<size_t>(tensor.shape[0]) : 0;
    if (part.row_scale.size() != scales) {
      return absl::InvalidArgumentError(
          Concat(what, ": ", part.row_scale.size(), " row scales; expected ", scales));
    }
  }
  if (source.format == WeightFormat::kF32) {
    return absl::UnimplementedError(
        "the CUDA backend multiplies in bf16, int8 or 4 bits: dtype f32 is for the CPU");
  }
  if (!source.bias.empty() && static_cast<int64_t>(source.bias.size()) != TotalRows(source)) {
    return absl::InvalidArgumentError(Concat("tensor '", source.parts[0].tensor.name,
                                             "': ", source.bias.size(), " biases; expected ",
                                             TotalRows(source)));
  }
  return absl::OkStatus();
}

absl::Status FillRandom(void* out, int64_t count, kernels::DType dtype, int64_t cols, uint64_t seed,
                        cudaStream_t stream) {
  kernels::RandomFillParams params;
  params.out = out;
  params.count = count;
  params.dtype = dtype;
  // Unit variance of outputs for unit variance of inputs.
  params.limit = std::sqrt(3.0f / static_cast<float>(cols));
  params.seed = seed;
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchRandomFill(params, stream));
  return absl::OkStatus();
}

uint64_t SeedOf(const MatrixSource& source) { return std::hash<std::string>()(source.tensor.name); }

absl::Status UploadFloats(const std::vector<float>& values, float* target, cudaStream_t stream) {
  // From pageable memory: the call returns when the values were taken.
  PINGTI_RETURN_IF_CUDA_ERROR(
      cudaMemcpyAsync(target, values.data(), values.size() * 4, cudaMemcpyHostToDevice, stream));
  return absl::OkStatus();
}

absl::Status LoadBf16(const MatrixSource& part, uint8_t* target, WeightUpload* upload,
                      cudaStream_t stream) {
  const int64_t rows = part.tensor.shape[0];
  const int64_t cols = part.tensor.shape[1];
  if (part.packed.has_value()) return LoadPackedAsBf16(*part.packed, target, upload);
  if (part.tensor.data == nullptr) {
    return FillRandom(target, rows * cols, kernels::DType::kBf16, cols, SeedOf(part), stream);
  }
  return upload->Rows(
      rows, cols * 2, [&](int64_t row, uint8_t* out) { WriteBf16Row(part, row, out); }, target);
}

// Values that are int8 already keep their numbers; others are quantized on the device, a row as
// activations are a token.
absl::Status LoadInt8(const MatrixSource& part, int8_t* target, float* scales, WeightUpload* upload,
                      cudaStream_t stream) {
  const int64_t rows = part.tensor.shape[0];
  const int64_t cols = part.tensor.shape[1];
  if (part.tensor.data == nullptr) {
    const std::vector<float> scale(static_cast<size_t>(rows),
                                   std::sqrt(3.0f / static_cast<float>(cols)) / 127.0f);
    PINGTI_RETURN_IF_ERROR(UploadFloats(scale, scales, stream));
    return FillRandom(target, rows * cols, kernels::DType::kI8, cols, SeedOf(part), stream);
  }
  if (part.tensor.dtype == DType::kI8) {
    std::vector<float> scale(static_cast<size_t>(rows));
    for (int64_t r = 0; r < rows; ++r) {
      scale[static_cast<size_t>(r)] = part.row_scale[static_cast<size_t>(SourceRow(part, r))];
    }
    PINGTI_RETURN_IF_ERROR(UploadFloats(scale, scales, stream));
    const auto* data = static_cast<const uint8_t*>(part.tensor.data);
    const auto write = [&](int64_t row, uint8_t* out) {
      std::memcpy(out, data + SourceRow(part, row) * cols, static_cast<size_t>(cols));
    };
    return upload->Rows(rows, cols, write, reinterpret_cast<uint8_t*>(target));
  }
  const auto quantize = [&](int64_t first, int64_t count) -> absl::Status {
    kernels::QuantizeTokensParams params;
    params.x = upload->staging();
    params.x_stride = cols;
    params.quantized = target + first * cols;
    params.quantized_stride = cols;
    params.scales = scales + first;
    params.num_tokens = static_cast<int32_t>(count);
    params.width = static_cast<int32_t>(cols);
    PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchQuantizeTokens(params, stream));
    return absl::OkStatus();
  };
  if (part.packed.has_value()) return StagePackedAsBf16(*part.packed, quantize, upload);
  return upload->StagedRows(
      rows, cols * 2, [&](int64_t row, uint8_t* out) { WriteBf16Row(part, row, out); }, quantize);
}

// A row of Q4_0 or Q8_0 blocks (f16 scale, then 32 values) as the kernels' kRowMajor words: values
// in order, unsigned, 4 or 8 bits each; then the row's scales.
void WriteGroupedRow(const MatrixSource& part, int64_t row, uint8_t* out) {
  const TensorView& tensor = part.tensor;
  const bool four = tensor.dtype == DType::kQ4_0;
  const int64_t groups = tensor.shape[1] / kGroupSize;
  const int64_t block_bytes = BlockBytes(tensor.dtype);
  const int64_t group_bytes = four ? kGroupSize / 2 : kGroupSize;
  const uint8_t* block =
      static_cast<const uint8_t*>(tensor.data) + SourceRow(part, row) * tensor.RowBytes();
  uint8_t* scales = out + groups * group_bytes;
  for (int64_t g = 0; g < groups; ++g, block += block_bytes, out += group_bytes) {
    std::memcpy(scales + 2 * g, block, 2);
    const uint8_t* q = block + 2;
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

absl::Status LoadGrouped(const LinearSource& source, CudaLinearWeight* weight, WeightUpload* upload,
                         cudaStream_t stream) {
  const bool four = weight->form == LinearForm::kGrouped4;
  const kernels::WeightBits bits = four ? kernels::WeightBits::k4 : kernels::WeightBits::k8;
  const int n = static_cast<int>(weight->rows);
  const int k = static_cast<int>(weight->cols);
  const int groups = k / static_cast<int>(kGroupSize);
  const int64_t value_bytes = weight->cols / (four ? 2 : 1);
  const int64_t row_bytes = value_bytes + groups * 2;
  PINGTI_ASSIGN_OR_RETURN(
      weight->values,
      CudaBuffer::Make(static_cast<int64_t>(kernels::PackedWeightBytes(n, k, bits))));
  PINGTI_ASSIGN_OR_RETURN(weight->scales, CudaBuffer::Make(int64_t{n} * groups * 2));
  // Dense words and scales of the whole stack, freed when they are repacked.
  PINGTI_ASSIGN_OR_RETURN(const auto words, CudaBuffer::Make(n * value_bytes));
  PINGTI_ASSIGN_OR_RETURN(const auto scales, CudaBuffer::Make(int64_t{n} * groups * 2));
  int64_t at = 0;
  for (const MatrixSource& part : source.parts) {
    const auto split = [&](int64_t first, int64_t count) -> absl::Status {
      const int64_t row = at + first;
      const auto rows = static_cast<size_t>(count);
      const auto width = static_cast<size_t>(value_bytes);
      const auto pitch = static_cast<size_t>(row_bytes);
      PINGTI_RETURN_IF_CUDA_ERROR(cudaMemcpy2DAsync(words->as<uint8_t>() + row * value_bytes, width,
                                                    upload->staging(), pitch, width, rows,
                                                    cudaMemcpyDeviceToDevice, stream));
      const auto scale_width = static_cast<size_t>(groups) * 2;
      PINGTI_RETURN_IF_CUDA_ERROR(cudaMemcpy2DAsync(
          scales->as<uint8_t>() + row * groups * 2, scale_width, upload->staging() + value_bytes,
          pitch, scale_width, rows, cudaMemcpyDeviceToDevice, stream));
      return absl::OkStatus();
    };
    PINGTI_RETURN_IF_ERROR(upload->StagedRows(
        part.tensor.shape[0], row_bytes,
        [&](int64_t row, uint8_t* out) { WriteGroupedRow(part, row, out); }, split));
    at += part.tensor.shape[0];
  }
  kernels::RepackWeightsParams repack;
  repack.n = n;
  repack.k = k;
  repack.bits = bits;
  repack.layout = kernels::WeightLayout::kRowMajor;
  repack.source = words->as<const uint32_t>();
  repack.packed = weight->values->data();
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchRepackWeights(repack, stream));
  PINGTI_RETURN_IF_CUDA_ERROR(
      kernels::LaunchTransposeScales(scales->data(), weight->scales->data(), n, groups, stream));
  PINGTI_RETURN_IF_CUDA_ERROR(cudaStreamSynchronize(stream));
  return absl::OkStatus();
}

absl::Status LoadDense(const LinearSource& source, CudaLinearWeight* weight, WeightUpload* upload,
                       cudaStream_t stream) {
  const bool int8 = weight->form == LinearForm::kInt8;
  PINGTI_ASSIGN_OR_RETURN(weight->values,
                          CudaBuffer::Make(weight->rows * weight->cols * (int8 ? 1 : 2)));
  if (int8) {
    PINGTI_ASSIGN_OR_RETURN(weight->scales, CudaBuffer::Make(weight->rows * 4));
  }
  int64_t at = 0;
  for (const MatrixSource& part : source.parts) {
    PINGTI_RETURN_IF_ERROR(int8 ? LoadInt8(part, weight->values->as<int8_t>() + at * weight->cols,
                                           weight->scales->as<float>() + at, upload, stream)
                                : LoadBf16(part,
                                           weight->values->as<uint8_t>() + at * weight->cols * 2,
                                           upload, stream));
    at += part.tensor.shape[0];
  }
  return absl::OkStatus();
}

}  // namespace

LinearForm ChooseForm(const LinearSource& source) {
  const int64_t rows = TotalRows(source);
  const int64_t cols = source.parts[0].tensor.shape[1];
  // int8 products and grouped ones write bf16.
  if (source.f32_out || source.format == WeightFormat::kBf16) return LinearForm::kBf16;
  const bool int8 = source.format == WeightFormat::kInt8 ||
                    (source.format == WeightFormat::kStored && AllParts(source, DType::kI8));
  if (int8) {
    const bool fits = rows % 8 == 0 && cols % 16 == 0 && cols <= kMaxQuantizedCols;
    return fits ? LinearForm::kInt8 : LinearForm::kBf16;
  }
  if (const std::optional<LinearForm> form = PackedForm(source)) return *form;
  if (rows % 8 == 0 && cols % kGroupSize == 0) {
    if (AllParts(source, DType::kQ4_0)) return LinearForm::kGrouped4;
    if (AllParts(source, DType::kQ8_0)) return LinearForm::kGrouped8;
  }
  return LinearForm::kBf16;
}

absl::StatusOr<std::unique_ptr<CudaLinearWeight>> MakeLinearWeight(const LinearSource& source,
                                                                   WeightUpload* upload,
                                                                   cudaStream_t stream) {
  PINGTI_RETURN_IF_ERROR(CheckSource(source));
  auto weight = std::make_unique<CudaLinearWeight>();
  weight->form = ChooseForm(source);
  weight->rows = TotalRows(source);
  weight->cols = source.parts[0].tensor.shape[1];
  const bool grouped =
      weight->form == LinearForm::kGrouped4 || weight->form == LinearForm::kGrouped8;
  if (grouped && source.parts[0].packed.has_value()) {
    PINGTI_RETURN_IF_ERROR(LoadPacked(source, weight.get(), upload, stream));
  } else {
    PINGTI_RETURN_IF_ERROR(grouped ? LoadGrouped(source, weight.get(), upload, stream)
                                   : LoadDense(source, weight.get(), upload, stream));
  }
  if (!source.bias.empty()) {
    std::vector<uint16_t> halves;
    for (const float value : source.bias) halves.push_back(FloatToBf16(value));
    PINGTI_ASSIGN_OR_RETURN(weight->bias, CudaBuffer::Make(weight->rows * 2));
    PINGTI_RETURN_IF_CUDA_ERROR(cudaMemcpyAsync(weight->bias->data(), halves.data(),
                                                halves.size() * 2, cudaMemcpyHostToDevice, stream));
  }
  return weight;
}

}  // namespace pingti::worker::cuda
