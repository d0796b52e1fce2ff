#include "common/base/log_writer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>

namespace pingti {
namespace {

// Both ends of a pipe, closed at the end of the test.
class Pipe {
 public:
  Pipe() { EXPECT_EQ(::pipe2(ends_, O_CLOEXEC), 0); }
  ~Pipe() {
    CloseReader();
    ::close(ends_[1]);
  }
  int writer() const { return ends_[1]; }
  void CloseReader() {
    if (ends_[0] >= 0) ::close(ends_[0]);
    ends_[0] = -1;
  }
  std::string Read(size_t bytes) {
    std::string all;
    char piece[4096];
    while (all.size() < bytes) {
      const ssize_t length = ::read(ends_[0], piece, sizeof(piece));
      if (length <= 0) break;
      all.append(piece, static_cast<size_t>(length));
    }
    return all;
  }

 private:
  int ends_[2] = {-1, -1};
};

constexpr std::chrono::milliseconds kPatience{20'000};

TEST(LogWriterTest, LinesLeaveInOrder) {
  Pipe pipe;
  LogWriter writer(pipe.writer(), 1 << 20);
  std::string expected;
  for (int i = 0; i < 100; ++i) {
    const std::string line = "line " + std::to_string(i) + "\n";
    expected += line;
    writer.Write(line);
  }
  EXPECT_TRUE(writer.Flush(kPatience));
  EXPECT_EQ(pipe.Read(expected.size()), expected);
  EXPECT_EQ(writer.dropped(), 0u);
}

TEST(LogWriterTest, AReaderWhoDoesNotReadCostsLinesAndHoldsUpNobody) {
  Pipe pipe;
  const std::string line = std::string(999, 'x') + "\n";
  constexpr int kLines = 10'000;  // of which a pipe holds 64
  uint64_t dropped = 0;
  {
    LogWriter writer(pipe.writer(), 100'000);
    for (int i = 0; i < kLines; ++i) writer.Write(line);  // returns, which is the point
    dropped = writer.dropped();
    EXPECT_GT(dropped, kLines / 2);
    EXPECT_FALSE(writer.Flush(std::chrono::milliseconds(1)));
    // Once somebody reads, what waited leaves, whole.
    std::string read;
    std::thread reader([&] { read = pipe.Read((kLines - dropped) * line.size()); });
    EXPECT_TRUE(writer.Flush(kPatience));
    reader.join();
    EXPECT_EQ(read.size(), (kLines - dropped) * line.size());
    writer.Write("after\n");
    EXPECT_TRUE(writer.Flush(kPatience));
    EXPECT_EQ(writer.dropped(), dropped);
  }
}

TEST(LogWriterTest, ItsEndDoesNotWaitForAReaderForEver) {
  Pipe pipe;
  const auto begin = std::chrono::steady_clock::now();
  {
    LogWriter writer(pipe.writer(), 1 << 20);
    for (int i = 0; i < 500; ++i) writer.Write(std::string(1000, 'x'));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
}

}  // namespace
}  // namespace pingti
