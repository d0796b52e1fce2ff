// Unguessable ids for requests, for example "chatcmpl-9fJ2kQ...".
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace pingti {

// Where random bytes come from; tests pass a fixed one. Thread-safe.
class EntropySource {
 public:
  virtual ~EntropySource() = default;
  virtual void Fill(std::span<uint8_t> bytes) = 0;
};

// The operating system's generator. Lives as long as the process; not owned by the caller.
EntropySource* OsEntropy();

// `prefix` and 24 characters of [0-9A-Za-z], each uniformly drawn: 142 bits.
std::string RandomId(std::string_view prefix, EntropySource* entropy);

}  // namespace pingti
