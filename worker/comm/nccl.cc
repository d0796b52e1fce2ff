#include "worker/comm/nccl.h"

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::worker {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

static_assert(sizeof(NcclId::bytes) == sizeof(ncclUniqueId));

constexpr milliseconds kWatchInterval{100};
// Looks at an operation in progress before the host sleeps between them.
constexpr int kQuickLooks = 2000;
constexpr milliseconds kPollInterval{1};
constexpr milliseconds kLeaveTimeout{std::chrono::seconds(5)};

absl::Status NcclStatus(ncclResult_t result, std::string_view what) {
  if (result == ncclSuccess) return absl::OkStatus();
  return absl::InternalError(Concat("NCCL: ", what, ": ", ncclGetErrorString(result)));
}

absl::StatusOr<ncclDataType_t> NcclType(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return ncclFloat32;
    case DType::kBf16:
      return ncclBfloat16;
    case DType::kI32:
      return ncclInt32;
    default:
      return absl::InvalidArgumentError(
          Concat("a collective of ", DTypeName(dtype), "; expected F32, BF16 or I32"));
  }
}

void* Row(const MatrixView& matrix, int64_t row) {
  return static_cast<char*>(matrix.data) + row * matrix.stride * BlockBytes(matrix.dtype);
}

// The same elements as one row, where they lie together.
MatrixView Flat(const MatrixView& matrix) {
  if (matrix.rows > 1 && matrix.stride != matrix.cols) return matrix;
  const int64_t count = matrix.rows * matrix.cols;
  return {matrix.data, matrix.dtype, count == 0 ? 0 : 1, count, count};
}

class NcclCommunicator : public Communicator {
 public:
  static absl::StatusOr<std::unique_ptr<Communicator>> Make(Backend* backend,
                                                            const NcclOptions& options,
                                                            const DeviceStream& stream) {
    std::unique_ptr<NcclCommunicator> comm(new NcclCommunicator(backend, options, stream));
    comm->watcher_ = std::thread([raw = comm.get()] { raw->Watch(); });
    PINGTI_RETURN_IF_ERROR(comm->Join(options));
    return std::unique_ptr<Communicator>(std::move(comm));
  }

