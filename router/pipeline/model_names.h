// The models that the router's own settings name: those that should exist, and other names for
// them.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/mutex.h"

namespace pingti::router {

struct ModelTable {
  // Models that are configured: while no worker serves one, it is unavailable rather than unknown.
  std::set<std::string, std::less<>> models{};
  // What to ask for instead, by alias. What an alias means is configured, too.
  std::map<std::string, std::string, std::less<>> aliases{};
};

// `aliases` are "ALIAS=MODEL". Errors: InvalidArgument for one without either, for an alias given
// twice or that is a model's name, and for one that means another alias.
absl::StatusOr<ModelTable> MakeModelTable(const std::vector<std::string>& models,
                                          const std::vector<std::string>& aliases);

// Thread-safe.
class ModelNames {
 public:
  void Replace(ModelTable table);
  std::shared_ptr<const ModelTable> table() const;

  // What an alias means; any other name is its own.
  std::string Resolve(std::string_view name) const;
  // Whether a model by that name, not an alias, should exist.
  bool IsConfigured(std::string_view model) const;

 private:
  mutable Mutex mutex_;
  // Shared with look-ups that are under way when it is replaced.
  std::shared_ptr<const ModelTable> table_ PINGTI_GUARDED_BY(mutex_) =
      std::make_shared<ModelTable>();
};

}  // namespace pingti::router
