// Sampling against a float64 reference that sorts the whole row: every rule alone and together,
// tiny to 256k vocabularies, peaked, ordinary, flat and constant logits (the last two crowd the
// bins of ranks), NaN rows, rows with everything masked, rows that begin at any address, logprobs.
//
// A drawn token may differ from the reference's where two scores are within kTie of each other, and
// where a token lies within kEdge of the total at the edge of top_p.

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "pingti/kernels/sampling.h"
#include "tests/kernels/testing/compare.h"
#include "tests/kernels/testing/device.h"
#include "tests/kernels/testing/run.h"

namespace pingti::kernels::testing {
namespace {

constexpr double kEdge = 3e-6;
constexpr double kTie = 5e-5;
constexpr int kTop = 20;

enum class Logits { kOrdinary, kPeaked, kFlat, kConstant, kGrid, kCliff };

double ReferenceNoise(uint64_t seed, uint64_t position, uint32_t token) {
  uint32_t c[4] = {static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32),
                   token / 4, 0};
  uint32_t k[2] = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = static_cast<uint64_t>(0xD2511F53u) * c[0];
    const uint64_t b = static_cast<uint64_t>(0xCD9E8D57u) * c[2];
    const uint32_t next[4] = {
        static_cast<uint32_t>(b >> 32) ^ c[1] ^ k[0], static_cast<uint32_t>(b),
        static_cast<uint32_t>(a >> 32) ^ c[3] ^ k[1], static_cast<uint32_t>(a)};
    std::copy(next, next + 4, c);
    k[0] += 0x9E3779B9u;
    k[1] += 0xBB67AE85u;
  }
  const double v = std::min((static_cast<float>(c[token % 4]) + 0.5f) * 0x1p-32f, 1.0f - 0x1p-24f);
  return -std::log(-std::log1p(-v));
}

struct Batch {
  int vocab = 0;
  std::vector<float> logits;
  std::vector<SamplingRowParams> rows;
  std::vector<SamplingTokenCount> counts;
  std::vector<SamplingTokenBias> biases;
  std::vector<uint32_t> masks;
  int64_t mask_stride = 0;
};

