#include "worker/weights/bitsandbytes.h"

#include <boost/json.hpp>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/tensor/nf4.h"
#include "worker/weights/json_fields.h"

namespace pingti::worker {
namespace {

constexpr std::string_view kNf4State = ".quant_state.bitsandbytes__nf4";
constexpr int64_t kBlock = 64;  // of the type NF4

std::string Describe(const TensorView& tensor) {
  return Concat("tensor '", tensor.name, "' ", DTypeName(tensor.dtype), " ", tensor.ShapeString());
}

absl::Status Expect(const TensorView& tensor, DType dtype, int64_t elements) {
  if (tensor.dtype == dtype && tensor.NumElements() == elements) return absl::OkStatus();
  return absl::InvalidArgumentError(
      Concat(Describe(tensor), ": expected ", DTypeName(dtype), " with ", elements, " values"));
}

float LoadF32(const TensorView& tensor, int64_t i) {
  float value;
  std::memcpy(&value, static_cast<const char*>(tensor.data) + 4 * i, sizeof(value));
  return value;
}

// What a matrix of 4 bits says about itself.
struct Nf4State {
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t nested_block = 0;  // values of absmax that share a scale; 0: absmax is f32
  double nested_offset = 0.0;
};

class Joiner {
 public:
  Joiner(std::vector<TensorView>* tensors, std::vector<std::unique_ptr<std::byte[]>>* memory)
      : tensors_(tensors), memory_(memory) {
    for (const TensorView& tensor : *tensors_) by_name_.emplace(tensor.name, &tensor);
  }

  absl::StatusOr<bool> Run() {
    bool has_int8 = false;
    std::vector<TensorView> made;
    for (const TensorView& tensor : *tensors_) {
      const std::string_view name = tensor.name;
      if (name.ends_with(".SCB")) {
        PINGTI_ASSIGN_OR_RETURN(made.emplace_back(), RowScales(tensor));
        has_int8 = true;
      } else if (name.ends_with(kNf4State)) {
        PINGTI_ASSIGN_OR_RETURN(made.emplace_back(), Nf4Matrix(tensor));
      } else if (name.ends_with(".quant_state.bitsandbytes__fp4")) {
        return absl::UnimplementedError(Concat(Describe(tensor), ": fp4; expected nf4"));
      } else if (name.ends_with(".weight_format")) {
        dropped_.insert(tensor.name);
      }
    }
    for (TensorView& tensor : *tensors_) {
      if (!dropped_.contains(tensor.name)) made.push_back(std::move(tensor));
    }
    *tensors_ = std::move(made);
    return has_int8;
  }

 private:
  absl::StatusOr<const TensorView*> Find(const std::string& name) {
    const auto found = by_name_.find(name);
    if (found == by_name_.end()) {
      return absl::InvalidArgumentError(Concat("tensor '", name, "' is missing"));
    }
    return found->second;
  }
  // The same, and the tensor goes.
  absl::StatusOr<const TensorView*> Take(const std::string& name) {
    dropped_.insert(name);
    return Find(name);
  }
  std::byte* Allocate(int64_t bytes) {
    memory_->push_back(std::make_unique<std::byte[]>(static_cast<size_t>(bytes)));
    return memory_->back().get();
  }

  absl::StatusOr<TensorView> RowScales(const TensorView& scb) {
    const std::string module = scb.name.substr(0, scb.name.size() - 4);
    PINGTI_ASSIGN_OR_RETURN(const TensorView* weight, Find(module + ".weight"));
    if (weight->dtype != DType::kI8 || weight->shape.size() != 2) {
      return absl::InvalidArgumentError(Concat(Describe(*weight), ": expected an I8 matrix"));
    }
    const int64_t rows = weight->shape[0];
    PINGTI_RETURN_IF_ERROR(Expect(scb, DType::kF32, rows));
    dropped_.insert(scb.name);
    TensorView scale{module + ".weight_scale", DType::kF32, {rows, 1}, nullptr, 4 * rows};
    auto* values = reinterpret_cast<float*>(Allocate(scale.bytes));
    for (int64_t i = 0; i < rows; ++i) values[i] = LoadF32(scb, i) / 127.0f;
    scale.data = values;
    return scale;
  }

