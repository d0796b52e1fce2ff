// What the prepare_*.cc files share: each makes one kind of weight of cuda_linear.h. Used by them
// alone, while loading.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "pingti/kernels/dtype.h"
#include "worker/backend/cuda/cuda_linear.h"
#include "worker/backend/cuda/weight_upload.h"

namespace pingti::worker::cuda {

inline constexpr int64_t kFileGroup = 32;  // values per scale of a file's blocks
// The kernels': what is packed apart stacks at whole blocks only.
inline constexpr int64_t kRowsPerPackedBlock = 32;

// Whether every part is of this type, and in memory.
bool AllParts(const LinearSource& source, DType dtype);
// Whether every part is of a type that Q8_0 holds (worker/quant/ggml_repack.h), and in memory.
bool AllFitQ8_0(const LinearSource& source);

// Random elements of unit variance of outputs for unit variance of inputs, and a seed for them.
absl::Status FillRandom(void* out, int64_t count, kernels::DType dtype, int64_t cols, uint64_t seed,
                        cudaStream_t stream);
uint64_t SeedOf(const MatrixSource& source);

inline constexpr int64_t kOwnGroup = 128;  // values per scale of 8-bit weights made here

// Integers in groups, from rows; prepare_grouped.cc. REQUIRES: weight's format, rows and cols are
// set.
absl::Status LoadGrouped(const LinearSource& source, CudaLinearWeight* weight, WeightUpload* upload,
                         cudaStream_t stream);

// For parts that are packed words; prepare_packed.cc.
// The format of a stack of packed parts as they are, or none when a part is not packed, parts
// differ in bits, group size or type of scales, or their rows do not fill the kernels' blocks.
std::optional<MatrixFormat> PackedFormat(const LinearSource& source);
// REQUIRES: PackedFormat(source) == weight->matrix_format; weight's rows and cols are set.
absl::Status LoadPacked(const LinearSource& source, CudaLinearWeight* weight, WeightUpload* upload,
                        cudaStream_t stream);

}  // namespace pingti::worker::cuda
