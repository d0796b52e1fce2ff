// Writes small GGUF files in memory, right or wrong on purpose.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pingti::worker::testing {

class GgufBuilder {
 public:
  void AddU32(std::string_view key, uint32_t value);
  void AddF32(std::string_view key, float value);
  void AddString(std::string_view key, std::string_view value);
  void AddStrings(std::string_view key, const std::vector<std::string>& values);
  // `dims` innermost first, as the file has them. `bytes` of zeros are its data.
  void AddTensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type,
                 uint64_t bytes);

  // Offset that the next AddTensor states instead of the true one.
  void set_next_offset(uint64_t offset) { forced_offset_ = offset; }

  std::string Build(uint32_t version = 3) const;
  // What comes before the tensors' data, and how many bytes of data follow.
  std::string BuildStructure(uint32_t version = 3) const;
  uint64_t data_bytes() const { return data_bytes_; }

 private:
  std::string values_;
  uint64_t num_values_ = 0;
  std::string tensors_;
  uint64_t num_tensors_ = 0;
  uint64_t data_bytes_ = 0;
  uint64_t forced_offset_ = ~uint64_t{0};
};

// A llama model of one layer with zero weights that ParseGgufCheckpoint accepts.
GgufBuilder TinyLlama();

}  // namespace pingti::worker::testing
