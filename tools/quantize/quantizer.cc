#include "tools/quantize/quantizer.h"

#include <fnmatch.h>
#include <malloc.h>

#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "tools/quantize/expert_modules.h"
#include "tools/quantize/int8_rows.h"
#include "tools/quantize/layer_runner.h"
#include "tools/quantize/output_directory.h"
#include "tools/quantize/quantization_config.h"
#include "tools/quantize/safetensors_writer.h"
#include "tools/text_tokens.h"
#include "worker/backend/choose/choose_device.h"
#include "worker/model/declared_tensors.h"
#include "worker/model/decoder_blocks.h"
#include "worker/model/load_model.h"
#include "worker/model/open_checkpoint.h"
#include "worker/weights/checkpoint.h"

namespace pingti::tools {
namespace {

using worker::Checkpoint;
using worker::DType;
using worker::TensorView;

// Weights come and go in sizes that leave holes in the heap. From this size on, each block is
// mapped on its own and given back when it is freed.
constexpr int kMappedBlockBytes = 256 << 10;

constexpr char kBlockScales[] = "_scale_inv";  // behind the name of a matrix in 8-bit floats

// Each layer in turn is the only one of the runner's cache, and so its first.
constexpr int64_t kCacheLayer = 0;

void MapLargeBlocks() {
#if defined(__GLIBC__)
  ::mallopt(M_MMAP_THRESHOLD, kMappedBlockBytes);
#endif
}

absl::Status CheckQuantizable(const Checkpoint& checkpoint) {
  if (checkpoint.format() != "safetensors") {
    return absl::InvalidArgumentError(Concat(checkpoint.path(), " is ", checkpoint.format(),
                                             "; expected a directory with safetensors"));
  }
  if (checkpoint.compressed_int8().present || checkpoint.packed().present || checkpoint.mxfp4()) {
    return absl::FailedPreconditionError(
        Concat(checkpoint.path(), " is quantized already (", checkpoint.dominant_format(), ")"));
  }
  return absl::OkStatus();
}

absl::Status CheckScheme(const QuantizeOptions& options) {
  if (options.scheme == WeightScheme::kInt8) return absl::OkStatus();
  if (options.smoothquant_alpha.has_value()) {
    return absl::InvalidArgumentError(
        "--smoothquant-alpha moves what int8 rounds in activations; int4 leaves them as they are");
  }
  const int64_t size = options.group_size;
  if (size == 32 || size == 64 || (size > 0 && size % 128 == 0)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      Concat("--group-size ", size, "; expected 32, 64 or a multiple of 128"));
}

// Every tensor that the blocks declare, and no other: found before hours of work.
absl::Status CheckAllTensors(const Checkpoint& checkpoint) {
  const absl::Status checked =
      worker::CheckTensors(checkpoint, worker::DeclaredWeights(checkpoint.spec()));
  if (!checked.ok()) {
    return absl::Status(checked.code(),
                        Concat(checkpoint.path(), ": ", std::string(checked.message())));
  }
  for (const TensorView& tensor : checkpoint.tensors()) {
    const absl::Status type = CheckType(tensor);
    if (!type.ok()) {
      return absl::Status(type.code(),
                          Concat(checkpoint.path(), ": ", std::string(type.message())));
    }
    // Beside the decoder's own, which CheckTensors saw.
    const bool scaled = tensor.dtype == DType::kF8E4M3;
    if (scaled && checkpoint.Find(tensor.name + kBlockScales) == nullptr) {
      return absl::InvalidArgumentError(
          Concat(checkpoint.path(), ": tensor '", tensor.name, kBlockScales, "' is missing"));
    }
  }
  return absl::OkStatus();
}

class Quantizer {
 public:
  Quantizer(const QuantizeOptions& options, const Checkpoint& checkpoint, worker::Backend* backend)
      : options_(options),
        checkpoint_(checkpoint),
        spec_(WithExpertModules(checkpoint)),
        backend_(backend) {}

