// See model_names.h.
#include "router/pipeline/model_names.h"

#include <algorithm>
#include <utility>

#include "common/base/strings.h"

namespace pingti::router {

absl::StatusOr<ModelTable> MakeModelTable(const std::vector<std::string>& models,
                                          const std::vector<std::string>& aliases) {
  ModelTable table;
  for (const std::string& model : models) {
    if (model.empty()) return absl::InvalidArgumentError("models: '' is no name of a model");
    table.models.insert(model);
  }
  for (const std::string& text : aliases) {
    const auto bad = [&](std::string_view why) {
      return absl::InvalidArgumentError(Concat("model alias '", text, "': ", why));
    };
    const size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
      return bad("expected ALIAS=MODEL");
    }
    const std::string alias = text.substr(0, equals);
    if (table.models.contains(alias)) return bad("the alias is the name of a model");
    if (!table.aliases.emplace(alias, text.substr(equals + 1)).second) {
      return bad("the alias is given twice");
    }
  }
  for (const auto& [alias, model] : table.aliases) {
    if (!table.aliases.contains(model)) continue;
    return absl::InvalidArgumentError(
        Concat("model alias '", alias, "=", model, "': '", model, "' is an alias itself"));
  }
  return table;
}

void ModelNames::Replace(ModelTable table) {
  auto shared = std::make_shared<const ModelTable>(std::move(table));
  MutexLock lock(&mutex_);
  table_ = std::move(shared);
}

std::shared_ptr<const ModelTable> ModelNames::table() const {
  MutexLock lock(&mutex_);
  return table_;
}

std::string ModelNames::Resolve(std::string_view name) const {
  const std::shared_ptr<const ModelTable> table = this->table();
  const auto alias = table->aliases.find(name);
  return alias == table->aliases.end() ? std::string(name) : alias->second;
}

bool ModelNames::IsConfigured(std::string_view model) const {
  const std::shared_ptr<const ModelTable> table = this->table();
  return table->models.contains(model) ||
         std::any_of(table->aliases.begin(), table->aliases.end(),
                     [&](const auto& alias) { return alias.second == model; });
}

}  // namespace pingti::router
