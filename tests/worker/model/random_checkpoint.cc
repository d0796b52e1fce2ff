#include "tests/worker/model/random_checkpoint.h"

#include <random>
#include <set>
#include <utility>

#include "common/base/check.h"
#include "common/base/strings.h"
#include "worker/model/decoder_blocks.h"
#include "worker/model/open_checkpoint.h"

namespace pingti::worker::testing {

RandomCheckpoint::RandomCheckpoint(const std::string& config, uint32_t seed) {
  auto spec = ParseHfConfig(config);
  PINGTI_CHECK_MSG(spec.ok(), spec.status().ToString());
  std::mt19937 rng(seed);
  Checkpoint::Parts parts;
  parts.path = "random";
  parts.format = "random";
  std::set<std::string> seen;
  const auto add = [&](const std::string& name, std::vector<int64_t> shape, float mean) {
    if (!seen.insert(name).second) return;
    TensorView tensor{name, DType::kF32, std::move(shape), nullptr, 0};
    std::normal_distribution<float> normal(mean, 0.2f);
    std::vector<float>& values = values_.emplace_back(static_cast<size_t>(tensor.NumElements()));
    for (float& value : values) value = normal(rng);
    tensor.data = values.data();
    tensor.bytes = tensor.NumElements() * 4;
    parts.tensors.push_back(std::move(tensor));
  };
  for (const WeightSpec& weight : DeclaredWeights(*spec)) {
    for (const RowBlock& part : JoinedParts(weight)) {
      std::vector<int64_t> shape = {part.module_rows};
      if (!weight.is_vector()) shape.push_back(weight.cols);
      const bool norm = weight.role == WeightRole::kNorm;
      add(Concat(part.module, weight.suffix), std::move(shape), norm ? 1.0f : 0.0f);
      if (weight.bias) add(part.module + ".bias", {part.module_rows}, 0.0f);
    }
  }
  parts.spec = *std::move(spec);
  checkpoint_ = std::make_unique<Checkpoint>(std::move(parts));
}

}  // namespace pingti::worker::testing
