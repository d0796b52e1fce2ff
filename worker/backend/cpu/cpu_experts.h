// A mixture of experts: which experts each token takes, and products of tokens with their experts'
// matrices. The rows of one expert are gathered in blocks that stay in a core's cache, so that
// only experts that are chosen are read, and each once per block. Confined to the engine thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "worker/backend/backend.h"
#include "worker/backend/cpu/aligned_buffer.h"
#include "worker/backend/cpu/cpu_kernels.h"
#include "worker/backend/cpu/cpu_linear.h"
#include "worker/backend/cpu/thread_pool.h"

namespace pingti::worker::cpu {

// Writes a token's experts and their weights, in the order of their choice. logits and bias:
// [num_experts], `bias` may be null; scratch: [2 * num_experts]; experts, weights:
// [experts_per_token]. A NaN is never chosen before a number.
void ChooseExperts(const float* logits, const float* bias, const ExpertRouting& routing,
                   float* scratch, int32_t* experts, float* weights);

// The rows of a choice of experts, in the order of experts.
struct ExpertRows {
  std::span<const int32_t> first;     // [experts held + 1]: of each expert, last all rows
  std::span<const int32_t> token_of;  // of each row
};

class CpuExperts {
 public:
  CpuExperts(const CpuKernels* kernels, ThreadPool* pool) : kernels_(kernels), pool_(pool) {}

  static int64_t BytesFor(const StepLimits& limits);
  absl::Status Allocate(const StepLimits& limits);

  // See Backend::RouteExperts, ExpertLinear and CombineExperts. Activations are f32.
  void Route(MatrixView logits, const ExpertRouting& routing, const float* bias, float* counts);
  absl::Status Linear(const CpuLinearWeight& weight, const Operand& x, RowOrder order,
                      MatrixView out, ActivationStage* stage);
  void Combine(MatrixView rows, const SharedExpert& shared, MatrixView out);
  // How many choices of the last Route have rows.
  int64_t num_rows() const { return first_row_[static_cast<size_t>(routing_.held())]; }
  // Of the last Route, until the next one.
  ExpertRows rows() const {
    return {std::span(first_row_).first(static_cast<size_t>(routing_.held() + 1)), token_of_};
  }

 private:
  // Consecutive chosen experts whose matrices read one form of activations.
  struct Product {
    const CpuLinearWeight* weight;
    int64_t part;    // of each expert
    int64_t column;  // of `out`, where the part begins
    ActivationRows x;
    bool gathers;  // x has a row per token
    MatrixView out;
  };

  // `counts`, [num_experts], grow by the rows of each expert; null: nothing is counted.
  void SortRows(float* counts);
  void RunExperts(const Product& product, std::span<const int32_t> experts);
  void RunPanels(const Product& product, int32_t expert, int64_t first, int64_t count, int thread);
  ActivationRows Gather(const ActivationRows& x, int64_t first, int64_t count, int thread);

  const CpuKernels* const kernels_;
  ThreadPool* const pool_;
  int64_t max_depth_ = 0;
  AlignedBuffer gathered_;         // a block of rows per thread
  std::vector<float> scores_;      // scratch of each thread
  ExpertRouting routing_;          // of the last Route
  int64_t num_tokens_ = 0;         // the same
  std::vector<int32_t> experts_;   // [tokens, experts_per_token]
  std::vector<float> weights_;     // the same
  std::vector<int32_t> row_of_;    // the same: where the row lies; -1: the expert is not held
  std::vector<int32_t> token_of_;  // of each row
  // Experts are counted from the first one held in both.
  std::vector<int32_t> first_row_;  // [held + 1]
  std::vector<int32_t> chosen_;     // that have rows
};

}  // namespace pingti::worker::cpu
