// Adapters' products with experts against a float64 reference: rows of many adapters and of none,
// experts that are not chosen, fewer rows than are launched, ranks of their own per expert and
// module or none, x by token and by row, widths that no block divides. What no kernel may read is
// NaN: values behind a module's filled rank, other slots, what pads them, and x and y of rows that
// there are not.

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "pingti/kernels/expert_lora.h"
#include "tests/kernels/testing/compare.h"
#include "tests/kernels/testing/device.h"
#include "tests/kernels/testing/run.h"

namespace pingti::kernels::testing {
namespace {

struct Case {
  std::string name;
  int in_features;
  std::vector<std::pair<int, int>> parts;  // columns, module
  int num_modules;
  int num_experts;
  int max_rank;
  int tokens;
  int per_token;
  bool x_by_token;
};

constexpr int kSlots = 3;
constexpr int kPoisonRank = 1 << 20;  // where no rank may be read
constexpr int kSpareRows = 5;         // launched, and no rows

int FilledUp(int rank) { return (rank + kLoraRankStep - 1) / kLoraRankStep * kLoraRankStep; }

class ExpertLoraCase {
 public:
  ExpertLoraCase(const Case& c, uint64_t seed)
      : c_(c), random_(seed), padded_(FilledUp(c.max_rank)) {
    for (const auto& [columns, module] : c.parts) out_ += columns;
    MakeRows();
    MakeMatrices();
    const __nv_bfloat16 poison = __float2bfloat16(NAN);
    const size_t x_rows = c.x_by_token ? c.tokens : max_rows();
    for (size_t row = 0; row < x_rows; ++row) {
      const bool is_read = c.x_by_token || row < num_rows_;
      for (int k = 0; k < c.in_features; ++k) x_.push_back(is_read ? Value() : poison);
    }
    for (size_t row = 0; row < max_rows(); ++row) {
      for (int n = 0; n < out_; ++n) y_.push_back(row < num_rows_ ? Value() : poison);
    }
  }

  void Run(TestRun* run) {
    const DeviceBuffer<__nv_bfloat16> x(x_), a(a_), b(b_), y(y_);
    const DeviceBuffer<int32_t> ranks(ranks_), tokens(token_of_), slots(slot_of_),
        count(std::vector<int32_t>{static_cast<int32_t>(num_rows_)});
    const DeviceBuffer<int2> spans(span_of_);
    const DeviceBuffer<float> shrunk(
        std::vector<float>(max_rows() * c_.num_modules * padded_, NAN));
    ExpertLoraShrinkParams shrink;
    shrink.rows = {tokens.data(), spans.data(), count.data(), slots.data(),
                   static_cast<int32_t>(max_rows())};
    shrink.x = x.data();
    shrink.x_stride = c_.in_features;
    shrink.x_by_token = c_.x_by_token;
    shrink.a = a.data();
    shrink.a_slot_stride = AStride();
    shrink.ranks = ranks.data();
    shrink.ranks_slot_stride = RankStride();
    shrink.shrunk = shrunk.data();
    shrink.in_features = c_.in_features;
    shrink.num_modules = c_.num_modules;
    shrink.max_rank = padded_;
    run->Expect(LaunchExpertLoraShrink(shrink, nullptr) == cudaSuccess, "shrink is refused");
    ExpertLoraExpandParams expand;
    expand.rows = shrink.rows;
    expand.shrunk = shrunk.data();
    expand.b = b.data();
    expand.b_slot_stride = BStride();
    expand.ranks = ranks.data();
    expand.ranks_slot_stride = RankStride();
    expand.y = y.data();
    expand.y_stride = out_;
    expand.out_features = out_;
    expand.num_modules = c_.num_modules;
    expand.max_rank = padded_;
    expand.num_parts = static_cast<int32_t>(c_.parts.size());
    int end = 0;
    for (size_t i = 0; i < c_.parts.size(); ++i) {
      end += c_.parts[i].first;
      expand.part_end[i] = end;
      expand.part_module[i] = c_.parts[i].second;
    }
    run->Expect(LaunchExpertLoraExpand(expand, nullptr) == cudaSuccess, "expand is refused");
    if (run->ExpectDeviceOk()) Compare(y.ToHost(), run);
  }

 private:
  size_t max_rows() const { return num_rows_ + kSpareRows; }
  int64_t AStride() const {
    return int64_t{c_.num_experts} * c_.num_modules * padded_ * c_.in_features + 8;
  }
  int64_t BStride() const { return int64_t{c_.num_experts} * out_ * padded_ + 24; }
  int64_t RankStride() const { return c_.num_experts * c_.num_modules + 1; }
  int64_t RankIndex(int slot, int expert, int module) const {
    return slot * RankStride() + expert * c_.num_modules + module;
  }
  int64_t AIndex(int slot, int expert, int module, int r, int k) const {
    return slot * AStride() +
           ((int64_t{expert} * c_.num_modules + module) * padded_ + r) * c_.in_features + k;
  }
  int64_t BIndex(int slot, int expert, int column, int r) const {
    return slot * BStride() + (int64_t{expert} * out_ + column) * padded_ + r;
  }

  __nv_bfloat16 Value() { return __float2bfloat16(random_.Normal()); }

