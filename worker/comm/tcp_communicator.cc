#include "worker/comm/tcp_communicator.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/comm/host_collectives.h"

namespace pingti::worker {
namespace {

// Before the elements of a message.
struct Header {
  uint64_t sequence = 0;  // operations before this one
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;  // the sender's own; its elements follow without gaps
  int32_t root = 0;
  uint16_t dtype = 0;
  uint16_t collective = 0;
};
static_assert(std::is_trivially_copyable_v<Header>);

// More than any step's activations.
constexpr size_t kMostBytes = size_t{1} << 32;

class TcpCommunicator : public Communicator {
 public:
  TcpCommunicator(Backend* backend, std::unique_ptr<TcpMesh> mesh)
      : Communicator(backend), mesh_(std::move(mesh)) {}

  int rank() const override { return mesh_->rank(); }
  int size() const override { return mesh_->size(); }
  CollectivePromises promises() const override {
    return {
        .bitwise_equal_on_all_ranks = true, .adds_in_rank_order = true, .can_be_recorded = false};
  }

  absl::Status AllReduceSum(MatrixView matrix) override {
    PINGTI_RETURN_IF_ERROR(Exchange({Collective::kAllReduceSum, matrix, 0}, matrix));
    SumColumns(calls_, 0, matrix.cols);
    return absl::OkStatus();
  }

  absl::Status AllGather(MatrixView matrix) override {
    PINGTI_RETURN_IF_ERROR(Exchange({Collective::kAllGather, matrix, 0}, matrix));
    GatherStretches(calls_, rank());
    return absl::OkStatus();
  }

  absl::Status Broadcast(MatrixView matrix, int root) override {
    PINGTI_RETURN_IF_ERROR(Exchange({Collective::kBroadcast, matrix, root},
                                    root == rank() ? matrix : matrix.Rows(0, 0)));
    TakeRoots(calls_, rank());
    return absl::OkStatus();
  }

  absl::Status Check() override { return mesh_->Check(); }
  void Abort() override { mesh_->Abort(); }

 private:
  // Puts the calls of all ranks together; `elements` of the own matrix are what others need.
  absl::Status Exchange(const CollectiveCall& call, const MatrixView& elements) {
    Write(call, elements);
    PINGTI_RETURN_IF_ERROR(mesh_->Exchange(message_, kMostBytes, &received_));
    calls_.assign(static_cast<size_t>(size()), call);
    for (int peer = 0; peer < size(); ++peer) {
      if (peer != rank()) PINGTI_RETURN_IF_ERROR(Read(peer));
    }
    ++sequence_;
    return CheckCalls(calls_);
  }

  void Write(const CollectiveCall& call, const MatrixView& elements) {
    const Header header{sequence_,
                        call.matrix.rows,
                        call.matrix.cols,
                        call.matrix.stride,
                        call.root,
                        static_cast<uint16_t>(call.matrix.dtype),
                        static_cast<uint16_t>(call.collective)};
    const auto row_bytes = static_cast<size_t>(elements.cols * BlockBytes(elements.dtype));
    message_.resize(sizeof(header) + row_bytes * static_cast<size_t>(elements.rows));
    std::memcpy(message_.data(), &header, sizeof(header));
    if (row_bytes == 0) return;
    for (int64_t row = 0; row < elements.rows; ++row) {
      std::memcpy(message_.data() + sizeof(header) + static_cast<size_t>(row) * row_bytes,
                  static_cast<const std::byte*>(elements.data) +
                      row * elements.stride * BlockBytes(elements.dtype),
                  row_bytes);
    }
  }

  absl::Status Read(int peer) {
    std::vector<std::byte>& message = received_[static_cast<size_t>(peer)];
    Header header;
    const auto refuse = [&](std::string_view what) {
      mesh_->Abort();
      return absl::AbortedError(
          Concat("rank ", rank(), " cannot read what rank ", peer, " sent: ", what));
    };
    if (message.size() < sizeof(header)) return refuse("it is too short");
    std::memcpy(&header, message.data(), sizeof(header));
    if (header.sequence != sequence_) {
      return refuse(Concat("operation ", header.sequence, ", expected ", sequence_));
    }
    if (header.dtype > static_cast<uint16_t>(DType::kQ6K) ||
        header.collective > static_cast<uint16_t>(Collective::kBroadcast)) {
      return refuse("it is of another version");
    }
    const auto dtype = static_cast<DType>(header.dtype);
    const auto collective = static_cast<Collective>(header.collective);
    const bool has_elements = collective != Collective::kBroadcast || header.root == peer;
    const int64_t bytes = has_elements ? header.rows * header.cols * BlockBytes(dtype) : 0;
    if (header.rows < 0 || header.cols < 0 ||
        message.size() != sizeof(header) + static_cast<size_t>(bytes)) {
      return refuse(Concat(message.size(), " bytes of ", header.rows, " x ", header.cols));
    }
    calls_[static_cast<size_t>(peer)] = {collective,
                                         {message.data() + sizeof(header), dtype, header.rows,
                                          header.cols, std::min(header.stride, header.cols)},
                                         header.root};
    return absl::OkStatus();
  }

  const std::unique_ptr<TcpMesh> mesh_;
  uint64_t sequence_ = 0;
  std::vector<std::byte> message_;
  std::vector<std::vector<std::byte>> received_;
  std::vector<CollectiveCall> calls_;  // by rank; the peers' matrices lie in received_
};

}  // namespace

std::unique_ptr<Communicator> MakeTcpCommunicator(Backend* backend, std::unique_ptr<TcpMesh> mesh) {
  return std::make_unique<TcpCommunicator>(backend, std::move(mesh));
}

}  // namespace pingti::worker
