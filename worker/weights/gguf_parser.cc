// Reads the bytes of a GGUF file into a GgufFile, once from front to back.
#include <algorithm>
#include <cstring>
#include <limits>
#include <set>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/weights/gguf_file.h"
#include "worker/weights/gguf_tensor_type.h"

namespace pingti::worker {
namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMaxNameBytes = 1024;
constexpr uint32_t kMaxDims = 4;

// Value types of the specification's gguf_metadata_value_type.
enum ValueType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

// Smallest encoding of a value of the type; 0 for a type that does not exist.
uint64_t MinValueBytes(uint32_t type) {
  switch (type) {
    case kUint8:
    case kInt8:
    case kBool:
      return 1;
    case kUint16:
    case kInt16:
      return 2;
    case kUint32:
    case kInt32:
    case kFloat32:
      return 4;
    case kString:
    case kUint64:
    case kInt64:
    case kFloat64:
      return 8;
    case kArray:
      return 12;
    default:
      return 0;
  }
}

absl::Status Truncated(std::string_view what) {
  return absl::InvalidArgumentError(Concat("truncated inside ", what));
}

}  // namespace

class GgufFile::Parser {
 public:
  explicit Parser(std::string_view bytes) : bytes_(bytes) {}

  absl::StatusOr<GgufFile> Run() {
    PINGTI_RETURN_IF_ERROR(ReadHeader());
    for (uint64_t i = 0; i < num_values_; ++i) PINGTI_RETURN_IF_ERROR(ReadKeyValue(i));
    PINGTI_RETURN_IF_ERROR(ReadAlignment());
    file_.tensors_.reserve(num_tensors_);
    for (uint64_t i = 0; i < num_tensors_; ++i) PINGTI_RETURN_IF_ERROR(ReadTensorInfo(i));
    PINGTI_RETURN_IF_ERROR(PlaceTensors());
    return std::move(file_);
  }

 private:
  uint64_t remaining() const { return bytes_.size() - offset_; }

  template <typename T>
  absl::StatusOr<T> Read(std::string_view what) {
    if (remaining() < sizeof(T)) return Truncated(what);
    T value;
    std::memcpy(&value, bytes_.data() + offset_, sizeof(T));
    offset_ += sizeof(T);
    return value;
  }

  absl::StatusOr<std::string_view> ReadString(std::string_view what) {
    PINGTI_ASSIGN_OR_RETURN(const uint64_t length, Read<uint64_t>(what));
    if (length > remaining()) {
      return absl::InvalidArgumentError(Concat(what, ": string of ", length, " bytes, but only ",
                                               remaining(), " bytes are left in the file"));
    }
    const std::string_view text = bytes_.substr(offset_, length);
    offset_ += length;
    return text;
  }

  absl::Status ReadHeader() {
    PINGTI_ASSIGN_OR_RETURN(const uint32_t magic, Read<uint32_t>("the header"));
    if (magic != kMagic) {
      return absl::InvalidArgumentError("not a GGUF file: it does not begin with 'GGUF'");
    }
    PINGTI_ASSIGN_OR_RETURN(file_.version_, Read<uint32_t>("the header"));
    if (file_.version_ == 0x02000000u || file_.version_ == 0x03000000u) {
      return absl::UnimplementedError("big-endian GGUF; expected little-endian");
    }
    if (file_.version_ != 2 && file_.version_ != 3) {
      return absl::UnimplementedError(Concat("GGUF version ", file_.version_, "; expected 2 or 3"));
    }
    PINGTI_ASSIGN_OR_RETURN(num_tensors_, Read<uint64_t>("the header"));
    PINGTI_ASSIGN_OR_RETURN(num_values_, Read<uint64_t>("the header"));
    // A key takes at least 13 bytes, a tensor at least 32: larger counts cannot be true.
    if (num_values_ > remaining() / 13) {
      return absl::InvalidArgumentError(
          Concat("header: ", num_values_, " metadata keys do not fit in the file"));
    }
    if (num_tensors_ > remaining() / 32) {
      return absl::InvalidArgumentError(
          Concat("header: ", num_tensors_, " tensors do not fit in the file"));
    }
    return absl::OkStatus();
  }

  absl::Status ReadKeyValue(uint64_t index) {
    PINGTI_ASSIGN_OR_RETURN(const std::string_view key, ReadString(Concat("metadata key ", index)));
    if (key.empty() || key.size() > kMaxNameBytes) {
      return absl::InvalidArgumentError(Concat("metadata key ", index, ": name of ", key.size(),
                                               " bytes; expected 1 to ", kMaxNameBytes));
    }
    PINGTI_ASSIGN_OR_RETURN(const uint32_t type, Read<uint32_t>(key));
    PINGTI_ASSIGN_OR_RETURN(GgufValue value,
                            type == kArray ? ReadArray(key) : ReadScalar(type, key));
    if (!file_.values_.emplace(key, std::move(value)).second) {
      return absl::InvalidArgumentError(Concat("metadata key '", key, "' appears twice"));
    }
    return absl::OkStatus();
  }

