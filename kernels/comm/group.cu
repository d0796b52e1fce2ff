#include <new>

#include "kernels/comm/peer_memory.cuh"
#include "kernels/comm/state.h"
#include "kernels/common/status.h"
#include "pingti/kernels/all_reduce_group.h"

namespace pingti::kernels {
namespace {

constexpr int kBuffers = 3;

// Makes the caller's device current again.
class DeviceKeeper {
 public:
  DeviceKeeper() { cudaGetDevice(&device_); }
  ~DeviceKeeper() { cudaSetDevice(device_); }

 private:
  int device_ = 0;
};

cudaError_t EnablePeerAccess(int device, int peer) {
  if (device == peer) return cudaSuccess;
  int can = 0;
  PINGTI_CUDA_RETURN(cudaDeviceCanAccessPeer(&can, device, peer));
  if (can == 0) return cudaErrorPeerAccessUnsupported;
  const cudaError_t error = cudaDeviceEnablePeerAccess(peer, 0);
  if (error != cudaErrorPeerAccessAlreadyEnabled) return error;
  cudaGetLastError();
  return cudaSuccess;
}

volatile uint32_t* Shared(uint32_t* word) { return word; }

}  // namespace

bool HavePeerAccess(std::span<const int> devices) {
  for (const int device : devices) {
    for (const int peer : devices) {
      int can = 0;
      if (device == peer) continue;
      if (cudaDeviceCanAccessPeer(&can, device, peer) != cudaSuccess || can == 0) return false;
    }
  }
  return true;
}

cudaError_t AllReduceGroup::Make(std::span<const int> devices, const AllReduceGroupOptions& options,
                                 std::unique_ptr<AllReduceGroup>* group) {
  const size_t size = devices.size();
  if ((size != 2 && size != 4 && size != 8) || options.buffer_bytes <= 0 ||
      options.buffer_bytes % 16 != 0 || options.timeout.count() <= 0 ||
      options.timeout > std::chrono::minutes(30) || options.max_blocks < 0) {
    return cudaErrorInvalidValue;
  }
  const DeviceKeeper keeper;
  std::unique_ptr<AllReduceGroup> made(new AllReduceGroup(devices, options));
  PINGTI_CUDA_RETURN(made->Allocate());
  *group = std::move(made);
  return cudaSuccess;
}

AllReduceGroup::AllReduceGroup(std::span<const int> devices, const AllReduceGroupOptions& options)
    : devices_(devices.begin(), devices.end()), options_(options) {}

AllReduceGroup::~AllReduceGroup() {
  const DeviceKeeper keeper;
  for (size_t r = 0; r < states_.size(); ++r) {
    cudaSetDevice(devices_[r]);
    cudaFree(states_[r]);
    if (r < receive_.size()) cudaFree(receive_[r]);
  }
  cudaFreeHost(board_);
}

cudaError_t AllReduceGroup::Allocate() {
  void* board = nullptr;
  PINGTI_CUDA_RETURN(
      cudaHostAlloc(&board, sizeof(AllReduceBoard), cudaHostAllocPortable | cudaHostAllocMapped));
  board_ = new (board) AllReduceBoard();
  for (size_t r = 0; r < devices_.size(); ++r) {
    PINGTI_CUDA_RETURN(cudaSetDevice(devices_[r]));
    for (const int peer : devices_) PINGTI_CUDA_RETURN(EnablePeerAccess(devices_[r], peer));
    PINGTI_CUDA_RETURN(AllocateRank());
  }
  return cudaSuccess;
}

// On the current device.
cudaError_t AllReduceGroup::AllocateRank() {
  void* state = nullptr;
  PINGTI_CUDA_RETURN(cudaMalloc(&state, sizeof(AllReduceState)));
  states_.push_back(static_cast<AllReduceState*>(state));
  PINGTI_CUDA_RETURN(cudaMemset(state, 0, sizeof(AllReduceState)));
  const size_t bytes = static_cast<size_t>(kBuffers * options_.buffer_bytes);
  void* receive = nullptr;
  PINGTI_CUDA_RETURN(cudaMalloc(&receive, bytes));
  receive_.push_back(receive);
  static_assert(kEmpty == 0xFFFFFFFFu, "bytes of 0xFF");
  PINGTI_CUDA_RETURN(cudaMemset(receive, 0xFF, bytes));
  return cudaDeviceSynchronize();
}

AllReduceLink AllReduceGroup::link(int rank) const {
  AllReduceLink link;
  link.rank = rank;
  link.num_ranks = static_cast<int32_t>(devices_.size());
  for (size_t r = 0; r < receive_.size(); ++r) link.receive[r] = receive_[r];
  link.buffer_bytes = options_.buffer_bytes;
  link.state = states_[static_cast<size_t>(rank)];
  link.board = board_;
  link.timeout_us = static_cast<uint32_t>(options_.timeout.count());
  link.max_blocks = options_.max_blocks;
  return link;
}

void AllReduceGroup::Abort() { *Shared(&board_->aborted) = 1; }

bool AllReduceGroup::aborted() const { return *Shared(&board_->aborted) != 0; }

int AllReduceGroup::missed_by(int rank) const {
  return static_cast<int>(*Shared(&board_->missed_by[rank])) - 1;
}

}  // namespace pingti::kernels
