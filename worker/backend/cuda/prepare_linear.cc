// Part of cuda_linear.h: from checkpoint matrices to weights on the device.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "pingti/kernels/quantize.h"
#include "pingti/kernels/random_fill.h"
#include "worker/backend/cuda/cuda_linear.h"
#include "worker/backend/cuda/cuda_status.h"
#include "worker/backend/cuda/prepare.h"
#include "worker/quant/ggml_repack.h"
#include "worker/quant/source_rows.h"
#include "worker/tensor/float16.h"

namespace pingti::worker::cuda {
namespace {

constexpr int64_t kMaxQuantizedCols = 32768;  // of the quantizing kernels

int64_t TotalRows(const LinearSource& source) {
  int64_t rows = 0;
  for (const MatrixSource& part : source.parts) rows += part.tensor.shape[0];
  return rows;
}

absl::Status CheckSource(const LinearSource& source) {
  if (source.parts.empty()) return absl::InvalidArgumentError("a linear layer without weights");
  if (source.experts > 0 && TotalRows(source) / source.experts % 8 != 0) {
    return absl::UnimplementedError(Concat("tensor '", source.parts[0].tensor.name,
                                           "': experts of ", TotalRows(source) / source.experts,
                                           " rows; the CUDA backend needs a multiple of 8"));
  }
  for (const MatrixSource& part : source.parts) {
    PINGTI_RETURN_IF_ERROR(CheckMatrixSource(part));
    const TensorView& tensor = part.tensor;
    const std::string what =
        Concat("tensor '", tensor.name, "' ", DTypeName(tensor.dtype), " ", tensor.ShapeString());
    if (tensor.shape[1] != source.parts[0].tensor.shape[1]) {
      return absl::InvalidArgumentError(Concat(what, ": expected a matrix as wide as its peers"));
    }
    if (tensor.shape[1] % 8 != 0) {
      return absl::UnimplementedError(
          Concat(what, ": the CUDA backend needs rows of a multiple of 8"));
    }
  }
  for (const MatrixSource& part : source.parts) {
    PINGTI_CHECK(source.heads == 0 || (static_cast<int64_t>(source.parts.size()) == source.heads &&
                                       part.tensor.shape[0] == source.parts[0].tensor.shape[0]));
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

// Integers with f16 scales, multiplied with activations as they are.
MatrixFormat Grouped(ElementType element, int64_t group_size) {
  return {element, {}, group_size, DType::kF16};
}

absl::Status UploadFloats(const std::vector<float>& values, float* target, cudaStream_t stream) {
  // From pageable memory: the call returns when the values were taken.
  PINGTI_RETURN_IF_CUDA_ERROR(
      cudaMemcpyAsync(target, values.data(), values.size() * 4, cudaMemcpyHostToDevice, stream));
  return absl::OkStatus();
}

WeightUpload::WriteRows WriteBf16(const MatrixSource& part) {
  return [&part](int64_t first, int64_t last, uint8_t* out) {
    SourceRows(part).ReadBf16(first, last, reinterpret_cast<uint16_t*>(out));
  };
}

absl::Status LoadBf16(const MatrixSource& part, bool transposed, uint8_t* target,
                      WeightUpload* upload, cudaStream_t stream) {
  const int64_t rows = part.tensor.shape[0];
  const int64_t cols = part.tensor.shape[1];
  if (part.tensor.data == nullptr) {
    return FillRandom(target, rows * cols, kernels::DType::kBf16, transposed ? rows : cols,
                      SeedOf(part), stream);
  }
  return upload->Rows(rows, cols * 2, WriteBf16(part), target);
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
    const auto write = [&](int64_t first, int64_t last, uint8_t* out) {
      SourceRows(part).ReadInt8(first, last, reinterpret_cast<int8_t*>(out),
                                &scale[static_cast<size_t>(first)]);
    };
    PINGTI_RETURN_IF_ERROR(upload->Rows(rows, cols, write, reinterpret_cast<uint8_t*>(target)));
    return UploadFloats(scale, scales, stream);
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
  return upload->StagedRows(rows, cols * 2, WriteBf16(part), quantize);
}

absl::Status LoadDense(const LinearSource& source, CudaLinearWeight* weight, WeightUpload* upload,
                       cudaStream_t stream) {
  const bool int8 = GemmKindOf(weight->matrix_format) == GemmKind::kInt8;
  PINGTI_ASSIGN_OR_RETURN(weight->values,
                          CudaBuffer::Make(weight->rows * weight->cols * (int8 ? 1 : 2)));
  if (int8) {
    PINGTI_ASSIGN_OR_RETURN(weight->scales, CudaBuffer::Make(weight->rows * 4));
  }
  int64_t at = 0;
  for (const MatrixSource& part : source.parts) {
    PINGTI_RETURN_IF_ERROR(int8 ? LoadInt8(part, weight->values->as<int8_t>() + at * weight->cols,
                                           weight->scales->as<float>() + at, upload, stream)
                                : LoadBf16(part, source.transposed,
                                           weight->values->as<uint8_t>() + at * weight->cols * 2,
                                           upload, stream));
    at += part.tensor.shape[0];
  }
  return absl::OkStatus();
}

}  // namespace

bool AllParts(const LinearSource& source, DType dtype) {
  for (const MatrixSource& part : source.parts) {
    if (part.tensor.dtype != dtype || part.tensor.data == nullptr) return false;
  }
  return true;
}

bool AllFitQ8_0(const LinearSource& source) {
  for (const MatrixSource& part : source.parts) {
    if (!FitsQ8_0(part.tensor.dtype) || part.tensor.data == nullptr) return false;
  }
  return true;
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

MatrixFormat ChooseFormat(const LinearSource& source) {
  const MatrixFormat bf16;
  const int64_t rows = TotalRows(source);
  const int64_t cols = source.parts[0].tensor.shape[1];
  if (source.format == WeightFormat::kBf16 || source.heads > 0) return bf16;
  const bool keeps_int8 = source.format == WeightFormat::kStored && AllParts(source, DType::kI8);
  if (source.experts > 0 && (source.format == WeightFormat::kInt8 || keeps_int8)) {
    return cols % 16 == 0 && cols <= kMaxQuantizedCols
               ? MatrixFormat{ElementType::kInt8, kInt8PerToken}
               : bf16;
  }
  // Where an expert's rows begin, a block of packed rows does.
  if (source.experts > 0 && rows / source.experts % kRowsPerPackedBlock != 0) return bf16;
  if (source.parts[0].packed.has_value() && source.format != WeightFormat::kInt8) {
    return PackedFormat(source).value_or(bf16);
  }
  if (source.format == WeightFormat::kInt8Weights) {
    if (rows % 8 != 0 || cols % 8 != 0) return bf16;
    return Grouped(ElementType::kInt8, AllFitQ8_0(source) ? kFileGroup : kOwnGroup);
  }
  if (source.format == WeightFormat::kInt8 || keeps_int8) {
    // These products write bf16.
    const bool fits =
        !source.f32_out && rows % 8 == 0 && cols % 16 == 0 && cols <= kMaxQuantizedCols;
    return fits ? MatrixFormat{ElementType::kInt8, kInt8PerToken} : bf16;
  }
  if (rows % 8 == 0 && cols % kFileGroup == 0) {
    if (AllParts(source, DType::kQ4_0)) return Grouped(ElementType::kInt4, kFileGroup);
    if (source.experts > 0 && AllParts(source, DType::kMxfp4)) {
      return {ElementType::kFp4, {}, kFileGroup, DType::kBf16};
    }
    if (AllFitQ8_0(source)) return Grouped(ElementType::kInt8, kFileGroup);
  }
  return bf16;
}

absl::StatusOr<std::unique_ptr<CudaLinearWeight>> MakeLinearWeight(const LinearSource& source,
                                                                   WeightUpload* upload,
                                                                   cudaStream_t stream) {
  PINGTI_RETURN_IF_ERROR(CheckSource(source));
  auto weight = std::make_unique<CudaLinearWeight>();
  weight->matrix_format = ChooseFormat(source);
  weight->rows = TotalRows(source);
  weight->experts = source.experts;
  weight->heads = source.heads;
  weight->transposed = source.transposed;
  weight->cols = source.parts[0].tensor.shape[1];
  const bool grouped = GemmKindOf(weight->matrix_format) == GemmKind::kGrouped;
  if (grouped && source.parts[0].packed.has_value()) {
    PINGTI_RETURN_IF_ERROR(LoadPacked(source, weight.get(), upload, stream));
  } else {
    PINGTI_RETURN_IF_ERROR(grouped ? LoadGrouped(source, weight.get(), upload, stream)
                                   : LoadDense(source, weight.get(), upload, stream));
  }
  if (!source.bias.empty() && source.f32_out) {
    PINGTI_ASSIGN_OR_RETURN(weight->bias, CudaBuffer::Make(weight->rows * 4));
    PINGTI_RETURN_IF_CUDA_ERROR(cudaMemcpyAsync(weight->bias->data(), source.bias.data(),
                                                source.bias.size() * 4, cudaMemcpyHostToDevice,
                                                stream));
  } else if (!source.bias.empty()) {
    std::vector<uint16_t> halves;
    for (const float value : source.bias) halves.push_back(FloatToBf16(value));
    PINGTI_ASSIGN_OR_RETURN(weight->bias, CudaBuffer::Make(weight->rows * 2));
    PINGTI_RETURN_IF_CUDA_ERROR(cudaMemcpyAsync(weight->bias->data(), halves.data(),
                                                halves.size() * 2, cudaMemcpyHostToDevice, stream));
  }
  return weight;
}

}  // namespace pingti::worker::cuda
