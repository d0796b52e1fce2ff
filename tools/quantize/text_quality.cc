#include "tools/quantize/text_quality.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <span>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/layers/norm.h"
#include "worker/model/decoder_blocks.h"
#include "worker/model/load_model.h"

namespace pingti::tools {
namespace {

using worker::DType;
using worker::MatrixView;

constexpr int64_t kRows = 32;  // at a time: a row of logits is as long as the vocabulary

// Turns logits into log-probabilities; false when they are not finite.
bool LogSoftmax(std::span<float> row) {
  const float largest = *std::max_element(row.begin(), row.end());
  double sum = 0.0;
  for (const float value : row) sum += std::exp(static_cast<double>(value - largest));
  const auto shift = static_cast<float>(static_cast<double>(largest) + std::log(sum));
  for (float& value : row) value -= shift;
  return std::isfinite(shift);
}

// One model's logits for some rows of its hidden states.
class Head {
 public:
  static absl::StatusOr<Head> Make(const LogitComparison& in) {
    const worker::DecoderSpec& spec = in.checkpoint.spec();
    Head head(in.backend, worker::Norm(spec.final_norm, spec.hidden_size));
    worker::Declarations declarations;
    head.norm_.DeclareWeights(&declarations);
    declarations.push_back({worker::LogitsWeight(spec), &head.projection_});
    worker::LoadOptions load;
    load.format = in.format;
    PINGTI_RETURN_IF_ERROR(worker::LoadWeights(in.checkpoint, in.backend, load, declarations));
    head.vocab_ = in.checkpoint.spec().vocab_size;
    PINGTI_ASSIGN_OR_RETURN(
        head.hidden_,
        in.backend->Allocate(kRows * in.original.cols * worker::BlockBytes(in.original.dtype)));
    PINGTI_ASSIGN_OR_RETURN(head.logits_,
                            in.backend->Allocate(kRows * head.vocab_ * int64_t{sizeof(float)}));
    return head;
  }

  // Logits of rows [first, first + count) of `states`: [count, vocab].
  absl::Status Run(MatrixView states, int64_t first, int64_t count, std::span<float> out) {
    const MatrixView hidden{hidden_->data(), states.dtype, count, states.cols, states.cols};
    const MatrixView logits{logits_->data(), DType::kF32, count, vocab_, vocab_};
    PINGTI_RETURN_IF_ERROR(norm_.Apply(*backend_, states.Rows(first, count), hidden));
    PINGTI_RETURN_IF_ERROR(backend_->Linear(*projection_, hidden, logits));
    return backend_->CopyToHost(logits, out);
  }

 private:
  Head(worker::Backend* backend, worker::Norm norm) : backend_(backend), norm_(std::move(norm)) {}

  worker::Backend* backend_;
  worker::Norm norm_;
  int64_t vocab_ = 0;
  std::unique_ptr<worker::DeviceBuffer> hidden_;
  std::unique_ptr<worker::DeviceBuffer> logits_;
  std::unique_ptr<worker::LinearWeight> projection_;
};

struct Sums {
  double nll_original = 0.0;
  double nll_quantized = 0.0;
  double kl = 0.0;
  double kl_max = 0.0;
  int64_t same_top = 0;

  // Log-probabilities of the whole vocabulary by both models.
  void Add(std::span<const float> p, std::span<const float> q, size_t target) {
    nll_original -= static_cast<double>(p[target]);
    nll_quantized -= static_cast<double>(q[target]);
    double row = 0.0;
    for (size_t i = 0; i < p.size(); ++i) {
      row += std::exp(static_cast<double>(p[i])) * static_cast<double>(p[i] - q[i]);
    }
    kl += row;
    kl_max = std::max(kl_max, row);
    const auto top = [](std::span<const float> x) {
      return std::max_element(x.begin(), x.end()) - x.begin();
    };
    if (top(p) == top(q)) ++same_top;
  }
};

}  // namespace

absl::StatusOr<TextQuality> Compare(const LogitComparison& in) {
  PINGTI_ASSIGN_OR_RETURN(Head head, Head::Make(in));
  const int64_t vocab = in.checkpoint.spec().vocab_size;
  std::vector<float> p(static_cast<size_t>(kRows * vocab));
  std::vector<float> q(p.size());
  Sums sums;
  // Consecutive rows go together; those that predict nothing are computed and left out.
  for (size_t t = 0; t < in.targets.size();) {
    const int64_t first = in.targets[t].row;
    const int64_t count = std::min(kRows, in.original.rows - first);
    const auto values = static_cast<size_t>(count * vocab);
    PINGTI_RETURN_IF_ERROR(head.Run(in.original, first, count, std::span(p).first(values)));
    PINGTI_RETURN_IF_ERROR(head.Run(in.quantized, first, count, std::span(q).first(values)));
    for (; t < in.targets.size() && in.targets[t].row < first + count; ++t) {
      const int64_t r = in.targets[t].row - first;
      const std::span p_row(p.data() + r * vocab, static_cast<size_t>(vocab));
      const std::span q_row(q.data() + r * vocab, static_cast<size_t>(vocab));
      if (!LogSoftmax(p_row) || !LogSoftmax(q_row)) {
        return absl::InvalidArgumentError(
            Concat(in.checkpoint.path(), ": logits are not finite after token ", first + r));
      }
      sums.Add(p_row, q_row, static_cast<size_t>(in.targets[t].token_id));
    }
  }
  TextQuality quality;
  quality.num_tokens = static_cast<int64_t>(in.targets.size());
  const double count = std::max(1.0, static_cast<double>(quality.num_tokens));
  quality.perplexity_original = std::exp(sums.nll_original / count);
  quality.perplexity_quantized = std::exp(sums.nll_quantized / count);
  quality.kl_mean = sums.kl / count;
  quality.kl_max = sums.kl_max;
  quality.same_top = static_cast<double>(sums.same_top) / count;
  return quality;
}

}  // namespace pingti::tools
