// Recorded requests and answers (tests/golden/wire), compared byte for byte.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "boost/json.hpp"
#include "common/base/check.h"
#include "common/base/strings.h"
#include "tests/common/net/tcp_client.h"
#include "tests/testing/fake_worker.h"
#include "tests/testing/in_process_router.h"
#include "tests/testing/source_dir.h"

namespace pingti::testing {
namespace {

const std::filesystem::path kFolder = SourcePath("tests/golden/wire");

std::vector<std::string> Cases() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
    if (entry.path().extension() == ".http") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

struct WireCase {
  std::string before_answer;  // the file up to and with "<<<\n"
  std::map<std::string, std::string> setting;
  std::string request;
  std::string answer;
};

std::string ReplaceAll(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

// Puts `mask` in place of the `length` letters and digits after each `prefix`.
std::string Mask(std::string text, std::string_view prefix, size_t length, std::string_view mask) {
  for (size_t at = text.find(prefix); at != std::string::npos; at = text.find(prefix, at + 1)) {
    const size_t from = at + prefix.size();
    size_t end = from;
    while (end < text.size() && std::isalnum(static_cast<unsigned char>(text[end])) != 0) ++end;
    if (end - from == length) text.replace(from, length, mask);
  }
  return text;
}

WireCase Read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const size_t request_at = text.find(">>>\n");
  const size_t answer_at = text.find("\n<<<\n", request_at);
  PINGTI_CHECK_MSG(answer_at != std::string::npos, path.string());
  WireCase wire;
  wire.before_answer = text.substr(0, answer_at + 5);
  wire.answer = text.substr(answer_at + 5);
  std::istringstream comments(text.substr(0, request_at));
  for (std::string line; std::getline(comments, line);) {
    const size_t colon = line.find(": ");
    if (colon != std::string::npos)
      wire.setting[line.substr(2, colon - 2)] = line.substr(colon + 2);
  }
  const std::string request = text.substr(request_at + 4, answer_at - request_at - 4);
  const size_t head_end = request.find("\n\n");
  const std::string body = request.substr(head_end + 2);
  wire.request = ReplaceAll(request.substr(0, head_end), "\n", "\r\n");
  if (!body.empty()) wire.request += Concat("\r\nContent-Length: ", body.size());
  wire.request += "\r\n\r\n" + body;
  return wire;
}

std::string Unchunk(std::string_view chunks) {
  std::string body;
  while (true) {
    const size_t line = chunks.find("\r\n");
    PINGTI_CHECK(line != std::string_view::npos);
    const size_t size = std::stoul(std::string(chunks.substr(0, line)), nullptr, 16);
    if (size == 0) return body;
    body += chunks.substr(line + 2, size);
    chunks.remove_prefix(line + 2 + size + 2);
  }
}

// Without what differs from run to run.
std::string Masked(const std::string& raw) {
  const size_t head_end = raw.find("\r\n\r\n");
  PINGTI_CHECK_MSG(head_end != std::string::npos, raw);
  std::string body = raw.substr(head_end + 4);
  const std::string head = raw.substr(0, head_end);
  if (head.find("Transfer-Encoding: chunked") != std::string::npos) body = Unchunk(body);
  std::string text = ReplaceAll(head, "\r\n", "\n") + "\n\n" + body;
  const size_t date = text.find("Date: ") + 6;
  text.replace(date, text.find('\n', date) - date, "{time}");
  text = Mask(std::move(text), "\"created\":", 10, "{time}");
  for (const char* prefix : {"cmpl-", "req-", "call_"}) {
    text = Mask(std::move(text), prefix, 24, "{id}");
  }
  return text;
}

class Wire : public ::testing::TestWithParam<std::string> {};

TEST_P(Wire, IsAnsweredAsRecorded) {
  const std::filesystem::path path = kFolder / (GetParam() + ".http");
  WireCase wire = Read(path);
  FakeWorkerOptions options;
  options.tokens_per_step = 8;
  const std::string answer(boost::json::parse(wire.setting.at("answer")).as_string());
  options.answer = [answer](const worker::v1::Sequence&) { return ByteTokens(answer); };
  options.tool_call_format = wire.setting["tools"];
  const std::string& context = wire.setting["context"];
  if (!context.empty()) options.max_context_tokens = static_cast<uint32_t>(std::stoul(context));
  const std::string markers = wire.setting["reasoning"];
  options.reasoning_start = markers.substr(0, markers.find(' '));
  options.reasoning_end = markers.substr(markers.find(' ') + 1);
  FakeWorker worker(options);
  InProcessRouterOptions router_options;
  router_options.workers = {worker.address()};
  router_options.api_keys = wire.setting["keys"];
  InProcessRouter router(router_options);
  ASSERT_TRUE(router.WaitReady(1));
  TcpClient client(router.http_port());
  ASSERT_TRUE(client.Send(wire.request));
  const std::string raw = client.ReadAll();
  ASSERT_TRUE(client.ended());
  const std::string got = Masked(raw) + "\n";
  if (std::getenv("PINGTI_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(path, std::ios::binary) << wire.before_answer << got;
    return;
  }
  EXPECT_EQ(got, wire.answer);
}

INSTANTIATE_TEST_SUITE_P(Golden, Wire, ::testing::ValuesIn(Cases()),
                         [](const auto& param) { return param.param; });

}  // namespace
}  // namespace pingti::testing
