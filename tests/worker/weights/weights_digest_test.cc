#include "worker/weights/weights_digest.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace pingti::worker {
namespace {

// Two tensors of one byte type over `bytes`, whose first `split` belong to the first one.
std::string DigestOf(const std::vector<char>& bytes, size_t split) {
  const auto tensor = [&](std::string name, size_t begin, size_t end) {
    TensorView view;
    view.name = std::move(name);
    view.dtype = DType::kU8;
    view.bytes = static_cast<int64_t>(end - begin);
    view.shape = {view.bytes};
    view.data = bytes.empty() ? nullptr : bytes.data() + begin;
    return view;
  };
  Checkpoint::Parts parts;
  parts.tensors = {tensor("a", 0, split), tensor("b", split, bytes.empty() ? split : bytes.size())};
  return WeightsDigest(Checkpoint(std::move(parts)));
}

TEST(WeightsDigestTest, AnyWholesaleChangeOfAnyTensorShows) {
  std::vector<char> bytes(10'000);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 7);
  const std::string digest = DigestOf(bytes, 3000);
  EXPECT_EQ(DigestOf(bytes, 3000), digest);
  for (const auto& [begin, end] : {std::pair<size_t, size_t>{0, 3000}, {3000, 10'000}}) {
    std::vector<char> changed = bytes;
    for (size_t i = begin; i < end; ++i) changed[i] = static_cast<char>(changed[i] + 1);
    EXPECT_NE(DigestOf(changed, 3000), digest);
  }
}

TEST(WeightsDigestTest, FirstAndLastBytesOfEveryTensorCount) {
  const std::vector<char> bytes(5000, 'x');
  const std::string digest = DigestOf(bytes, 2000);
  for (const size_t at : {0, 63, 1999, 2000, 4999}) {
    std::vector<char> changed = bytes;
    changed[at] = 'y';
    EXPECT_NE(DigestOf(changed, 2000), digest) << at;
  }
}

TEST(WeightsDigestTest, SmallAndEmptyTensorsAreFine) {
  EXPECT_NE(DigestOf({'a', 'b', 'c'}, 1), DigestOf({'a', 'b', 'd'}, 1));
  EXPECT_EQ(DigestOf({'a', 'b', 'c'}, 0), DigestOf({'a', 'b', 'c'}, 0));
  EXPECT_EQ(DigestOf({}, 0), DigestOf({}, 0)) << "a random model has no data";
}

}  // namespace
}  // namespace pingti::worker
