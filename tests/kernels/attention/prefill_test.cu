// Prefill attention against float64, over paged KV with everything unused poisoned.
// A case passes if the largest error is at most twice that of the formula with only P and the
// result rounded to 16 bits (computed beside it), if rows past the last sequence stay untouched,
// and if a second run of the same plan gives the same bits.
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/attention/prefill/plan.h"
#include "kernels/attention/prefill/variants.h"
#include "tests/kernels/attention/attention_reference.h"
#include "tests/kernels/attention/paged_batch.h"
#include "tests/kernels/testing/run.h"

namespace pingti::kernels::testing {
namespace {

struct Masks {
  bool causal = true;
  int window = 0;
};

struct Transform {
  float logit_softcap = 0;
  bool alibi = false;
};

// Which kernel a case runs: the one the launcher picks for this card, or the portable one.
enum class Path { kDefault, kSm80 };

cudaError_t Plan(Path path, const PrefillAttentionParams& params) {
  if (path == Path::kDefault) return LaunchPrefillPlan(params, nullptr);
  return prefill::LaunchPlan(params, prefill::TileRows(80, params.kv.head_dim), nullptr);
}

cudaError_t Launch(Path path, const PrefillAttentionParams& params) {
  if (path == Path::kDefault) return LaunchPrefillAttention(params, nullptr);
  return params.kv.head_dim == 64 ? prefill::LaunchSm80<64>(params, nullptr)
                                  : prefill::LaunchSm80<128>(params, nullptr);
}

// Owns what a launch writes.
struct Outputs {
  DeviceBuffer<Bf16> out;
  DeviceBuffer<uint8_t> workspace;

