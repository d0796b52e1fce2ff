#include "worker/comm/in_process.h"

#include <cstring>

#include "common/base/check.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"

namespace pingti::worker {

struct InProcessGroup::State {
  explicit State(int num_ranks) : size(num_ranks), matrices(static_cast<size_t>(num_ranks)) {}

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
    if (aborted) return absl::AbortedError("the tensor-parallel group was aborted");
    return absl::OkStatus();
  }

  const int size;
  // Entry r is written by rank r before a barrier and read by others after it.
  std::vector<MatrixView> matrices;
  Mutex mutex;
  CondVar all_here;
  int arrived PINGTI_GUARDED_BY(mutex) = 0;
  uint64_t rounds PINGTI_GUARDED_BY(mutex) = 0;
  bool aborted PINGTI_GUARDED_BY(mutex) = false;
};

class InProcessGroup::Rank : public Communicator {
 public:
  Rank(State* state, int rank) : state_(state), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return state_->size; }

  absl::Status AllReduceSum(MatrixView matrix) override {
    PINGTI_CHECK(matrix.dtype == DType::kF32);
    state_->matrices[static_cast<size_t>(rank_)] = matrix;
    PINGTI_RETURN_IF_ERROR(state_->Barrier());
    if (rank_ == 0) {
      for (int r = 1; r < state_->size; ++r) Add(state_->matrices[static_cast<size_t>(r)], matrix);
    }
    PINGTI_RETURN_IF_ERROR(state_->Barrier());
    if (rank_ != 0) Copy(state_->matrices[0], matrix);
    return state_->Barrier();  // rank 0 may change its matrix only when all have read it
  }

 private:
  static float* Row(const MatrixView& matrix, int64_t r) {
    return static_cast<float*>(matrix.data) + r * matrix.stride;
  }

  static void Add(const MatrixView& from, const MatrixView& to) {
    PINGTI_CHECK(from.rows == to.rows && from.cols == to.cols);
    for (int64_t r = 0; r < to.rows; ++r) {
      for (int64_t c = 0; c < to.cols; ++c) Row(to, r)[c] += Row(from, r)[c];
    }
  }

  static void Copy(const MatrixView& from, const MatrixView& to) {
    for (int64_t r = 0; r < to.rows; ++r) {
      std::memcpy(Row(to, r), Row(from, r), static_cast<size_t>(to.cols) * sizeof(float));
    }
  }

  State* const state_;
  const int rank_;
};

InProcessGroup::InProcessGroup(int size) : state_(std::make_unique<State>(size)) {
  PINGTI_CHECK(size >= 1);
}

InProcessGroup::~InProcessGroup() = default;

std::vector<std::unique_ptr<Communicator>> InProcessGroup::MakeCommunicators() {
  std::vector<std::unique_ptr<Communicator>> ranks;
  for (int r = 0; r < state_->size; ++r) ranks.push_back(std::make_unique<Rank>(state_.get(), r));
  return ranks;
}

void InProcessGroup::Abort() {
  MutexLock lock(&state_->mutex);
  state_->aborted = true;
  state_->all_here.NotifyAll();
}

}  // namespace pingti::worker
