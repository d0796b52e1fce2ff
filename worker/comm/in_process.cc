#include "worker/comm/in_process.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <string_view>

#include "common/base/check.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/tensor/float16.h"

namespace pingti::worker {
namespace {

enum class Collective { kAllReduceSum, kAllGather, kBroadcast };

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

// What one rank asks for.
struct Call {
  Collective collective = Collective::kAllReduceSum;
  MatrixView matrix;
  int root = 0;  // of a broadcast
};

std::string MatrixText(const MatrixView& matrix) {
  return Concat(DTypeName(matrix.dtype), " [", matrix.rows, ", ", matrix.cols, "]");
}

std::string CallText(const Call& call) {
  std::string text = Concat(CollectiveName(call.collective), " of ", MatrixText(call.matrix));
  if (call.collective == Collective::kBroadcast) text += Concat(" from rank ", call.root);
  return text;
}

bool SameForm(const MatrixView& a, const MatrixView& b) {
  return a.dtype == b.dtype && a.rows == b.rows && a.cols == b.cols;
}

absl::Status CheckCall(const Call& call, int rank, int size) {
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

// The same on every rank, since every rank looks at the same calls.
absl::Status CheckCalls(const std::vector<Call>& calls) {
  const int size = static_cast<int>(calls.size());
  for (int rank = 0; rank < size; ++rank) {
    const Call& call = calls[static_cast<size_t>(rank)];
    PINGTI_RETURN_IF_ERROR(CheckCall(call, rank, size));
    const Call& first = calls.front();
    if (call.collective != first.collective || !SameForm(call.matrix, first.matrix) ||
        (call.collective == Collective::kBroadcast && call.root != first.root)) {
      return absl::InvalidArgumentError(Concat("rank ", rank, ": ", CallText(call),
                                               "; expected, as on rank 0, ", CallText(first)));
    }
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
void SumStretch(const std::vector<Call>& calls, int64_t row, int64_t begin, int64_t count) {
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
    for (const Call& call : calls) {
      std::memcpy(At<T>(call.matrix, row, begin + done), rounded.data(),
                  static_cast<size_t>(n) * sizeof(T));
    }
  }
}

// The same in integers that wrap around.
template <>
void SumStretch<int32_t>(const std::vector<Call>& calls, int64_t row, int64_t begin,
                         int64_t count) {
  for (int64_t c = begin; c < begin + count; ++c) {
    uint32_t sum = 0;
    for (const Call& call : calls) sum += static_cast<uint32_t>(*At<int32_t>(call.matrix, row, c));
    for (const Call& call : calls) *At<int32_t>(call.matrix, row, c) = static_cast<int32_t>(sum);
  }
}

// The part of an all-reduce that is rank's: its share of the columns, of every row.
void SumShare(const std::vector<Call>& calls, int64_t rank) {
  const MatrixView& matrix = calls[0].matrix;
  const auto size = static_cast<int64_t>(calls.size());
  const int64_t begin = matrix.cols * rank / size;
  const int64_t count = matrix.cols * (rank + 1) / size - begin;
  for (int64_t row = 0; row < matrix.rows; ++row) {
    if (matrix.dtype == DType::kF32) SumStretch<float>(calls, row, begin, count);
    if (matrix.dtype == DType::kBf16) SumStretch<uint16_t>(calls, row, begin, count);
    if (matrix.dtype == DType::kI32) SumStretch<int32_t>(calls, row, begin, count);
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

// Takes the other ranks' stretches of the columns.
void GatherStretches(const std::vector<Call>& calls, size_t rank) {
  const MatrixView& own = calls[rank].matrix;
  const int64_t count = own.cols / static_cast<int64_t>(calls.size());
  for (size_t r = 0; r < calls.size(); ++r) {
    const int64_t first = static_cast<int64_t>(r) * count;
    if (r != rank) CopyMatrix(calls[r].matrix.Columns(first, count), own.Columns(first, count));
  }
}

}  // namespace

struct InProcessGroup::State {
  explicit State(int num_ranks) : size(num_ranks), calls(static_cast<size_t>(num_ranks)) {}

  absl::Status Check() {
    MutexLock lock(&mutex);
    return aborted ? AbortedStatus() : absl::OkStatus();
  }

  // Returns when all ranks are here; Aborted when the group was.
  absl::Status Barrier() {
    MutexLock lock(&mutex);
    const uint64_t round = rounds;
    if (!aborted && ++arrived == size) {
      arrived = 0;
      ++rounds;
      all_here.NotifyAll();
    }
    while (!aborted && rounds == round) all_here.Wait(&mutex);
    return aborted ? AbortedStatus() : absl::OkStatus();
  }

  void Abort() {
    MutexLock lock(&mutex);
    aborted = true;
    all_here.NotifyAll();
  }

  static absl::Status AbortedStatus() {
    return absl::AbortedError("the tensor-parallel group was aborted");
  }

  const int size;
  // Entry r is written by rank r before a barrier and read by others after it.
  std::vector<Call> calls;
  Mutex mutex;
  CondVar all_here;
  int arrived PINGTI_GUARDED_BY(mutex) = 0;
  uint64_t rounds PINGTI_GUARDED_BY(mutex) = 0;
  bool aborted PINGTI_GUARDED_BY(mutex) = false;
};

class InProcessGroup::Rank : public Communicator {
 public:
  Rank(State* state, int rank, Backend* backend)
      : Communicator(backend), state_(state), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return state_->size; }
  CollectivePromises promises() const override {
    return {
        .bitwise_equal_on_all_ranks = true, .adds_in_rank_order = true, .can_be_recorded = false};
  }

  absl::Status AllReduceSum(MatrixView matrix) override {
    return Run({Collective::kAllReduceSum, matrix, 0});
  }
  absl::Status AllGather(MatrixView matrix) override {
    return Run({Collective::kAllGather, matrix, 0});
  }
  absl::Status Broadcast(MatrixView matrix, int root) override {
    return Run({Collective::kBroadcast, matrix, root});
  }
  absl::Status Check() override { return state_->Check(); }
  void Abort() override { state_->Abort(); }

 private:
  absl::Status Run(const Call& call) {
    state_->calls[static_cast<size_t>(rank_)] = call;
    PINGTI_RETURN_IF_ERROR(state_->Barrier());
    const absl::Status status = CheckCalls(state_->calls);
    if (status.ok()) Work(call);
    // No rank changes its matrix or its call before all are done with it.
    PINGTI_RETURN_IF_ERROR(state_->Barrier());
    return status;
  }

  void Work(const Call& call) {
    const std::vector<Call>& calls = state_->calls;
    switch (call.collective) {
      case Collective::kAllReduceSum:
        SumShare(calls, rank_);
        break;
      case Collective::kAllGather:
        GatherStretches(calls, static_cast<size_t>(rank_));
        break;
      case Collective::kBroadcast:
        if (rank_ != call.root)
          CopyMatrix(calls[static_cast<size_t>(call.root)].matrix, call.matrix);
    }
  }

  State* const state_;
  const int rank_;
};

InProcessGroup::InProcessGroup(int size) : state_(std::make_unique<State>(size)) {
  PINGTI_CHECK(size >= 1);
}

InProcessGroup::~InProcessGroup() = default;

std::unique_ptr<Communicator> InProcessGroup::MakeCommunicator(int rank, Backend* backend) {
  PINGTI_CHECK(rank >= 0 && rank < state_->size);
  return std::make_unique<Rank>(state_.get(), rank, backend);
}

void InProcessGroup::Abort() { state_->Abort(); }

}  // namespace pingti::worker
