// The HTTP server behind TLS: a client of OpenSSL's, clients that are none, files that do not fit,
// and certificates that change while it runs.
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>

#include "common/base/strings.h"
#include "common/net/http_server.h"
#include "tests/common/net/tcp_client.h"
#include "tests/common/net/test_certificates.h"
#include "tests/testing/wait_for.h"

namespace pingti::net {
namespace {

using std::chrono::milliseconds;
using testing::TcpClient;
using testing::TestCertificate;
using testing::WaitFor;

// A blocking TLS client; waits at most testing::kPatience.
class TlsClient {
 public:
  explicit TlsClient(uint16_t port, const std::string& ca_file, const char* protocols = nullptr,
                     int receive_buffer_bytes = 0)
      : context_(SSL_CTX_new(TLS_client_method()), &SSL_CTX_free),
        ssl_(nullptr, &SSL_free),
        socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    SSL_CTX_load_verify_file(context_.get(), ca_file.c_str());
    SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER, nullptr);
    if (protocols != nullptr) {
      SSL_CTX_set_alpn_protos(context_.get(), reinterpret_cast<const unsigned char*>(protocols),
                              static_cast<unsigned>(std::string(protocols).size()));
    }
    if (receive_buffer_bytes > 0) {
      ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes,
                   sizeof(receive_buffer_bytes));
    }
    const timeval patience{.tv_sec = testing::kPatience.count(), .tv_usec = 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) return;
    ssl_.reset(SSL_new(context_.get()));
    SSL_set_fd(ssl_.get(), socket_);
    SSL_set1_host(ssl_.get(), "localhost");
    connected_ = SSL_connect(ssl_.get()) == 1;
    ERR_clear_error();
  }
  ~TlsClient() { ::close(socket_); }

  bool connected() const { return connected_; }
  bool Send(const std::string& bytes) {
    return SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size())) > 0;
  }
  // Asks the server to change its key, which it has to answer (RFC 8446, section 4.6.3). False when
  // the connection is gone.
  bool AskForNewKey() {
    return SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_REQUESTED) == 1 &&
           SSL_do_handshake(ssl_.get()) == 1;
  }
  // Until `text` came or the connection ended.
  std::string ReadUntil(const std::string& text) {
    char piece[4096];
    while (received_.find(text) == std::string::npos) {
      const int length = SSL_read(ssl_.get(), piece, sizeof(piece));
      if (length <= 0) {
        clean_end_ = SSL_get_error(ssl_.get(), length) == SSL_ERROR_ZERO_RETURN;
        break;
      }
      received_.append(piece, static_cast<size_t>(length));
    }
    return received_;
  }
  // The server said good-bye before it closed.
  bool clean_end() const { return clean_end_; }
  void Goodbye() { SSL_shutdown(ssl_.get()); }
  long serial() const {
    const std::unique_ptr<X509, void (*)(X509*)> peer(SSL_get1_peer_certificate(ssl_.get()),
                                                      &X509_free);
    return ASN1_INTEGER_get(X509_get0_serialNumber(peer.get()));
  }

 private:
  const std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context_;
  std::unique_ptr<SSL, void (*)(SSL*)> ssl_;
  const int socket_;
  bool connected_ = false;
  bool clean_end_ = false;
  std::string received_;
};

class HttpsServerTest : public ::testing::Test {
 protected:
  HttpsServerTest() {
    folder_ = std::filesystem::path(::testing::TempDir()) /
              Concat("https-", ::getpid(), "-",
                     ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder_);
    ca_.Write(ca_file(), (folder_ / "ca.key").string());
    Renew();
  }
  ~HttpsServerTest() override {
    server_ = nullptr;
    std::filesystem::remove_all(folder_);
  }

  std::string ca_file() const { return (folder_ / "ca.pem").string(); }
  TlsFiles files() const {
    return {.cert_file = (folder_ / "cert.pem").string(),
            .key_file = (folder_ / "key.pem").string()};
  }
  void Renew() { TestCertificate("server", &ca_).Write(files().cert_file, files().key_file); }