  template <typename T, typename Wide>
  absl::StatusOr<GgufValue> ReadAs(std::string_view key) {
    PINGTI_ASSIGN_OR_RETURN(const T value, Read<T>(key));
    return GgufValue(static_cast<Wide>(value));
  }

  absl::StatusOr<GgufValue> ReadScalar(uint32_t type, std::string_view key) {
    switch (type) {
      case kUint8:
        return ReadAs<uint8_t, uint64_t>(key);
      case kInt8:
        return ReadAs<int8_t, int64_t>(key);
      case kUint16:
        return ReadAs<uint16_t, uint64_t>(key);
      case kInt16:
        return ReadAs<int16_t, int64_t>(key);
      case kUint32:
        return ReadAs<uint32_t, uint64_t>(key);
      case kInt32:
        return ReadAs<int32_t, int64_t>(key);
      case kUint64:
        return ReadAs<uint64_t, uint64_t>(key);
      case kInt64:
        return ReadAs<int64_t, int64_t>(key);
      case kFloat32:
        return ReadAs<float, double>(key);
      case kFloat64:
        return ReadAs<double, double>(key);
      case kBool: {
        PINGTI_ASSIGN_OR_RETURN(const uint8_t value, Read<uint8_t>(key));
        if (value > 1) {
          return absl::InvalidArgumentError(
              Concat("metadata key '", key, "': boolean ", value, "; expected 0 or 1"));
        }
        return GgufValue(value == 1);
      }
      case kString: {
        PINGTI_ASSIGN_OR_RETURN(const std::string_view text, ReadString(key));
        return GgufValue(text);
      }
      default:
        return absl::InvalidArgumentError(
            Concat("metadata key '", key, "': value type ", type, "; expected 0 to 12"));
    }
  }

  absl::StatusOr<GgufValue> ReadArray(std::string_view key) {
    PINGTI_ASSIGN_OR_RETURN(const uint32_t type, Read<uint32_t>(key));
    PINGTI_ASSIGN_OR_RETURN(const uint64_t count, Read<uint64_t>(key));
    if (type == kArray) {
      return absl::UnimplementedError(Concat("metadata key '", key, "': arrays of arrays"));
    }
    const uint64_t min_bytes = MinValueBytes(type);
    if (min_bytes == 0) {
      return absl::InvalidArgumentError(
          Concat("metadata key '", key, "': array of value type ", type, "; expected 0 to 12"));
    }
    if (count > remaining() / min_bytes) {
      return absl::InvalidArgumentError(Concat("metadata key '", key, "': array of ", count,
                                               " values, but only ", remaining(),
                                               " bytes are left in the file"));
    }
    if (type == kString) return ReadArrayOf<std::string_view, std::string_view>(type, count, key);
    if (type == kFloat32 || type == kFloat64) {
      return ReadArrayOf<double, double>(type, count, key);
    }
    return ReadIntArray(type, count, key);
  }

  template <typename T, typename Held>
  absl::StatusOr<GgufValue> ReadArrayOf(uint32_t type, uint64_t count, std::string_view key) {
    std::vector<T> values;
    values.reserve(count);
    for (uint64_t i = 0; i < count; ++i) {
      PINGTI_ASSIGN_OR_RETURN(const GgufValue value, ReadScalar(type, key));
      values.push_back(std::get<Held>(value));
    }
    return GgufValue(std::move(values));
  }

  absl::StatusOr<GgufValue> ReadIntArray(uint32_t type, uint64_t count, std::string_view key) {
    std::vector<int64_t> values;
    values.reserve(count);
    for (uint64_t i = 0; i < count; ++i) {
      PINGTI_ASSIGN_OR_RETURN(const GgufValue value, ReadScalar(type, key));
      if (const auto* wide = std::get_if<uint64_t>(&value)) {
        if (*wide > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
          return absl::InvalidArgumentError(
              Concat("metadata key '", key, "': value ", *wide, " does not fit 63 bits"));
        }
        values.push_back(static_cast<int64_t>(*wide));
      } else if (const auto* flag = std::get_if<bool>(&value)) {
        values.push_back(*flag ? 1 : 0);
      } else {
        values.push_back(std::get<int64_t>(value));
      }
    }
    return GgufValue(std::move(values));
  }

  absl::Status ReadAlignment() {
    PINGTI_ASSIGN_OR_RETURN(const std::optional<int64_t> value, file_.Int("general.alignment"));
    if (!value.has_value()) return absl::OkStatus();
    if (*value < 8 || *value > (1 << 20) || (*value & (*value - 1)) != 0) {
      return absl::InvalidArgumentError(
          Concat("general.alignment is ", *value, "; expected a power of two from 8 to 1048576"));
    }
    alignment_ = static_cast<uint64_t>(*value);
    return absl::OkStatus();
  }