  absl::Status Prepare() {
    PINGTI_RETURN_IF_ERROR(ApplyPatterns());
    PINGTI_ASSIGN_OR_RETURN(output_, OutputDirectory::Create(options_.output, AboutOutputBytes()));
    PINGTI_ASSIGN_OR_RETURN(const TextTokens text,
                            ReadTokens(checkpoint_, options_.text_file, options_.max_tokens));
    TextTokens calibration;
    if (options_.smoothquant_alpha.has_value()) {
      PINGTI_ASSIGN_OR_RETURN(
          calibration, ReadTokens(checkpoint_, options_.calibration_file, options_.max_tokens));
    }
    report_.has_tokenizer = text.from_tokenizer;
    report_.input_bytes = checkpoint_.weight_bytes();
    PINGTI_ASSIGN_OR_RETURN(runner_,
                            LayerRunner::Make(checkpoint_, backend_, calibration.ids, text.ids));
    SafetensorsWriterOptions writer;
    int64_t name_bytes = 0;
    int64_t count = 0;
    const auto add = [&](const std::string& name) {
      name_bytes += static_cast<int64_t>(name.size());
      ++count;
    };
    for (const TensorView& tensor : checkpoint_.tensors()) add(tensor.name);
    for (int64_t i = 0; i < spec_.num_layers(); ++i) {
      if (ExpertStacks(checkpoint_, spec_, i).empty()) continue;
      for (const std::string& name : LayerTensorNames(spec_, i)) add(name);
    }
    // A weight may get a scale and a shape beside it.
    writer.header_bytes = HeaderBytes(3 * count, 3 * (name_bytes + 8 * count));
    writer_ = std::make_unique<SafetensorsWriter>(output_->partial_path(), writer);
    return WriteOthers();
  }

  absl::Status RunLayer(int64_t layer) {
    worker::LoadOptions load;
    load.format = runner_->original_format();
    {
      PINGTI_ASSIGN_OR_RETURN(worker::DecoderLayer original,
                              worker::LoadLayer(checkpoint_, backend_, load, layer, kCacheLayer));
      PINGTI_RETURN_IF_ERROR(runner_->RunOriginal(layer, &original));
    }
    LayerPlan& plan = plans_[static_cast<size_t>(layer)];
    if (options_.smoothquant_alpha.has_value()) Smooth(layer, &plan);
    PINGTI_ASSIGN_OR_RETURN(std::vector<OwnedTensor> tensors,
                            QuantizeLayer(checkpoint_, spec_, layer, plan, options_.threads));
    std::optional<worker::DecoderLayer> quantized;
    PINGTI_ASSIGN_OR_RETURN(quantized, LoadQuantized(tensors, layer));
    PINGTI_ASSIGN_OR_RETURN(const PerGroup<std::optional<double>> errors,
                            runner_->Errors(&*quantized, plan));
    if (FallBack(errors, &plan)) {
      quantized.reset();
      tensors.clear();
      PINGTI_ASSIGN_OR_RETURN(tensors,
                              QuantizeLayer(checkpoint_, spec_, layer, plan, options_.threads));
      PINGTI_ASSIGN_OR_RETURN(quantized, LoadQuantized(tensors, layer));
    }
    PINGTI_RETURN_IF_ERROR(runner_->RunQuantized(*quantized));
    quantized.reset();
    report_.layers.push_back({errors, plan.keep});
    return WriteTensors(tensors);
  }

  absl::Status Finish() {
    PINGTI_ASSIGN_OR_RETURN(report_.quality, runner_->CompareLogits());
    PINGTI_RETURN_IF_ERROR(writer_->Finish());
    report_.output_bytes = writer_->total_bytes();
    PINGTI_ASSIGN_OR_RETURN(const std::string config,
                            QuantizedConfig(checkpoint_.path() + "/config.json", options_.scheme,
                                            options_.group_size, KeptModules()));
    PINGTI_RETURN_IF_ERROR(WriteFile(output_->partial_path() + "/config.json", config));
    PINGTI_ASSIGN_OR_RETURN(report_.left_out, output_->CopyCompanions(checkpoint_.path()));
    return output_->Commit();
  }

  const QuantizeReport& report() const { return report_; }

 private:
  int64_t AboutOutputBytes() const {
    const bool int4 = options_.scheme == WeightScheme::kInt4;
    const bool fp8 = checkpoint_.fp8().present;
    const int64_t tenths = int4 ? (fp8 ? 7 : 4) : (fp8 ? 11 : 6);
    return checkpoint_.weight_bytes() / 10 * tenths;
  }