  ~NcclCommunicator() override {
    // NCCL waits for records that hold its operations, in abort too.
    backend_->ForgetRecords();
    {
      MutexLock lock(&mutex_);
      leaving_ = true;
      changed_.NotifyAll();
    }
    watcher_.join();
    Leave();
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  CollectivePromises promises() const override {
    return {
        .bitwise_equal_on_all_ranks = true, .adds_in_rank_order = false, .can_be_recorded = true};
  }

  absl::Status AllReduceSum(MatrixView matrix) override {
    PINGTI_ASSIGN_OR_RETURN(const ncclDataType_t type, NcclType(matrix.dtype));
    const MatrixView flat = Flat(matrix);
    return Issue("all-reduce", flat.rows, [&](ncclComm_t comm, int64_t row) {
      return ncclAllReduce(Row(flat, row), Row(flat, row), Count(flat), type, ncclSum, comm,
                           stream_);
    });
  }

  absl::Status AllGather(MatrixView matrix) override {
    PINGTI_ASSIGN_OR_RETURN(const ncclDataType_t type, NcclType(matrix.dtype));
    if (matrix.cols % size_ != 0) {
      return absl::InvalidArgumentError(Concat("all-gather of ", matrix.cols, " columns from ",
                                               size_, " ranks; expected equal shares"));
    }
    const int64_t count = matrix.cols / size_;
    const MatrixView part = matrix.Columns(rank_ * count, count);
    return Issue("all-gather", matrix.rows, [&](ncclComm_t comm, int64_t row) {
      return ncclAllGather(Row(part, row), Row(matrix, row), Count(part), type, comm, stream_);
    });
  }

  absl::Status Broadcast(MatrixView matrix, int root) override {
    PINGTI_ASSIGN_OR_RETURN(const ncclDataType_t type, NcclType(matrix.dtype));
    if (root < 0 || root >= size_) {
      return absl::InvalidArgumentError(
          Concat("broadcast from rank ", root, "; expected 0 to ", size_ - 1));
    }
    const MatrixView flat = Flat(matrix);
    return Issue("broadcast", flat.rows, [&](ncclComm_t comm, int64_t row) {
      return ncclBroadcast(Row(flat, row), Row(flat, row), Count(flat), type, root, comm, stream_);
    });
  }

  absl::Status Check() override {
    MutexLock lock(&mutex_);
    LookForFailure();
    return failure_;
  }

  void Abort() override {
    MutexLock lock(&mutex_);
    Fail("aborted");
  }

 private:
  NcclCommunicator(Backend* backend, const NcclOptions& options, const DeviceStream& stream)
      : Communicator(backend),
        rank_(options.rank),
        size_(options.size),
        device_(stream.device),
        stream_(static_cast<cudaStream_t>(stream.stream)) {}

  static size_t Count(const MatrixView& matrix) { return static_cast<size_t>(matrix.cols); }

  absl::Status Join(const NcclOptions& options) {
    if (cudaSetDevice(device_) != cudaSuccess) {
      return absl::InternalError(Concat("NCCL: CUDA device ", device_, " cannot be used"));
    }
    ncclUniqueId id;
    std::memcpy(&id, options.id.bytes.data(), sizeof(id));
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;  // so that a peer that does not come can be waited for with an end
    MutexLock lock(&mutex_);
    const ncclResult_t result = Settle(ncclCommInitRankConfig(&comm_, size_, id, rank_, &config),
                                       steady_clock::now() + options.join_timeout);
    if (result == ncclSuccess) return absl::OkStatus();
    Fail("the group did not form");
    if (result == ncclInProgress) {
      return absl::DeadlineExceededError(Concat("NCCL: rank ", rank_, " of ", size_,
                                                " waited for the others for ",
                                                options.join_timeout.count(), " ms"));
    }
    return NcclStatus(result, "ncclCommInitRankConfig");
  }

  // The result once nothing is in progress, or ncclInProgress when the deadline has passed.
  // Releases the mutex at times.
  ncclResult_t Settle(ncclResult_t result, steady_clock::time_point deadline)
      PINGTI_REQUIRES(mutex_) {
    for (int looks = 0; result == ncclInProgress && steady_clock::now() < deadline; ++looks) {
      if (looks < kQuickLooks) {
        std::this_thread::yield();
      } else {
        changed_.WaitUntil(&mutex_, steady_clock::now() + kPollInterval);
      }
      if (comm_ == nullptr || !failure_.ok()) return ncclInvalidUsage;  // aborted meanwhile
      const ncclResult_t asked = ncclCommGetAsyncError(comm_, &result);
      if (asked != ncclSuccess) result = asked;
    }
    return result;
  }

  // Issues `call` for each row as one operation.
  template <typename OneRow>
  absl::Status Issue(std::string_view what, int64_t rows, const OneRow& call) {
    MutexLock lock(&mutex_);
    if (!failure_.ok()) return failure_;
    if (rows == 0) return absl::OkStatus();
    ncclResult_t result = ncclGroupStart();
    for (int64_t row = 0; row < rows && result == ncclSuccess; ++row) {
      result = call(comm_, row);
      if (result == ncclInProgress) result = ncclSuccess;
    }
    const ncclResult_t ended = ncclGroupEnd();
    if (result == ncclSuccess) result = ended;
    // A thread of NCCL's issues; the first operations also connect the ranks, which takes a while.
    result = Settle(result, steady_clock::time_point::max());
    if (result == ncclSuccess) return absl::OkStatus();
    Fail(Concat(what, ": ", ncclGetErrorString(result)));
    return failure_;
  }

  void LookForFailure() PINGTI_REQUIRES(mutex_) {
    if (comm_ == nullptr || !failure_.ok()) return;
    ncclResult_t state = ncclSuccess;
    ncclResult_t result = ncclCommGetAsyncError(comm_, &state);
    if (result == ncclSuccess) result = state;
    if (result == ncclSuccess || result == ncclInProgress) return;
    Fail(ncclGetErrorString(result));
  }

  // Has the watcher end what is on the device. The first cause stays.
  void Fail(std::string_view cause) PINGTI_REQUIRES(mutex_) {
    if (!failure_.ok()) return;
    failure_ = absl::AbortedError(Concat("NCCL: rank ", rank_, " of ", size_, ": ", cause));
    changed_.NotifyAll();
  }

  // One thread aborts, and without the lock: it may have to wait for the engine thread to drop
  // records.
  void Watch() {
    while (const ncclComm_t failed = WaitForFailure()) ncclCommAbort(failed);
  }

  // Null: the communicator goes.
  ncclComm_t WaitForFailure() {
    MutexLock lock(&mutex_);
    while (comm_ == nullptr || failure_.ok()) {
      if (leaving_) return nullptr;
      changed_.WaitUntil(&mutex_, steady_clock::now() + kWatchInterval);
      LookForFailure();
    }
    return std::exchange(comm_, nullptr);
  }

  // Waits for what was issued, but not forever. The watcher is gone.
  void Leave() {
    MutexLock lock(&mutex_);
    if (comm_ == nullptr) return;
    if (Settle(ncclCommFinalize(comm_), steady_clock::now() + kLeaveTimeout) == ncclSuccess) {
      ncclCommDestroy(comm_);
    } else {
      ncclCommAbort(comm_);
    }
  }

  const int rank_;
  const int size_;
  const int device_;
  cudaStream_t const stream_;
  Mutex mutex_;
  CondVar changed_;
  ncclComm_t comm_ PINGTI_GUARDED_BY(mutex_) = nullptr;  // null: not joined, or aborted
  absl::Status failure_ PINGTI_GUARDED_BY(mutex_);
  bool leaving_ PINGTI_GUARDED_BY(mutex_) = false;
  std::thread watcher_;
};

}  // namespace

absl::StatusOr<NcclId> MakeNcclId() {
  ncclUniqueId unique;
  PINGTI_RETURN_IF_ERROR(NcclStatus(ncclGetUniqueId(&unique), "ncclGetUniqueId"));
  NcclId id;
  std::memcpy(id.bytes.data(), &unique, sizeof(unique));
  return id;
}

absl::StatusOr<std::unique_ptr<Communicator>> MakeNcclCommunicator(Backend* backend,
                                                                   const NcclOptions& options) {
  if (options.size < 1 || options.rank < 0 || options.rank >= options.size) {
    return absl::InvalidArgumentError(
        Concat("NCCL: rank ", options.rank, " of ", options.size, " ranks"));
  }
  const std::optional<DeviceStream> stream = backend->stream();
  if (!stream.has_value()) {
    return absl::InvalidArgumentError(
        Concat("NCCL: backend '", backend->name(), "' has no CUDA stream"));
  }
  return NcclCommunicator::Make(backend, options, *stream);
}

}  // namespace pingti::worker