  absl::Status ReadTensorInfo(uint64_t index) {
    PINGTI_ASSIGN_OR_RETURN(const std::string_view name,
                            ReadString(Concat("the name of tensor ", index)));
    if (name.empty() || name.size() > kMaxNameBytes) {
      return absl::InvalidArgumentError(Concat("tensor ", index, ": name of ", name.size(),
                                               " bytes; expected 1 to ", kMaxNameBytes));
    }
    const std::string what = Concat("tensor '", name, "'");
    if (!names_.insert(name).second) {
      return absl::InvalidArgumentError(Concat(what, " appears twice"));
    }
    TensorView tensor;
    tensor.name = std::string(name);
    PINGTI_RETURN_IF_ERROR(ReadShape(what, &tensor));
    PINGTI_ASSIGN_OR_RETURN(const uint32_t type, Read<uint32_t>(what));
    const std::optional<DType> dtype = GgufTensorType(type);
    if (!dtype.has_value()) {
      return absl::UnimplementedError(
          Concat(what, ": type ", GgufTensorTypeName(type), " (", type,
                 "); expected F32, F16, BF16 or a quantized type other than NVFP4, Q1_0 and Q2_0"));
    }
    tensor.dtype = *dtype;
    if (tensor.shape.back() % BlockElements(*dtype) != 0) {
      return absl::InvalidArgumentError(Concat(what, ": rows of ", tensor.shape.back(),
                                               " values; expected a multiple of ",
                                               BlockElements(*dtype), " for ", DTypeName(*dtype)));
    }
    tensor.bytes = tensor.NumElements() / BlockElements(*dtype) * BlockBytes(*dtype);
    PINGTI_ASSIGN_OR_RETURN(const uint64_t offset, Read<uint64_t>(what));
    if (offset % alignment_ != 0) {
      return absl::InvalidArgumentError(
          Concat(what, ": offset ", offset, "; expected a multiple of ", alignment_));
    }
    file_.tensors_.push_back(std::move(tensor));
    offsets_.push_back(offset);
    return absl::OkStatus();
  }

  // The file gives the innermost dimension first; TensorView has it last.
  absl::Status ReadShape(const std::string& what, TensorView* tensor) {
    PINGTI_ASSIGN_OR_RETURN(const uint32_t num_dims, Read<uint32_t>(what));
    if (num_dims < 1 || num_dims > kMaxDims) {
      return absl::InvalidArgumentError(
          Concat(what, ": ", num_dims, " dimensions; expected 1 to ", kMaxDims));
    }
    uint64_t elements = 1;
    for (uint32_t i = 0; i < num_dims; ++i) {
      PINGTI_ASSIGN_OR_RETURN(const uint64_t dim, Read<uint64_t>(what));
      // No type takes less than a bit a value, so a longer tensor cannot be in this file.
      if (dim == 0 || dim > 8 * bytes_.size() / elements) {
        return absl::InvalidArgumentError(Concat(what, ": dimension ", i, " is ", dim,
                                                 "; the file has only ", bytes_.size(),
                                                 " bytes, and no dimension may be 0"));
      }
      elements *= dim;
      tensor->shape.push_back(static_cast<int64_t>(dim));
    }
    std::reverse(tensor->shape.begin(), tensor->shape.end());
    return absl::OkStatus();
  }

  absl::Status PlaceTensors() {
    const uint64_t start = (offset_ + alignment_ - 1) / alignment_ * alignment_;
    const uint64_t available = start <= bytes_.size() ? bytes_.size() - start : 0;
    std::vector<std::pair<uint64_t, size_t>> order;
    for (size_t i = 0; i < file_.tensors_.size(); ++i) {
      TensorView& tensor = file_.tensors_[i];
      const auto size = static_cast<uint64_t>(tensor.bytes);
      if (size > available || offsets_[i] > available - size) {
        return absl::InvalidArgumentError(
            Concat("tensor '", tensor.name, "' ", DTypeName(tensor.dtype), " ",
                   tensor.ShapeString(), ": ", size, " bytes at offset ", offsets_[i],
                   ", but the file holds only ", available, " bytes of tensor data (truncated?)"));
      }
      tensor.data = bytes_.data() + start + offsets_[i];
      order.emplace_back(offsets_[i], i);
    }
    std::sort(order.begin(), order.end());
    for (size_t i = 1; i < order.size(); ++i) {
      const TensorView& before = file_.tensors_[order[i - 1].second];
      if (order[i - 1].first + static_cast<uint64_t>(before.bytes) > order[i].first) {
        return absl::InvalidArgumentError(Concat("tensor '", before.name, "' overlaps tensor '",
                                                 file_.tensors_[order[i].second].name, "'"));
      }
    }
    return absl::OkStatus();
  }

  const std::string_view bytes_;
  uint64_t offset_ = 0;
  uint64_t num_tensors_ = 0;
  uint64_t num_values_ = 0;
  uint64_t alignment_ = kDefaultAlignment;
  std::set<std::string_view> names_;
  std::vector<uint64_t> offsets_;
  GgufFile file_;
};

absl::StatusOr<GgufFile> GgufFile::Parse(std::string_view bytes) { return Parser(bytes).Run(); }

}  // namespace pingti::worker
