// A rank on a GPU, for tests of communicators: its backend, its communicator and matrices that move
// between host and device; and what ranks bring to a sum.
#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <memory>
#include <random>
#include <vector>

#include "worker/backend/backend.h"
#include "worker/comm/communicator.h"

namespace pingti::worker::testing {

inline constexpr int kSeed = 23;

// One rank: its backend, communicator and a matrix [rows, cols] of its own with a given stride.
struct DeviceRank {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Communicator> comm;
  std::vector<std::unique_ptr<DeviceBuffer>> buffers;

  MatrixView Upload(const std::vector<float>& values, DType dtype, int64_t rows, int64_t cols,
                    int64_t stride) {
    buffers.push_back(*backend->Allocate(std::max<int64_t>(rows * stride, 1) * BlockBytes(dtype)));
    MatrixView matrix{buffers.back()->data(), dtype, rows, cols, stride};
    Write(matrix, values);
    return matrix;
  }

  // What backends copy are f32 and activations; I32 goes as the bits of an F32.
  void Write(MatrixView matrix, std::vector<float> values) {
    if (matrix.dtype == DType::kI32) {
      for (float& value : values) value = std::bit_cast<float>(static_cast<int32_t>(value));
      matrix.dtype = DType::kF32;
    }
    EXPECT_TRUE(backend->CopyFromHost(values, matrix).ok());
  }

  std::vector<float> Read(MatrixView matrix) {
    const bool is_int = matrix.dtype == DType::kI32;
    if (is_int) matrix.dtype = DType::kF32;
    std::vector<float> values(static_cast<size_t>(matrix.rows * matrix.cols));
    // Waiting for the stream holds nothing that another rank's thread may need; a copy may.
    const auto stream = static_cast<cudaStream_t>(backend->stream()->stream);
    EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    EXPECT_TRUE(backend->CopyToHost(matrix, values).ok());
    if (is_int) {
      for (float& value : values) value = static_cast<float>(std::bit_cast<int32_t>(value));
    }
    return values;
  }
};

// What rank `rank` brings: whole numbers, so that I32 holds them too.
inline std::vector<float> Part(int rank, int64_t count) {
  std::mt19937 rng(static_cast<unsigned>(kSeed + rank));
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) {
    values.push_back(static_cast<float>(static_cast<int>(rng() % 201) - 100));
  }
  return values;
}

// The sum of all ranks' parts.
inline std::vector<float> Sum(int size, int64_t count) {
  std::vector<float> sum(static_cast<size_t>(count), 0.0f);
  for (int r = 0; r < size; ++r) {
    const std::vector<float> part = Part(r, count);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += part[i];
  }
  return sum;
}

}  // namespace pingti::worker::testing