std::vector<int> DistinctTokens(int count, int vocab, Random* random) {
  std::vector<int> ids;
  for (int i = 0; i < count; ++i) ids.push_back(static_cast<int>(random->Below(vocab)));
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

Batch MakeBatch(int vocab, int num_rows, Logits kind, uint64_t seed) {
  Random random(seed);
  Batch batch;
  batch.vocab = vocab;
  batch.mask_stride = (vocab + 31) / 32 + 1;
  const float spread = kind == Logits::kPeaked ? 10.0f : kind == Logits::kFlat ? 0.02f : 2.5f;
  for (int row = 0; row < num_rows; ++row) {
    for (int t = 0; t < vocab; ++t) {
      float x = random.Normal() * spread;
      if (kind == Logits::kConstant) x = 1.25f;
      if (kind == Logits::kGrid) x = std::round(x);                                // many ties
      if (kind == Logits::kCliff) x = t % (vocab / 3 + 1) == 0 ? 5.0f + x : 1.0f;  // 3 above ties
      batch.logits.push_back(x);
    }
    const float temperatures[] = {0.0f, 0.6f, 1.0f, 1.5f};
    const float top_ps[] = {1.0f, 0.95f, 0.5f, 1.0f};
    const int top_ks[] = {0, 40, 0, 5000, 1, 3};
    SamplingRowParams r;
    r.temperature = temperatures[(row + 1) % 4];
    r.top_p = top_ps[row / 2 % 4];
    r.top_k = top_ks[row / 3 % 6];
    r.min_p = row % 5 == 4 ? 0.1f : 0.0f;
    r.seed = random.Next();
    r.position = row % 2 ? random.Next() : row;
    r.num_top_logprobs = row % 3 == 0 ? -1 : row % 3 == 1 ? 0 : std::min(kTop, 5 + row);
    r.counts_begin = r.counts_end = static_cast<int>(batch.counts.size());
    if (row % 4 == 2) {
      r.repetition_penalty = 1.3f;
      r.presence_penalty = 0.5f;
      r.frequency_penalty = 0.25f;
      for (int id : DistinctTokens(300, vocab, &random)) {
        batch.counts.push_back(
            {id, static_cast<int>(random.Below(2)), static_cast<int>(random.Below(3))});
      }
      r.counts_end = static_cast<int>(batch.counts.size());
    }
    r.biases_begin = r.biases_end = static_cast<int>(batch.biases.size());
    if (row % 4 == 3) {
      for (int id : DistinctTokens(20, vocab, &random)) {
        batch.biases.push_back({id, 4 * random.Normal()});
      }
      r.biases_end = static_cast<int>(batch.biases.size());
    }
    for (int64_t w = 0; w < batch.mask_stride; ++w) {
      batch.masks.push_back(static_cast<uint32_t>(random.Next()) | 1u << row % 32);
    }
    if (row % 6 == 5) r.mask_row = row;
    batch.rows.push_back(r);
  }
  return batch;
}

std::vector<float> Adjusted(const Batch& batch, int row) {
  const SamplingRowParams& r = batch.rows[row];
  std::vector<float> x(batch.logits.begin() + static_cast<int64_t>(row) * batch.vocab,
                       batch.logits.begin() + static_cast<int64_t>(row + 1) * batch.vocab);
  for (int i = r.biases_begin; i < r.biases_end; ++i) {
    x[batch.biases[i].token_id] += batch.biases[i].bias;
  }
  for (int i = r.counts_begin; i < r.counts_end; ++i) {
    const SamplingTokenCount& c = batch.counts[i];
    float& logit = x[c.token_id];
    if (c.prompt_count + c.output_count > 0) {
      logit = logit > 0 ? logit / r.repetition_penalty : logit * r.repetition_penalty;
    }
    if (c.output_count > 0) logit -= r.presence_penalty;
    if (c.output_count > 0) logit -= r.frequency_penalty * static_cast<float>(c.output_count);
  }
  for (int t = 0; r.mask_row >= 0 && t < batch.vocab; ++t) {
    if ((batch.masks[r.mask_row * batch.mask_stride + t / 32] >> (t % 32) & 1) == 0)
      x[t] = -INFINITY;
  }
  return x;
}

// Is `token` what the rules draw, up to rounding at an edge?
bool Acceptable(const Batch& batch, int row, int token, std::string* why) {
  const SamplingRowParams& r = batch.rows[row];
  const std::vector<float> x = Adjusted(batch, row);
  std::vector<int> order(batch.vocab);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](int a, int b) { return x[a] != x[b] ? x[a] > x[b] : a < b; });
  if (token < 0 || token >= batch.vocab) {
    *why = "no token";
    return x[order[0]] == -INFINITY;
  }
  if (r.temperature <= 0 || r.top_k == 1) {
    *why = "argmax is " + std::to_string(order[0]);
    return token == order[0];
  }
  std::vector<double> weight, cumulative;
  double total = 0;
  for (int id : order) {
    if (x[id] == -INFINITY) break;
    weight.push_back(std::exp((static_cast<double>(x[id]) - x[order[0]]) / r.temperature));
    cumulative.push_back(total += weight.back());
  }
  // [0, kept): surely kept; [kept, may_be): by rounding.
  size_t kept = weight.size();
  if (r.top_k > 0) kept = std::min<size_t>(kept, r.top_k);
  size_t may_be = kept;
  if (r.top_p < 1) {
    const double target = static_cast<double>(r.top_p) * cumulative[kept - 1];
    const auto before = [&](size_t n) { return n == 0 ? 0.0 : cumulative[n - 1]; };
    size_t n = 1;
    while (n < kept && before(n) < target - kEdge * total) ++n;
    while (may_be > n && before(may_be - 1) >= target + kEdge * total) --may_be;
    kept = n;
  }
  if (r.min_p > 0) {
    while (kept > 1 && weight[kept - 1] < r.min_p * (1 + 1e-6)) --kept;
    while (may_be > 1 && weight[may_be - 1] < r.min_p * (1 - 1e-6)) --may_be;
  }
  const auto score = [&](size_t n) {
    return static_cast<double>(x[order[n]]) / r.temperature +
           ReferenceNoise(r.seed, r.position, static_cast<uint32_t>(order[n]));
  };
  double highest = -INFINITY;
  for (size_t n = 0; n < kept; ++n) highest = std::max(highest, score(n));
  const size_t at = std::find(order.begin(), order.end(), token) - order.begin();
  const double reached = at < weight.size() ? score(at) : -INFINITY;
  *why = "score " + std::to_string(reached) + ", highest " + std::to_string(highest) + ", rank " +
         std::to_string(at) + " of " + std::to_string(kept) + " kept";
  return at < may_be && reached >= highest - kTie;
}

