#include "worker/layers/activations.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace pingti::worker {
namespace {

DType TypeOf(Activation which, DType activation_dtype) {
  const bool f32 = which == Activation::kRouterLogits || which == Activation::kSharedGate;
  return f32 ? DType::kF32 : activation_dtype;
}

}  // namespace

void ActivationPlan::Need(Activation which, int64_t cols) {
  int64_t& planned = slots_[static_cast<size_t>(which)].cols;
  planned = std::max(planned, cols);
}

void ActivationPlan::NeedRows(Activation which, int64_t rows_per_token, int64_t cols) {
  Slot& planned = slots_[static_cast<size_t>(which)];
  PINGTI_CHECK(planned.cols == 0 || planned.rows_per_token == rows_per_token);
  planned.rows_per_token = rows_per_token;
  Need(which, cols);
}

void ActivationPlan::NeedForm(Activation which, int64_t cols, const LinearWeight* weight) {
  if (weight == nullptr || weight->operand_type().quant == QuantType::kNone) return;
  Slot& planned = slots_[static_cast<size_t>(which)];
  if (planned.form.quant == QuantType::kNone) planned.form = weight->operand_type();
  planned.form_cols = std::max(planned.form_cols, cols);
}

int64_t ActivationPlan::Bytes(DType dtype, int64_t tokens) const {
  int64_t bytes = 0;
  for (size_t i = 0; i < kNumActivations; ++i) {
    const Slot& planned = slots_[i];
    const int64_t rows = tokens * planned.rows_per_token;
    bytes += rows * planned.cols * BlockBytes(TypeOf(static_cast<Activation>(i), dtype)) +
             QuantizedBytes(planned.form, rows, planned.form_cols);
  }
  return bytes;
}

Activations Activations::Rows(int64_t tokens) const {
  Activations first = *this;
  for (Slot& matrix : first.slots_) {
    const int64_t rows = tokens * matrix.rows_per_token;
    PINGTI_CHECK(matrix.values.data == nullptr || rows <= matrix.values.rows);
    matrix.values.rows = rows;
  }
  return first;
}

MatrixView Activations::Values(Activation which, int64_t cols) const {
  MatrixView view = slot(which).values;
  PINGTI_CHECK(cols <= view.cols);
  view.cols = cols;
  view.stride = cols;
  return view;
}

QuantizedView Activations::Form(Activation which, int64_t cols) const {
  const Slot& matrix = slot(which);
  if (matrix.form.quant == QuantType::kNone) return {};
  PINGTI_CHECK(cols <= matrix.form_cols);
  return PlaceQuantized(matrix.form, matrix.form_memory, matrix.form_rows, cols);
}

absl::StatusOr<Activations> AllocateActivations(
    Backend* backend, const ActivationPlan& plan, int64_t tokens,
    std::vector<std::unique_ptr<DeviceBuffer>>* buffers) {
  const auto allocate = [&](int64_t bytes) -> absl::StatusOr<void*> {
    PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<DeviceBuffer> buffer, backend->Allocate(bytes));
    buffers->push_back(std::move(buffer));
    return buffers->back()->data();
  };
  Activations views;
  for (size_t i = 0; i < kNumActivations; ++i) {
    const ActivationPlan::Slot& planned = plan.slots_[i];
    Activations::Slot& matrix = views.slots_[i];
    const DType dtype = TypeOf(static_cast<Activation>(i), backend->activation_dtype());
    const int64_t rows = tokens * planned.rows_per_token;
    matrix.rows_per_token = planned.rows_per_token;
    if (planned.cols > 0) {
      PINGTI_ASSIGN_OR_RETURN(void* data, allocate(rows * planned.cols * BlockBytes(dtype)));
      matrix.values = {data, dtype, rows, planned.cols, planned.cols};
    }
    if (planned.form.quant == QuantType::kNone) continue;
    matrix.form = planned.form;
    matrix.form_cols = planned.form_cols;
    matrix.form_rows = rows;
    PINGTI_ASSIGN_OR_RETURN(matrix.form_memory,
                            allocate(QuantizedBytes(planned.form, rows, planned.form_cols)));
  }
  return views;
}

}  // namespace pingti::worker
