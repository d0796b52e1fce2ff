// Norm, rotation and append of latents against float64: numbers of heads that fill and do not fill
// a block, gaps between heads, padding tokens, slots and columns that nobody may write.

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "pingti/kernels/latent_attention.h"
#include "pingti/kernels/rope_latent.h"
#include "tests/kernels/testing/compare.h"
#include "tests/kernels/testing/device.h"
#include "tests/kernels/testing/run.h"

namespace pingti::kernels::testing {
namespace {

using Bf16 = __nv_bfloat16;

constexpr int kPageTokens = 16;
constexpr int kPairs = kLatentRopeDim / 2;
constexpr int kQHead = kLatentRopeDim + 4;  // elements from one head of q to the next
constexpr double kRounding = 1.0 / 256;     // of bf16, relative

uint16_t Bits(Bf16 value) {
  uint16_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

struct Case {
  int tokens;
  int heads;
};

// Inputs and outputs of one launch.
class Batch {
 public:
  Batch(const Case& shape, uint64_t seed) : shape_(shape), random_(seed) {
    q_ = Make(shape.tokens * shape.heads * kQHead, &q_device_);
    latents_ = Make(shape.tokens * kLatentsStride, &latents_device_);
    norm_ = RandomNormal<float>(kLatentValueDim, &random_);
    for (int i = 0; i < shape.tokens * kPairs; ++i) {
      const double angle = 3 * random_.Normal();
      cos_.push_back(static_cast<float>(std::cos(angle)));
      sin_.push_back(static_cast<float>(std::sin(angle)));
    }
    // Every other slot, backwards; the third token of four is padding.
    for (int t = 0; t < shape.tokens; ++t) {
      slots_.push_back(t % 4 == 2 ? -1 : 2 * (shape.tokens - 1 - t));
    }
    norm_device_ = DeviceBuffer<float>(norm_);
    cos_device_ = DeviceBuffer<float>(cos_);
    sin_device_ = DeviceBuffer<float>(sin_);
    slots_device_ = DeviceBuffer<int64_t>(slots_);
    pages_ = (2 * shape.tokens + kPageTokens - 1) / kPageTokens;
    pool_ = DeviceBuffer<Bf16>(static_cast<size_t>(pages_) * kPageTokens * kLatentKeyDim);
    out_ = DeviceBuffer<Bf16>(static_cast<size_t>(shape.tokens) * shape.heads * kLatentKeyDim);
  }

  RopeLatentParams Params() const {
    RopeLatentParams p;
    p.q = q_device_.data() + 2;
    p.q_token_stride = int64_t{shape_.heads} * kQHead;
    p.q_head_stride = kQHead;
    p.out = out_.data() + kLatentValueDim;
    p.out_token_stride = int64_t{shape_.heads} * kLatentKeyDim;
    p.out_head_stride = kLatentKeyDim;
    p.latents = latents_device_.data();
    p.latents_stride = kLatentsStride;
    p.norm_weight = norm_device_.data();
    p.norm_eps = kEps;
    p.cos = cos_device_.data();
    p.sin = sin_device_.data();
    p.kv.k = pool_.data();
    p.kv.num_pages = pages_;
    p.kv.num_kv_heads = 1;
    p.kv.page_tokens = kPageTokens;
    p.kv.head_dim = kLatentKeyDim;
    SetDenseStrides(&p.kv);
    p.slots = slots_device_.data();
    p.num_tokens = shape_.tokens;
    p.num_heads = shape_.heads;
    return p;
  }

  void CheckQueries(TestRun* run) const {
    const std::vector<Bf16> got = out_.ToHost();
    for (int row = 0; row < shape_.tokens * shape_.heads; ++row) {
      const Bf16* head = &got[static_cast<size_t>(row) * kLatentKeyDim];
      for (int i = 0; i < kLatentValueDim; ++i) {
        if (!run->Expect(Bits(head[i]) == 0xFFFF, "row %d column %d is written", row, i)) return;
      }
      const std::vector<double> want =
          Rotated(&q_[static_cast<size_t>(row) * kQHead + 2], row / shape_.heads);
      if (!Near(run, head + kLatentValueDim, want, "query row", row)) return;
    }
  }

  void CheckCache(TestRun* run) const {
    const std::vector<Bf16> got = pool_.ToHost();
    std::vector<bool> written(static_cast<size_t>(pages_) * kPageTokens);
    for (int t = 0; t < shape_.tokens; ++t) {
      if (slots_[t] < 0) continue;
      written[slots_[t]] = true;
      const Bf16* from = &latents_[static_cast<size_t>(t) * kLatentsStride];
      double squares = 0;
      for (int d = 0; d < kLatentValueDim; ++d) squares += std::pow(ToDouble(from[d]), 2);
      const double inverse = 1 / std::sqrt(squares / kLatentValueDim + kEps);
      std::vector<double> want;
      for (int d = 0; d < kLatentValueDim; ++d) {
        want.push_back(ToDouble(from[d]) * inverse * norm_[d]);
      }
      for (double value : Rotated(from + kLatentValueDim, t)) want.push_back(value);
      if (!Near(run, &got[slots_[t] * kLatentKeyDim], want, "token", t)) return;
    }
    for (size_t i = 0; i < got.size(); ++i) {
      if (written[i / kLatentKeyDim]) continue;
      if (!run->Expect(Bits(got[i]) == 0xFFFF, "element %zu of no token is written", i)) return;
    }
  }

 private:
  static constexpr int kLatentsStride = kLatentKeyDim + 8;
  static constexpr float kEps = 1e-6f;

  std::vector<Bf16> Make(int size, DeviceBuffer<Bf16>* device) {
    std::vector<Bf16> values = RandomNormal<Bf16>(size, &random_);
    *device = DeviceBuffer<Bf16>(values);
    return values;
  }

  std::vector<double> Rotated(const Bf16* x, int token) const {
    std::vector<double> result(kLatentRopeDim);
    for (int i = 0; i < kPairs; ++i) {
      const double cos = cos_[token * kPairs + i];
      const double sin = sin_[token * kPairs + i];
      const double first = ToDouble(x[2 * i]);
      const double second = ToDouble(x[2 * i + 1]);
      result[2 * i] = first * cos - second * sin;
      result[2 * i + 1] = second * cos + first * sin;
    }
    return result;
  }

  static bool Near(TestRun* run, const Bf16* got, const std::vector<double>& want, const char* what,
                   int index) {
    for (size_t i = 0; i < want.size(); ++i) {
      const double error = std::abs(ToDouble(got[i]) - want[i]);
      if (!run->Expect(error <= kRounding * std::abs(want[i]) + 1e-5,
                       "%s %d element %zu: %g, want %g", what, index, i, ToDouble(got[i]),
                       want[i])) {
        return false;
      }
    }
    return true;
  }

  const Case shape_;
  Random random_;
  int pages_ = 0;
  std::vector<Bf16> q_, latents_;
  std::vector<float> norm_, cos_, sin_;
  std::vector<int64_t> slots_;
  DeviceBuffer<Bf16> q_device_, latents_device_, pool_, out_;
  DeviceBuffer<float> norm_device_, cos_device_, sin_device_;
  DeviceBuffer<int64_t> slots_device_;
};

void RunCases(TestRun* run) {
  uint64_t seed = 1;
  for (const Case& shape : {Case{1, 16}, Case{7, 1}, Case{33, 31}, Case{5, 32}, Case{300, 128}}) {
    ++seed;
    if (!run->Begin(
            std::to_string(shape.tokens) + " tokens, " + std::to_string(shape.heads) + " heads",
            seed)) {
      continue;
    }
    const Batch batch(shape, seed);
    const cudaError_t error = LaunchRopeLatent(batch.Params(), nullptr);
    run->Expect(error == cudaSuccess, "launch: %s", cudaGetErrorString(error));
    if (!run->ExpectDeviceOk()) continue;
    batch.CheckQueries(run);
    batch.CheckCache(run);
  }
}

void RunRefusals(TestRun* run) {
  if (!run->Begin("refuses what it cannot do", 0)) return;
  const Batch batch({1, 2}, 1);
  RopeLatentParams params = batch.Params();
  params.kv.head_dim = 128;
  run->Expect(LaunchRopeLatent(params, nullptr) == cudaErrorNotSupported, "head_dim 128");
  params = batch.Params();
  params.q_head_stride = 67;
  run->Expect(LaunchRopeLatent(params, nullptr) == cudaErrorInvalidValue, "an odd stride");
  params = batch.Params();
  params.slots = nullptr;
  run->Expect(LaunchRopeLatent(params, nullptr) == cudaErrorInvalidValue, "no slots");
}

}  // namespace
}  // namespace pingti::kernels::testing

int main(int argc, char** argv) {
  using namespace pingti::kernels::testing;
  TestRun run("rope_latent_test", argc, argv);
  RunCases(&run);
  RunRefusals(&run);
  return run.Finish();
}
