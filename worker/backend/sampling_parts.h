// Draws from a row whose logits several ranks hold a part each, without bringing the row together.
// Each rank writes a small record of its part (Backend::SampleParts); whoever has all ranks'
// records draws what Backend::Sample draws from the whole row (docs/adr/0019).
//
// What a record holds suffices because every limit keeps a prefix of the tokens in descending
// order. With a temperature alone it is the token of the part's highest score, and the highest of
// all parts' is the draw. With top_k it is the part's top_k best tokens, among which are the row's.
// With top_p or min_p alone it is the part's weight, its best tokens and the token of its highest
// score. The parts' best tokens are the row's down to where one part has told no more. If what is
// kept ends above that, the draw is among them. If not, the token of the highest score of all
// decides, where it is known to be kept. Else the row is undecided and has to be brought together.
// A kept prefix by top_p ends where a sum of weights passes a bound, so its last token may differ
// from a whole row's where the sum comes within its rounding of that bound.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "worker/backend/sampling_params.h"

namespace pingti::worker {

// The most tokens that a part tells of a row.
inline constexpr int32_t kMaxPartCandidates = 128;

// Records are f32 throughout, so that they travel as a matrix; ids are below 2^24.
struct PartToken {
  float logit = 0.0f;  // adjusted
  float score = 0.0f;  // logit * InverseTemperature + noise; of rows that draw
  float raw = 0.0f;    // the logit before it was adjusted
  float token_id = -1.0f;
};

struct PartTop {
  float raw = 0.0f;
  float token_id = -1.0f;
};

// How a record begins; its candidates and its top tokens follow. Sums are given as two floats,
// whose sum they are.
struct PartSummary {
  float is_finite = 1.0f;      // 0: among the adjusted logits is a NaN or +inf
  float raw_is_finite = 1.0f;  // the same of the logits as they were; of rows with logprobs
  // Sum of exp((logit - best candidate's) * InverseTemperature), of rows that top_p alone limits.
  float mass_high = 0.0f;
  float mass_low = 0.0f;
  float raw_max = 0.0f;       // of rows with logprobs
  float raw_sum_high = 0.0f;  // sum of exp(raw - raw_max), of rows with logprobs
  float raw_sum_low = 0.0f;
  float unused = 0.0f;
  PartToken drawn;  // the highest score, of rows without a top_k that draw
};

// Of all records of a batch.
struct PartsLayout {
  int32_t candidates = 1;  // at least 1
  int32_t top = 0;         // a multiple of 2

  int32_t candidates_at() const { return static_cast<int32_t>(sizeof(PartSummary) / 4); }
  int32_t top_at() const { return candidates_at() + candidates * 4; }
  int32_t cols() const { return top_at() + top * 2; }
};

// The largest that any batch has.
inline constexpr PartsLayout kLargestParts{kMaxPartCandidates, kMaxTopLogprobs};

// Whether records are made for such rows: not for those that rank tokens, whose adjustments take
// the log-sum of the whole row, and not with a top_k above kMaxPartCandidates.
bool DrawsFromParts(const SamplingRow& row);
// Whether the records may leave the row undecided.
bool MayStayUndecided(const SamplingRow& row);
// Candidates of the row's records. REQUIRES: DrawsFromParts.
int32_t NumPartCandidates(const SamplingRow& row);
// Whether the row draws from its best tokens and needs no score of the rest.
inline bool DrawsFromTopK(const SamplingRow& row) { return Draws(row) && row.top_k > 0; }
PartsLayout LayoutOfParts(std::span<const SamplingRow> rows);

// Counts, biases and masks of rows whose records are made at once, in 32-bit words: a device has
// memory for so many. One row's are fewer, with vocabularies of up to 400,000 tokens.
inline constexpr int64_t kMaxPartParameterWords = int64_t{1} << 21;
// How many of the rows, from the first on, have no more than that; at least 1, at most `most`.
// REQUIRES: rows is not empty.
size_t NumRowsAtOnce(std::span<const SamplingRow> rows, int64_t most);

// Scratch for one thread; confined to it.
class PartsMerger {
 public:
  // Draws from the records of `num_parts` parts, in the order of their tokens:
  // records [num_parts, layout.cols()]. False: the row is undecided, and `token` says nothing.
  bool Merge(const float* records, const PartsLayout& layout, int num_parts, const SamplingRow& row,
             SampledToken* token);

 private:
  struct Part {
    const PartToken* next;
    const PartToken* end;
    bool tells_all;  // the part has no more tokens than these
  };

  void Open(const float* records, const PartsLayout& layout, int num_parts, int32_t wanted);
  // The best of the tokens that Next has not given. Null: there are no more, or none that is
  // certain to be next.
  const PartToken* Next();
  // Null: undecided.
  const PartToken* Draw(const float* records, const PartsLayout& layout, int num_parts,
                        const SamplingRow& row);
  const PartToken* DrawFromTopK(const SamplingRow& row);
  const PartToken* DrawFromRest(const PartToken& drawn, double target, const SamplingRow& row);
  void FillLogprobs(const float* records, const PartsLayout& layout, int num_parts, float raw,
                    int32_t num_top, SampledToken* token);

  std::vector<Part> parts_;
  bool is_next_known_ = true;
  std::vector<const PartToken*> kept_;
  std::vector<std::span<const PartTop>> tops_;
};

}  // namespace pingti::worker
