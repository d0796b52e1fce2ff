#include "worker/model/packed_module.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/quant/packed_reader.h"

namespace pingti::worker {
namespace {

// How each family of files names a module's tensors.
struct TensorNames {
  const char* words;
  const char* scales;
  const char* zeros;
  const char* group_index;
};
constexpr TensorNames kWordColumns = {".qweight", ".scales", ".qzeros", ".g_idx"};
constexpr TensorNames kCompressed = {".weight_packed", ".weight_scale", ".weight_zero_point",
                                     ".weight_g_idx"};
constexpr char kShape[] = ".weight_shape";

const TensorNames& NamesOf(const PackedQuantization& quantization) {
  return quantization.layout == PackedLayout::kRowMajor ? kCompressed : kWordColumns;
}

// compressed-tensors leaves -1 in an index that it did not use.
bool IsUnused(const TensorView& group_index) {
  const auto* bytes = static_cast<const uint8_t*>(group_index.data);
  for (int64_t i = 0; i < group_index.bytes; ++i) {
    if (bytes[i] != 0xff) return false;
  }
  return true;
}

// Sets the weights' index where columns are not in order.
absl::Status ReadGroupIndex(const TensorView& index, PackedWeights* weights) {
  if (index.dtype != DType::kI32 || index.shape != std::vector<int64_t>{weights->cols}) {
    return absl::InvalidArgumentError(
        Concat(DescribeTensor(index), ": expected I32 [", weights->cols, "]"));
  }
  if (IsUnused(index) || GroupsAreInOrder(index, weights->group_size)) return absl::OkStatus();
  const auto* groups = static_cast<const uint8_t*>(index.data);
  for (int64_t k = 0; k < weights->cols; ++k) {
    int32_t group;
    std::memcpy(&group, groups + 4 * k, sizeof(group));
    if (group < 0 || group >= weights->groups()) {
      return absl::InvalidArgumentError(Concat(DescribeTensor(index), ": column ", k,
                                               " is of group ", group, "; expected 0 to ",
                                               weights->groups() - 1));
    }
  }
  weights->group_index = index;
  return absl::OkStatus();
}

// Bits and group size from the shapes of words and scales, where modules differ.
void ReadForm(const TensorView& words, const TensorView& scales, PackedWeights* weights) {
  if (weights->layout != PackedLayout::kGptq || words.shape.size() != 2 ||
      scales.shape.size() != 2 || scales.shape[0] < 1) {
    return;  // CheckPacked says what is wrong
  }
  weights->bits = static_cast<int>(std::min<int64_t>(words.shape[0] * 32 / weights->cols, 32));
  const int64_t groups = scales.shape[0];
  weights->group_size = groups == 1 ? weights->cols : weights->cols / groups;
}

// compressed-tensors says the matrix's shape beside its words.
absl::Status CheckShape(const TensorView& shape, const PackedWeights& weights) {
  const bool wide = shape.dtype == DType::kI64;
  if ((!wide && shape.dtype != DType::kI32) || shape.shape != std::vector<int64_t>{2}) {
    return absl::InvalidArgumentError(Concat(DescribeTensor(shape), ": expected I64 or I32 [2]"));
  }
  int64_t sizes[2];
  if (wide) {
    std::memcpy(sizes, shape.data, sizeof(sizes));
  } else {
    int32_t narrow[2];
    std::memcpy(narrow, shape.data, sizeof(narrow));
    std::copy(std::begin(narrow), std::end(narrow), sizes);
  }
  if (sizes[0] != weights.rows || sizes[1] != weights.cols) {
    return absl::InvalidArgumentError(Concat(DescribeTensor(shape), ": holds [", sizes[0], ", ",
                                             sizes[1], "]; expected [", weights.rows, ", ",
                                             weights.cols, "]"));
  }
  return absl::OkStatus();
}

}  // namespace

std::string DescribeTensor(const TensorView& tensor) {
  return Concat("tensor '", tensor.name, "' ", DTypeName(tensor.dtype), " ", tensor.ShapeString());
}

bool HasPackedModule(const Checkpoint& checkpoint, const std::string& module) {
  return checkpoint.packed().present &&
         checkpoint.Find(module + NamesOf(checkpoint.packed()).words) != nullptr;
}

absl::StatusOr<PackedModule> FindPackedModule(const Checkpoint& checkpoint,
                                              const std::string& module, int64_t rows,
                                              int64_t cols) {
  const PackedQuantization& quantization = checkpoint.packed();
  const TensorNames& names = NamesOf(quantization);
  PackedModule found;
  PackedWeights& weights = found.weights;
  weights.layout = quantization.layout;
  weights.bits = quantization.bits;
  weights.rows = rows;
  weights.cols = cols;
  weights.group_size = quantization.group_size == 0 ? cols : quantization.group_size;
  weights.zero_offset = quantization.zero_offset;
  const auto find = [&](const char* end) {
    const TensorView* tensor = checkpoint.Find(module + end);
    if (tensor != nullptr) found.tensors.push_back(tensor);
    return tensor;
  };
  const auto missing = [&](const char* end) {
    return absl::InvalidArgumentError(Concat("tensor '", module, end, "' is missing"));
  };
  const TensorView* words = find(names.words);
  if (words == nullptr) {
    return absl::InvalidArgumentError(
        Concat("tensor '", module, names.words, "' is missing, and so is '", module, ".weight'"));
  }
  weights.words = *words;
  const TensorView* scales = find(names.scales);
  if (scales == nullptr) return missing(names.scales);
  weights.scales = *scales;
  if (quantization.varies) ReadForm(*words, *scales, &weights);
  if (const TensorView* zeros = find(names.zeros)) {
    weights.zeros = *zeros;
  } else if (quantization.needs_zeros) {
    return missing(names.zeros);
  }
  PINGTI_RETURN_IF_ERROR(CheckPacked(weights));
  if (const TensorView* index = find(names.group_index)) {
    PINGTI_RETURN_IF_ERROR(ReadGroupIndex(*index, &weights));
  }
  if (quantization.layout == PackedLayout::kRowMajor) {
    const TensorView* shape = find(kShape);
    if (shape == nullptr) return missing(kShape);
    PINGTI_RETURN_IF_ERROR(CheckShape(*shape, weights));
  }
  // Symmetric weights multiply faster without zeros that say nothing.
  if (weights.has_zeros() && ZerosAreMidpoints(weights)) weights.zeros = {};
  return found;
}

}  // namespace pingti::worker
