// Paged decode attention against float64 over odd lengths, every KV type, head size, group size and
// page size, several query tokens, windows, unused slots, NaN-poisoned page tails and garbage
// block-table tails. The bound is relative to what rounding P to the tensor's type costs.

#include <cstdio>
#include <string>
#include <vector>

#include "tests/kernels/attention/attention_reference.h"
#include "tests/kernels/attention/decode/decode_batch.h"
#include "tests/kernels/testing/run.h"

namespace pingti::kernels::testing {
namespace {

void RunOn(TestRun* run, const DecodeCase& shape, uint64_t seed) {
  const DecodeBatch batch(shape, seed);
  DecodeAttentionParams params = batch.Params();
  size_t plan_bytes = 0;
  size_t workspace_bytes = 0;
  PINGTI_CUDA(DecodePlanBytes(params.shape.num_seqs, shape.num_kv_heads, &plan_bytes));
  PINGTI_CUDA(DecodeWorkspaceBytes(params.shape, shape.head_dim, &workspace_bytes));
  DeviceBuffer<uint8_t> plan(plan_bytes);
  DeviceBuffer<uint8_t> workspace(workspace_bytes);
  const size_t size = static_cast<size_t>(batch.num_rows()) * batch.RowElements();
  DeviceBuffer<Bf16> out(size);
  DeviceBuffer<double> reference(size);
  params.plan = plan.data();
  params.workspace = workspace.data();
  params.out = out.data();
  cudaError_t error = LaunchDecodePlan(params.shape, plan.data(), nullptr);
  run->Expect(error == cudaSuccess, "plan: %s", cudaGetErrorString(error));
  std::vector<Bf16> first;
  for (int repeat = 0; repeat < 2; ++repeat) {  // the second launch proves the counters reset
    out.Poison();
    error = LaunchDecodeAttention(params, nullptr);
    run->Expect(error == cudaSuccess, "launch: %s", cudaGetErrorString(error));
    if (!run->ExpectDeviceOk()) return;
    const std::vector<Bf16> got = out.ToHost();
    if (repeat == 0) {
      first = got;
    } else {
      run->Expect(std::memcmp(first.data(), got.data(), size * sizeof(Bf16)) == 0,
                  "two launches differ");
    }
  }
  PINGTI_CUDA(
      AttentionReference(batch.ReferenceParams(), Precision::kFloat64, reference.data(), nullptr));
  const ErrorStats stats = Compare(first, reference.ToHost());
  constexpr double bound = 4e-3;
  run->Expect(stats.Finite() && stats.rel_l2 < bound, "rel %g (bound %g), max %g at %zu, %zu bad",
              stats.rel_l2, bound, stats.max_abs, stats.worst, stats.num_bad);
}

void RunCase(TestRun* run, const std::string& name, DecodeCase shape, uint64_t seed) {
  for (int head_dim : {64, 128}) {
    for (const char* kv : {"", " int8 KV", " int8 KV, paired scales"}) {
      shape.head_dim = head_dim;
      shape.int8_kv = kv[0] != '\0';
      shape.paired_scales = std::string(kv).ends_with("paired scales");
      const std::string suffix = " hd" + std::to_string(head_dim) + kv;
      if (run->Begin(name + suffix, seed)) RunOn(run, shape, seed);
    }
  }
}

std::vector<int> OddLengths() {
  return {1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 200, 1000, 1023, 0, 1024, 1025, 5};
}

void RunShapes(TestRun* run) {
  uint64_t seed = 100;
  for (int group : {1, 3, 4, 8, 16}) {
    DecodeCase shape;
    shape.kv_lens = OddLengths();
    shape.num_kv_heads = group == 3 ? 3 : 2;
    shape.num_q_heads = group * shape.num_kv_heads;
    RunCase(run, "odd lengths, group " + std::to_string(group), shape, seed += 10);
  }
  for (int page_tokens : {16, 32, 128, 256}) {
    DecodeCase shape;
    shape.kv_lens = OddLengths();
    shape.page_tokens = page_tokens;
    RunCase(run, "pages of " + std::to_string(page_tokens), shape, seed += 10);
  }
  for (int q_len : {2, 3, 4, 5, 8}) {
    DecodeCase shape;
    shape.kv_lens = {8, 9, 63, 64, 65, 70, 300, 1029};
    shape.max_q_len = q_len;
    RunCase(run, std::to_string(q_len) + " query tokens", shape, seed += 10);
    shape.num_q_heads = 16;
    RunCase(run, std::to_string(q_len) + " query tokens, group 16", shape, seed += 10);
  }
  DecodeCase ragged;
  ragged.kv_lens = {8, 0, 64, 65, 0, 300, 777};
  ragged.q_lens = {1, 0, 3, 8, 0, 2, 5};
  ragged.max_q_len = 8;
  RunCase(run, "ragged query lengths", ragged, seed += 10);
  for (int window : {1, 17, 64, 100}) {
    DecodeCase shape;
    shape.kv_lens = OddLengths();
    shape.window = window;
    RunCase(run, "window " + std::to_string(window), shape, seed += 10);
    shape.kv_lens = {8, 63, 64, 65, 300, 1029};
    shape.max_q_len = 5;
    RunCase(run, "5 query tokens, window " + std::to_string(window), shape, seed += 10);
  }
}

// Few sequences: a (sequence, head) is cut for several workers, at its own boundaries or not.
void RunFewSequences(TestRun* run) {
  uint64_t seed = 2000;
  for (int tokens : {1, 63, 64, 65, 513, 1024, 1025, 4096, 4097}) {
    DecodeCase shape;
    shape.kv_lens = {tokens};
    shape.num_kv_heads = 8;
    shape.num_q_heads = 64;
    RunCase(run, "one sequence of " + std::to_string(tokens), shape, seed += 10);
  }
  for (int num_seqs : {1, 2, 3, 5, 9, 17}) {
    for (int num_kv_heads : {2, 4, 8}) {
      DecodeCase shape;
      for (int s = 0; s < num_seqs; ++s) shape.kv_lens.push_back((s * 97 + 30) % 400);
      shape.num_kv_heads = num_kv_heads;
      shape.num_q_heads = 7 * num_kv_heads;
      shape.window = num_kv_heads == 2 ? 150 : 0;
      RunCase(
          run,
          std::to_string(num_seqs) + " sequences, " + std::to_string(num_kv_heads) + " KV heads",
          shape, seed += 10);
    }
  }
  for (int q_len = 1; q_len <= 8; ++q_len) {
    DecodeCase shape;
    shape.kv_lens = {319 + q_len, q_len, 65, 700};
    shape.max_q_len = q_len;
    shape.num_kv_heads = 2;
    shape.num_q_heads = 4;  // 2 to 16 rows
    for (int window : {0, 100}) {
      shape.window = window;
      RunCase(
          run,
          std::to_string(q_len) + " query tokens, few sequences, window " + std::to_string(window),
          shape, seed += 10);
    }
    shape.q_lens = {q_len, 0, 1, (q_len + 1) / 2};
    RunCase(run, "up to " + std::to_string(q_len) + " query tokens, few sequences", shape,
            seed += 10);
  }
  DecodeCase equal;
  equal.kv_lens.assign(34, 192);
  equal.num_kv_heads = 4;
  equal.num_q_heads = 32;
  RunCase(run, "34 sequences of one length", equal, seed += 10);
  DecodeCase uneven;  // workers take pieces of several (sequence, head)s
  uneven.kv_lens = {20000, 65, 9000};
  uneven.num_kv_heads = 2;
  uneven.num_q_heads = 10;
  RunCase(run, "3 sequences of uneven lengths", uneven, seed += 10);
}

void RunExtremes(TestRun* run) {
  DecodeCase shape;
  shape.kv_lens = {131072};
  RunCase(run, "one sequence of 128k", shape, 900);
  shape.kv_lens = {131071, 1, 700, 0, 4097};
  shape.num_kv_heads = 2;
  shape.num_q_heads = 10;
  RunCase(run, "mixed with 128k", shape, 910);
  shape.kv_lens.assign(1500, 3);  // more than one chunk of the plan's prefix sum
  RunCase(run, "1500 short sequences", shape, 920);
  shape.kv_lens = {0};
  RunCase(run, "only an unused slot", shape, 930);
  shape.kv_lens = {333, 64};
  shape.q_scale = 30.0f;
  RunCase(run, "sharp softmax", shape, 940);
}

void RunRefusals(TestRun* run) {
  if (!run->Begin("refuses what it cannot do", 0)) return;
  DecodeAttentionParams empty;
  empty.shape.num_q_heads = empty.shape.num_kv_heads = 1;
  run->Expect(LaunchDecodeAttention(empty, nullptr) == cudaSuccess, "empty batch");
  DecodeCase shape;
  shape.kv_lens = {10};
  const DecodeBatch batch(shape, 1);
  DecodeAttentionParams params = batch.Params();
  params.kv.head_dim = 96;
  run->Expect(LaunchDecodeAttention(params, nullptr) == cudaErrorNotSupported, "head_dim 96");
  params = batch.Params();
  params.kv.dtype = DType::kF16;
  run->Expect(LaunchDecodeAttention(params, nullptr) == cudaErrorNotSupported, "f16 KV");
  params = batch.Params();
  run->Expect(LaunchDecodeAttention(params, nullptr) == cudaErrorInvalidValue, "no plan");
  params.shape.max_q_len = 9;
  run->Expect(LaunchDecodeAttention(params, nullptr) == cudaErrorInvalidValue, "9 query tokens");
}

}  // namespace
}  // namespace pingti::kernels::testing

int main(int argc, char** argv) {
  using namespace pingti::kernels::testing;
  TestRun run("decode_test", argc, argv);
  RunShapes(&run);
  RunFewSequences(&run);
  RunExtremes(&run);
  RunRefusals(&run);
  return run.Finish();
}
