#include "tools/quantize/safetensors_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "tools/quantize/output_directory.h"

namespace pingti::tools {
namespace {

namespace json = boost::json;

constexpr int64_t kLengthBytes = 8;
constexpr int64_t kEntryBytes = 160;  // punctuation, type, shape and offsets of one tensor

std::string Quoted(std::string_view text) {
  return json::serialize(json::string(text.data(), text.size()));
}

std::string ShardName(size_t shard, size_t count) {
  if (count == 1) return "model.safetensors";
  char name[64];
  std::snprintf(name, sizeof(name), "model-%05zu-of-%05zu.safetensors", shard + 1, count);
  return name;
}

}  // namespace

int64_t HeaderBytes(int64_t num_tensors, int64_t name_bytes) {
  const int64_t bytes = 64 + num_tensors * kEntryBytes + name_bytes;
  return (bytes + 7) / 8 * 8;
}

SafetensorsWriter::SafetensorsWriter(std::string directory, const SafetensorsWriterOptions& options)
    : directory_(std::move(directory)), options_(options) {}

SafetensorsWriter::~SafetensorsWriter() {
  if (file_ >= 0) ::close(file_);
}

std::string SafetensorsWriter::PartPath(size_t shard) const {
  return Concat(directory_, "/shard-", shard);
}

absl::Status SafetensorsWriter::Write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FileError("cannot write", PartPath(num_shards_ - 1));
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status SafetensorsWriter::OpenShard() {
  const std::string path = PartPath(num_shards_);
  file_ = ::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
  if (file_ < 0) return FileError("cannot create", path);
  ++num_shards_;
  header_ = R"({"__metadata__":{"format":"pt"})";
  shard_bytes_ = 0;
  if (::lseek(file_, kLengthBytes + options_.header_bytes, SEEK_SET) < 0) {
    return FileError("cannot seek in", path);
  }
  return absl::OkStatus();
}

absl::Status SafetensorsWriter::CloseShard() {
  const std::string path = PartPath(num_shards_ - 1);
  header_ += "}";
  if (static_cast<int64_t>(header_.size()) > options_.header_bytes) {
    return absl::ResourceExhaustedError(
        Concat(path, ": a header of ", header_.size(), " bytes; room for ", options_.header_bytes));
  }
  // The format allows trailing spaces.
  header_.resize(static_cast<size_t>(options_.header_bytes), ' ');
  const auto length = static_cast<uint64_t>(options_.header_bytes);
  char prefix[kLengthBytes];
  std::memcpy(prefix, &length, sizeof(prefix));
  if (::lseek(file_, 0, SEEK_SET) < 0) return FileError("cannot seek in", path);
  PINGTI_RETURN_IF_ERROR(Write({prefix, sizeof(prefix)}));
  PINGTI_RETURN_IF_ERROR(Write(header_));
  if (::fsync(file_) != 0) return FileError("cannot write", path);
  const int closed = ::close(std::exchange(file_, -1));
  return closed == 0 ? absl::OkStatus() : FileError("cannot close", path);
}

absl::Status SafetensorsWriter::Add(std::string_view name, worker::DType dtype,
                                    const std::vector<int64_t>& shape, std::string_view bytes) {
  const auto size = static_cast<int64_t>(bytes.size());
  if (file_ >= 0 && shard_bytes_ > 0 && shard_bytes_ + size > options_.max_shard_bytes) {
    PINGTI_RETURN_IF_ERROR(CloseShard());
  }
  if (file_ < 0) PINGTI_RETURN_IF_ERROR(OpenShard());
  if (shard_bytes_ % worker::BlockBytes(dtype) != 0) {
    return absl::UnimplementedError(Concat("tensor '", name, "' ", worker::DTypeName(dtype),
                                           " would begin at byte ", shard_bytes_,
                                           "; expected a multiple of ", worker::BlockBytes(dtype)));
  }
  json::array dims;
  for (const int64_t dim : shape) dims.push_back(dim);
  header_ += Concat(",", Quoted(name), R"(:{"dtype":")", worker::DTypeName(dtype), R"(","shape":)",
                    json::serialize(dims), R"(,"data_offsets":[)", shard_bytes_, ",",
                    shard_bytes_ + size, "]}");
  PINGTI_RETURN_IF_ERROR(Write(bytes));
  shard_of_[std::string(name)] = num_shards_ - 1;
  shard_bytes_ += size;
  total_bytes_ += size;
  return absl::OkStatus();
}

absl::Status SafetensorsWriter::Finish() {
  if (file_ >= 0) PINGTI_RETURN_IF_ERROR(CloseShard());
  for (size_t shard = 0; shard < num_shards_; ++shard) {
    const std::string path = Concat(directory_, "/", ShardName(shard, num_shards_));
    if (std::rename(PartPath(shard).c_str(), path.c_str()) != 0) {
      return FileError("cannot rename to", path);
    }
  }
  if (num_shards_ <= 1) return absl::OkStatus();
  json::object map;
  for (const auto& [name, shard] : shard_of_) map[name] = ShardName(shard, num_shards_);
  const json::value index = {{"metadata", {{"total_size", total_bytes_}}},
                             {"weight_map", std::move(map)}};
  return WriteFile(directory_ + "/model.safetensors.index.json", json::serialize(index) + "\n");
}

}  // namespace pingti::tools
