// Runs one text through the original and the quantized model side by side, a layer at a time: the
// weights of one layer are in memory, never a model. Takes what SmoothQuant needs of the
// activations, each group's error, and in the end how far the logits moved.
//
// On any backend: activations stay on its device, in its type, and what is looked at comes over a
// few rows at a time. Confined to one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
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

  // Layers come in order, `index` from 0 on, loaded as the first of the cache, each first here,
  // then in RunQuantized.
  absl::Status RunOriginal(int64_t index, worker::DecoderLayer* layer);
  // Of the layer that RunOriginal saw last: max|x| of each input channel over the calibration text.
  // Not of experts.
  std::span<const float> largest_input(LinearGroup group) const {
    return largest_[static_cast<size_t>(group)];
  }
  // ||y - y'|| / ||y|| of the output of each group that the layer has, with that layer's inputs
  // from the original model; of experts, for those that the original model chose. `layer` was made
  // by `plan`.
  absl::StatusOr<PerGroup<std::optional<double>>> Errors(worker::DecoderLayer* layer,
                                                         const LayerPlan& plan);
  absl::Status RunQuantized(const worker::DecoderLayer& layer);

  // After the last layer.
  absl::StatusOr<TextQuality> CompareLogits();

 private:
  struct Sample {
    worker::MatrixView x;  // input rows of a group; without data: the layer lacks the group
    worker::MatrixView y;  // and its output for them, by the original weights
  };
  // Of one layer's sample of a group.
  struct SampleShape {
    int64_t x_rows = 0;  // 0: the layer lacks the group
    int64_t x_cols = 0;
    int64_t y_rows = 0;
    int64_t y_cols = 0;
  };

  LayerRunner(const worker::Checkpoint& checkpoint, worker::Backend* backend);
  void AddSequences(std::span<const int32_t> ids);
  absl::Status Allocate();
  absl::Status AllocateSamples();
  int64_t sampled_tokens() const;
  PerGroup<SampleShape> SampleShapes(int64_t layer) const;
  // Makes samples_ those of the layer.
  void PlaceSamples(int64_t layer);
  // y = the group's product of x; of experts, for the choice that RouteSample made.
  absl::Status Product(worker::DecoderLayer* layer, LinearGroup group, worker::MatrixView x,
                       worker::MatrixView y);
  // Lets the sampled tokens choose experts as they did in the original layer, if it has any.
  absl::Status RouteSample(worker::DecoderLayer* layer);
  // What the layer left in the activations, for the groups behind attention's first product.
  absl::Status TakeSamplesBehind(worker::DecoderLayer* layer);
  absl::Status TakeExpertSamples(worker::DecoderLayer* layer, worker::MatrixView normed);
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
  PerGroup<Sample> samples_;              // of the layer that RunOriginal saw last
  PerGroup<Sample> sample_memory_;        // as large as any layer's, as one row each
  worker::MatrixView sample_in_memory_;   // for one smoothed input, the same
  worker::MatrixView sample_out_memory_;  // for one output of quantized weights, the same
  PerGroup<std::vector<float>> largest_;
};

}  // namespace pingti::tools