  // Points `params` at fresh poisoned buffers, with `padding` elements between the tokens of out.
  Outputs(PrefillAttentionParams* params, int padding) {
    const int64_t token = static_cast<int64_t>(params->num_q_heads) * params->kv.head_dim + padding;
    out = DeviceBuffer<Bf16>(params->total_q_tokens * token);
    workspace = DeviceBuffer<uint8_t>(
        PrefillAttentionWorkspaceBytes(params->total_q_tokens, params->num_seqs));
    params->out = out.data();
    params->out_token_stride = token;
    params->out_head_stride = params->kv.head_dim;
    params->workspace = workspace.data();
    params->workspace_bytes = workspace.bytes();
  }
};

uint16_t Bits(Bf16 value) {
  uint16_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

void CheckErrors(TestRun* run, const PagedBatch& batch, const PrefillAttentionParams& params,
                 const std::vector<Bf16>& strided) {
  const int row_elements = params.num_q_heads * params.kv.head_dim;
  const size_t size = static_cast<size_t>(batch.num_rows()) * row_elements;
  DeviceBuffer<double> reference(size);
  DeviceBuffer<double> low(size);
  run->Expect(
      AttentionReference(params, Precision::kFloat64, reference.data(), nullptr) == cudaSuccess,
      "reference did not launch");
  run->Expect(AttentionReference(params, Precision::kLow, low.data(), nullptr) == cudaSuccess,
              "low-precision reference did not launch");
  if (!run->ExpectDeviceOk()) return;
  std::vector<Bf16> got(size);
  for (int row = 0; row < batch.num_rows(); ++row) {
    std::copy_n(strided.begin() + row * params.out_token_stride, row_elements,
                got.begin() + static_cast<size_t>(row) * row_elements);
  }
  const std::vector<double> exact = reference.ToHost();
  const ErrorStats stats = Compare(got, exact);
  const ErrorStats floor = Compare(low.ToHost(), exact);
  const size_t row = stats.worst / row_elements;
  const size_t head = stats.worst / params.kv.head_dim % params.num_q_heads;
  run->Expect(stats.Finite(), "%zu of %zu elements not finite, first at row %zu head %zu",
              stats.num_bad, size, row, head);
  run->Expect(floor.Finite(), "the reference itself is not finite");
  run->Expect(
      stats.max_abs <= 2 * floor.max_abs + 1e-5,
      "max error %.3g, low-precision reference %.3g; row %zu head %zu dim %zu got %g want %g",
      stats.max_abs, floor.max_abs, row, head, stats.worst % params.kv.head_dim,
      ToDouble(got[stats.worst]), exact[stats.worst]);
  run->Expect(stats.rel_l2 <= 1.5 * floor.rel_l2 + 1e-6, "relative error %.3g, reference %.3g",
              stats.rel_l2, floor.rel_l2);
}

// Rows past the last sequence and the gaps between tokens keep their poison.
void CheckUntouched(TestRun* run, const PagedBatch& batch, const PrefillAttentionParams& params,
                    const std::vector<Bf16>& out) {
  const int64_t used = static_cast<int64_t>(params.num_q_heads) * params.kv.head_dim;
  for (int64_t i = 0; i < static_cast<int64_t>(out.size()); ++i) {
    const bool ours =
        i / params.out_token_stride < batch.num_rows() && i % params.out_token_stride < used;
    if (!ours && !run->Expect(Bits(out[i]) == 0xFFFF, "wrote past its rows: row %lld element %lld",
                              static_cast<long long>(i / params.out_token_stride),
                              static_cast<long long>(i % params.out_token_stride))) {
      return;
    }
  }
}

void RunCase(TestRun* run, Path path, const std::string& name, BatchShape shape, Masks masks,
             uint64_t seed, int out_padding = 0, Transform transform = {}) {
  const std::string full_name = name + (path == Path::kSm80 ? " sm80" : "");
  if (!run->Begin(full_name, seed)) return;
  PagedBatch batch(shape, seed);
  PrefillAttentionParams params = batch.Params();
  params.causal = masks.causal;
  params.window = masks.window;
  params.logit_softcap = transform.logit_softcap;
  std::vector<float> slopes;  // not powers of two
  for (int h = 0; h < shape.num_q_heads; ++h) slopes.push_back(0.3f / (1 + h));
  const DeviceBuffer<float> dslopes(slopes);
  if (transform.alibi) params.alibi_slopes = dslopes.data();
  Outputs outputs(&params, out_padding);
  cudaError_t error = Plan(path, params);
  run->Expect(error == cudaSuccess, "plan: %s", cudaGetErrorString(error));
  error = Launch(path, params);
  run->Expect(error == cudaSuccess, "launch: %s", cudaGetErrorString(error));
  if (!run->ExpectDeviceOk()) return;
  const std::vector<Bf16> first = outputs.out.ToHost();
  CheckErrors(run, batch, params, first);
  CheckUntouched(run, batch, params, first);

  outputs.out.Poison();
  error = Launch(path, params);
  run->Expect(error == cudaSuccess, "second launch: %s", cudaGetErrorString(error));
  if (!run->ExpectDeviceOk()) return;
  const std::vector<Bf16> second = outputs.out.ToHost();
  run->Expect(std::memcmp(first.data(), second.data(), first.size() * sizeof(Bf16)) == 0,
              "two runs of one plan differ");
}

// Every (q_len, kv_len) that sits on, before or after a tile or page edge.
std::vector<SequenceLengths> EdgeLengths() {
  return {{1, 1},     {1, 2},     {2, 2},     {63, 63},   {64, 64},   {65, 65},    {127, 127},
          {128, 128}, {129, 129}, {191, 191}, {192, 192}, {193, 193}, {255, 255},  {257, 257},
          {113, 203}, {239, 239}, {1, 128},   {1, 129},   {1, 640},   {100, 1000}, {128, 384},
          {5, 256},   {130, 515}, {64, 191},  {200, 1023}};
}

void RunShapes(TestRun* run, Path path, int head_dim) {
  const std::string hd = "hd" + std::to_string(head_dim) + " ";
  uint64_t seed = 100 + head_dim;
  BatchShape shape;
  shape.head_dim = head_dim;
  for (int page : {64, 128, 16, 256}) {
    shape.page_tokens = page;
    shape.num_q_heads = 4;
    shape.num_kv_heads = 2;
    shape.seqs = EdgeLengths();
    const std::string pages = "page " + std::to_string(page);
    RunCase(run, path, hd + "edges causal " + pages, shape, {true, 0}, seed++);
    RunCase(run, path, hd + "edges full " + pages, shape, {false, 0}, seed++);
    RunCase(run, path, hd + "edges window 100 " + pages, shape, {true, 100}, seed++);
  }
  shape.page_tokens = 64;
  for (auto [heads, kv_heads] : {std::pair{3, 3}, {9, 3}, {14, 2}, {8, 1}, {28, 4}}) {
    shape.num_q_heads = heads;
    shape.num_kv_heads = kv_heads;
    shape.seqs = {{300, 300}, {77, 500}};
    RunCase(run, path, hd + "heads " + std::to_string(heads) + "/" + std::to_string(kv_heads),
            shape, {true, 0}, seed++);
  }
  shape.num_q_heads = 4;
  shape.num_kv_heads = 2;
  shape.seqs = {{0, 0}, {5, 5}, {0, 77}, {0, 0}, {130, 131}, {0, 9}};
  RunCase(run, path, hd + "empty sequences", shape, {true, 0}, seed++);
  shape.seqs = {{40, 0}, {300, 7}, {10, 10}};
  RunCase(run, path, hd + "queries that see no key", shape, {true, 0}, seed++);
  for (int window : {1, 2, 64, 127, 128, 129, 500}) {
    shape.seqs = {{700, 700}, {33, 900}, {129, 257}};
    RunCase(run, path, hd + "window " + std::to_string(window), shape, {true, window}, seed++);
  }
  shape.seqs = {{799, 799}, {1023, 1024}};
  shape.q_scale = 12.0f;
  RunCase(run, path, hd + "sharp softmax", shape, {true, 0}, seed++);
  shape.q_scale = 1.0f;
  shape.fused_pool = true;
  shape.q_padding = 4 * head_dim;
  shape.spare_rows = 70;
  RunCase(run, path, hd + "fused pool, strided q and out, spare rows", shape, {true, 0}, seed++, 8);
}

void RunLong(TestRun* run, Path path, int head_dim) {
  const std::string hd = "hd" + std::to_string(head_dim) + " ";
  BatchShape shape;
  shape.head_dim = head_dim;
  shape.num_q_heads = 7;
  shape.num_kv_heads = 1;
  shape.page_tokens = 64;
  shape.seqs = {{3, 131072}, {130, 4096}, {1, 131071}};
  RunCase(run, path, hd + "128k prefix", shape, {true, 0}, 7);
  shape.page_tokens = 128;
  RunCase(run, path, hd + "128k prefix, window 4096", shape, {true, 4096}, 8);
  shape.num_q_heads = 8;
  shape.seqs.assign(300, {0, 0});
  Random random(9);
  for (SequenceLengths& seq : shape.seqs) {
    seq.q_len = random.Below(4) == 0 ? random.Below(300) : random.Below(3);
    seq.kv_len = seq.q_len + random.Below(400);
  }
  RunCase(run, path, hd + "300 random sequences", shape, {true, 0}, 9);
  shape.num_kv_heads = 8;
  shape.seqs = {{2048, 2048}};
  RunCase(run, path, hd + "2048 tokens", shape, {true, 0}, 10);
}

void RunTransforms(TestRun* run, int head_dim) {
  using T = __nv_bfloat16;
  const std::string hd = "hd" + std::to_string(head_dim) + " ";
  uint64_t seed = 500 + head_dim;
  BatchShape shape;
  shape.head_dim = head_dim;
  shape.num_q_heads = 6;
  shape.num_kv_heads = 2;
  shape.q_scale = 3.0f;  // scores that a cap of 2 bends
  for (int page : {64, 16}) {
    shape.page_tokens = page;
    shape.seqs = EdgeLengths();
    for (const Transform transform : {Transform{2.0f, false}, {0, true}, {2.0f, true}}) {
      const std::string name = hd + (transform.logit_softcap != 0 ? "softcap " : "") +
                               (transform.alibi ? "alibi " : "") + "page " + std::to_string(page);
      for (const Masks masks : {Masks{true, 0}, {false, 0}, {true, 100}}) {
        RunCase(run, Path::kDefault,
                name + (masks.causal ? " causal " : " full ") + std::to_string(masks.window), shape,
                masks, seed++, 0, transform);
      }
    }
  }
}

void RunRefusals(TestRun* run) {
  if (!run->Begin("refuses what it cannot do", 0)) return;
  BatchShape shape;
  shape.seqs = {{4, 4}};
  PagedBatch batch(shape, 1);
  PrefillAttentionParams good = batch.Params();
  Outputs outputs(&good, 0);
  auto expect = [&](PrefillAttentionParams params, cudaError_t want, const char* what) {
    const cudaError_t got = LaunchPrefillAttention(params, nullptr);
    run->Expect(got == want, "%s: %s", what, cudaGetErrorString(got));
  };
  PrefillAttentionParams params = good;
  params.kv.head_dim = 96;
  expect(params, cudaErrorNotSupported, "head_dim 96");
  params = good;
  params.kv.dtype = DType::kI8;
  expect(params, cudaErrorNotSupported, "int8 KV");
  params = good;
  params.kv.page_tokens = 48;
  expect(params, cudaErrorInvalidValue, "page_tokens 48");
  params = good;
  params.causal = false;
  params.window = 5;
  expect(params, cudaErrorInvalidValue, "window without causal");
  params = good;
  params.workspace_bytes = 8;
  expect(params, cudaErrorInvalidValue, "small workspace");
  params = good;
  params.logit_softcap = -1;
  expect(params, cudaErrorInvalidValue, "a negative cap");
  params = good;
  params.logit_softcap = 1;
  params.kv.dtype = DType::kF16;
  expect(params, cudaErrorNotSupported, "transformed scores in f16");
  params = good;
  params.num_seqs = 0;
  expect(params, cudaSuccess, "no sequences");
  params = good;
  params.total_q_tokens = 0;
  expect(params, cudaSuccess, "no rows");
}

}  // namespace
}  // namespace pingti::kernels::testing

int main(int argc, char** argv) {
  using namespace pingti::kernels::testing;
  TestRun run("prefill_test", argc, argv);
  RunRefusals(&run);
  RunTransforms(&run, 64);
  RunTransforms(&run, 128);
  for (Path path : {Path::kDefault, Path::kSm80}) {
    for (int head_dim : {128, 64}) RunShapes(&run, path, head_dim);
    for (int head_dim : {128, 64}) RunLong(&run, path, head_dim);
  }
  return run.Finish();
}
