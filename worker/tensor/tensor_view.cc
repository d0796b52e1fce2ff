#include "worker/tensor/tensor_view.h"

#include "common/base/check.h"
#include "common/base/strings.h"

namespace pingti::worker {

int64_t TensorView::NumElements() const {
  int64_t count = 1;
  for (int64_t dim : shape) count *= dim;
  return count;
}

int64_t TensorView::RowBytes() const {
  const int64_t cols = shape.empty() ? 1 : shape.back();
  return cols / BlockElements(dtype) * BlockBytes(dtype);
}

std::string TensorView::ShapeString() const {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    text += Concat(i == 0 ? "" : ", ", shape[i]);
  }
  return text + "]";
}

MatrixView MatrixView::Columns(int64_t first, int64_t count) const {
  PINGTI_CHECK(first >= 0 && count >= 0 && first + count <= cols);
  MatrixView view = *this;
  view.data = static_cast<char*>(data) + first * BlockBytes(dtype);
  view.cols = count;
  return view;
}

MatrixView MatrixView::Rows(int64_t first, int64_t count) const {
  PINGTI_CHECK(first >= 0 && count >= 0 && first + count <= rows);
  MatrixView view = *this;
  view.data = static_cast<char*>(data) + first * stride * BlockBytes(dtype);
  view.rows = count;
  return view;
}

}  // namespace pingti::worker
