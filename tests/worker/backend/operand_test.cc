// Where the parts of a quantized form lie.
#include "worker/backend/operand.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <vector>

namespace pingti::worker {
namespace {

constexpr OperandType kTypes[] = {{QuantType::kInt8, 0}, {QuantType::kInt8, 32}};

// Marks every byte that [begin, begin + bytes) covers, once.
void Cover(const void* begin, int64_t bytes, std::vector<uint8_t>* memory) {
  const auto* first = static_cast<const uint8_t*>(begin);
  ASSERT_GE(first, memory->data());
  ASSERT_LE(first + bytes, memory->data() + memory->size());
  for (int64_t i = 0; i < bytes; ++i) {
    uint8_t& mark = (*memory)[static_cast<size_t>(first - memory->data() + i)];
    ASSERT_EQ(mark, 0) << "two parts share a byte";
    mark = 1;
  }
}

TEST(Operand, PartsOfAFormLieApartWithinItsBytes) {
  for (const OperandType type : kTypes) {
    for (int64_t rows = 1; rows <= 9; ++rows) {
      for (int64_t cols = 1; cols <= 130; ++cols) {
        SCOPED_TRACE(OperandTypeName(type));
        std::vector<uint8_t> memory(static_cast<size_t>(QuantizedBytes(type, rows, cols)));
        const QuantizedView view = PlaceQuantized(type, memory.data(), rows, cols);
        ASSERT_EQ(view.type, type);
        ASSERT_GE(view.stride, cols);
        ASSERT_EQ(view.stride % 32, 0);
        ASSERT_EQ(view.num_groups, type.group_size == 0 ? 1 : (cols + 31) / 32);
        ASSERT_NO_FATAL_FAILURE(Cover(view.values, rows * view.stride, &memory));
        ASSERT_NO_FATAL_FAILURE(Cover(view.scales, rows * view.num_groups * 4, &memory));
        ASSERT_NO_FATAL_FAILURE(Cover(view.sums, rows * view.num_groups * 4, &memory));
      }
    }
  }
}

TEST(Operand, RowsOfAnOperandAreThoseOfAllItsForms) {
  for (const OperandType type : kTypes) {
    std::vector<float> values(static_cast<size_t>(7 * 70));
    std::vector<uint8_t> memory(static_cast<size_t>(QuantizedBytes(type, 7, 70)));
    const Operand all{{values.data(), DType::kF32, 7, 70, 70},
                      PlaceQuantized(type, memory.data(), 7, 70)};
    const Operand rows = all.Rows(2, 3);
    EXPECT_EQ(rows.values.data, values.data() + 2 * 70);
    EXPECT_EQ(rows.values.rows, 3);
    const QuantizedView& form = all.quantized;
    EXPECT_EQ(rows.quantized.values, static_cast<int8_t*>(form.values) + 2 * form.stride);
    EXPECT_EQ(rows.quantized.scales, form.scales + 2 * form.num_groups);
    EXPECT_EQ(rows.quantized.sums, form.sums + 2 * form.num_groups);
    EXPECT_EQ(rows.quantized.stride, form.stride);
  }
}

TEST(Operand, WithoutAFormThereIsNoMemoryForOne) {
  EXPECT_EQ(QuantizedBytes({}, 8, 64), 0);
  EXPECT_EQ(PlaceQuantized({}, nullptr, 8, 64).type.quant, QuantType::kNone);
  const Operand plain = Operand(MatrixView{nullptr, DType::kF32, 8, 64, 64}).Rows(1, 2);
  EXPECT_EQ(plain.quantized.values, nullptr);
}

}  // namespace
}  // namespace pingti::worker
