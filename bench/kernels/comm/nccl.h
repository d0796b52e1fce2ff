// NCCL as the baseline of all-reduces, from a library found at run time: the kernels build without
// it. Bench code: an error ends the program.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <vector>

namespace pingti::kernels::bench {

class Nccl {
 public:
  // `library`: path of libnccl.so.2. Null: it cannot be loaded; says why.
  static Nccl* Load(const char* library);

  int version() const;
  // Communicators for these devices, one for each rank.
  std::vector<void*> Join(const std::vector<int>& devices) const;
  // In bf16. Every rank from a thread of its own.
  void AllReduce(const void* x, void* out, size_t count, void* communicator,
                 cudaStream_t stream) const;
  // In place: `count` bf16 from each rank.
  void AllGather(void* matrix, size_t count, int rank, void* communicator,
                 cudaStream_t stream) const;

 private:
  using GetVersion = int (*)(int*);
  using CommInitAll = int (*)(void**, int, const int*);
  using AllReduceCall = int (*)(const void*, void*, size_t, int, int, void*, cudaStream_t);

  using AllGatherCall = int (*)(const void*, void*, size_t, int, void*, cudaStream_t);

  GetVersion get_version_ = nullptr;
  CommInitAll init_all_ = nullptr;
  AllReduceCall all_reduce_ = nullptr;
  AllGatherCall all_gather_ = nullptr;
};

}  // namespace pingti::kernels::bench
