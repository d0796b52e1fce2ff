// Builds each model once, however many workers serve it: tokenizers by their file's sha256, models
// by the card's fingerprint and names.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/mutex.h"
#include "router/worker_link/served_model.h"

namespace pingti::worker::v1 {
class Asset;
}

namespace pingti::router {

// Thread-safe. Calls may block for as long as a download and a build take; callers are link
// threads.
class ModelStore {
 public:
  // Gets the bytes of an asset the card names.
  using Fetch = std::function<absl::StatusOr<std::string>(const worker::v1::Asset&)>;

  // The model of `card`, built now unless one with its fingerprint, context and names is still in
  // use.
  // Errors: those of `fetch`; DataLoss when the bytes do not have the sha256 the card names;
  // InvalidArgument and Unimplemented from the tokenizer and the template.
  absl::StatusOr<std::shared_ptr<const ServedModel>> GetOrBuild(const worker::v1::ModelCard& card,
                                                                const Fetch& fetch);

 private:
  // The fingerprint, and what workers of one fingerprint may have different: max_context_tokens,
  // and the model's id and aliases.
  using ModelKey = std::tuple<std::string, uint32_t, std::vector<std::string>>;

  absl::StatusOr<std::shared_ptr<const text::Tokenizer>> Tokenizer(
      const worker::v1::ModelCard& card, const Fetch& fetch) PINGTI_REQUIRES(build_mutex_);

  // Held while building, so that two links never build the same thing twice.
  Mutex build_mutex_;
  // Weak: a model lives while a worker or a request holds it.
  std::map<ModelKey, std::weak_ptr<const ServedModel>> models_ PINGTI_GUARDED_BY(build_mutex_);
  std::map<std::string, std::weak_ptr<const text::Tokenizer>> tokenizers_
      PINGTI_GUARDED_BY(build_mutex_);
};

}  // namespace pingti::router
