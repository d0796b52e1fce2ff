#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>

#include "bench/kernels/comm/nccl.h"

namespace pingti::kernels::bench {
namespace {

// Of nccl.h, which keeps them.
constexpr int kBfloat16 = 9;
constexpr int kSum = 0;

void CheckNccl(int result, const char* what) {
  if (result == 0) return;
  std::printf("%s: NCCL error %d\n", what, result);
  std::exit(1);
}

}  // namespace

Nccl* Nccl::Load(const char* library) {
  void* const handle = dlopen(library, RTLD_NOW);
  if (handle == nullptr) {
    std::printf("no NCCL: %s\n", dlerror());
    return nullptr;
  }
  auto* const nccl = new Nccl();  // for as long as the program runs, as the library
  nccl->get_version_ = reinterpret_cast<GetVersion>(dlsym(handle, "ncclGetVersion"));
  nccl->init_all_ = reinterpret_cast<CommInitAll>(dlsym(handle, "ncclCommInitAll"));
  nccl->all_reduce_ = reinterpret_cast<AllReduceCall>(dlsym(handle, "ncclAllReduce"));
  nccl->all_gather_ = reinterpret_cast<AllGatherCall>(dlsym(handle, "ncclAllGather"));
  return nccl;
}

int Nccl::version() const {
  int version = 0;
  CheckNccl(get_version_(&version), "ncclGetVersion");
  return version;
}

std::vector<void*> Nccl::Join(const std::vector<int>& devices) const {
  std::vector<void*> communicators(devices.size());
  CheckNccl(init_all_(communicators.data(), static_cast<int>(devices.size()), devices.data()),
            "ncclCommInitAll");
  return communicators;
}

void Nccl::AllReduce(const void* x, void* out, size_t count, void* communicator,
                     cudaStream_t stream) const {
  CheckNccl(all_reduce_(x, out, count, kBfloat16, kSum, communicator, stream), "ncclAllReduce");
}

void Nccl::AllGather(void* matrix, size_t count, int rank, void* communicator,
                     cudaStream_t stream) const {
  const void* const own = static_cast<const char*>(matrix) + rank * count * 2;
  CheckNccl(all_gather_(own, matrix, count, kBfloat16, communicator, stream), "ncclAllGather");
}

}  // namespace pingti::kernels::bench
