#include <optional>
#include <vector>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/model/families/deepseek.h"
#include "worker/model/families/falcon.h"
#include "worker/model/families/family.h"
#include "worker/model/families/gpt_oss.h"
#include "worker/model/families/llama.h"
#include "worker/model/families/mimo.h"
#include "worker/model/families/mistral.h"
#include "worker/model/families/mixtral.h"
#include "worker/model/families/phi3.h"
#include "worker/model/families/qwen.h"
#include "worker/model/families/qwen2.h"
#include "worker/model/families/qwen2_moe.h"
#include "worker/model/families/qwen3.h"
#include "worker/model/families/qwen3_moe.h"

namespace pingti::worker {
namespace {

// "a, b or c", without the empty ones.
std::string Known(std::string_view Family::*name) {
  std::vector<std::string_view> names;
  for (const Family& family : Families()) {
    if (!(family.*name).empty()) names.push_back(family.*name);
  }
  std::string list;
  for (size_t i = 0; i < names.size(); ++i) {
    list += Concat(i == 0 ? "" : i + 1 == names.size() ? " or " : ", ", names[i]);
  }
  return list;
}

const Family* Find(std::string_view Family::*name, std::string_view wanted) {
  for (const Family& family : Families()) {
    if (!wanted.empty() && family.*name == wanted) return &family;
  }
  return nullptr;
}

}  // namespace

std::span<const Family> Families() {
  static const Family families[] = {
      LlamaFamily(),      MistralFamily(),    MixtralFamily(), Phi3Family(),     QwenFamily(),
      Qwen2Family(),      Qwen2MoeFamily(),   Qwen3Family(),   Qwen3MoeFamily(), FalconFamily(),
      DeepseekV2Family(), DeepseekV3Family(), MimoFamily(),    GptOssFamily(),
  };
  return families;
}

absl::StatusOr<const Family*> FindHfFamily(const JsonFields& config) {
  PINGTI_ASSIGN_OR_RETURN(const std::vector<std::string> classes,
                          config.StringList("architectures"));
  const std::string name = classes.empty() ? "" : classes[0];
  const Family* family = Find(&Family::hf_class, name);
  if (family != nullptr) return family;
  return absl::UnimplementedError(
      Concat("'architectures' names '", name, "'; expected ", Known(&Family::hf_class)));
}

absl::StatusOr<const Family*> FindGgufFamily(const GgufFile& file) {
  PINGTI_ASSIGN_OR_RETURN(const std::optional<std::string_view> name,
                          file.String("general.architecture"));
  if (!name.has_value()) {
    return absl::InvalidArgumentError("metadata key 'general.architecture' is missing");
  }
  const Family* family = Find(&Family::gguf_architecture, *name);
  if (family != nullptr) return family;
  return absl::UnimplementedError(
      Concat("architecture '", *name, "'; expected ", Known(&Family::gguf_architecture)));
}

}  // namespace pingti::worker
