// Writes a checkpoint's tensors as they come: safetensors files of a bounded size, and their index
// when there is more than one (source: the format's README at huggingface/safetensors; the index as
// transformers writes it). Holds no tensor in memory.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "worker/tensor/dtype.h"

namespace pingti::tools {

struct SafetensorsWriterOptions {
  int64_t max_shard_bytes = int64_t{5} * 1000 * 1000 * 1000;
  // Room for each file's header, which comes before the tensors and is known after them.
  int64_t header_bytes = 0;
};

// How much room `num_tensors` whose names have `name_bytes` in all need in a header.
int64_t HeaderBytes(int64_t num_tensors, int64_t name_bytes);

// Confined to one thread. Without Finish, unfinished files stay: whoever owns the directory removes
// it.
class SafetensorsWriter {
 public:
  SafetensorsWriter(std::string directory, const SafetensorsWriterOptions& options);
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  // `bytes`: the tensor's values, dense, row-major. Errors: those of the disk, naming the file;
  // Unimplemented when the tensor would begin at an address that its type cannot have (readers map
  // the file); ResourceExhausted when the header's room is used up.
  absl::Status Add(std::string_view name, worker::DType dtype, const std::vector<int64_t>& shape,
                   std::string_view bytes);
  // Completes the files, gives them their names and writes the index.
  absl::Status Finish();

  int64_t total_bytes() const { return total_bytes_; }

 private:
  absl::Status OpenShard();
  absl::Status CloseShard();
  absl::Status Write(std::string_view bytes);
  std::string PartPath(size_t shard) const;

  const std::string directory_;
  const SafetensorsWriterOptions options_;
  int file_ = -1;
  std::string header_;  // of the open shard, without the closing brace
  int64_t shard_bytes_ = 0;
  int64_t total_bytes_ = 0;
  size_t num_shards_ = 0;
  std::map<std::string, size_t> shard_of_;  // by tensor
};

}  // namespace pingti::tools
