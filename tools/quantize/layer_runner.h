// Runs one text through the original and the quantized model side by side, a layer at a time: the
// weights of one layer are in memory, never a model. Takes what SmoothQuant needs of the
// activations, each group's error, and in the end how far the logits moved.
//
// On any backend: activations stay on its device, in its type, and what is looked at comes over a
// few rows at a time. Confined to one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/quantize/layer_quantizer.h"
#include "tools/quantize/text_quality.h"
#include "worker/backend/backend.h"
#include "worker/layers/decoder_layer.h"
#include "worker/layers/rotary_table.h"
#include "worker/weights/checkpoint.h"

namespace pingti::tools {

class LayerRunner {
 public:
  // `calibration` and `text`: token ids, cut into sequences of at most 512 tokens. `backend` and
  // `checkpoint` must outlive the runner. Errors: as the backend's.
  static absl::StatusOr<std::unique_ptr<LayerRunner>> Make(const worker::Checkpoint& checkpoint,
                                                           worker::Backend* backend,
                                                           std::span<const int32_t> calibration,
                                                           std::span<const int32_t> text);

  // How the original is computed: f32 for a checkpoint in f32 where activations are f32 too, else
  // as a worker would, in bf16.
  worker::WeightFormat original_format() const { return format_; }

  // Layers come in order, loaded as the first of the cache, each first here, then in RunQuantized.
  absl::Status RunOriginal(worker::DecoderLayer* layer);
  // Of the layer that RunOriginal saw last: max|x| of each input channel over the calibration text.
  std::span<const float> largest_input(LinearGroup group) const {
    return largest_[static_cast<size_t>(group)];
  }
  // ||y - y'|| / ||y|| of each group's output, with that layer's inputs from the original model.
  // `layer` was made by `plan`.
  absl::StatusOr<PerGroup<double>> Errors(worker::DecoderLayer* layer, const LayerPlan& plan);
  absl::Status RunQuantized(const worker::DecoderLayer& layer);

  // After the last layer.
  absl::StatusOr<TextQuality> CompareLogits();

 private:
  struct Sample {
    worker::MatrixView x;  // input rows of a group
    worker::MatrixView y;  // and its output for them, by the original weights
  };

  LayerRunner(const worker::Checkpoint& checkpoint, worker::Backend* backend);
  void AddSequences(std::span<const int32_t> ids);
  absl::Status Allocate();
  absl::Status AllocateSamples();
  absl::Status AllocateMatrix(int64_t rows, int64_t cols, worker::MatrixView* matrix);
  absl::Status EmbedTokens();
  // REQUIRES: equally many rows, dense.
  absl::Status CopyRows(worker::MatrixView from, worker::MatrixView to);
  // largest[c] = max|matrix[r][c]| over all rows.
  absl::Status FindLargest(worker::MatrixView matrix, std::vector<float>* largest);
  // The group's sampled inputs as `plan` leaves them.
  absl::StatusOr<worker::MatrixView> SmoothedInput(LinearGroup group, const LayerPlan& plan);
  absl::StatusOr<double> ErrorOf(LinearGroup group, const LayerPlan& plan, worker::MatrixView y);
  absl::Status RunLayer(const worker::DecoderLayer& layer, worker::MatrixView residual);
  absl::Status TakeSample(worker::DecoderLayer* layer, LinearGroup group, worker::MatrixView input);

  const worker::Checkpoint& checkpoint_;
  const worker::DecoderSpec& spec_;
  worker::Backend* const backend_;
  worker::WeightFormat format_;

  // One batch for all sequences; calibration first.
  int64_t calibration_rows_ = 0;
  std::vector<int32_t> token_ids_;
  std::vector<int32_t> positions_;
  std::vector<int32_t> query_start_{0};
  std::vector<int32_t> context_len_;
  std::vector<int32_t> block_table_;
  std::vector<float> rope_cos_;
  std::vector<float> rope_sin_;
  worker::StepInputs step_;

  std::vector<std::unique_ptr<worker::DeviceBuffer>> buffers_;
  std::unique_ptr<worker::KvCache> cache_;  // of one layer
  worker::Activations activations_;         // its residual is one of the two below
  worker::MatrixView original_;             // [tokens, hidden]
  worker::MatrixView quantized_;
  PerGroup<Sample> samples_;
  worker::MatrixView sample_in_;   // [sample rows, widest input]
  worker::MatrixView sample_out_;  // [sample rows, widest output]
  PerGroup<std::vector<float>> largest_;
};

}  // namespace pingti::tools