  absl::Status ApplyPatterns() {
    plans_.resize(static_cast<size_t>(spec_.num_layers()));
    for (size_t layer = 0; layer < plans_.size(); ++layer) {
      LayerPlan& plan = plans_[layer];
      plan.scheme = options_.scheme;
      plan.group_size = options_.group_size;
      if (plan.scheme != WeightScheme::kInt4) continue;
      for (size_t g = 0; g < kNumGroups; ++g) {
        plan.keep[g] = !FillsGroups(spec_, static_cast<int64_t>(layer), static_cast<LinearGroup>(g),
                                    plan.group_size);
      }
    }
    for (const std::string& pattern : options_.keep) {
      bool matched = false;
      for (size_t layer = 0; layer < plans_.size(); ++layer) {
        for (size_t g = 0; g < kNumGroups; ++g) {
          for (const std::string& module :
               GroupModules(spec_, static_cast<int64_t>(layer), static_cast<LinearGroup>(g))) {
            if (::fnmatch(pattern.c_str(), module.c_str(), 0) != 0) continue;
            plans_[layer].keep[g] = true;
            matched = true;
          }
        }
      }
      if (!matched) {
        return absl::InvalidArgumentError(Concat("--keep '", pattern,
                                                 "' matches no module; they are called as '",
                                                 GroupModules(spec_, 0, LinearGroup::kO)[0],
                                                 "', and the output projection is always kept"));
      }
    }
    return absl::OkStatus();
  }

  // The down projection first: what it moves into the up projection changes the latter's columns.
  void Smooth(int64_t layer, LayerPlan* plan) {
    for (const LinearGroup group : {LinearGroup::kDown, LinearGroup::kGateUp, LinearGroup::kQkv}) {
      const auto g = static_cast<size_t>(group);
      const worker::LayerSpec& spec = spec_.layers[static_cast<size_t>(layer)];
      if (plan->keep[g] || !CanSmooth(spec, group)) continue;
      plan->smoothing[g] =
          SmoothingScales(runner_->largest_input(group),
                          LargestWeights(checkpoint_, layer, group, *plan, options_.threads),
                          *options_.smoothquant_alpha);
    }
  }

  // True when a group that was quantized is to be kept. What moved into it moves back.
  bool FallBack(const PerGroup<std::optional<double>>& errors, LayerPlan* plan) const {
    bool changed = false;
    for (size_t g = 0; g < kNumGroups; ++g) {
      if (plan->keep[g] || !errors[g].has_value() || !options_.max_error.has_value() ||
          *errors[g] <= *options_.max_error) {
        continue;
      }
      plan->keep[g] = true;
      plan->smoothing[g].clear();
      changed = true;
    }
    return changed;
  }

  // As a worker would load what was made. The tensors stay where they are.
  absl::StatusOr<worker::DecoderLayer> LoadQuantized(const std::vector<OwnedTensor>& tensors,
                                                     int64_t layer) {
    Checkpoint::Parts parts;
    parts.path = options_.output;
    parts.spec = spec_;
    if (options_.scheme == WeightScheme::kInt4) {
      parts.packed.present = true;
      parts.packed.method = "compressed-tensors";
      parts.packed.layout = worker::PackedLayout::kRowMajor;
      parts.packed.group_size = options_.group_size;
    } else {
      parts.compressed_int8.present = true;
    }
    for (const OwnedTensor& tensor : tensors) parts.tensors.push_back(tensor.view);
    return worker::LoadLayer(Checkpoint(std::move(parts)), backend_, {}, layer, kCacheLayer);
  }

  absl::Status WriteTensors(const std::vector<OwnedTensor>& tensors) {
    for (const OwnedTensor& tensor : tensors) {
      PINGTI_RETURN_IF_ERROR(writer_->Add(tensor.view.name, tensor.view.dtype, tensor.view.shape,
                                          {tensor.bytes.data(), tensor.bytes.size()}));
    }
    return absl::OkStatus();
  }

