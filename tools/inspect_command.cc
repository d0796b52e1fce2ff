#include "tools/inspect_command.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <map>
#include <memory>
#include <string_view>
#include <system_error>
#include <utility>

#include "common/base/status_macros.h"
#include "tools/inspect_fit.h"
#include "worker/adapters/read_adapter.h"
#include "worker/model/open_checkpoint.h"
#include "worker/model/rank_spec.h"
#include "worker/text/model_text.h"
#include "worker/weights/checkpoint.h"

namespace pingti::tools {
namespace {

using worker::Checkpoint;
using worker::DecoderSpec;
using worker::ExpertSplit;
using worker::RopeScaling;
using worker::TensorView;

// Collects "name   value" lines with the values in one column.
class Report {
 public:
  void Add(std::string_view name, std::string_view value) {
    char line[256];
    std::snprintf(line, sizeof(line), "%-16.*s %.*s\n", static_cast<int>(name.size()), name.data(),
                  static_cast<int>(value.size()), value.data());
    text_ += line;
  }
  // That no worker will serve the model for this reason.
  void AddUnusable(const absl::Status& status) {
    AddLine("                 unusable: " + std::string(status.message()));
  }
  void AddLine(std::string_view line) { text_.append(line).push_back('\n'); }
  std::string Take() { return std::move(text_); }

