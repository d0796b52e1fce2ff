#include "worker/layers/activations.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace pingti::worker {

void ActivationPlan::Need(Activation which, int64_t cols) {
  int64_t& planned = slots_[static_cast<size_t>(which)].cols;
  planned = std::max(planned, cols);
}

void ActivationPlan::NeedForm(Activation which, int64_t cols, const LinearWeight* weight) {
  if (weight == nullptr || weight->operand_type().quant == QuantType::kNone) return;
  Slot& planned = slots_[static_cast<size_t>(which)];
  if (planned.form.quant == QuantType::kNone) planned.form = weight->operand_type();
  planned.form_cols = std::max(planned.form_cols, cols);
}

int64_t ActivationPlan::Bytes(DType dtype, int64_t rows) const {
  int64_t bytes = 0;
  for (const Slot& planned : slots_) {
    bytes += rows * planned.cols * BlockBytes(dtype) +
             QuantizedBytes(planned.form, rows, planned.form_cols);
  }
  return bytes;
}

Activations Activations::Rows(int64_t rows) const {
  Activations first = *this;
  for (Slot& matrix : first.slots_) {
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
    Backend* backend, const ActivationPlan& plan, int64_t rows,
    std::vector<std::unique_ptr<DeviceBuffer>>* buffers) {
  const DType dtype = backend->activation_dtype();
  const auto allocate = [&](int64_t bytes) -> absl::StatusOr<void*> {
    PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<DeviceBuffer> buffer, backend->Allocate(bytes));
    buffers->push_back(std::move(buffer));
    return buffers->back()->data();
  };
  Activations views;
  for (size_t i = 0; i < kNumActivations; ++i) {
    const ActivationPlan::Slot& planned = plan.slots_[i];
    Activations::Slot& matrix = views.slots_[i];
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
