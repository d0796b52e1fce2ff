#include "worker/adapters/read_adapter.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/adapters/peft_config.h"
#include "worker/weights/mapped_file.h"
#include "worker/weights/safetensors_file.h"
#include "worker/weights/text_file.h"

namespace pingti::worker {
namespace {

constexpr std::string_view kPrefix = "base_model.model.";
constexpr std::string_view kDownSuffix = ".lora_A.weight";
constexpr std::string_view kUpSuffix = ".lora_B.weight";
constexpr std::string_view kEmbeddingDownSuffix = ".lora_embedding_A";
constexpr std::string_view kEmbeddingUpSuffix = ".lora_embedding_B";
// What PEFT calls the adapters of experts' stacks: those of the parameters of one module are inside
// each other, so that the first one has another name.
constexpr std::string_view kStacks = ".experts";
constexpr std::string_view kInnerStacks = ".experts.base_layer";
// PEFT saves whole vocabularies beside their adapters (save_embedding_layers).
constexpr std::string_view kBaseSuffix = ".base_layer.weight";

enum class Role { kDown, kUp, kBase };

struct Suffix {
  std::string_view text;
  Role role;
  bool is_embedding;
};
constexpr Suffix kSuffixes[] = {{kDownSuffix, Role::kDown, false},
                                {kUpSuffix, Role::kUp, false},
                                {kEmbeddingDownSuffix, Role::kDown, true},
                                {kEmbeddingUpSuffix, Role::kUp, true},
                                {kBaseSuffix, Role::kBase, false}};

std::string Described(const TensorView& tensor) {
  return Concat("tensor '", tensor.name, "' ", DTypeName(tensor.dtype), " ", tensor.ShapeString());
}

absl::Status AddTensor(const TensorView& tensor, Adapter* adapter) {
  std::string_view module = tensor.name;
  const Suffix* const suffix =
      std::find_if(std::begin(kSuffixes), std::end(kSuffixes),
                   [&](const Suffix& known) { return module.ends_with(known.text); });
  if (!module.starts_with(kPrefix) || suffix == std::end(kSuffixes)) {
    return absl::UnimplementedError(Concat(Described(tensor), ": expected only ", kPrefix, "MODULE",
                                           kDownSuffix, " and ", kPrefix, "MODULE", kUpSuffix,
                                           ", of linear modules, or ", kEmbeddingDownSuffix,
                                           " and ", kEmbeddingUpSuffix, " of an embedding"));
  }
  if (tensor.dtype != DType::kF32 && tensor.dtype != DType::kF16 && tensor.dtype != DType::kBf16) {
    return absl::UnimplementedError(Concat(Described(tensor), ": expected F32, F16 or BF16"));
  }
  if (tensor.shape.size() != 2 || tensor.NumElements() == 0) {
    return absl::InvalidArgumentError(
        Concat(Described(tensor), ": expected a matrix of at least one value"));
  }
  module.remove_prefix(kPrefix.size());
  module.remove_suffix(suffix->text.size());
  AdapterModule& place = adapter->modules[std::string(module)];
  if (suffix->role == Role::kBase) {
    place.base_shape = tensor.shape;
    return absl::OkStatus();
  }
  (suffix->role == Role::kDown ? place.a : place.b) = tensor;
  place.is_embedding |= suffix->is_embedding;
  return absl::OkStatus();
}

bool IsNamed(std::string_view module, const std::string& target) {
  return module == target || module.ends_with(Concat(".", target));
}

bool IsStack(const PeftConfig& config, std::string_view name) {
  const std::vector<std::string>& targets = config.target_parameters();
  return std::any_of(targets.begin(), targets.end(),
                     [&](const std::string& target) { return IsNamed(name, target); });
}

// Whether these are what adapts a stack of gates and ups, and the stack that reads their results.
bool AreInAndOut(const AdapterModule& in, const AdapterModule& out) {
  return in.a.shape[1] == out.b.shape[0] && in.b.shape[0] == 2 * out.a.shape[1];
}

// Gives the adapters of the stacks of a module of experts, `module`, the names of their parameters,
// which their tensors' names do not tell. `inner` may be null.
absl::Status NameStacks(const PeftConfig& config, const std::string& module, AdapterModule outer,
                        const AdapterModule* inner, Adapter* adapter) {
  const std::string in = Concat(module, ".gate_up_proj");
  const std::string out = Concat(module, ".down_proj");
  const bool has_in = IsStack(config, in);
  const bool has_out = IsStack(config, out);
  if (has_in + has_out != (inner == nullptr ? 1 : 2)) {
    return absl::InvalidArgumentError(
        Concat("has adapters of ", inner == nullptr ? "one stack" : "two stacks", " of '", module,
               "', of which 'target_parameters' of adapter_config.json names ", has_in + has_out));
  }
  if (inner == nullptr) {
    adapter->modules[has_in ? in : out] = std::move(outer);
    return absl::OkStatus();
  }
  const bool swapped = AreInAndOut(outer, *inner);
  if (!swapped && !AreInAndOut(*inner, outer)) {
    return absl::InvalidArgumentError(Concat(Described(inner->a), " and ", Described(outer.a),
                                             ": do not fit into one module of experts"));
  }
  adapter->modules[swapped ? out : in] = *inner;
  adapter->modules[swapped ? in : out] = std::move(outer);
  return absl::OkStatus();
}

bool IsWhole(const AdapterModule& module) {
  return module.a.data != nullptr && module.b.data != nullptr;
}

// Of all modules of experts. What lacks a matrix stays as it is, for CheckModule.
absl::Status NameAllStacks(const PeftConfig& config, Adapter* adapter) {
  std::vector<std::string> names;
  for (const auto& [name, module] : adapter->modules) {
    if (name.ends_with(kStacks) && IsWhole(module)) names.push_back(name);
  }
  for (const std::string& name : names) {
    const AdapterModule outer = adapter->modules.at(name);
    const auto found =
        adapter->modules.find(Concat(name.substr(0, name.size() - kStacks.size()), kInnerStacks));
    const bool has_inner = found != adapter->modules.end();
    if (has_inner && !IsWhole(found->second)) continue;
    PINGTI_RETURN_IF_ERROR(
        NameStacks(config, name, outer, has_inner ? &found->second : nullptr, adapter));
    if (has_inner) adapter->modules.erase(found);
    adapter->modules.erase(name);
  }
  return absl::OkStatus();
}

absl::Status CheckModule(const std::string& name, const PeftConfig& config, AdapterModule* module) {
  if (!IsWhole(*module)) {
    const bool neither = module->a.data == nullptr && module->b.data == nullptr;
    return absl::InvalidArgumentError(
        Concat("module '", name, "' has ",
               neither ? "neither lora_A nor lora_B" : "only one of lora_A and lora_B",
               ": expected both"));
  }
  PINGTI_ASSIGN_OR_RETURN(const int64_t rank, config.RankOf(name));
  if (IsStack(config, name)) module->experts = std::max(module->a.shape[0] / rank, int64_t{1});
  const int64_t ranks = module->experts * rank;
  if (module->a.shape[0] != ranks || module->b.shape[1] != ranks) {
    return absl::InvalidArgumentError(Concat(Described(module->a), " and ", Described(module->b),
                                             ": expected a rank of ", rank,
                                             ", as adapter_config.json says"));
  }
  PINGTI_ASSIGN_OR_RETURN(module->scale, config.ScaleOf(name));
  return absl::OkStatus();
}

// What the configuration names and the tensors lack would be left out in silence.
absl::Status CheckTargets(const PeftConfig& config, const Adapter& adapter) {
  const auto check = [&](std::string_view field, const std::vector<std::string>& targets) {
    for (const std::string& target : targets) {
      if (std::any_of(adapter.modules.begin(), adapter.modules.end(),
                      [&](const auto& module) { return IsNamed(module.first, target); })) {
        continue;
      }
      return absl::InvalidArgumentError(Concat("has no tensors of '", target, "', which '", field,
                                               "' of adapter_config.json names"));
    }
    return absl::OkStatus();
  };
  PINGTI_RETURN_IF_ERROR(check("target_modules", config.target_modules()));
  return check("target_parameters", config.target_parameters());
}

absl::Status ReadTensors(const PeftConfig& config, std::string_view bytes, Adapter* adapter) {
  adapter->bytes = static_cast<int64_t>(bytes.size());
  adapter->memory = std::make_unique_for_overwrite<std::byte[]>(bytes.size());
  std::memcpy(adapter->memory.get(), bytes.data(), bytes.size());
  const std::string_view copy(reinterpret_cast<const char*>(adapter->memory.get()), bytes.size());
  PINGTI_ASSIGN_OR_RETURN(const std::vector<TensorView> tensors, ParseSafetensors(copy));
  for (const TensorView& tensor : tensors) PINGTI_RETURN_IF_ERROR(AddTensor(tensor, adapter));
  if (adapter->modules.empty()) return absl::InvalidArgumentError("holds no tensors");
  PINGTI_RETURN_IF_ERROR(NameAllStacks(config, adapter));
  for (auto& [name, module] : adapter->modules) {
    PINGTI_RETURN_IF_ERROR(CheckModule(name, config, &module));
  }
  return CheckTargets(config, *adapter);
}

std::string IdOf(const std::string& name, const std::string& config, std::string_view tensors) {
  constexpr size_t kDigits = 16;
  Sha256Hasher hasher;
  hasher.Update(name);
  hasher.Update("\n");
  hasher.Update(config);
  hasher.Update("\n");
  hasher.Update(tensors);
  return ToHex(hasher.Finish()).substr(0, kDigits);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Adapter>> ReadAdapter(const std::string& name,
                                                     const std::string& directory) {
  const std::string config_path = Concat(directory, "/adapter_config.json");
  PINGTI_ASSIGN_OR_RETURN(const std::string text, ReadRequiredFile(config_path));
  const absl::StatusOr<PeftConfig> config = PeftConfig::Parse(text);
  if (!config.ok()) return InFile(config_path, config.status());
  const std::string path = Concat(directory, "/adapter_model.safetensors");
  PINGTI_ASSIGN_OR_RETURN(const std::unique_ptr<MappedFile> file, MappedFile::Open(path));
  auto adapter = std::make_unique<Adapter>();
  adapter->name = name;
  adapter->path = directory;
  adapter->base_model = config->base_model();
  const absl::Status read = ReadTensors(*config, file->bytes(), adapter.get());
  if (!read.ok()) return InFile(path, read);
  adapter->id = IdOf(name, text, file->bytes());
  return adapter;
}

}  // namespace pingti::worker