 private:
  std::string text_;
};

std::string Millions(int64_t count) {
  char text[32];
  if (count >= 1'000'000'000) {
    std::snprintf(text, sizeof(text), "%.2f billion", static_cast<double>(count) * 1e-9);
  } else {
    std::snprintf(text, sizeof(text), "%.1f million", static_cast<double>(count) * 1e-6);
  }
  return text;
}

// Three digits and a binary unit: "90.1 MiB".
std::string ApproximateSize(int64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof(text), unit == 0 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
  return text;
}

std::string RopeText(const worker::RopeConfig& rope) {
  if (rope.scaling == RopeScaling::kNoRotation) return "none";
  static const std::map<RopeScaling, std::string> kNames = {
      {RopeScaling::kNone, ""},
      {RopeScaling::kLinear, "linear"},
      {RopeScaling::kDynamicNtk, "dynamic NTK"},
      {RopeScaling::kYarn, "YaRN"},
      {RopeScaling::kLlama3, "Llama 3"},
      {RopeScaling::kLongRope, "LongRoPE"}};
  char text[96];
  std::snprintf(text, sizeof(text), "theta %g", rope.theta);
  std::string result = text;
  if (rope.scaling != RopeScaling::kNone) {
    std::snprintf(text, sizeof(text), ", %s scaling x %g", kNames.at(rope.scaling).c_str(),
                  rope.factor);
    result += text;
  }
  return result;
}

// "128 of 768, 8 per token, in 47 of 48 layers; shared 5632"; empty without experts.
std::string ExpertsText(const DecoderSpec& spec) {
  const worker::ExpertsSpec* experts = spec.experts();
  if (experts == nullptr) return "";
  const auto layers = std::count_if(spec.layers.begin(), spec.layers.end(),
                                    [](const auto& layer) { return layer.experts.has_value(); });
  std::string text =
      std::to_string(experts->routing.num_experts) + " of " + std::to_string(experts->inner) +
      ", " + std::to_string(experts->routing.experts_per_token) + " per token, in " +
      std::to_string(layers) + " of " + std::to_string(spec.num_layers()) + " layers";
  if (experts->shared.has_value()) text += "; shared " + std::to_string(experts->shared->inner);
  return text;
}

// "32 query heads, 8 key-value heads of 128", or "128 query heads of 128 + 64, values of 128;
// latent of 512 + 64 per token, of queries 1536".
std::string AttentionText(const worker::LayerSpec& layer) {
  std::string text = std::to_string(layer.num_heads()) + " query heads";
  if (!layer.latent_attention.has_value()) {
    return text + ", " + std::to_string(layer.attention.num_kv_heads) + " key-value heads of " +
           std::to_string(layer.attention.head_dim);
  }
  const worker::LatentAttentionSpec& latent = *layer.latent_attention;
  const std::string rope = " + " + std::to_string(latent.rope_dim);
  text += " of " + std::to_string(latent.nope_dim) + rope + ", values of " +
          std::to_string(latent.value_dim) + "; latent of " + std::to_string(latent.latent_dim) +
          rope + " per token";
  if (latent.query_latent_dim != 0) {
    text += ", of queries " + std::to_string(latent.query_latent_dim);
  }
  return text;
}

void AddArchitecture(const Checkpoint& checkpoint, Report* report) {
  const DecoderSpec& spec = checkpoint.spec();
  const worker::LayerSpec& layer = spec.layers.front();
  report->Add("name", checkpoint.display_name());
  report->Add("format", checkpoint.format());
  report->Add("architecture", spec.architecture);
  report->Add("parameters", Millions(checkpoint.num_parameters()));
  report->Add("layers", std::to_string(spec.num_layers()));
  report->Add("hidden",
              std::to_string(spec.hidden_size) +
                  (layer.experts.has_value() ? "" : ", MLP " + std::to_string(layer.mlp.inner)));
  if (const std::string experts = ExpertsText(spec); !experts.empty()) {
    report->Add("experts", experts);
  }
  report->Add("attention", AttentionText(layer));
  report->Add("vocabulary", std::to_string(spec.vocab_size) +
                                (spec.tied_embeddings() ? ", tied embeddings" : ""));
  report->Add("context", std::to_string(spec.max_context) + " tokens");
  report->Add("rope", RopeText(spec.rope));
}

// "gptq, 4 bits, groups of 128; some modules have others"; empty when nothing is packed.
std::string PackingText(const worker::PackedQuantization& packed) {
  if (!packed.present) return "";
  const std::string groups =
      packed.group_size == 0 ? "a group a row" : "groups of " + std::to_string(packed.group_size);
  return packed.method + ", " + std::to_string(packed.bits) + " bits, " + groups +
         (packed.varies ? "; some modules have others" : "");
}

void AddWeights(const Checkpoint& checkpoint, Report* report) {
  std::map<std::string_view, std::pair<int64_t, int64_t>> by_type;  // name -> tensors, bytes
  for (const TensorView& tensor : checkpoint.tensors()) {
    auto& [count, bytes] = by_type[worker::DTypeName(tensor.dtype)];
    ++count;
    bytes += tensor.bytes;
  }
  std::string packing = PackingText(checkpoint.packed());
  if (checkpoint.fp8().present) {
    packing = "fp8, blocks of " + std::to_string(checkpoint.fp8().rows) + " x " +
              std::to_string(checkpoint.fp8().cols) + "; loaded as bf16 or int8";
  }
  if (checkpoint.mxfp4()) packing = "mxfp4 of experts, groups of 32";
  if (!packing.empty()) report->Add("quantization", packing);
  report->Add("weights", ApproximateSize(checkpoint.weight_bytes()));
  for (const auto& [name, totals] : by_type) {
    report->Add("  " + std::string(name), ApproximateSize(totals.second) + " in " +
                                              std::to_string(totals.first) + " tensors");
  }
}

void AddText(const Checkpoint& checkpoint, Report* report) {
  const worker::TextAssets& text = checkpoint.text();
  std::string tokenizer = "none";
  if (text.gguf) {
    tokenizer = text.gguf->model + " (" + text.gguf->pre + "), " +
                std::to_string(text.gguf->tokens.size()) + " tokens";
  } else if (!text.tokenizer_json.empty()) {
    tokenizer = "tokenizer.json";
  } else if (!text.tiktoken.empty()) {
    tokenizer = "tiktoken";
  }
  report->Add("tokenizer", tokenizer);
  const absl::Status tokenizes = worker::MakeTokenizer(text).status();
  if (!tokenizes.ok()) report->AddUnusable(tokenizes);
  std::string templates =
      text.chat_template.empty() ? "none" : std::to_string(text.chat_template.size()) + " bytes";
  for (const auto& [name, unused] : text.named_templates) templates += ", also '" + name + "'";
  report->Add("chat template", templates);
  const absl::Status renders = worker::CheckTemplates(text);
  if (!renders.ok()) report->AddUnusable(renders);
  std::string eos;
  for (const int64_t id : text.eos_token_ids) eos += (eos.empty() ? "" : ", ") + std::to_string(id);
  report->Add("end tokens", eos.empty() ? "none" : eos);
}

void AddMemory(const Checkpoint& checkpoint, Report* report) {
  const DecoderSpec& spec = checkpoint.spec();
  const int64_t per_token = KvBytesPerToken(spec);
  report->Add("KV cache", ApproximateSize(per_token) + " a token in bf16, on a GPU " +
                              ApproximateSize(Int8KvBytesPerToken(spec)) + " in int8");
  for (const int64_t sequences : {int64_t{1}, int64_t{8}, int64_t{32}}) {
    report->Add("", ApproximateSize(per_token * spec.max_context * sequences) + " for " +
                        std::to_string(sequences) + " x " + std::to_string(spec.max_context) +
                        " tokens");
  }
}

absl::StatusOr<RankSpecs> RanksOf(const Checkpoint& checkpoint, int size, ExpertSplit split) {
  RankSpecs ranks;
  for (int rank = 0; rank < size; ++rank) {
    PINGTI_ASSIGN_OR_RETURN(DecoderSpec spec, worker::RankSpec(checkpoint, rank, size, split));
    ranks.push_back(std::move(spec));
  }
  return ranks;
}

bool HaveEqualHeads(const RankSpecs& ranks) {
  return std::all_of(ranks.begin(), ranks.end(), [&ranks](const DecoderSpec& spec) {
    return spec.layers.front().num_heads() == ranks.front().layers.front().num_heads();
  });
}

// The same of their experts, where they have any.
bool HaveEqualExperts(const RankSpecs& ranks) {
  const worker::ExpertsSpec* first = ranks.front().experts();
  return std::all_of(ranks.begin(), ranks.end(), [first](const DecoderSpec& spec) {
    return first == nullptr || spec.experts()->routing.held() == first->routing.held();
  });
}

// Numbers of ranks that may share the model, and those that have equally many heads and experts
// each: "1 to 8; equal heads with 1, 2, 4, 8".
std::string RanksText(const Checkpoint& checkpoint, ExpertSplit split, std::string_view equal) {
  constexpr int kMostRanks = 64;  // of tensor_parallel
  const int64_t heads = checkpoint.spec().layers.front().num_heads();
  int most = 1;
  std::string even;
  for (int size = 1; size <= std::min<int64_t>(heads, kMostRanks); ++size) {
    if (!worker::RankSpec(checkpoint, 0, size, split).ok()) break;
    most = size;
    if (heads % size != 0) continue;
    const auto ranks = RanksOf(checkpoint, size, split);
    if (!ranks.ok() || !HaveEqualHeads(*ranks) || !HaveEqualExperts(*ranks)) continue;
    even += (even.empty() ? "" : ", ") + std::to_string(size);
  }
  return "1 to " + std::to_string(most) + "; equal " + std::string(equal) + " with " + even;
}

void AddRanks(const Checkpoint& checkpoint, Report* report) {
  report->Add("tensor_parallel", RanksText(checkpoint, ExpertSplit::kColumns, "heads"));
  if (checkpoint.spec().experts() == nullptr) return;
  report->Add("  whole experts", RanksText(checkpoint, ExpertSplit::kExperts, "heads and experts"));
}

// The contexts asked for, or powers of 4 up to the model's own.
void AddFit(const Checkpoint& checkpoint, const InspectOptions& options, Report* report) {
  std::vector<int64_t> contexts = options.contexts;
  const int64_t longest = checkpoint.spec().max_context;
  if (contexts.empty()) {
    for (int64_t context = 2048; context < longest; context *= 4) contexts.push_back(context);
    contexts.push_back(longest);
  }
  report->AddLine("");
  std::vector<RankSpecs> groups;
  for (const int size : options.cards) {
    auto ranks = RanksOf(checkpoint, size,
                         options.expert_parallel ? ExpertSplit::kExperts : ExpertSplit::kColumns);
    if (ranks.ok()) groups.push_back(*std::move(ranks));
  }
  if (groups.empty()) {
    report->AddLine("the model cannot be shared by as many cards as were asked for");
  } else {
    report->AddLine(FitTable(groups, options.memory_fraction, contexts));
  }
}

// A directory that PEFT saved an adapter to.
bool HoldsAdapter(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path + "/adapter_config.json", error);
}

// Modules of one kind in all layers are one line: "self_attn.q_proj".
std::string KindOf(const std::string& module) {
  const size_t last = module.rfind('.');
  const size_t before = last == std::string::npos ? last : module.rfind('.', last - 1);
  return before == std::string::npos ? module : module.substr(before + 1);
}

absl::StatusOr<std::string> InspectAdapter(const std::string& path) {
  const std::string name = std::filesystem::path(path).filename().string();
  PINGTI_ASSIGN_OR_RETURN(const std::unique_ptr<worker::Adapter> adapter,
                          worker::ReadAdapter(name, path));
  Report report;
  report.Add("adapter", "LoRA, rank " + std::to_string(adapter->max_rank()) + " at most");
  report.Add("base model", adapter->base_model.empty() ? "not named" : adapter->base_model);
  report.Add("size", ApproximateSize(adapter->bytes));
  report.Add("modules", std::to_string(adapter->modules.size()));
  struct Totals {
    int count = 0;
    int64_t rank = 0;
  };
  std::map<std::string, Totals> kinds;
  for (const auto& [module, matrices] : adapter->modules) {
    Totals& totals = kinds[KindOf(module)];
    ++totals.count;
    totals.rank = std::max(totals.rank, matrices.rank());
  }
  for (const auto& [kind, totals] : kinds) {
    report.Add("  " + kind,
               std::to_string(totals.count) + ", rank " + std::to_string(totals.rank) + " at most");
  }
  return report.Take();
}

}  // namespace

absl::StatusOr<std::string> InspectModel(const std::string& path, const InspectOptions& options) {
  if (HoldsAdapter(path)) return InspectAdapter(path);
  PINGTI_ASSIGN_OR_RETURN(
      const std::unique_ptr<Checkpoint> checkpoint,
      options.shapes_only ? worker::OpenRandomCheckpoint(path) : worker::OpenCheckpoint(path));
  if (options.expert_parallel && checkpoint->spec().experts() == nullptr) {
    return absl::InvalidArgumentError(path + ": the model has no experts to hold whole");
  }
  Report report;
  AddArchitecture(*checkpoint, &report);
  AddWeights(*checkpoint, &report);
  AddText(*checkpoint, &report);
  AddRanks(*checkpoint, &report);
  AddMemory(*checkpoint, &report);
  if (options.fit) AddFit(*checkpoint, options, &report);
  if (options.list_tensors) {
    report.AddLine("");
    for (const TensorView& tensor : checkpoint->tensors()) {
      report.AddLine(std::string(worker::DTypeName(tensor.dtype)) + "  " + tensor.ShapeString() +
                     "  " + tensor.name);
    }
  }
  return report.Take();
}

}  // namespace pingti::tools