void CheckLogprobs(TestRun* run, const Batch& batch, int row, int token, float logprob,
                   const int32_t* top_ids, const float* top_logprobs) {
  const SamplingRowParams& r = batch.rows[row];
  const float* x = &batch.logits[static_cast<int64_t>(row) * batch.vocab];
  const float max = *std::max_element(x, x + batch.vocab);
  double sum = 0;
  for (int t = 0; t < batch.vocab; ++t) sum += std::exp(static_cast<double>(x[t]) - max);
  const double log_total = max + std::log(sum);
  run->Expect(std::abs(logprob - (x[token] - log_total)) < 2e-5 * (1 + std::abs(x[token])),
              "row %d: logprob %g, want %g", row, logprob, x[token] - log_total);
  std::vector<int> order(batch.vocab);
  std::iota(order.begin(), order.end(), 0);
  const int n = std::min(r.num_top_logprobs, batch.vocab);
  std::partial_sort(order.begin(), order.begin() + n, order.end(),
                    [&](int a, int b) { return x[a] != x[b] ? x[a] > x[b] : a < b; });
  for (int i = 0; i < n; ++i) {
    run->Expect(top_ids[i] == order[i], "row %d top %d: %d, want %d", row, i, top_ids[i], order[i]);
    run->Expect(std::abs(top_logprobs[i] - (x[order[i]] - log_total)) < 2e-5 * (1 + std::abs(max)),
                "row %d top %d: logprob %g", row, i, top_logprobs[i]);
  }
  for (int i = n; i < r.num_top_logprobs; ++i) {
    run->Expect(top_ids[i] == -1, "row %d top %d beyond the vocabulary: %d", row, i, top_ids[i]);
  }
}

struct Result {
  std::vector<int32_t> tokens, top_ids;
  std::vector<float> logprobs, top_logprobs;
};

Result Sample(TestRun* run, const Batch& batch) {
  const int num_rows = static_cast<int>(batch.rows.size());
  const DeviceBuffer<float> logits(batch.logits);
  const DeviceBuffer<SamplingRowParams> rows(batch.rows);
  const DeviceBuffer<SamplingTokenCount> counts(batch.counts);
  const DeviceBuffer<SamplingTokenBias> biases(batch.biases);
  const DeviceBuffer<uint32_t> masks(batch.masks);
  const DeviceBuffer<int32_t> tokens(num_rows), top_ids(num_rows * kTop);
  const DeviceBuffer<float> logprobs(num_rows), top_logprobs(num_rows * kTop);
  size_t bytes = 0;
  PINGTI_CUDA(SampleWorkspaceBytes(num_rows, batch.vocab, &bytes));
  const DeviceBuffer<uint8_t> workspace(bytes);
  SampleParams p;
  p.logits = logits.data();
  p.logits_stride = batch.vocab;
  p.rows = rows.data();
  p.token_counts = counts.data();
  p.token_biases = biases.data();
  p.allowed_masks = masks.data();
  p.allowed_mask_stride = batch.mask_stride;
  p.workspace = workspace.data();
  p.token_ids = tokens.data();
  p.logprobs = logprobs.data();
  p.top_ids = top_ids.data();
  p.top_logprobs = top_logprobs.data();
  p.max_top_logprobs = kTop;
  p.num_rows = num_rows;
  p.vocab_size = batch.vocab;
  const cudaError_t error = LaunchSample(p, nullptr);
  run->Expect(error == cudaSuccess, "launch: %s", cudaGetErrorString(error));
  run->ExpectDeviceOk();
  return {tokens.ToHost(), top_ids.ToHost(), logprobs.ToHost(), top_logprobs.ToHost()};
}