  void Start(HttpServerOptions options = {}) {
    options.tls = files();
    auto server = HttpServer::Start(
        options, [this](HttpRequest request, std::shared_ptr<HttpResponder> responder) {
          if (request.path == "/hang") {
            responder->OnClose([this] { ++closed_; });
            ++hung_;
            hanging_ = responder;
          } else if (request.path == "/large") {
            responder->Send({.body = std::string(16 << 20, 'L') + "end"});
          } else if (request.path == "/stream") {
            responder->StartStream({});
            for (int i = 0; i < 200; ++i) responder->Write(std::string(1000, 'Q'));
            responder->EndStream();
          } else {
            responder->Send({.body = Concat(request.method, " ", request.body.size())});
          }
        });
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  TestCertificate ca_{"ca", nullptr};
  std::filesystem::path folder_;
  std::atomic<int> hung_{0};  // requests that get no answer
  std::atomic<int> closed_{0};
  std::shared_ptr<HttpResponder> hanging_;
  std::unique_ptr<HttpServer> server_;
};

std::string Post(const std::string& path, const std::string& body) {
  return Concat("POST ", path, " HTTP/1.1\r\nHost: h\r\nContent-Length: ", body.size(), "\r\n\r\n",
                body);
}

TEST_F(HttpsServerTest, AnswersAndKeepsTheConnection) {
  Start();
  TlsClient client(server_->port(), ca_file());
  ASSERT_TRUE(client.connected());
  ASSERT_TRUE(client.Send(Post("/", "abc")));
  EXPECT_NE(client.ReadUntil("POST 3").find("200 OK"), std::string::npos);
  const std::string large(300'000, 'x');  // many records
  ASSERT_TRUE(client.Send(Post("/", large)));
  EXPECT_NE(client.ReadUntil("POST 300000").find("POST 300000"), std::string::npos);
  ASSERT_TRUE(
      client.Send("POST /stream HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
                  "Content-Length: 0\r\n\r\n"));
  const std::string all = client.ReadUntil("\r\n0\r\n\r\n");
  EXPECT_EQ(std::count(all.begin(), all.end(), 'Q'), 200'000);
  client.ReadUntil("nothing more comes");
  EXPECT_TRUE(client.clean_end());
}

TEST_F(HttpsServerTest, APlainRequestIsRefusedInWords) {
  Start();
  TcpClient client(server_->port());
  ASSERT_TRUE(client.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n"));
  const std::string answer = client.ReadAll();
  EXPECT_TRUE(client.ended());
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 400")) << answer;
  EXPECT_NE(answer.find("https"), std::string::npos);
}

TEST_F(HttpsServerTest, ABrokenHandshakeEndsItsConnectionAlone) {
  Start();
  TcpClient noise(server_->port());
  ASSERT_TRUE(noise.Send(std::string("\x16\x03\x01\x00\x05hello", 10)));
  noise.ReadAll();
  EXPECT_TRUE(noise.ended());
  TlsClient only_h2(server_->port(), ca_file(), "\x02h2");
  EXPECT_FALSE(only_h2.connected());
  TlsClient http11(server_->port(), ca_file(), "\x02h2\x08http/1.1");
  ASSERT_TRUE(http11.connected());
  ASSERT_TRUE(http11.Send(Post("/", "")));
  EXPECT_NE(http11.ReadUntil("POST 0").find("POST 0"), std::string::npos);
}

TEST_F(HttpsServerTest, ASilentHandshakeIsClosedInTime) {
  HttpServerOptions options;
  options.header_timeout = milliseconds(50);
  Start(options);
  TcpClient silent(server_->port());
  silent.ReadAll();
  EXPECT_TRUE(silent.ended());
  TcpClient half(server_->port());
  half.Send(std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11));
  half.ReadAll();
  EXPECT_TRUE(half.ended());
  EXPECT_TRUE(WaitFor([&] { return server_->num_connections() == 0; }));
}

TEST_F(HttpsServerTest, AClientThatLeavesIsNoticed) {
  Start();
  {
    TlsClient rude(server_->port(), ca_file());
    ASSERT_TRUE(rude.Send(Post("/hang", "")));
    ASSERT_TRUE(WaitFor([&] { return hung_ == 1; }));
  }
  EXPECT_TRUE(WaitFor([&] { return closed_ == 1; }));
  TlsClient polite(server_->port(), ca_file());
  ASSERT_TRUE(polite.Send(Post("/hang", "")));
  ASSERT_TRUE(WaitFor([&] { return hung_ == 2; }));
  polite.Goodbye();
  EXPECT_TRUE(WaitFor([&] { return closed_ == 2; }));
}

// A client that reads nothing, and has TLS say something again and again meanwhile.
TEST_F(HttpsServerTest, WhatTlsHasToSayToAClientThatDoesNotReadIsBounded) {
  Start();
  const auto ask = [](TlsClient* client, int times) {
    for (int i = 0; i < times; ++i) {
      if (!client->AskForNewKey()) return;
    }
  };
  TlsClient patient(server_->port(), ca_file(), nullptr, 4096);
  ASSERT_TRUE(patient.Send(Post("/large", "")));
  ask(&patient, 500);
  EXPECT_TRUE(patient.ReadUntil("end").ends_with("end")) << "a few are answered";
  EXPECT_EQ(server_->num_connections(), 1u);
  TlsClient hostile(server_->port(), ca_file(), nullptr, 4096);
  ASSERT_TRUE(hostile.Send(Post("/large", "")));
  ask(&hostile, 5'000);
  EXPECT_TRUE(WaitFor([&] { return server_->num_connections() == 1; }));
  EXPECT_FALSE(hostile.ReadUntil("end").ends_with("end")) << "the answer is cut short";
}

TEST_F(HttpsServerTest, ARenewedCertificateIsShownToNewConnections) {
  Start();
  TlsClient old(server_->port(), ca_file());
  ASSERT_TRUE(old.connected());
  Renew();
  EXPECT_TRUE(WaitFor([&] {
    const TlsClient fresh(server_->port(), ca_file());
    return fresh.connected() && fresh.serial() != old.serial();
  }));
  ASSERT_TRUE(old.Send(Post("/", "")));
  EXPECT_NE(old.ReadUntil("POST 0").find("POST 0"), std::string::npos);
}

TEST_F(HttpsServerTest, FilesThatDoNotFitAreNotTaken) {
  Start();
  std::ofstream(files().key_file) << "no key";
  // Looked at once a second: by the end of this time it has been.
  const auto until = std::chrono::steady_clock::now() + milliseconds(1200);
  while (std::chrono::steady_clock::now() < until) {
    ASSERT_TRUE(TlsClient(server_->port(), ca_file()).connected());
  }
}

TEST_F(HttpsServerTest, BadFilesAreNamedAtTheStart) {
  const auto message = [](const TlsFiles& files) {
    return std::string(CheckTlsFiles(files).message());
  };
  const std::string other = (folder_ / "other.key").string();
  TestCertificate("other", &ca_).Write((folder_ / "other.pem").string(), other);
  const std::string text = (folder_ / "text").string();
  std::ofstream(text) << "hello";
  EXPECT_EQ(message({}), "");
  EXPECT_EQ(message(files()), "");
  EXPECT_NE(message({"", files().key_file}).find("without a certificate"), std::string::npos);
  EXPECT_NE(message({files().cert_file, ""}).find("without a key"), std::string::npos);
  EXPECT_NE(message({"/nowhere.pem", files().key_file}).find("/nowhere.pem"), std::string::npos);
  EXPECT_NE(message({text, files().key_file}).find(text), std::string::npos);
  EXPECT_NE(message({files().cert_file, text}).find(text), std::string::npos);
  const std::string mismatch = message({files().cert_file, other});
  EXPECT_NE(mismatch.find("does not belong"), std::string::npos) << mismatch;
  const std::string locked = (folder_ / "locked.key").string();
  ca_.WriteEncryptedKey(locked, "secret");
  const std::string asks = message({files().cert_file, locked});  // nobody is asked for it
  EXPECT_NE(asks.find(Concat(locked, "': expected a private key without a pass phrase")),
            std::string::npos)
      << asks;
  EXPECT_NE(message({files().cert_file, files().key_file, text}).find(text), std::string::npos);
  EXPECT_NE(message({"", "", ca_file()}).find("without certificate"), std::string::npos);
  EXPECT_EQ(message({files().cert_file, files().key_file, ca_file()}), "");
  const auto server = HttpServer::Start({.tls = {files().cert_file, other}}, nullptr);
  EXPECT_TRUE(absl::IsInvalidArgument(server.status())) << server.status();
}

}  // namespace
}  // namespace pingti::net
