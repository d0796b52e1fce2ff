// Random ids: bytes from getrandom(2), kept only when they leave no bias.
#include "common/base/random_id.h"

#include <sys/random.h>

#include <array>
#include <cerrno>
#include <cstddef>

#include "common/base/check.h"

namespace pingti {
namespace {

constexpr std::string_view kAlphabet =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
constexpr size_t kIdLength = 24;

class GetRandom final : public EntropySource {
 public:
  void Fill(std::span<uint8_t> bytes) override {
    while (!bytes.empty()) {
      const ssize_t got = ::getrandom(bytes.data(), bytes.size(), 0);
      if (got < 0 && errno == EINTR) continue;
      PINGTI_CHECK_MSG(got > 0, "getrandom(2) failed");
      bytes = bytes.subspan(static_cast<size_t>(got));
    }
  }
};

}  // namespace

EntropySource* OsEntropy() {
  static GetRandom source;
  return &source;
}

std::string RandomId(std::string_view prefix, EntropySource* entropy) {
  // Bytes from `kLimit` on would favour the first letters: draw again.
  constexpr size_t kLimit = 256 / kAlphabet.size() * kAlphabet.size();
  std::string id(prefix);
  std::array<uint8_t, 32> bytes;
  while (id.size() < prefix.size() + kIdLength) {
    entropy->Fill(bytes);
    for (const uint8_t byte : bytes) {
      if (byte >= kLimit || id.size() == prefix.size() + kIdLength) continue;
      id += kAlphabet[byte % kAlphabet.size()];
    }
  }
  return id;
}

}  // namespace pingti
