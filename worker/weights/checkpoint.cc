#include "worker/weights/checkpoint.h"

#include <algorithm>
#include <utility>

#include "common/base/strings.h"

namespace pingti::worker {
namespace {

bool EndsWith(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

bool HoldsWords(const TensorView& tensor, const PackedQuantization& packed) {
  return packed.present &&
         (EndsWith(tensor.name, ".qweight") || EndsWith(tensor.name, ".weight_packed"));
}

// What comes with a quantized module's values.
bool DescribesValues(const TensorView& tensor, const PackedQuantization& packed) {
  if (EndsWith(tensor.name, "_scale") || EndsWith(tensor.name, "_scale_inv") ||
      EndsWith(tensor.name, "rope_freqs.weight"))
    return true;
  if (!packed.present) return false;
  for (const std::string_view end :
       {".qzeros", ".scales", ".g_idx", "_zero_point", "_shape", "_g_idx"}) {
    if (EndsWith(tensor.name, end)) return true;
  }
  return false;
}

bool HoldsMxfp4(const TensorView& tensor, bool mxfp4) {
  return mxfp4 && EndsWith(tensor.name, "_blocks");
}

int64_t NumValues(const TensorView& tensor, const Checkpoint::Parts& parts) {
  const PackedQuantization& packed = parts.packed;
  if (DescribesValues(tensor, packed)) return 0;
  if (parts.mxfp4 && EndsWith(tensor.name, "_scales")) return 0;
  if (HoldsMxfp4(tensor, parts.mxfp4)) return 2 * tensor.NumElements();
  return tensor.NumElements() * (HoldsWords(tensor, packed) ? 32 / packed.bits : 1);
}

// The type of its values, for people.
std::string FormatOf(const TensorView& tensor, const Checkpoint::Parts& parts) {
  const PackedQuantization& packed = parts.packed;
  if (HoldsWords(tensor, packed)) return Concat(packed.method, "-int", packed.bits);
  return std::string(DTypeName(HoldsMxfp4(tensor, parts.mxfp4) ? DType::kMxfp4 : tensor.dtype));
}

}  // namespace

Checkpoint::Checkpoint(Parts parts) : parts_(std::move(parts)) {
  for (size_t i = 0; i < parts_.tensors.size(); ++i) by_name_[parts_.tensors[i].name] = i;
}

const TensorView* Checkpoint::Find(std::string_view name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : &parts_.tensors[it->second];
}

void Checkpoint::Release(const TensorView& tensor) const {
  const std::string_view part(static_cast<const char*>(tensor.data),
                              static_cast<size_t>(tensor.bytes));
  for (const auto& file : parts_.files) file->DropPages(part);
}

int64_t Checkpoint::num_parameters() const {
  int64_t count = 0;
  for (const TensorView& tensor : parts_.tensors) count += NumValues(tensor, parts_);
  return count;
}

int64_t Checkpoint::weight_bytes() const {
  int64_t bytes = 0;
  for (const TensorView& tensor : parts_.tensors) bytes += tensor.bytes;
  return bytes;
}

std::string Checkpoint::dominant_format() const {
  std::map<std::string, int64_t> values;
  for (const TensorView& tensor : parts_.tensors) {
    values[FormatOf(tensor, parts_)] += NumValues(tensor, parts_);
  }
  const auto most =
      std::max_element(values.begin(), values.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == values.end() ? "" : most->first;
}

}  // namespace pingti::worker
