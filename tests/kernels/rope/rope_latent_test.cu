// Norm, rotation and append of latents, in bf16 and in int8, against float64: numbers of heads that
// fill and do not fill a block, gaps between heads, padding tokens, slots and columns that nobody
// may write.

#include <algorithm>
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
  bool int8 = false;  // the cache
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
    pool_ = DeviceBuffer<uint8_t>(static_cast<size_t>(pages_) * kPageTokens *
                                  (shape.int8 ? kLatentInt8Bytes : 2 * kLatentKeyDim));
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
    p.kv.page_tokens = kPageTokens;
    p.kv.dtype = shape_.int8 ? DType::kI8 : DType::kBf16;
    SetLatentStrides(&p.kv);
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
    const std::vector<uint8_t> pool = pool_.ToHost();
    std::vector<bool> written(static_cast<size_t>(pages_) * kPageTokens);
    for (int t = 0; t < shape_.tokens; ++t) {
      if (slots_[t] < 0) continue;
      written[slots_[t]] = true;
      const std::vector<double> want = Latent(t);
      const std::vector<double> rotated =
          Rotated(&latents_[static_cast<size_t>(t) * kLatentsStride + kLatentValueDim], t);
      const uint8_t* row = Row(pool, slots_[t]);
      const auto* values = reinterpret_cast<const Bf16*>(row);
      const bool same = shape_.int8 ? NearInt8(run, row, Scales(pool, slots_[t]), want, t)
                                    : Near(run, values, want, "token", t);
      if (!same || !Near(run, values + RowBytes() / 2 - kLatentRopeDim, rotated, "key", t)) return;
    }
    for (size_t slot = 0; slot < written.size(); ++slot) {
      if (written[slot]) continue;
      const uint8_t* row = Row(pool, slot);
      bool untouched =
          std::all_of(row, row + RowBytes(), [](uint8_t byte) { return byte == 0xFF; });
      for (int i = 0; shape_.int8 && i < kLatentScales; ++i) {
        untouched &= Bits(Scales(pool, slot)[i]) == 0xFFFF;
      }
      if (!run->Expect(untouched, "slot %zu of no token is written", slot)) return;
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

  int RowBytes() const { return shape_.int8 ? kLatentInt8RowBytes : 2 * kLatentKeyDim; }
  size_t PageBytes() const {
    return kPageTokens * (shape_.int8 ? kLatentInt8Bytes : 2 * kLatentKeyDim);
  }
  const uint8_t* Row(const std::vector<uint8_t>& pool, int64_t slot) const {
    return &pool[slot / kPageTokens * PageBytes() + slot % kPageTokens * RowBytes()];
  }
  const Bf16* Scales(const std::vector<uint8_t>& pool, int64_t slot) const {
    const uint8_t* page = &pool[slot / kPageTokens * PageBytes()];
    return reinterpret_cast<const Bf16*>(page + kPageTokens * kLatentInt8RowBytes) +
           slot % kPageTokens * kLatentScales;
  }

  // What is to be cached of a token, before it is rounded; without the rotated part.
  std::vector<double> Latent(int token) const {
    const Bf16* from = &latents_[static_cast<size_t>(token) * kLatentsStride];
    double squares = 0;
    for (int d = 0; d < kLatentValueDim; ++d) squares += std::pow(ToDouble(from[d]), 2);
    const double inverse = 1 / std::sqrt(squares / kLatentValueDim + kEps);
    std::vector<double> latent;
    for (int d = 0; d < kLatentValueDim; ++d) {
      latent.push_back(ToDouble(from[d]) * inverse * norm_[d]);
    }
    return latent;
  }

  // Every group's scale is the least bf16 that serves, and every element the nearest multiple.
  static bool NearInt8(TestRun* run, const uint8_t* row, const Bf16* scales,
                       const std::vector<double>& want, int token) {
    constexpr double kFloat = 1e-5;  // sums and products in float
    for (int group = 0; group < kLatentScales; ++group) {
      const double* of_group = &want[group * kLatentScaleGroup];
      double largest = 0;
      for (int d = 0; d < kLatentScaleGroup; ++d) {
        largest = std::max(largest, std::abs(of_group[d]));
      }
      const double scale = ToDouble(scales[group]);
      const bool fits = scale >= largest / 127 * (1 - kFloat) &&
                        scale <= largest / 127 * (1 + 1.0 / 128 + kFloat);
      if (!run->Expect(fits, "token %d group %d: scale %g of %g", token, group, scale, largest)) {
        return false;
      }
      for (int d = 0; d < kLatentScaleGroup; ++d) {
        const double value = scale * static_cast<int8_t>(row[group * kLatentScaleGroup + d]);
        if (!run->Expect(std::abs(value - of_group[d]) <= scale * (0.5 + 127 * kFloat),
                         "token %d group %d element %d: %g, want %g, scale %g", token, group, d,
                         value, of_group[d], scale)) {
          return false;
        }
      }
    }
    return true;
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
  DeviceBuffer<Bf16> q_device_, latents_device_, out_;
  DeviceBuffer<uint8_t> pool_;
  DeviceBuffer<float> norm_device_, cos_device_, sin_device_;
  DeviceBuffer<int64_t> slots_device_;
};

void RunCases(TestRun* run) {
  uint64_t seed = 1;
  for (const Case& shape : {Case{1, 16}, Case{7, 1}, Case{33, 31}, Case{5, 32}, Case{300, 128},
                            Case{1, 16, true}, Case{33, 1, true}, Case{300, 128, true}}) {
    ++seed;
    if (!run->Begin(std::to_string(shape.tokens) + " tokens, " + std::to_string(shape.heads) +
                        " heads" + (shape.int8 ? ", int8" : ""),
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
  params.kv.dtype = DType::kF16;
  run->Expect(LaunchRopeLatent(params, nullptr) == cudaErrorNotSupported, "f16 latents");
  params.kv.dtype = DType::kI8;
  run->Expect(LaunchRopeLatent(params, nullptr) == cudaErrorInvalidValue, "int8 rows of 576 bytes");
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
