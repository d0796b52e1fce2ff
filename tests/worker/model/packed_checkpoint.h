// A tiny random qwen2 checkpoint in memory, its blocks' matrices packed as GPTQ, AWQ or
// compressed-tensors would, and the same numbers as plain f32 matrices.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "tests/worker/quant/packed_builder.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker::testing {

// What a checkpoint of this kind looks like from outside.
struct PackedForm {
  const char* name;
  const char* quantization_config;  // JSON
  PackedSpec spec;                  // without rows and columns; group_size 0: one group
};

// Every form that is read, once.
const std::vector<PackedForm>& PackedForms();

// Owns what the parts' tensors point to.
class PackedCheckpoint {
 public:
  PackedCheckpoint(const PackedForm& form, uint32_t seed);
  PackedCheckpoint(const PackedCheckpoint&) = delete;
  PackedCheckpoint& operator=(const PackedCheckpoint&) = delete;

  Checkpoint::Parts packed() const { return Parts(packed_, config_); }
  Checkpoint::Parts dense() const { return Parts(dense_, {}); }

  int64_t num_parameters() const { return num_parameters_; }

 private:
  Checkpoint::Parts Parts(const std::vector<TensorView>& tensors,
                          const PackedQuantization& packed) const;
  // In both checkpoints, as f32.
  void AddPlain(const std::string& name, std::vector<int64_t> shape, float mean);
  void AddModule(const std::string& name, int64_t rows, int64_t cols);
  // What quantizers write beside the values.
  void AddIndexAndShape(const std::string& name, const PackedWeights& weights);
  void AddTensor(std::string name, DType dtype, std::vector<int64_t> shape, const void* data);

  const PackedForm form_;
  std::mt19937 rng_;
  DecoderSpec spec_;
  PackedQuantization config_;
  std::deque<BuiltPacked> modules_;
  std::deque<std::vector<float>> floats_;
  std::deque<std::vector<int32_t>> indices_;
  std::deque<std::vector<int64_t>> shapes_;
  std::vector<TensorView> packed_;
  std::vector<TensorView> dense_;
  int64_t num_parameters_ = 0;
};

}  // namespace pingti::worker::testing
