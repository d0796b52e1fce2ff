// See tls.h.
#include "common/net/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "common/base/file_stamp.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::net {
namespace {

constexpr std::chrono::seconds kLookAgain{1};

std::string WhatOpenSslSays() {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return reason == nullptr ? "unknown error" : reason;
}

absl::Status CheckReadable(std::string_view what, const std::string& file) {
  if (::access(file.c_str(), R_OK) == 0) return absl::OkStatus();
  return absl::NotFoundError(Concat(what, " '", file, "' cannot be read: ", std::strerror(errno)));
}

absl::Status NotPem(std::string_view what, const std::string& file, std::string_view expected) {
  return absl::InvalidArgumentError(
      Concat(what, " '", file, "': expected ", expected, " in PEM form (", WhatOpenSslSays(), ")"));
}

// HTTP/1.1 is all this server speaks; a client that can only do something else is told so.
int ChooseProtocol(SSL*, const unsigned char** out, unsigned char* out_length,
                   const unsigned char* offered, unsigned int offered_length, void*) {
  static constexpr std::string_view kHttp11 = "http/1.1";
  for (unsigned int at = 0; at < offered_length; at += 1u + offered[at]) {
    const std::string_view name(reinterpret_cast<const char*>(offered + at + 1), offered[at]);
    if (name != kHttp11) continue;
    *out = offered + at + 1;
    *out_length = offered[at];
    return SSL_TLSEXT_ERR_OK;
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

// For keys with a pass phrase. OpenSSL itself would ask whoever sits at the terminal, and wait.
int HasNoPassPhrase(char*, int, int, void*) { return -1; }

absl::Status LoadClientCa(SSL_CTX* context, const std::string& file) {
  if (file.empty()) return absl::OkStatus();
  PINGTI_RETURN_IF_ERROR(CheckReadable("TLS client CA file", file));
  if (SSL_CTX_load_verify_file(context, file.c_str()) != 1) {
    return NotPem("TLS client CA file", file, "certificates");
  }
  SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(file.c_str()));
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<SSL_CTX>> Load(const TlsFiles& files) {
  if (files.cert_file.empty() || files.key_file.empty()) {
    return absl::InvalidArgumentError(
        files.cert_file.empty()
            ? Concat("TLS key file '", files.key_file, "' is set without a certificate file")
            : Concat("TLS certificate file '", files.cert_file, "' is set without a key file"));
  }
  PINGTI_RETURN_IF_ERROR(CheckReadable("TLS certificate file", files.cert_file));
  PINGTI_RETURN_IF_ERROR(CheckReadable("TLS key file", files.key_file));
  ERR_clear_error();
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_server_method()), &SSL_CTX_free);
  if (context == nullptr) return absl::InternalError(Concat("OpenSSL: ", WhatOpenSslSays()));
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_alpn_select_cb(context.get(), &ChooseProtocol, nullptr);
  SSL_CTX_set_default_passwd_cb(context.get(), &HasNoPassPhrase);
  if (SSL_CTX_use_certificate_chain_file(context.get(), files.cert_file.c_str()) != 1) {
    return NotPem("TLS certificate file", files.cert_file, "a certificate");
  }
  const bool taken =
      SSL_CTX_use_PrivateKey_file(context.get(), files.key_file.c_str(), SSL_FILETYPE_PEM) == 1;
  if (!taken && ERR_GET_REASON(ERR_peek_last_error()) != X509_R_KEY_VALUES_MISMATCH) {
    return NotPem("TLS key file", files.key_file, "a private key without a pass phrase");
  }
  // A key of another kind than the certificate's is taken, and found out only here.
  if (!taken || SSL_CTX_check_private_key(context.get()) != 1) {
    ERR_clear_error();
    return absl::InvalidArgumentError(Concat("TLS key file '", files.key_file,
                                             "' does not belong to the certificate in '",
                                             files.cert_file, "'"));
  }
  PINGTI_RETURN_IF_ERROR(LoadClientCa(context.get(), files.client_ca_file));
  return context;
}

// Changes whenever a file is written or replaced.
std::string Fingerprint(const TlsFiles& files) {
  std::string text;
  for (const std::string& file : {files.cert_file, files.key_file, files.client_ca_file}) {
    text += Concat(FileStamp(file), ";");
  }
  return text;
}

}  // namespace

absl::Status CheckTlsFiles(const TlsFiles& files) {
  if (files.enabled()) return Load(files).status();
  if (files.client_ca_file.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(Concat("TLS client CA file '", files.client_ca_file,
                                           "' is set without certificate and key files"));
}

absl::StatusOr<std::unique_ptr<TlsServerContext>> TlsServerContext::Create(const TlsFiles& files) {
  std::unique_ptr<TlsServerContext> result(new TlsServerContext(files));
  MutexLock lock(&result->mutex_);
  result->seen_ = Fingerprint(files);
  PINGTI_ASSIGN_OR_RETURN(result->context_, Load(files));
  return result;
}

std::shared_ptr<ssl_ctx_st> TlsServerContext::Get() {
  MutexLock lock(&mutex_);
  const auto now = std::chrono::steady_clock::now();
  if (now < look_again_) return context_;
  look_again_ = now + kLookAgain;
  std::string fingerprint = Fingerprint(files_);
  if (fingerprint == seen_) return context_;
  seen_ = std::move(fingerprint);
  absl::StatusOr<std::shared_ptr<SSL_CTX>> renewed = Load(files_);
  if (renewed.ok()) {
    context_ = *std::move(renewed);
    LogInfo("TLS certificate renewed", {{"file", files_.cert_file}});
  } else {
    LogWarning("TLS files changed and do not fit; the old ones stay in use",
               {{"reason", renewed.status().ToString()}});
  }
  return context_;
}

}  // namespace pingti::net