  absl::StatusOr<Nf4State> ReadState(const TensorView& tensor) {
    const auto wrong = [&](const absl::Status& status) {
      return absl::Status(status.code(),
                          Concat("tensor '", tensor.name, "': ", std::string(status.message())));
    };
    const auto root =
        ParseJsonObject({static_cast<const char*>(tensor.data), static_cast<size_t>(tensor.bytes)});
    if (!root.ok()) return wrong(root.status());
    const JsonFields fields(root->get_object(), "");
    const auto block = fields.RequiredInt("blocksize", 1, 1 << 20);
    const auto shape = fields.IntList("shape");
    const auto nested = fields.IntOr("nested_blocksize", 0, 1, 1 << 20);
    const auto offset = fields.NumberOr("nested_offset", 0.0, -1e30, 1e30);
    for (const absl::Status& status :
         {block.status(), shape.status(), nested.status(), offset.status()}) {
      if (!status.ok()) return wrong(status);
    }
    constexpr int64_t kMaxDim = int64_t{1} << 24;
    if (*block != kBlock || shape->size() != 2 || (*shape)[0] < 1 || (*shape)[0] > kMaxDim ||
        (*shape)[1] < kBlock || (*shape)[1] > kMaxDim || (*shape)[1] % kBlock != 0) {
      return wrong(absl::UnimplementedError(
          Concat(boost::json::serialize(*root), "; expected a matrix whose rows are a multiple of ",
                 kBlock, ", in blocks of ", kBlock)));
    }
    return Nf4State{(*shape)[0], (*shape)[1], *nested, *offset};
  }

  // The largest value of each block.
  absl::StatusOr<std::vector<float>> ReadAbsmax(const std::string& name, const Nf4State& state) {
    const int64_t blocks = state.rows * state.cols / kBlock;
    PINGTI_ASSIGN_OR_RETURN(const TensorView* absmax, Take(name + ".absmax"));
    PINGTI_RETURN_IF_ERROR(
        Expect(*absmax, state.nested_block == 0 ? DType::kF32 : DType::kU8, blocks));
    std::vector<float> values(static_cast<size_t>(blocks));
    if (state.nested_block == 0) {
      std::memcpy(values.data(), absmax->data, values.size() * 4);
      return values;
    }
    PINGTI_ASSIGN_OR_RETURN(const TensorView* scales, Take(name + ".nested_absmax"));
    PINGTI_ASSIGN_OR_RETURN(const TensorView* map, Take(name + ".nested_quant_map"));
    PINGTI_RETURN_IF_ERROR(
        Expect(*scales, DType::kF32, (blocks + state.nested_block - 1) / state.nested_block));
    PINGTI_RETURN_IF_ERROR(Expect(*map, DType::kF32, 256));
    const auto* q = static_cast<const uint8_t*>(absmax->data);
    for (int64_t b = 0; b < blocks; ++b) {
      values[static_cast<size_t>(b)] =
          LoadF32(*map, q[b]) * LoadF32(*scales, b / state.nested_block) +
          static_cast<float>(state.nested_offset);
    }
    return values;
  }

  absl::StatusOr<TensorView> Nf4Matrix(const TensorView& state_tensor) {
    const std::string name =
        state_tensor.name.substr(0, state_tensor.name.size() - kNf4State.size());
    dropped_.insert(state_tensor.name);
    PINGTI_ASSIGN_OR_RETURN(const Nf4State state, ReadState(state_tensor));
    PINGTI_ASSIGN_OR_RETURN(const TensorView* nibbles, Take(name));
    PINGTI_RETURN_IF_ERROR(Expect(*nibbles, DType::kU8, state.rows * state.cols / 2));
    PINGTI_ASSIGN_OR_RETURN(const TensorView* map, Take(name + ".quant_map"));
    PINGTI_RETURN_IF_ERROR(Expect(*map, DType::kF32, 16));
    for (int64_t i = 0; i < 16; ++i) {
      if (LoadF32(*map, i) != kNf4Values[i]) {
        return absl::UnimplementedError(
            Concat(Describe(*map), ": value ", i, " is ", LoadF32(*map, i), "; expected NF4's"));
      }
    }
    PINGTI_ASSIGN_OR_RETURN(const std::vector<float> absmax, ReadAbsmax(name, state));
    TensorView matrix{name, DType::kNf4, {state.rows, state.cols}, nullptr, 0};
    matrix.bytes = state.rows * matrix.RowBytes();
    std::byte* out = Allocate(matrix.bytes);
    matrix.data = out;
    const auto* in = static_cast<const std::byte*>(nibbles->data);
    for (const float largest : absmax) {
      std::memcpy(out, &largest, 4);
      std::memcpy(out + 4, in, kBlock / 2);
      out += BlockBytes(DType::kNf4);
      in += kBlock / 2;
    }
    return matrix;
  }

  std::vector<TensorView>* const tensors_;
  std::vector<std::unique_ptr<std::byte[]>>* const memory_;
  std::map<std::string, const TensorView*, std::less<>> by_name_;
  std::set<std::string> dropped_;
};

}  // namespace

absl::StatusOr<bool> JoinBitsAndBytes(std::vector<TensorView>* tensors,
                                      std::vector<std::unique_ptr<std::byte[]>>* memory) {
  return Joiner(tensors, memory).Run();
}

}  // namespace pingti::worker
