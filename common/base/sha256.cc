// SHA-256 by OpenSSL's EVP interface, which uses the CPU's instructions for it.
#include "common/base/sha256.h"

#include <openssl/evp.h>

#include "common/base/check.h"

namespace pingti {

struct Sha256Hasher::Context {
  Context() : evp(EVP_MD_CTX_new()) { PINGTI_CHECK(evp != nullptr); }
  ~Context() { EVP_MD_CTX_free(evp); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  void Begin() { PINGTI_CHECK(EVP_DigestInit_ex(evp, EVP_sha256(), nullptr) == 1); }

  EVP_MD_CTX* evp;
};

Sha256Hasher::Sha256Hasher() : context_(std::make_unique<Context>()) { context_->Begin(); }
Sha256Hasher::~Sha256Hasher() = default;

void Sha256Hasher::Update(std::string_view bytes) {
  PINGTI_CHECK(EVP_DigestUpdate(context_->evp, bytes.data(), bytes.size()) == 1);
}

Sha256Digest Sha256Hasher::Finish() {
  Sha256Digest digest;
  unsigned length = 0;
  PINGTI_CHECK(EVP_DigestFinal_ex(context_->evp, digest.data(), &length) == 1);
  PINGTI_CHECK(length == digest.size());
  context_->Begin();
  return digest;
}

Sha256Digest Sha256(std::string_view bytes) {
  Sha256Hasher hasher;
  hasher.Update(bytes);
  return hasher.Finish();
}

std::string ToHex(const Sha256Digest& digest) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string hex;
  hex.reserve(digest.size() * 2);
  for (const uint8_t byte : digest) {
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

}  // namespace pingti
