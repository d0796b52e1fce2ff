#include "worker/comm/in_process.h"

#include "common/base/check.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "worker/comm/host_collectives.h"

namespace pingti::worker {
struct InProcessGroup::State {
  explicit State(int num_ranks)
      : size(num_ranks),
        calls(static_cast<size_t>(num_ranks)),
        waiting(static_cast<size_t>(num_ranks)) {}

  absl::Status Check() {
    MutexLock lock(&mutex);
    return aborted ? AbortedStatus() : absl::OkStatus();
  }

  // Returns when all ranks are here; Aborted when the group was.
  absl::Status Barrier(int rank) {
    const auto own = static_cast<size_t>(rank);
    MutexLock lock(&mutex);
    const uint64_t round = rounds;
    if (!aborted && ++arrived == size) {
      arrived = 0;
      ++rounds;
      all_here.NotifyAll();
    }
    waiting[own] = true;
    while (!aborted && rounds == round) all_here.Wait(&mutex);
    waiting[own] = false;
    return aborted ? AbortedStatus() : absl::OkStatus();
  }

  bool Waits(int rank) {
    MutexLock lock(&mutex);
    return waiting[static_cast<size_t>(rank)];
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
  std::vector<CollectiveCall> calls;
  Mutex mutex;
  CondVar all_here;
  int arrived PINGTI_GUARDED_BY(mutex) = 0;
  uint64_t rounds PINGTI_GUARDED_BY(mutex) = 0;
  bool aborted PINGTI_GUARDED_BY(mutex) = false;
  std::vector<bool> waiting PINGTI_GUARDED_BY(mutex);  // ranks, in Barrier
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
  bool WaitsForPeers() const override { return state_->Waits(rank_); }
  void Abort() override { state_->Abort(); }

 private:
  absl::Status Run(const CollectiveCall& call) {
    state_->calls[static_cast<size_t>(rank_)] = call;
    PINGTI_RETURN_IF_ERROR(state_->Barrier(rank_));
    const absl::Status status = CheckCalls(state_->calls);
    if (status.ok()) Work(call);
    // No rank changes its matrix or its call before all are done with it.
    PINGTI_RETURN_IF_ERROR(state_->Barrier(rank_));
    return status;
  }

  void Work(const CollectiveCall& call) {
    const std::vector<CollectiveCall>& calls = state_->calls;
    switch (call.collective) {
      case Collective::kAllReduceSum: {
        // Each rank sums its share of the columns for all.
        const int64_t begin = call.matrix.cols * rank_ / size();
        return SumColumns(calls, begin, call.matrix.cols * (rank_ + 1) / size() - begin);
      }
      case Collective::kAllGather:
        return GatherStretches(calls, rank_);
      case Collective::kBroadcast:
        return TakeRoots(calls, rank_);
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
