#include "worker/model/recorded_shapes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <set>
#include <vector>

namespace pingti::worker {
namespace {

// The shapes of all steps in the range, by their sequences' lengths one by one.
std::set<StepShape> ByLengths(const ShapeRange& range, const StepShape& kind) {
  std::set<StepShape> shapes;
  std::vector<int32_t> lengths;
  const std::function<void()> extend = [&] {
    if (!lengths.empty()) {
      StepShape shape = kind;
      shape.num_seqs = static_cast<int32_t>(lengths.size());
      shape.query_len = *std::max_element(lengths.begin(), lengths.end());
      shape.num_tokens = std::accumulate(lengths.begin(), lengths.end(), 0);
      shape.uniform = kind.uniform && shape.num_tokens == shape.num_seqs * shape.query_len;
      if (shape.query_len >= range.min_query_len && shape.num_tokens <= range.max_tokens) {
        shapes.insert(shape);
      }
    }
    if (static_cast<int32_t>(lengths.size()) == range.max_seqs) return;
    for (int32_t length = 1; length <= range.max_query_len; ++length) {
      lengths.push_back(length);
      extend();
      lengths.pop_back();
    }
  };
  extend();
  return shapes;
}

TEST(RecordedShapes, AreThoseOfEveryStepInTheRange) {
  for (int32_t max_seqs = 1; max_seqs <= 5; ++max_seqs) {
    for (int32_t min_len = 1; min_len <= 3; ++min_len) {
      for (int32_t max_len = 1; max_len <= 4; ++max_len) {
        for (const int32_t max_tokens : {1, 3, 8, 20, 100}) {
          for (const bool uniform : {false, true}) {
            const ShapeRange range{max_seqs, min_len, max_len, max_tokens};
            const StepShape kind{.uniform = uniform, .work = StepWork::kHeadDrafts};
            RecordedShapes shapes([](const StepShape& shape) { return std::optional(shape); });
            shapes.Add(range, kind);
            const std::vector<StepShape> examples = shapes.Examples();
            EXPECT_TRUE(std::is_sorted(examples.begin(), examples.end()));
            EXPECT_EQ(std::set<StepShape>(examples.begin(), examples.end()), ByLengths(range, kind))
                << max_seqs << " sequences of " << min_len << " to " << max_len << ", "
                << max_tokens << " tokens, uniform: " << uniform;
          }
        }
      }
    }
  }
}

TEST(RecordedShapes, OneExampleStandsForAllThatRunFromOneRecord) {
  // Records are of even numbers of sequences, up to 6 tokens; those of a kind are apart.
  const RecordedShapes::RecordOf record_of = [](StepShape shape) -> std::optional<StepShape> {
    if (shape.num_tokens > 6) return std::nullopt;
    shape.num_seqs = (shape.num_seqs + 1) / 2 * 2;
    shape.num_tokens = 6;
    return shape;
  };
  RecordedShapes shapes(record_of);
  const ShapeRange range{.max_seqs = 4, .min_query_len = 1, .max_query_len = 3, .max_tokens = 9};
  const StepShape chain{.uniform = false, .work = StepWork::kHeadChain};
  const StepShape drafts{.uniform = false, .work = StepWork::kHeadDrafts};
  std::set<StepShape> expected;
  for (const StepShape& kind : {chain, drafts}) {
    shapes.Add(range, kind);
    for (const StepShape& shape : ByLengths(range, kind)) {
      if (const auto record = record_of(shape)) expected.insert(*record);
    }
  }
  std::vector<StepShape> records;
  for (const StepShape& example : shapes.Examples()) records.push_back(*record_of(example));
  EXPECT_EQ(records, std::vector<StepShape>(expected.begin(), expected.end()));
}

}  // namespace
}  // namespace pingti::worker
