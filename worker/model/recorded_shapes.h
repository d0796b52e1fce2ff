// Which steps a device makes records of, with an example of each, so that they can be run before
// the first request. Any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "worker/backend/backend.h"

namespace pingti::worker {

// Numbers of sequences, of tokens of the longest sequence, and of tokens in all.
struct ShapeRange {
  int32_t max_seqs = 0;
  int32_t min_query_len = 1;
  int32_t max_query_len = 1;
  int32_t max_tokens = 0;
};

class RecordedShapes {
 public:
  // The shape of the record that steps of a shape run from; none: they have none.
  using RecordOf = std::function<std::optional<StepShape>(const StepShape&)>;

  explicit RecordedShapes(RecordOf record_of) : record_of_(std::move(record_of)) {}
  // `backend` must outlive this.
  explicit RecordedShapes(const Backend* backend);

  // All steps in the range: `kind` says the rest of their shapes. Where kind.uniform, those whose
  // sequences have equally many tokens are uniform, otherwise none is. A batch of 256 with 8 drafts
  // per sequence has 1.2 million shapes, which the padding of a GPU's steps takes 23 ms for.
  void Add(const ShapeRange& range, StepShape kind);

  // One for each record, in the order of the recorded shapes.
  std::vector<StepShape> Examples() const;

 private:
  const RecordOf record_of_;
  std::map<StepShape, StepShape> examples_;  // by the shape that is recorded
};

}  // namespace pingti::worker
