// Latent attention against float64, over latents in bf16 and in int8: decode over odd lengths,
// every way in which rows are packed and sequences are cut, several query tokens, unused slots,
// every page size; prefill over prompts and chunks. Tails of pages are NaN, those of block tables
// garbage; rows past the last sequence stay untouched, and a second launch gives the same bits. The
// bound is relative to what rounding P to bf16 costs.
#include <cstdio>
#include <string>
#include <vector>

#include "tests/kernels/attention/latent/latent_batch.h"
#include "tests/kernels/attention/latent/latent_reference.h"
#include "tests/kernels/testing/run.h"

namespace pingti::kernels::testing {
namespace {

constexpr double kBound = 4e-3;

// Checks `launch(out)` of a batch, twice.
template <class Launch>
void CheckLaunch(TestRun* run, const LatentCase& shape, const LatentBatch& batch,
                 const Launch& launch) {
  const int64_t stride = batch.OutTokenStride();
  DeviceBuffer<Bf16> out(static_cast<size_t>(batch.num_rows() + shape.spare_rows) * stride);
  std::vector<Bf16> first;
  for (int repeat = 0; repeat < 2; ++repeat) {
    out.Poison();
    const cudaError_t error = launch(out.data());
    run->Expect(error == cudaSuccess, "launch: %s", cudaGetErrorString(error));
    if (!run->ExpectDeviceOk()) return;
    std::vector<Bf16> got = out.ToHost();
    if (repeat == 0) {
      first = std::move(got);
    } else {
      run->Expect(std::memcmp(first.data(), got.data(), got.size() * sizeof(Bf16)) == 0,
                  "two launches differ");
    }
  }
  const int row_elements = shape.num_heads * kLatentValueDim;
  const size_t size = static_cast<size_t>(batch.num_rows()) * row_elements;
  DeviceBuffer<double> reference(size);
  PINGTI_CUDA(LatentReference(batch.Prefill(), reference.data(), nullptr));
  std::vector<Bf16> dense(size);
  size_t num_touched = 0;
  for (size_t row = 0; row < first.size() / stride; ++row) {
    for (int i = 0; i < stride; ++i) {
      const Bf16 value = first[row * stride + i];
      if (static_cast<int>(row) < batch.num_rows() && i < row_elements) {
        dense[row * row_elements + i] = value;
        continue;
      }
      uint16_t bits;
      std::memcpy(&bits, &value, sizeof(bits));
      num_touched += bits != 0xFFFF;
    }
  }
  run->Expect(num_touched == 0, "%zu elements of no row are written", num_touched);
  const ErrorStats stats = Compare(dense, reference.ToHost());
  run->Expect(stats.Finite() && stats.rel_l2 < kBound, "rel %g (bound %g), max %g at %zu, %zu bad",
              stats.rel_l2, kBound, stats.max_abs, stats.worst, stats.num_bad);
}

void RunDecodeOf(TestRun* run, const std::string& name, const LatentCase& shape, uint64_t seed,
                 bool uniform) {
  if (!run->Begin("decode: " + name, seed)) return;
  const LatentBatch batch(shape, seed);
  LatentDecodeParams params = batch.Decode(uniform);
  size_t plan_bytes = 0;
  size_t workspace_bytes = 0;
  PINGTI_CUDA(LatentDecodePlanBytes(params.shape, &plan_bytes));
  PINGTI_CUDA(LatentDecodeWorkspaceBytes(params.shape, &workspace_bytes));
  DeviceBuffer<uint8_t> plan(plan_bytes);
  DeviceBuffer<uint8_t> workspace(workspace_bytes);
  params.plan = plan.data();
  params.workspace = workspace.data();
  const cudaError_t error = LaunchLatentDecodePlan(params.shape, plan.data(), nullptr);
  run->Expect(error == cudaSuccess, "plan: %s", cudaGetErrorString(error));
  CheckLaunch(run, shape, batch, [&](Bf16* out) {
    params.tensors.out = out;
    return LaunchLatentDecode(params, nullptr);
  });
}

void RunPrefillOf(TestRun* run, const std::string& name, const LatentCase& shape, uint64_t seed) {
  if (!run->Begin("prefill: " + name, seed)) return;
  const LatentBatch batch(shape, seed);
  LatentPrefillParams params = batch.Prefill();
  DeviceBuffer<uint8_t> workspace(
      LatentPrefillWorkspaceBytes(params.tensors.num_rows, params.num_seqs));
  params.workspace = workspace.data();
  params.workspace_bytes = workspace.bytes();
  const cudaError_t error = LaunchLatentPrefillPlan(params, nullptr);
  run->Expect(error == cudaSuccess, "plan: %s", cudaGetErrorString(error));
  CheckLaunch(run, shape, batch, [&](Bf16* out) {
    params.tensors.out = out;
    return LaunchLatentPrefill(params, nullptr);
  });
}

// With latents in bf16, then in int8.
void RunDecode(TestRun* run, const std::string& name, LatentCase shape, uint64_t seed,
               bool uniform = true) {
  RunDecodeOf(run, name, shape, seed, uniform);
  shape.int8 = true;
  RunDecodeOf(run, name + ", int8", shape, seed, uniform);
}

void RunPrefill(TestRun* run, const std::string& name, LatentCase shape, uint64_t seed) {
  RunPrefillOf(run, name, shape, seed);
  shape.int8 = true;
  RunPrefillOf(run, name + ", int8", shape, seed);
}

std::vector<LatentSequence> Sequences(const std::vector<int>& kv_lens, int q_len) {
  std::vector<LatentSequence> seqs;
  for (int kv_len : kv_lens) seqs.push_back({q_len, kv_len});
  return seqs;
}

std::vector<int> OddLengths() {
  return {1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 200, 1000, 1023, 0, 1024, 1025, 5, 3000};
}

std::string Number(int value, const char* what) { return std::to_string(value) + what; }

void RunDecodeShapes(TestRun* run) {
  uint64_t seed = 100;
  for (int heads : {1, 3, 8, 16, 32, 40, 64, 65, 96, 128}) {
    LatentCase shape;
    shape.num_heads = heads;
    shape.seqs = Sequences(OddLengths(), 1);
    shape.padding = heads == 3 ? 8 : 0;
    RunDecode(run, "odd lengths, " + Number(heads, " heads"), shape, seed += 10);
  }
  for (int page_tokens : {16, 32, 128, 256}) {
    LatentCase shape;
    shape.page_tokens = page_tokens;
    shape.seqs = Sequences(OddLengths(), 1);
    RunDecode(run, "pages of " + std::to_string(page_tokens), shape, seed += 10);
  }
  for (int q_len = 2; q_len <= kMaxLatentDecodeTokens; ++q_len) {
    for (int heads : {1, 16, 40, 128}) {
      LatentCase shape;
      shape.num_heads = heads;
      shape.seqs = Sequences({8, 9, 63, 64, 65, 70, 300, 1029, 0}, q_len);
      RunDecode(run, Number(q_len, " query tokens, ") + Number(heads, " heads"), shape, seed += 10);
    }
  }
  for (int heads : {5, 16, 128}) {
    LatentCase ragged;
    ragged.num_heads = heads;
    ragged.seqs = {{1, 8}, {0, 0}, {3, 64}, {8, 65}, {0, 0}, {2, 300}, {5, 777}, {1, 0}};
    ragged.spare_rows = 3;
    RunDecode(run, "ragged query lengths, " + Number(heads, " heads"), ragged, seed += 10, false);
  }
}

// Few sequences: one is cut for several workers.
void RunDecodeCuts(TestRun* run) {
  uint64_t seed = 2000;
  for (int heads : {16, 128}) {
    LatentCase shape;
    shape.num_heads = heads;
    for (int tokens : {1, 63, 64, 65, 513, 1024, 1025, 4096, 4097, 20000}) {
      shape.seqs = {{1, tokens}};
      RunDecode(run, "one sequence of " + Number(tokens, ", ") + Number(heads, " heads"), shape,
                seed += 10);
    }
    for (int num_seqs : {2, 3, 5, 9, 17, 66, 67, 131, 140}) {
      shape.seqs.clear();
      for (int s = 0; s < num_seqs; ++s) shape.seqs.push_back({1, (s * 97 + 30) % 400});
      RunDecode(run, Number(num_seqs, " sequences, ") + Number(heads, " heads"), shape, seed += 10);
    }
    shape.seqs = {{1, 20000}, {1, 65}, {1, 9000}};
    RunDecode(run, "3 sequences of uneven lengths, " + Number(heads, " heads"), shape, seed += 10);
    shape.seqs = {{8, 5000}, {3, 65}, {1, 900}};
    RunDecode(run, "cut, up to 8 query tokens, " + Number(heads, " heads"), shape, seed += 10,
              false);
    shape.seqs.assign(34, {1, 192});
    RunDecode(run, "34 sequences of one length, " + Number(heads, " heads"), shape, seed += 10);
  }
}

void RunDecodeExtremes(TestRun* run) {
  LatentCase shape;
  shape.seqs = {{1, 131071}, {1, 1}, {1, 700}, {1, 0}, {1, 4097}};
  RunDecode(run, "mixed with 128k", shape, 910);
  shape.seqs.assign(1500, {1, 3});  // more than one chunk of the plan's prefix sum
  RunDecode(run, "1500 short sequences", shape, 920);
  shape.seqs = {{1, 0}};
  RunDecode(run, "only an unused slot", shape, 930);
  shape.seqs = {{1, 333}, {1, 64}, {1, 900}};
  shape.q_scale = 30.0f;
  RunDecode(run, "sharp softmax", shape, 940);
}

void RunPrefillShapes(TestRun* run) {
  uint64_t seed = 5000;
  for (int heads : {1, 3, 16, 40, 64, 128}) {
    LatentCase shape;
    shape.num_heads = heads;
    shape.seqs = {{1, 1}, {2, 2}, {63, 63}, {64, 64}, {65, 65}, {0, 0}, {130, 130}, {17, 500}};
    shape.spare_rows = 5;
    shape.padding = heads == 16 ? 8 : 0;
    RunPrefill(run, "prompts and a chunk, " + Number(heads, " heads"), shape, seed += 10);
  }
  for (int page_tokens : {16, 32, 128, 256}) {
    LatentCase shape;
    shape.page_tokens = page_tokens;
    shape.seqs = {{300, 300}, {100, 1100}, {9, 77}};
    RunPrefill(run, "pages of " + std::to_string(page_tokens), shape, seed += 10);
  }
  LatentCase shape;
  shape.num_heads = 32;
  shape.seqs = {{700, 2900}};
  RunPrefill(run, "a chunk behind a long prefix", shape, seed += 10);
  shape.seqs.assign(200, {9, 40});
  RunPrefill(run, "200 short chunks", shape, seed += 10);
  shape.num_heads = 16;
  shape.seqs = {{1500, 1500}};
  RunPrefill(run, "a long prompt", shape, seed += 10);
}

void RunRefusals(TestRun* run) {
  if (!run->Begin("refuses what it cannot do", 0)) return;
  LatentDecodeParams empty;
  empty.shape.num_heads = 1;
  run->Expect(LaunchLatentDecode(empty, nullptr) == cudaSuccess, "empty batch");
  LatentCase shape;
  shape.seqs = {{1, 10}};
  const LatentBatch batch(shape, 1);
  DeviceBuffer<Bf16> out(16 * kLatentValueDim);
  LatentDecodeParams params = batch.Decode(true);
  params.tensors.out = out.data();
  params.tensors.kv.head_dim = 128;
  run->Expect(LaunchLatentDecode(params, nullptr) == cudaErrorNotSupported, "head_dim 128");
  params = batch.Decode(true);
  params.tensors.out = out.data();
  params.tensors.kv.dtype = DType::kF16;
  run->Expect(LaunchLatentDecode(params, nullptr) == cudaErrorNotSupported, "f16 latents");
  params = batch.Decode(true);
  params.tensors.out = out.data();
  run->Expect(LaunchLatentDecode(params, nullptr) == cudaErrorInvalidValue, "no plan");
  params.shape.max_q_len = kMaxLatentDecodeTokens + 1;
  run->Expect(LaunchLatentDecode(params, nullptr) == cudaErrorInvalidValue, "9 query tokens");
  params = batch.Decode(true);
  params.shape.num_heads = kMaxLatentHeads + 1;
  run->Expect(LaunchLatentDecode(params, nullptr) == cudaErrorInvalidValue, "129 heads");
  LatentPrefillParams prefill = batch.Prefill();
  prefill.tensors.out = out.data();
  run->Expect(LaunchLatentPrefill(prefill, nullptr) == cudaErrorInvalidValue, "no workspace");
}

}  // namespace
}  // namespace pingti::kernels::testing

int main(int argc, char** argv) {
  using namespace pingti::kernels::testing;
  TestRun run("latent_test", argc, argv);
  if (run.compute_major() != 9) {
    std::printf("latent_test: SKIPPED: no device of compute capability 9.0\n");
    return 77;
  }
  RunDecodeShapes(&run);
  RunDecodeCuts(&run);
  RunDecodeExtremes(&run);
  RunPrefillShapes(&run);
  RunRefusals(&run);
  return run.Finish();
}
