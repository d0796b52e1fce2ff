// Certificates for tests, made when they run: a CA and servers or clients that it signs.
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>

#include "common/base/check.h"

namespace pingti::testing {

// A P-256 key and a certificate for it, valid for an hour.
class TestCertificate {
 public:
  // `issuer` null: signs itself, as a CA.
  TestCertificate(const std::string& name, const TestCertificate* issuer)
      : key_(EVP_EC_gen("P-256")), certificate_(X509_new()) {
    PINGTI_CHECK(key_ != nullptr && certificate_ != nullptr);
    X509_set_version(certificate_, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate_), next_serial_++);
    X509_gmtime_adj(X509_getm_notBefore(certificate_), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate_), 3600);
    X509_set_pubkey(certificate_, key_);
    X509_NAME* subject = X509_get_subject_name(certificate_);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
    const TestCertificate& signer = issuer == nullptr ? *this : *issuer;
    X509_set_issuer_name(certificate_, X509_get_subject_name(signer.certificate_));
    AddExtension(NID_basic_constraints, issuer == nullptr ? "critical,CA:TRUE" : "CA:FALSE");
    if (issuer != nullptr) AddExtension(NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
    PINGTI_CHECK(X509_sign(certificate_, signer.key_, EVP_sha256()) > 0);
  }
  ~TestCertificate() {
    X509_free(certificate_);
    EVP_PKEY_free(key_);
  }
  TestCertificate(const TestCertificate&) = delete;
  TestCertificate& operator=(const TestCertificate&) = delete;

  void Write(const std::string& cert_file, const std::string& key_file) const {
    const std::unique_ptr<BIO, int (*)(BIO*)> cert(BIO_new_file(cert_file.c_str(), "w"), &BIO_free);
    const std::unique_ptr<BIO, int (*)(BIO*)> key(BIO_new_file(key_file.c_str(), "w"), &BIO_free);
    PINGTI_CHECK(PEM_write_bio_X509(cert.get(), certificate_) == 1);
    PINGTI_CHECK(PEM_write_bio_PrivateKey(key.get(), key_, nullptr, nullptr, 0, nullptr, nullptr) ==
                 1);
  }

  // The key alone, which nobody reads without `pass_phrase`.
  void WriteEncryptedKey(const std::string& key_file, const std::string& pass_phrase) const {
    const std::unique_ptr<BIO, int (*)(BIO*)> key(BIO_new_file(key_file.c_str(), "w"), &BIO_free);
    PINGTI_CHECK(
        PEM_write_bio_PrivateKey(key.get(), key_, EVP_aes_256_cbc(),
                                 reinterpret_cast<const unsigned char*>(pass_phrase.data()),
                                 static_cast<int>(pass_phrase.size()), nullptr, nullptr) == 1);
  }

 private:
  void AddExtension(int nid, const char* value) {
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value);
    PINGTI_CHECK(extension != nullptr);
    X509_add_ext(certificate_, extension, -1);
    X509_EXTENSION_free(extension);
  }

  static inline int next_serial_ = 1;
  EVP_PKEY* const key_;
  X509* const certificate_;
};

}  // namespace pingti::testing