  // Token t takes experts t, t + 2, t + 4, ... of those that there are, so that rows of one expert
  // have several adapters; slot 1 is of no token.
  void MakeRows() {
    constexpr int kSlotOf[] = {0, -1, 2, 2, 0, -1, 2};
    for (int t = 0; t < c_.tokens; ++t) slot_of_.push_back(kSlotOf[t % 7]);
    for (int e = 0; e < c_.num_experts; ++e) {
      for (int t = 0; t < c_.tokens; ++t) {
        for (int i = 0; i < c_.per_token; ++i) {
          if ((t + 2 * i) % c_.num_experts != e) continue;
          token_of_.push_back(t);
          span_of_.push_back(make_int2(e, 0));
        }
      }
    }
    num_rows_ = token_of_.size();
    token_of_.resize(max_rows(), 0);
    span_of_.resize(max_rows(), make_int2(0, 0));
  }

  void MakeMatrices() {
    const __nv_bfloat16 poison = __float2bfloat16(NAN);
    a_.assign(kSlots * AStride(), poison);
    b_.assign(kSlots * BStride(), poison);
    ranks_.assign(kSlots * RankStride(), kPoisonRank);
    for (const int slot : {0, 2}) {
      for (int e = 0; e < c_.num_experts; ++e) {
        for (int m = 0; m < c_.num_modules; ++m) {
          // None, the largest and others.
          const int of = (slot + 3 * e + m) % 4;
          const int rank = of == 0 ? 0 : of == 1 ? c_.max_rank : 1 + (7 * e + m) % c_.max_rank;
          ranks_[RankIndex(slot, e, m)] = rank;
          for (int r = 0; r < FilledUp(rank); ++r) {
            for (int k = 0; k < c_.in_features; ++k) {
              a_[AIndex(slot, e, m, r, k)] = r < rank ? Value() : __float2bfloat16(0);
            }
          }
        }
        int column = 0;
        for (const auto& [columns, module] : c_.parts) {
          const int rank = ranks_[RankIndex(slot, e, module)];
          for (int n = 0; n < columns; ++n, ++column) {
            for (int r = 0; r < FilledUp(rank); ++r) {
              b_[BIndex(slot, e, column, r)] = r < rank ? Value() : __float2bfloat16(0);
            }
          }
        }
      }
    }
  }

  void Compare(const std::vector<__nv_bfloat16>& got, TestRun* run) const {
    for (size_t row = 0; row < num_rows_; ++row) {
      const int expert = span_of_[row].x;
      const int slot = slot_of_[token_of_[row]];
      const size_t x_row = c_.x_by_token ? token_of_[row] : row;
      int column = 0;
      for (const auto& [columns, module] : c_.parts) {
        const int rank = slot < 0 ? 0 : ranks_[RankIndex(slot, expert, module)];
        std::vector<double> shrunk(rank, 0);
        for (int r = 0; r < rank; ++r) {
          for (int k = 0; k < c_.in_features; ++k) {
            shrunk[r] += ToDouble(x_[x_row * c_.in_features + k]) *
                         ToDouble(a_[AIndex(slot, expert, module, r, k)]);
          }
        }
        for (int n = 0; n < columns; ++n, ++column) {
          double sum = ToDouble(y_[row * out_ + column]);
          double size = std::abs(sum);
          for (int r = 0; r < rank; ++r) {
            const double term = shrunk[r] * ToDouble(b_[BIndex(slot, expert, column, r)]);
            sum += term;
            size += std::abs(term);
          }
          const double value = ToDouble(got[row * out_ + column]);
          // One rounding to bf16, and f32 sums.
          const double most = rank == 0 ? 0 : std::abs(sum) / 256 + size * 1e-5;
          run->Expect(std::abs(value - sum) <= most, "row %zu, column %d: %g, expected %g", row,
                      column, value, sum);
        }
      }
    }
    for (size_t i = num_rows_ * out_; i < got.size(); ++i) {
      run->Expect(std::isnan(ToDouble(got[i])), "value %zu of no row was written", i);
    }
  }

  const Case& c_;
  Random random_;
  int padded_ = 0;
  int out_ = 0;
  size_t num_rows_ = 0;
  std::vector<__nv_bfloat16> a_, b_, x_, y_;
  std::vector<int32_t> ranks_, token_of_, slot_of_;
  std::vector<int2> span_of_;
};

}  // namespace
}  // namespace pingti::kernels::testing

int main(int argc, char** argv) {
  using namespace pingti::kernels::testing;
  const std::vector<Case> cases = {
      {"decode", 2048, {{768, 0}, {768, 1}}, 2, 16, 16, 8, 8, true},
      {"back", 768, {{2048, 0}}, 1, 16, 16, 8, 8, false},
      {"one row", 64, {{40, 0}}, 1, 4, 8, 1, 1, true},
      {"uneven", 264, {{72, 0}, {8, 1}, {300, 0}}, 2, 5, 40, 21, 2, true},
      {"rank 256", 128, {{264, 0}}, 1, 3, 256, 9, 1, false},
      {"prefill", 256, {{128, 0}, {128, 1}}, 2, 8, 16, 300, 3, true},
  };
  TestRun run("expert_lora_test", argc, argv);
  for (const Case& c : cases) {
    if (run.Begin(c.name, 7)) ExpertLoraCase(c, 7).Run(&run);
  }
  return run.Finish();
}
