// A LoRA adapter in host memory: what it adds to which modules of its base model, or, once a model
// has prepared it, that in the form in which the model's slots have it. Immutable once made;
// thread-safe. Next: read_adapter.h, which makes one of PEFT's files;
// worker/model/adapter_weights.h, which brings it into the form of a model's products.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "worker/tensor/tensor_view.h"

namespace pingti::worker {

// y += scale * B (A x). Of an embedding x is a token, as the unit vector of its id: in_features are
// its tokens, and out_features the columns of a token's row. Of a stack of experts' matrices each
// expert has its own A and B: rows [e * rank, (e + 1) * rank) of a are the A of expert e, and
// columns e, e + experts, e + 2 * experts, ... of b its B.
struct AdapterModule {
  TensorView a;  // [experts * rank, in_features]
  TensorView b;  // [out_features, rank * experts]
  double scale = 1.0;
  int64_t experts = 1;
  bool is_embedding = false;
  // Not empty: PEFT saved the base's own weight beside, of this shape. It is not read.
  std::vector<int64_t> base_shape;

  int64_t rank() const { return a.shape[0] / experts; }
};

// What a model puts into one of its slots, as it is: see Model::PrepareAdapter. Thread-safe.
class AdapterImage {
 public:
  virtual ~AdapterImage() = default;
};

struct Adapter {
  std::string name;  // that clients ask for
  // Of the name and all that the files say: two workers whose adapters have one id give the same
  // answers with them. 16 hexadecimal digits.
  std::string id;
  std::string path;
  std::string base_model;  // as the configuration names it; may be empty
  // By the name of the base model's module, as Hugging Face checkpoints have it:
  // "model.layers.0.self_attn.q_proj".
  std::map<std::string, AdapterModule, std::less<>> modules;  // empty of a prepared one
  // That the tensors lie in: a copy, so that the file may go or change.
  std::unique_ptr<std::byte[]> memory;
  int64_t bytes = 0;  // of the file
  // Of a prepared one, in place of the modules; null: it is as it was read.
  std::shared_ptr<const AdapterImage> image;

  int64_t max_rank() const;
};

}  // namespace pingti::worker
