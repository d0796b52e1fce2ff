#include "worker/comm/host_collectives.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <string_view>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/tensor/float16.h"

namespace pingti::worker {
namespace {

std::string_view CollectiveName(Collective collective) {
  switch (collective) {
    case Collective::kAllReduceSum:
      return "all-reduce";
    case Collective::kAllGather:
      return "all-gather";
    case Collective::kBroadcast:
      return "broadcast";
  }
  CheckFailed(__FILE__, __LINE__, "known Collective", "");
}

std::string MatrixText(const MatrixView& matrix) {
  return Concat(DTypeName(matrix.dtype), " [", matrix.rows, ", ", matrix.cols, "]");
}

std::string CallText(const CollectiveCall& call) {
  std::string text = Concat(CollectiveName(call.collective), " of ", MatrixText(call.matrix));
  if (call.collective == Collective::kBroadcast) text += Concat(" from rank ", call.root);
  return text;
}

bool SameForm(const MatrixView& a, const MatrixView& b) {
  return a.dtype == b.dtype && a.rows == b.rows && a.cols == b.cols;
}

absl::Status CheckCall(const CollectiveCall& call, int rank, int size) {
  const MatrixView& matrix = call.matrix;
  const auto refuse = [&](std::string_view expected) {
    return absl::InvalidArgumentError(
        Concat("rank ", rank, ": ", CallText(call), "; expected ", expected));
  };
  if (matrix.dtype != DType::kF32 && matrix.dtype != DType::kBf16 && matrix.dtype != DType::kI32) {
    return refuse("F32, BF16 or I32");
  }
  if (matrix.stride < matrix.cols) return refuse("a stride of at least the columns");
  if (call.collective == Collective::kBroadcast && (call.root < 0 || call.root >= size)) {
    return refuse(Concat("a root from 0 to ", size - 1));
  }
  if (call.collective == Collective::kAllGather && matrix.cols % size != 0) {
    return refuse(Concat("columns that ", size, " ranks share equally"));
  }
  return absl::OkStatus();
}

template <typename T>
T* At(const MatrixView& matrix, int64_t row, int64_t col) {
  return static_cast<T*>(matrix.data) + row * matrix.stride + col;
}

float ToFloat(float value) { return value; }
float ToFloat(uint16_t value) { return Bf16ToFloat(value); }
void FromFloat(float sum, float* value) { *value = sum; }
void FromFloat(float sum, uint16_t* value) { *value = FloatToBf16(sum); }

// Sums a stretch of one row over all ranks, in rank order, and gives it to all.
template <typename T>
void SumStretch(std::span<const CollectiveCall> calls, int64_t row, int64_t begin, int64_t count) {
  constexpr int64_t kChunk = 256;
  std::array<float, kChunk> sums;
  std::array<T, kChunk> rounded;
  for (int64_t done = 0; done < count; done += kChunk) {
    const int64_t n = std::min(kChunk, count - done);
    const T* first = At<T>(calls[0].matrix, row, begin + done);
    for (int64_t i = 0; i < n; ++i) sums[static_cast<size_t>(i)] = ToFloat(first[i]);
    for (size_t rank = 1; rank < calls.size(); ++rank) {
      const T* part = At<T>(calls[rank].matrix, row, begin + done);
      for (int64_t i = 0; i < n; ++i) sums[static_cast<size_t>(i)] += ToFloat(part[i]);
    }
    for (int64_t i = 0; i < n; ++i) {
      FromFloat(sums[static_cast<size_t>(i)], &rounded[static_cast<size_t>(i)]);
    }
    for (const CollectiveCall& call : calls) {
      std::memcpy(At<T>(call.matrix, row, begin + done), rounded.data(),
                  static_cast<size_t>(n) * sizeof(T));
    }
  }
}

// The same in integers that wrap around.
template <>
void SumStretch<int32_t>(std::span<const CollectiveCall> calls, int64_t row, int64_t begin,
                         int64_t count) {
  for (int64_t c = begin; c < begin + count; ++c) {
    uint32_t sum = 0;
    for (const CollectiveCall& call : calls)
      sum += static_cast<uint32_t>(*At<int32_t>(call.matrix, row, c));
    for (const CollectiveCall& call : calls)
      *At<int32_t>(call.matrix, row, c) = static_cast<int32_t>(sum);
  }
}

// to = from
void CopyMatrix(const MatrixView& from, const MatrixView& to) {
  if (from.cols == 0) return;
  const int64_t element = BlockBytes(from.dtype);
  for (int64_t row = 0; row < from.rows; ++row) {
    std::memcpy(static_cast<char*>(to.data) + row * to.stride * element,
                static_cast<const char*>(from.data) + row * from.stride * element,
                static_cast<size_t>(from.cols * element));
  }
}

}  // namespace

absl::Status CheckCalls(std::span<const CollectiveCall> calls) {
  const int size = static_cast<int>(calls.size());
  for (int rank = 0; rank < size; ++rank) {
    const CollectiveCall& call = calls[static_cast<size_t>(rank)];
    PINGTI_RETURN_IF_ERROR(CheckCall(call, rank, size));
    const CollectiveCall& first = calls.front();
    if (call.collective != first.collective || !SameForm(call.matrix, first.matrix) ||
        (call.collective == Collective::kBroadcast && call.root != first.root)) {
      return absl::InvalidArgumentError(Concat("rank ", rank, ": ", CallText(call),
                                               "; expected, as on rank 0, ", CallText(first)));
    }
  }
  return absl::OkStatus();
}

void SumColumns(std::span<const CollectiveCall> calls, int64_t first, int64_t count) {
  const MatrixView& matrix = calls[0].matrix;
  for (int64_t row = 0; row < matrix.rows; ++row) {
    if (matrix.dtype == DType::kF32) SumStretch<float>(calls, row, first, count);
    if (matrix.dtype == DType::kBf16) SumStretch<uint16_t>(calls, row, first, count);
    if (matrix.dtype == DType::kI32) SumStretch<int32_t>(calls, row, first, count);
  }
}

void GatherStretches(std::span<const CollectiveCall> calls, int rank) {
  const MatrixView& own = calls[static_cast<size_t>(rank)].matrix;
  const int64_t count = own.cols / static_cast<int64_t>(calls.size());
  for (size_t r = 0; r < calls.size(); ++r) {
    if (r == static_cast<size_t>(rank)) continue;
    const int64_t first = static_cast<int64_t>(r) * count;
    CopyMatrix(calls[r].matrix.Columns(first, count), own.Columns(first, count));
  }
}

void TakeRoots(std::span<const CollectiveCall> calls, int rank) {
  const CollectiveCall& own = calls[static_cast<size_t>(rank)];
  if (rank != own.root) CopyMatrix(calls[static_cast<size_t>(own.root)].matrix, own.matrix);
}

}  // namespace pingti::worker
