#include "worker/backend/cuda/weight_upload.h"

#include <algorithm>
#include <thread>
#include <vector>

#include "common/base/processors.h"
#include "common/base/status_macros.h"
#include "worker/backend/cuda/cuda_status.h"

namespace pingti::worker::cuda {
namespace {

constexpr int64_t kChunkBytes = int64_t{32} << 20;
constexpr int64_t kMaxThreads = 8;
constexpr int64_t kMinBytesPerThread = int64_t{1} << 20;

// write(first, first + count, out), shared out among threads.
void WriteInThreads(int64_t first, int64_t count, int64_t row_bytes,
                    const WeightUpload::WriteRows& write, uint8_t* out) {
  const int64_t useful = count * row_bytes / kMinBytesPerThread;
  const int64_t threads =
      std::clamp<int64_t>(std::min<int64_t>(useful, AvailableProcessors()), 1, kMaxThreads);
  const auto work = [&](int64_t t) {
    const int64_t begin = count * t / threads;
    write(first + begin, first + count * (t + 1) / threads, out + begin * row_bytes);
  };
  std::vector<std::thread> helpers;
  for (int64_t t = 1; t < threads; ++t) helpers.emplace_back(work, t);
  work(0);
  for (std::thread& helper : helpers) helper.join();
}

}  // namespace

WeightUpload::~WeightUpload() {
  for (CudaEvent& event : copied_) event.Wait().IgnoreError();
}

absl::Status WeightUpload::Reserve(int64_t row_bytes) {
  const int64_t bytes = std::max(kChunkBytes, row_bytes);
  for (size_t i = 0; i < pinned_.size(); ++i) {
    if (pinned_[i].bytes() >= bytes) continue;
    PINGTI_RETURN_IF_ERROR(copied_[i].Wait());
    PINGTI_ASSIGN_OR_RETURN(pinned_[i], PinnedBuffer::Make(bytes));
  }
  return absl::OkStatus();
}

absl::Status WeightUpload::Stream(int64_t rows, int64_t row_bytes, const WriteRows& write,
                                  uint8_t* target, bool staged, const OnChunk& on_chunk) {
  PINGTI_RETURN_IF_ERROR(Reserve(row_bytes));
  const int64_t rows_per_chunk = std::max<int64_t>(1, kChunkBytes / row_bytes);
  for (int64_t first = 0; first < rows; first += rows_per_chunk) {
    const int64_t count = std::min(rows_per_chunk, rows - first);
    next_ = (next_ + 1) % pinned_.size();
    PINGTI_RETURN_IF_ERROR(copied_[next_].Wait());
    WriteInThreads(first, count, row_bytes, write, pinned_[next_].data());
    PINGTI_RETURN_IF_CUDA_ERROR(
        cudaMemcpyAsync(staged ? target : target + first * row_bytes, pinned_[next_].data(),
                        static_cast<size_t>(count * row_bytes), cudaMemcpyHostToDevice, stream_));
    PINGTI_RETURN_IF_ERROR(copied_[next_].Record(stream_));
    if (on_chunk) PINGTI_RETURN_IF_ERROR(on_chunk(first, count));
  }
  return absl::OkStatus();
}

absl::Status WeightUpload::Rows(int64_t rows, int64_t row_bytes, const WriteRows& write,
                                uint8_t* target) {
  return Stream(rows, row_bytes, write, target, /*staged=*/false, nullptr);
}

absl::Status WeightUpload::StagedRows(int64_t rows, int64_t row_bytes, const WriteRows& write,
                                      const OnChunk& on_chunk) {
  const int64_t bytes = std::max(kChunkBytes, row_bytes);
  if (staging_ == nullptr || staging_->bytes() < bytes) {
    PINGTI_RETURN_IF_CUDA_ERROR(cudaStreamSynchronize(stream_));
    PINGTI_ASSIGN_OR_RETURN(staging_, CudaBuffer::Make(bytes));
  }
  return Stream(rows, row_bytes, write, staging_->as<uint8_t>(), /*staged=*/true, on_chunk);
}

}  // namespace pingti::worker::cuda