  // What is not of a layer: embedding, last norm, output projection.
  absl::Status WriteOthers() {
    std::set<std::string> of_layers;
    for (int64_t i = 0; i < spec_.num_layers(); ++i) {
      of_layers.merge(LayerTensorNames(spec_, i));
      for (const TensorView* stack : ExpertStacks(checkpoint_, spec_, i)) {
        of_layers.insert(stack->name);
      }
    }
    for (const TensorView& tensor : checkpoint_.tensors()) {
      if (of_layers.count(tensor.name) != 0) continue;
      if (checkpoint_.fp8().present && tensor.name.ends_with(kBlockScales)) continue;
      if (tensor.dtype == DType::kF8E4M3) {
        std::vector<OwnedTensor> one(1);
        PINGTI_ASSIGN_OR_RETURN(one[0], Widened(checkpoint_, tensor));
        PINGTI_RETURN_IF_ERROR(WriteTensors(one));
        checkpoint_.Release(tensor);
        continue;
      }
      PINGTI_RETURN_IF_ERROR(
          writer_->Add(tensor.name, tensor.dtype, tensor.shape,
                       {static_cast<const char*>(tensor.data), static_cast<size_t>(tensor.bytes)}));
      checkpoint_.Release(tensor);
    }
    return absl::OkStatus();
  }

  std::vector<std::string> KeptModules() const {
    std::vector<std::string> modules = {"lm_head"};
    for (size_t layer = 0; layer < plans_.size(); ++layer) {
      for (std::string& module : OtherModules(spec_, static_cast<int64_t>(layer))) {
        modules.push_back(std::move(module));
      }
      for (size_t g = 0; g < kNumGroups; ++g) {
        if (!plans_[layer].keep[g]) continue;
        for (std::string& module :
             GroupModules(spec_, static_cast<int64_t>(layer), static_cast<LinearGroup>(g))) {
          modules.push_back(std::move(module));
        }
      }
    }
    // Modules beside the decoder, of multi-token prediction, are copied.
    constexpr std::string_view kWeight = ".weight";
    for (const TensorView& tensor : checkpoint_.tensors()) {
      const bool matrix = tensor.shape.size() == 2 && tensor.name.ends_with(kWeight);
      if (!matrix || tensor.name == "lm_head.weight") continue;
      if (!worker::IsKnownBesides(spec_, tensor.name)) continue;
      modules.push_back(tensor.name.substr(0, tensor.name.size() - kWeight.size()));
    }
    return modules;
  }

  const QuantizeOptions& options_;
  const Checkpoint& checkpoint_;
  const worker::DecoderSpec spec_;  // of what is written
  worker::Backend* const backend_;
  std::vector<LayerPlan> plans_;
  std::unique_ptr<OutputDirectory> output_;
  std::unique_ptr<LayerRunner> runner_;
  std::unique_ptr<SafetensorsWriter> writer_;
  QuantizeReport report_;
};

}  // namespace

absl::StatusOr<QuantizeReport> Quantize(
    const QuantizeOptions& options, const std::atomic<bool>& cancelled,
    const std::function<void(const QuantizeReport&)>& on_layer) {
  MapLargeBlocks();
  PINGTI_RETURN_IF_ERROR(CheckScheme(options));
  PINGTI_ASSIGN_OR_RETURN(
      const worker::Device device,
      worker::ChooseDevice({options.device, options.gpu_index, options.threads}));
  PINGTI_ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint,
                          worker::OpenCheckpoint(options.input));
  PINGTI_RETURN_IF_ERROR(CheckQuantizable(*checkpoint));
  PINGTI_RETURN_IF_ERROR(CheckAllTensors(*checkpoint));
  Quantizer quantizer(options, *checkpoint, device.backend.get());
  PINGTI_RETURN_IF_ERROR(quantizer.Prepare());
  for (int64_t layer = 0; layer < checkpoint->spec().num_layers(); ++layer) {
    if (cancelled) return absl::CancelledError("interrupted; nothing was written");
    PINGTI_RETURN_IF_ERROR(quantizer.RunLayer(layer));
    on_layer(quantizer.report());
  }
  PINGTI_RETURN_IF_ERROR(quantizer.Finish());
  return quantizer.report();
}

}  // namespace pingti::tools
