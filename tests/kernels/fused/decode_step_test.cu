// A decode step captured once in a CUDA graph and replayed with other lengths, block tables, slots,
// page copies and sampling parameters in device memory gives, bit for bit, what direct launches
// give: no launch has a length, a table or a token baked in.

#include <algorithm>
#include <string>
#include <vector>

#include "tests/kernels/fused/decode_step.h"
#include "tests/kernels/testing/run.h"

namespace pingti::kernels::testing {
namespace {

constexpr int kSteps = 12;

// The host's book-keeping of a few sequences that grow, end, start anew and fork.
class Sequences {
 public:
  explicit Sequences(uint64_t seed) : random_(seed) {
    for (int page = kPages - 1; page >= 0; --page) free_.push_back(page);
    const int lens[kSeqs] = {1, 15, 100, 250, 0};
    for (int s = 0; s < kSeqs; ++s) Restart(s, lens[s]);
  }

  // The state of step `step`: every live sequence appends one token.
  StepState Next(int step) {
    if (step == 3) Restart(1, 0);    // ends: the slot is padding from here on
    if (step == 5) Restart(4, 130);  // a slot comes alive
    if (step == 7) Restart(2, 3);    // one request takes the place of another
    StepState state;
    if (step == 9) Fork(3, 1, &state);
    for (int s = 0; s < kSeqs; ++s) {
      if (lens_[s] == 0) continue;
      const int position = lens_[s]++;
      if (position % kPageTokens == 0) pages_[s].push_back(Take());
      state.positions[s] = position;
      state.kv_lens[s] = lens_[s];
      state.slots[s] =
          static_cast<int64_t>(pages_[s].back()) * kPageTokens + position % kPageTokens;
      std::copy(pages_[s].begin(), pages_[s].end(),
                state.block_table.begin() + static_cast<int64_t>(s) * kTableStride);
      SamplingRowParams& row = state.rows[s];
      row.temperature = s == 0 ? 0.0f : 1.0f;
      row.top_k = s == 3 ? 20 : 0;
      row.top_p = s == 4 ? 0.8f : 1.0f;
      row.seed = 77 + s;
      row.position = position;
    }
    return state;
  }

 private:
  int32_t Take() {
    const size_t at = random_.Below(static_cast<uint32_t>(free_.size()));
    std::swap(free_[at], free_.back());
    const int32_t page = free_.back();
    free_.pop_back();
    return page;
  }

  void Restart(int s, int len) {
    free_.insert(free_.end(), pages_[s].begin(), pages_[s].end());
    pages_[s].clear();
    for (int first = 0; first < len; first += kPageTokens) pages_[s].push_back(Take());
    lens_[s] = len;
  }

  // `to` becomes a copy of `from` that shares all its pages but the last, which is copied.
  void Fork(int from, int to, StepState* state) {
    Restart(to, 0);
    pages_[to] = pages_[from];
    lens_[to] = lens_[from];
    if (lens_[from] % kPageTokens == 0) return;
    pages_[to].back() = Take();
    state->copies[1] = {pages_[from].back(), pages_[to].back()};
  }

  Random random_;
  std::vector<int32_t> free_;
  std::vector<int32_t> pages_[kSeqs];
  int lens_[kSeqs] = {};
};

void Check(TestRun* run, DType kv_dtype, uint64_t seed) {
  const DecodeStep direct(kv_dtype, seed);
  const DecodeStep replayed(kv_dtype, seed);
  cudaStream_t stream;
  PINGTI_CUDA(cudaStreamCreate(&stream));
  // Captured on a state of empty slots, and with lengths that no later step has.
  replayed.SetState(StepState{});
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  PINGTI_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  replayed.Launch(stream);
  PINGTI_CUDA(cudaStreamEndCapture(stream, &graph));
  PINGTI_CUDA(cudaGraphInstantiate(&executable, graph, 0));

  Sequences sequences(seed);
  std::vector<uint8_t> last;
  for (int step = 0; step < kSteps; ++step) {
    const StepState state = sequences.Next(step);
    direct.SetState(state);
    direct.Launch(stream);
    replayed.SetState(state);
    PINGTI_CUDA(cudaGraphLaunch(executable, stream));
    PINGTI_CUDA(cudaStreamSynchronize(stream));
    if (!run->ExpectDeviceOk()) break;
    const std::vector<int32_t> tokens = direct.Tokens();
    run->Expect(tokens == replayed.Tokens(), "step %d: tokens differ", step);
    for (int s = 0; s < kSeqs; ++s) {
      run->Expect(tokens[s] >= 0 && tokens[s] < kVocab, "step %d: token %d of sequence %d", step,
                  tokens[s], s);
    }
    const std::vector<uint8_t> residual = direct.Residual();
    run->Expect(residual == replayed.Residual(), "step %d: hidden states differ", step);
    run->Expect(direct.Cache() == replayed.Cache(), "step %d: caches differ", step);
    run->Expect(residual != last, "step %d: the state changed nothing", step);
    last = residual;
  }
  PINGTI_CUDA(cudaGraphExecDestroy(executable));
  PINGTI_CUDA(cudaGraphDestroy(graph));
  PINGTI_CUDA(cudaStreamDestroy(stream));
}

}  // namespace
}  // namespace pingti::kernels::testing

int main(int argc, char** argv) {
  using namespace pingti::kernels;
  using namespace pingti::kernels::testing;
  TestRun run("decode_step_test", argc, argv);
  uint64_t seed = 1;
  if (run.Begin("bf16 cache", ++seed)) Check(&run, DType::kBf16, seed);
  if (run.Begin("int8 cache", ++seed)) Check(&run, DType::kI8, seed);
  return run.Finish();
}