void RunBatch(TestRun* run, const std::string& name, int vocab, int num_rows, Logits kind,
              uint64_t seed) {
  if (!run->Begin(name + " vocab " + std::to_string(vocab), seed)) return;
  const Batch batch = MakeBatch(vocab, num_rows, kind, seed);
  const Result got = Sample(run, batch);
  const Result again = Sample(run, batch);
  run->Expect(got.tokens == again.tokens, "two launches differ");
  for (int row = 0; row < num_rows; ++row) {
    std::string why;
    if (!run->Expect(Acceptable(batch, row, got.tokens[row], &why), "row %d: token %d: %s", row,
                     got.tokens[row], why.c_str())) {
      continue;
    }
    if (batch.rows[row].num_top_logprobs >= 0 && got.tokens[row] >= 0) {
      CheckLogprobs(run, batch, row, got.tokens[row], got.logprobs[row], &got.top_ids[row * kTop],
                    &got.top_logprobs[row * kTop]);
    }
  }
}

void RunBadRows(TestRun* run) {
  if (!run->Begin("rows that are not finite fail alone", 7)) return;
  Batch batch = MakeBatch(5000, 4, Logits::kOrdinary, 7);
  batch.logits[1234] = NAN;
  for (int t = 0; t < batch.vocab; ++t) batch.logits[2 * batch.vocab + t] = -INFINITY;
  for (int64_t w = 0; w < batch.mask_stride; ++w) batch.masks[3 * batch.mask_stride + w] = 0;
  batch.rows[3].mask_row = 3;
  const Result got = Sample(run, batch);
  run->Expect(got.tokens[0] == -1, "NaN row drew %d", got.tokens[0]);
  run->Expect(got.tokens[1] >= 0, "good row drew %d", got.tokens[1]);
  run->Expect(got.tokens[2] == -1, "-inf row drew %d", got.tokens[2]);
  run->Expect(got.tokens[3] == -1, "masked row drew %d", got.tokens[3]);
}

}  // namespace
}  // namespace pingti::kernels::testing

int main(int argc, char** argv) {
  using namespace pingti::kernels::testing;
  TestRun run("sample_test", argc, argv);
  uint64_t seed = 40;
  for (int vocab : {1, 7, 1000, 4096, 32001, 49152, 151936, 262144}) {
    const int rows = vocab > 60000 ? 24 : 48;
    RunBatch(&run, "ordinary", vocab, rows, Logits::kOrdinary, ++seed);
    RunBatch(&run, "peaked", vocab, rows, Logits::kPeaked, ++seed);
    RunBatch(&run, "flat", vocab, rows, Logits::kFlat, ++seed);
    RunBatch(&run, "constant", vocab, rows, Logits::kConstant, ++seed);
    RunBatch(&run, "grid", vocab, rows, Logits::kGrid, ++seed);
    RunBatch(&run, "cliff", vocab, rows, Logits::kCliff, ++seed);
  }
  RunBadRows(&run);
  return run.Finish();
}
