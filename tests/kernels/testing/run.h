// The frame of a kernel test program: named cases, failures counted and printed with their seed, a
// clear skip (exit code 77) where there is no device. Plain C++: the machines with GPUs have no
// test framework. Single thread. Next: device.h, compare.h.
//
//   int main(int argc, char** argv) {
//     TestRun run("prefill_test", argc, argv);  // argv[1]: only cases whose name contains it
//     if (run.Begin("hd128 causal", seed)) run.Expect(error < 1e-3, "error %g", error);
//     return run.Finish();
//   }
#pragma once

#include <cuda_runtime.h>

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace pingti::kernels::testing {

class TestRun {
 public:
  TestRun(const char* program, int argc, char** argv) : program_(program) {
    int num_devices = 0;
    if (cudaGetDeviceCount(&num_devices) != cudaSuccess || num_devices == 0) {
      std::printf("%s: SKIPPED: no CUDA device\n", program);
      std::exit(77);
    }
    cudaDeviceProp prop;
    if (cudaGetDeviceProperties(&prop, 0) == cudaSuccess) {
      compute_major_ = prop.major;
      num_sms_ = prop.multiProcessorCount;
    }
    if (argc > 1) filter_ = argv[1];
  }

  int compute_major() const { return compute_major_; }
  int num_sms() const { return num_sms_; }

  // Starts a case, closing the one before it. False: the filter leaves it out.
  bool Begin(const std::string& name, uint64_t seed) {
    CloseCase();
    if (name.find(filter_) == std::string::npos) return false;
    case_name_ = name;
    seed_ = seed;
    in_case_ = true;
    return true;
  }

  // Fails the running case when `ok` is false; the first message of a case is printed with its
  // seed.
  bool Expect(bool ok, const char* format, ...) __attribute__((format(printf, 3, 4))) {
    if (ok) return true;
    if (case_failures_++ == 0) {
      std::printf("FAILED %s [%s] seed %llu: ", program_, case_name_.c_str(),
                  static_cast<unsigned long long>(seed_));
      va_list args;
      va_start(args, format);
      std::vprintf(format, args);
      va_end(args);
      std::printf("\n");
    }
    return false;
  }

  // Waits for the device and fails the case on a pending error.
  bool ExpectDeviceOk() {
    cudaError_t error = cudaGetLastError();
    if (error == cudaSuccess) error = cudaDeviceSynchronize();
    return Expect(error == cudaSuccess, "device: %s", cudaGetErrorString(error));
  }

  // Prints the totals; the program's exit code. No case at all is a failure.
  int Finish() {
    CloseCase();
    std::printf("%s: %d passed, %d failed\n", program_, num_passed_, num_failed_);
    return num_failed_ == 0 && num_passed_ > 0 ? 0 : 1;
  }

 private:
  void CloseCase() {
    if (!in_case_) return;
    (case_failures_ == 0 ? num_passed_ : num_failed_) += 1;
    case_failures_ = 0;
    in_case_ = false;
    std::fflush(stdout);
  }

  const char* program_;
  std::string filter_;
  std::string case_name_;
  uint64_t seed_ = 0;
  bool in_case_ = false;
  int case_failures_ = 0;
  int num_passed_ = 0;
  int num_failed_ = 0;
  int compute_major_ = 0;
  int num_sms_ = 0;
};

}  // namespace pingti::kernels::testing
