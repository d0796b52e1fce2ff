// What is wrong with the files that a router shows its workers is told at the start.
#include "router/worker_link/link_credentials.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "common/base/strings.h"
#include "tests/common/net/test_certificates.h"

namespace pingti::router {
namespace {

class LinkCredentialsTest : public ::testing::Test {
 protected:
  LinkCredentialsTest()
      : folder_(std::filesystem::path(::testing::TempDir()) / Concat("link-tls-", ::getpid())) {
    std::filesystem::create_directories(folder_);
    testing::TestCertificate("ca", nullptr).Write(Path("cert"), Path("key"));
    options_.tls = true;
  }
  ~LinkCredentialsTest() override { std::filesystem::remove_all(folder_); }

  std::string Path(const std::string& name) const { return (folder_ / name).string(); }
  std::string Wrong() const { return std::string(CheckLinkTls(options_).message()); }

  const std::filesystem::path folder_;
  WorkerLinkOptions options_;
};

TEST_F(LinkCredentialsTest, TakesTheSystemsCertificatesOrAFile) {
  EXPECT_EQ(Wrong(), "");
  options_.tls_ca_file = Path("cert");
  options_.tls_cert_file = Path("cert");
  options_.tls_key_file = Path("key");
  EXPECT_EQ(Wrong(), "");
}

TEST_F(LinkCredentialsTest, NamesAFileOfCertificatesThatIsNone) {
  options_.tls_ca_file = Path("key");
  EXPECT_EQ(Wrong(),
            Concat("worker_tls_ca_file '", Path("key"), "': expected a CERTIFICATE in PEM form"));
  options_.tls_ca_file = folder_.string();
  EXPECT_EQ(Wrong(),
            Concat("worker_tls_ca_file '", folder_.string(), "' cannot be read: Is a directory"));
  options_.tls_ca_file = Path("none");
  EXPECT_EQ(Wrong(), Concat("worker_tls_ca_file '", Path("none"),
                            "' cannot be read: No such file or directory"));
}

TEST_F(LinkCredentialsTest, FilesWithoutTlsAreNamed) {
  options_.tls = false;
  options_.tls_ca_file = "/a";
  EXPECT_EQ(Wrong(), "worker_tls_ca_file is '/a' while worker_tls is false");
}

}  // namespace
}  // namespace pingti::router
