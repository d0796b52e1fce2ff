// Launchers of sums and gathers: checks, and one kernel for each part of a matrix for which the
// receive buffers have room.
#include <limits>

#include "kernels/comm/choose.h"
#include "kernels/comm/launch.h"
#include "kernels/common/row_launch.h"
#include "kernels/common/status.h"

namespace pingti::kernels {
namespace {

cudaError_t CheckLink(const AllReduceLink& link) {
  if (link.num_ranks != 2 && link.num_ranks != 4 && link.num_ranks != 8) {
    return cudaErrorNotSupported;
  }
  if (link.rank < 0 || link.rank >= link.num_ranks || link.state == nullptr ||
      link.board == nullptr || link.buffer_bytes <= 0 || link.buffer_bytes % 16 != 0) {
    return cudaErrorInvalidValue;
  }
  for (int r = 0; r < link.num_ranks; ++r) {
    if (!IsPresent(link.receive[r])) return cudaErrorInvalidValue;
  }
  return cudaSuccess;
}

bool IsValid(const AllReduceShape& shape) {
  return shape.shots >= 0 && shape.shots <= 2 && shape.blocks >= 0 && shape.threads >= 0 &&
         shape.threads <= kMaxCommThreads && shape.threads % kSumStretch == 0 &&
         (shape.cluster == 0 || shape.cluster == 1 || shape.cluster == 2 || shape.cluster == 4 ||
          shape.cluster == 8);
}

cudaError_t DispatchSum(const CommArgs& args, DType dtype, const CommLaunch& launch,
                        cudaStream_t stream) {
  switch (args.link.num_ranks) {
    case 2:
      return LaunchSumKernel<2>(args, dtype, launch, stream);
    case 4:
      return LaunchSumKernel<4>(args, dtype, launch, stream);
    default:
      return LaunchSumKernel<8>(args, dtype, launch, stream);
  }
}

cudaError_t DispatchGather(const CommArgs& args, DType dtype, const CommLaunch& launch,
                           cudaStream_t stream) {
  switch (args.link.num_ranks) {
    case 2:
      return LaunchGatherKernel<2>(args, dtype, launch, stream);
    case 4:
      return LaunchGatherKernel<4>(args, dtype, launch, stream);
    default:
      return LaunchGatherKernel<8>(args, dtype, launch, stream);
  }
}

cudaError_t DispatchNorm(const NormArgs& args, const CommLaunch& launch, cudaStream_t stream) {
  switch (args.link.num_ranks) {
    case 2:
      return LaunchNormKernel<2>(args, launch, stream);
    case 4:
      return LaunchNormKernel<4>(args, launch, stream);
    default:
      return LaunchNormKernel<8>(args, launch, stream);
  }
}

// Checks what sums and gathers have in common, and fills in what follows from the pointers and
// strides. `vectors` of the whole matrix; 0: it is empty.
cudaError_t CompleteArgs(int64_t rows, int64_t cols, DType dtype, const AllReduceShape& shape,
                         CommArgs* args, int64_t* vectors) {
  PINGTI_CUDA_RETURN(CheckLink(args->link));
  if (dtype != DType::kBf16 && dtype != DType::kF32) return cudaErrorNotSupported;
  if (rows < 0 || cols < 0 || cols > std::numeric_limits<int32_t>::max() || !IsValid(shape)) {
    return cudaErrorInvalidValue;
  }
  const int64_t element = ElementBytes(dtype);
  const int64_t per_vector = 16 / element;
  const int64_t vectors_per_row = (cols + per_vector - 1) / per_vector;
  *vectors = rows * vectors_per_row;
  if (*vectors == 0) return cudaSuccess;
  if (*vectors > std::numeric_limits<uint32_t>::max() || !IsPresent(args->x, element) ||
      !IsPresent(args->out, element)) {
    return cudaErrorInvalidValue;
  }
  args->cols = static_cast<int32_t>(cols);
  args->vectors_per_row = static_cast<uint32_t>(vectors_per_row);
  args->is_aligned = IsAligned(args->x) && IsAligned(args->out) &&
                     (rows == 1 || (args->x_stride | args->out_stride) % per_vector == 0);
  return cudaSuccess;
}

// launch(how) for each part of at most `room` vectors, which `args` then names.
template <typename Launch>
cudaError_t LaunchParts(CommArgs& args, int64_t vectors, int64_t room, const AllReduceShape& shape,
                        int shots, const Launch& launch) {
  if (room <= 0) return cudaErrorInvalidValue;
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  for (int64_t first = 0; first < vectors; first += room) {
    args.first_vector = static_cast<uint32_t>(first);
    args.num_vectors = static_cast<int32_t>(std::min(room, vectors - first));
    PINGTI_CUDA_RETURN(launch(ChooseSumLaunch(args.link, shape, shots, args.num_vectors, device)));
  }
  return cudaSuccess;
}

// From row `first` on.
RmsNormParams RowsFrom(RmsNormParams p, int64_t first, int64_t count) {
  const auto advance = [&](auto* pointer, int64_t bytes_per_row) {
    return pointer == nullptr ? nullptr : pointer + first * bytes_per_row;
  };
  p.x = advance(static_cast<const char*>(p.x), p.x_stride * 2);
  p.residual = advance(static_cast<char*>(p.residual), p.residual_stride * 2);
  p.out = advance(static_cast<char*>(p.out), p.out_stride * 2);
  p.quantized = advance(p.quantized, p.quantized_stride);
  p.scales = advance(p.scales, 1);
  p.num_tokens = static_cast<int32_t>(count);
  return p;
}

}  // namespace

cudaError_t LaunchAllReduce(const AllReduceParams& p, cudaStream_t stream) {
  CommArgs args;
  args.link = p.link;
  args.x = p.x;
  args.x_stride = p.x_stride;
  args.out = p.out;
  args.out_stride = p.out_stride;
  int64_t vectors = 0;
  PINGTI_CUDA_RETURN(CompleteArgs(p.rows, p.cols, p.dtype, p.shape, &args, &vectors));
  if (vectors == 0) return cudaSuccess;
  const int shots = ChooseShots(p.shape, p.link.num_ranks, vectors * 16);
  const int64_t row = shots == 2 ? int64_t{p.link.num_ranks} * kSumStretch : 1;
  const int64_t room = RowsInBuffer(p.link, shots, row) * row;
  return LaunchParts(args, vectors, room, p.shape, shots, [&](const CommLaunch& launch) {
    return DispatchSum(args, p.dtype, launch, stream);
  });
}

cudaError_t LaunchAllGather(const AllGatherParams& p, cudaStream_t stream) {
  PINGTI_CUDA_RETURN(CheckLink(p.link));
  if (p.cols < 0 || p.cols % p.link.num_ranks != 0) return cudaErrorInvalidValue;
  const int64_t stretch = p.cols / p.link.num_ranks;
  CommArgs args;
  args.link = p.link;
  args.x = static_cast<const char*>(p.matrix) + p.link.rank * stretch * ElementBytes(p.dtype);
  args.out = p.matrix;
  args.x_stride = args.out_stride = p.stride;
  int64_t vectors = 0;
  PINGTI_CUDA_RETURN(CompleteArgs(p.rows, stretch, p.dtype, p.shape, &args, &vectors));
  if (vectors == 0) return cudaSuccess;
  // Every stretch must start at 16 bytes.
  args.is_aligned = args.is_aligned && stretch * ElementBytes(p.dtype) % 16 == 0;
  const int64_t room = RowsInBuffer(p.link, 1, 1);
  return LaunchParts(args, vectors, room, p.shape, 1, [&](const CommLaunch& launch) {
    return DispatchGather(args, p.dtype, launch, stream);
  });
}

cudaError_t LaunchAllReduceRmsNorm(const AllReduceRmsNormParams& p, cudaStream_t stream) {
  PINGTI_CUDA_RETURN(CheckLink(p.link));
  const RmsNormParams& norm = p.norm;
  if (norm.dtype != DType::kBf16) return cudaErrorNotSupported;
  if (norm.num_tokens < 0 || norm.hidden <= 0 || norm.hidden % 8 != 0 ||
      norm.hidden > kMaxRowElements || !IsValid(p.shape) ||
      (norm.x_stride | norm.residual_stride | norm.out_stride | norm.quantized_stride) % 8 != 0) {
    return cudaErrorInvalidValue;
  }
  if (norm.num_tokens == 0) return cudaSuccess;
  if (!IsPresent(norm.x) || !IsAligned(norm.residual) || !IsPresent(norm.weight) ||
      !IsAligned(norm.out) || !IsAligned(norm.quantized) || (!norm.out && !norm.quantized) ||
      (norm.quantized && !norm.scales)) {
    return cudaErrorInvalidValue;
  }
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  const int row_vectors = norm.hidden / 8;
  const int shots =
      ChooseShots(p.shape, p.link.num_ranks, int64_t{norm.num_tokens} * row_vectors * 16);
  const int64_t room = RowsInBuffer(p.link, shots, row_vectors);
  if (room == 0) return cudaErrorInvalidValue;
  NormArgs args;
  args.link = p.link;
  for (int64_t first = 0; first < norm.num_tokens; first += room) {
    const int64_t rows = std::min<int64_t>(room, norm.num_tokens - first);
    args.norm = RowsFrom(norm, first, rows);
    CommLaunch launch = ChooseNormLaunch(p.link, p.shape, rows, row_vectors, device, &args.cluster);
    if (launch.blocks == 0) return cudaErrorNotSupported;
    launch.shots = shots;
    PINGTI_CUDA_RETURN(DispatchNorm(args, launch, stream));
  }
  return cudaSuccess;
}

}  // namespace pingti::kernels
