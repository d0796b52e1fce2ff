// Blocks of a KV cache whose layers differ: where their bytes lie once exported, and export, import
// and copies in random order against a plain array; on the backend that this program is linked
// with.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "tests/worker/backend/device_under_test.h"
#include "worker/tensor/float16.h"

namespace pingti::worker {
namespace {

using testing::RandomValues;
using testing::TestMatrix;

constexpr int kSeed = 91;
constexpr int64_t kBlockTokens = 16;
constexpr int64_t kNumBlocks = 7;

// The third keeps nothing.
std::vector<KvLayerShape> MixedLayers() {
  return {KeyValueLayer(2, 64), KeyValueLayer(1, 128, 24), {}, KeyValueLayer(3, 64)};
}

std::vector<KvFormat> Formats(testing::DeviceUnderTest* device) {
  if (device->has_int8_kv()) return {KvFormat::kModel, KvFormat::kInt8};
  return {KvFormat::kModel};
}

// f32 as well where the backend has it.
std::vector<KvCacheShape> Shapes(testing::DeviceUnderTest* device) {
  std::vector<KvCacheShape> shapes;
  for (const KvFormat format : Formats(device)) {
    shapes.push_back({MixedLayers(), kNumBlocks, kBlockTokens, WeightFormat::kBf16, format});
  }
  if (device->is_exact()) {
    shapes.push_back({MixedLayers(), kNumBlocks, kBlockTokens, WeightFormat::kF32});
  }
  return shapes;
}

double ReadElement(const KvPlaneLayout& plane, const std::byte* block, int64_t head, int64_t token,
                   int64_t dim) {
  const std::byte* at = block + plane.ByteOf(head, token, dim);
  float value = 0.0f;
  uint16_t half = 0;
  switch (plane.dtype) {
    case DType::kF32:
      std::memcpy(&value, at, 4);
      return value;
    case DType::kF16:
      std::memcpy(&half, at, 2);
      return F16ToFloat(half);
    case DType::kBf16:
      std::memcpy(&half, at, 2);
      return Bf16ToFloat(half);
    case DType::kI8:
      return static_cast<int8_t>(*at);
    default:
      ADD_FAILURE() << "a plane of " << DTypeName(plane.dtype);
      return 0.0;
  }
}

const KvPlaneLayout* FindPlane(const KvBlockLayout& layout, int64_t layer, KvPlaneKind kind,
                               bool is_scale) {
  for (const KvPlaneLayout& plane : layout.planes) {
    if (plane.layer == layer && plane.kind == kind && plane.is_scale == is_scale) return &plane;
  }
  return nullptr;
}

// Cached element as a number, whatever the format.
double CachedValue(const KvBlockLayout& layout, const std::byte* block, int64_t layer,
                   KvPlaneKind kind, int64_t head, int64_t token, int64_t dim) {
  const KvPlaneLayout* plane = FindPlane(layout, layer, kind, false);
  if (plane == nullptr) {
    ADD_FAILURE() << "layer " << layer << " has no plane " << KvPlaneKindName(kind);
    return 0.0;
  }
  double value = ReadElement(*plane, block, head, token, dim);
  if (plane->dtype == DType::kI8) {
    const KvPlaneLayout* scale = FindPlane(layout, layer, kind, true);
    value *= ReadElement(*scale, block, head, token, 0);
  }
  return value;
}

// One sequence in the blocks of `table`, with rows of its own for each layer.
class OneSequence {
 public:
  OneSequence(testing::DeviceUnderTest* device, KvCache* cache, std::vector<int32_t> table)
      : device_(device), cache_(cache), table_(std::move(table)), rng_(kSeed) {}

  static AttentionShape Shape(int64_t kv_heads, int64_t head_dim, int64_t window) {
    return {2 * kv_heads, kv_heads, head_dim, 0.2f, window};
  }

  // Appends `count` tokens to the layer; runs attention over them. Returns its raw output.
  std::vector<uint8_t> Append(int64_t layer, const AttentionShape& shape, int32_t first,
                              int32_t count, std::vector<float>* qkv) {
    const int64_t width = (shape.num_heads + 2 * shape.num_kv_heads) * shape.head_dim;
    *qkv = RandomValues(count * width, &rng_);
    return Run(layer, shape, first, count, *qkv);
  }

  // The same with given rows.
  std::vector<uint8_t> Run(int64_t layer, const AttentionShape& shape, int32_t first, int32_t count,
                           const std::vector<float>& qkv) {
    const int64_t width = (shape.num_heads + 2 * shape.num_kv_heads) * shape.head_dim;
    const std::vector<int32_t> ids(static_cast<size_t>(count), 0);
    const std::vector<int32_t> start{0, count};
    const std::vector<int32_t> context{first + count};
    std::vector<int32_t> positions(static_cast<size_t>(count));
    std::iota(positions.begin(), positions.end(), first);
    // No rotation: keys are cached as they come.
    const auto half = static_cast<size_t>(count * shape.head_dim / 2);
    const std::vector<float> cos(half, 1.0f);
    const std::vector<float> sin(half, 0.0f);
    Backend* backend = device_->backend();
    const TestMatrix in(device_, count, width, qkv);
    const TestMatrix out(device_, count, shape.num_heads * shape.head_dim, in.view().dtype);
    EXPECT_TRUE(backend
                    ->BeginStep({ids, positions, start, context, table_,
                                 static_cast<int32_t>(table_.size()), cos, sin,
                                 static_cast<int32_t>(kBlockTokens)})
                    .ok());
    EXPECT_TRUE(backend->RopeAndAppendKv(in.view(), shape, {}, *cache_, layer).ok());
    EXPECT_TRUE(backend->Attention(in.view(), shape, *cache_, layer, out.view()).ok());
    return out.ReadRaw();
  }

 private:
  testing::DeviceUnderTest* const device_;
  KvCache* const cache_;
  const std::vector<int32_t> table_;
  std::mt19937 rng_;
};

// A workspace is for heads of one size.
void AllocateWorkspace(Backend* backend, int64_t head_dim) {
  StepLimits limits;
  limits.max_tokens = 64;
  limits.max_seqs = 2;
  limits.max_in_features = 512;
  limits.max_blocks_per_seq = kNumBlocks;
  limits.num_heads = 6;
  limits.num_kv_heads = 3;
  limits.head_dim = head_dim;
  limits.vocab_size = 100;
  ASSERT_TRUE(backend->AllocateWorkspace(limits).ok());
}

std::vector<std::byte> RandomBytes(size_t count, std::mt19937* rng) {
  std::vector<std::byte> bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>((*rng)() & 0xff);
  return bytes;
}

TEST(OpsKvBlocksTest, ABlocksMemoryIsTheSumOfItsPlanes) {
  const auto device = testing::MakeDeviceUnderTest();
  for (const KvCacheShape& shape : Shapes(device.get())) {
    const auto cache = *device->backend()->AllocateKvCache(shape);
    const KvBlockLayout& layout = cache->block_layout();
    EXPECT_EQ(layout.block_tokens, kBlockTokens);
    int64_t bytes = 0;
    for (const KvPlaneLayout& plane : layout.planes) {
      bytes += plane.heads * plane.head_dim * kBlockTokens * BlockBytes(plane.dtype);
    }
    EXPECT_EQ(bytes, layout.bytes);
    const bool is_int8 = shape.kv_format == KvFormat::kInt8;
    // An int8 cache has its largest layer in 16 bit as well: layer 3, of 3 * 64 elements.
    const int64_t widened = is_int8 ? 2 * 3 * 64 * kBlockTokens * 2 : 0;
    EXPECT_EQ(device->backend()->KvBytesPerBlock(shape), bytes + widened);
  }
}

TEST(OpsKvBlocksTest, TheLayoutSaysWhereEveryElementLies) {
  const auto device = testing::MakeDeviceUnderTest();
  for (const KvCacheShape& shape : Shapes(device.get())) {
    const auto cache = *device->backend()->AllocateKvCache(shape);
    const KvBlockLayout& layout = cache->block_layout();
    const std::vector<int32_t> table{5, 2};
    OneSequence sequence(device.get(), cache.get(), table);
    constexpr int32_t kTokens = 27;
    const double tolerance = shape.kv_format == KvFormat::kInt8   ? 1.0 / 127
                             : shape.format == WeightFormat::kF32 ? 0.0
                                                                  : 1.0 / 512;
    for (size_t l = 0; l < shape.layers.size(); ++l) {
      const KvLayerShape& of_layer = shape.layers[l];
      const auto layer = static_cast<int64_t>(l);
      if (of_layer.planes.empty()) {
        EXPECT_EQ(FindPlane(layout, layer, KvPlaneKind::kKey, false), nullptr);
        continue;
      }
      const KvPlane& key = of_layer.planes.front();
      const AttentionShape attention = OneSequence::Shape(key.heads, key.head_dim, of_layer.window);
      AllocateWorkspace(device->backend(), key.head_dim);
      std::vector<float> qkv;
      sequence.Append(layer, attention, 0, kTokens, &qkv);
      std::vector<std::byte> out(2 * static_cast<size_t>(layout.bytes));
      ASSERT_TRUE(device->backend()->ExportBlocks(*cache, table, out).ok());
      const int64_t width = (attention.num_heads + 2 * key.heads) * key.head_dim;
      for (int64_t t = 0; t < kTokens; ++t) {
        const std::byte* block = out.data() + t / kBlockTokens * layout.bytes;
        for (const KvPlaneKind kind : {KvPlaneKind::kKey, KvPlaneKind::kValue}) {
          const int64_t first = attention.num_heads + (kind == KvPlaneKind::kValue ? key.heads : 0);
          for (int64_t h = 0; h < key.heads; ++h) {
            const float* row = &qkv[static_cast<size_t>(t * width + (first + h) * key.head_dim)];
            const double largest =
                std::abs(*std::max_element(row, row + key.head_dim, [](float a, float b) {
                  return std::abs(a) < std::abs(b);
                }));
            for (int64_t d = 0; d < key.head_dim; ++d) {
              ASSERT_NEAR(CachedValue(layout, block, layer, kind, h, t % kBlockTokens, d), row[d],
                          tolerance * largest)
                  << "layer " << layer << " " << KvPlaneKindName(kind) << " head " << h << " token "
                  << t << " dim " << d << " seed " << kSeed;
            }
          }
        }
      }
    }
  }
}

TEST(OpsKvBlocksTest, RandomOperationsEqualAPlainArray) {
  const auto device = testing::MakeDeviceUnderTest();
  Backend* backend = device->backend();
  for (const KvCacheShape& shape : Shapes(device.get())) {
    std::mt19937 rng(kSeed);
    const auto cache = *backend->AllocateKvCache(shape);
    const auto bytes = static_cast<size_t>(cache->block_layout().bytes);
    std::vector<int32_t> all(kNumBlocks);
    std::iota(all.begin(), all.end(), 0);
    std::vector<std::byte> plain = RandomBytes(kNumBlocks * bytes, &rng);
    ASSERT_TRUE(backend->ImportBlocks(*cache, all, plain).ok());
    for (int turn = 0; turn < 60; ++turn) {
      std::vector<int32_t> blocks = all;
      std::shuffle(blocks.begin(), blocks.end(), rng);
      blocks.resize(rng() % (kNumBlocks + 1));
      switch (rng() % 3) {
        case 0: {
          const std::vector<std::byte> in = RandomBytes(blocks.size() * bytes, &rng);
          ASSERT_TRUE(backend->ImportBlocks(*cache, blocks, in).ok());
          for (size_t i = 0; i < blocks.size(); ++i) {
            std::memcpy(&plain[static_cast<size_t>(blocks[i]) * bytes], &in[i * bytes], bytes);
          }
          break;
        }
        case 1: {
          std::vector<BlockCopy> copies;
          for (const int32_t to : blocks) {
            const auto from = static_cast<int32_t>(rng() % kNumBlocks);
            if (from == to) continue;
            copies.push_back({from, to});
            std::memmove(&plain[static_cast<size_t>(to) * bytes],
                         &plain[static_cast<size_t>(from) * bytes], bytes);
          }
          ASSERT_TRUE(backend->CopyBlocks(*cache, copies).ok());
          break;
        }
        default: {
          // A block may be exported twice in one call.
          if (!blocks.empty()) blocks.push_back(blocks.front());
          std::vector<std::byte> out(blocks.size() * bytes, std::byte{0xee});
          ASSERT_TRUE(backend->ExportBlocks(*cache, blocks, out).ok());
          for (size_t i = 0; i < blocks.size(); ++i) {
            ASSERT_EQ(
                std::memcmp(&plain[static_cast<size_t>(blocks[i]) * bytes], &out[i * bytes], bytes),
                0)
                << "block " << blocks[i] << " turn " << turn << " seed " << kSeed;
          }
        }
      }
    }
    std::vector<std::byte> out(plain.size());
    ASSERT_TRUE(backend->ExportBlocks(*cache, all, out).ok());
    EXPECT_EQ(out, plain) << "seed " << kSeed;
  }
}

TEST(OpsKvBlocksTest, AttentionOverImportedBlocksIsBitEqual) {
  const auto device = testing::MakeDeviceUnderTest();
  Backend* backend = device->backend();
  AllocateWorkspace(backend, 128);
  for (const KvCacheShape& shape : Shapes(device.get())) {
    std::mt19937 rng(kSeed);
    const auto cache = *backend->AllocateKvCache(shape);
    const auto other = *backend->AllocateKvCache(shape);
    ASSERT_EQ(cache->block_layout(), other->block_layout());
    const auto bytes = static_cast<size_t>(cache->block_layout().bytes);
    const std::vector<int32_t> table{1, 6};
    const std::vector<int32_t> moved{4, 0};
    const AttentionShape attention = OneSequence::Shape(1, 128, 24);
    OneSequence sequence(device.get(), cache.get(), table);
    std::vector<float> prompt, next;
    sequence.Append(1, attention, 0, 30, &prompt);
    std::vector<std::byte> kept(2 * bytes);
    ASSERT_TRUE(backend->ExportBlocks(*cache, table, kept).ok());
    const std::vector<uint8_t> expected = sequence.Append(1, attention, 30, 1, &next);
    // Back into the blocks after others wrote there, and into other blocks of another cache.
    ASSERT_TRUE(backend->ImportBlocks(*cache, table, RandomBytes(2 * bytes, &rng)).ok());
    ASSERT_TRUE(backend->ImportBlocks(*cache, table, kept).ok());
    EXPECT_EQ(sequence.Run(1, attention, 30, 1, next), expected);
    ASSERT_TRUE(backend->ImportBlocks(*other, moved, kept).ok());
    OneSequence elsewhere(device.get(), other.get(), moved);
    EXPECT_EQ(elsewhere.Run(1, attention, 30, 1, next), expected);
  }
}

TEST(OpsKvBlocksTest, WhatDoesNotFitIsNamedAndChangesNothing) {
  const auto device = testing::MakeDeviceUnderTest();
  Backend* backend = device->backend();
  std::mt19937 rng(kSeed);
  const auto cache = *backend->AllocateKvCache(Shapes(device.get()).front());
  const auto bytes = static_cast<size_t>(cache->block_layout().bytes);
  const std::vector<std::byte> before = RandomBytes(2 * bytes, &rng);
  const std::vector<int32_t> blocks{0, 3};
  ASSERT_TRUE(backend->ImportBlocks(*cache, blocks, before).ok());

  const auto expect = [&](const std::vector<int32_t>& list, size_t size, const std::string& part) {
    std::vector<std::byte> memory(size, std::byte{0x5a});
    absl::Status status = backend->ImportBlocks(*cache, list, memory);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(std::string(status.message()).find(part), std::string::npos) << status;
    if (part.find("twice") != std::string::npos) return;
    status = backend->ExportBlocks(*cache, list, memory);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(std::string(status.message()).find(part), std::string::npos) << status;
    EXPECT_EQ(memory, std::vector<std::byte>(size, std::byte{0x5a}));
  };
  expect({0, 7}, 2 * bytes, "KV block 7; expected 0 to 6");
  expect({-1, 3}, 2 * bytes, "KV block -1; expected 0 to 6");
  expect({0, 3}, 2 * bytes - 1, "expected " + std::to_string(2 * bytes));
  expect({0, 3}, 0, "memory of 0 bytes for 2 KV blocks");
  expect({}, 1, "expected 0");
  expect({3, 0, 3}, 3 * bytes, "KV block 3 is named twice");

  std::vector<std::byte> after(2 * bytes);
  ASSERT_TRUE(backend->ExportBlocks(*cache, blocks, after).ok());
  EXPECT_EQ(after, before);
}

TEST(OpsKvBlocksTest, PlanesWithoutAttentionAreRefusedByName) {
  const auto device = testing::MakeDeviceUnderTest();
  const auto refusal = [&](std::vector<KvLayerShape> layers) {
    return device->backend()
        ->AllocateKvCache({std::move(layers), kNumBlocks, kBlockTokens, WeightFormat::kBf16})
        .status();
  };
  const KvPlane latents{KvPlaneKind::kLatent, 2, 576};
  const KvPlane key{KvPlaneKind::kKey, 2, 64};
  const KvPlane value{KvPlaneKind::kValue, 2, 64};
  const KvPlane wide_value{KvPlaneKind::kValue, 2, 128};
  absl::Status status = refusal({KeyValueLayer(2, 64), {{latents}, 0}});
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_NE(std::string(status.message()).find("layer 1 keeps latent 2 x 576"), std::string::npos)
      << status;
  status = refusal({{{key, wide_value}, 0}});
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_NE(std::string(status.message()).find("layer 0 keeps key 2 x 64, value 2 x 128"),
            std::string::npos)
      << status;
  EXPECT_EQ(refusal({{{key}, 0}}).code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(refusal({{{value, key}, 0}}).code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(refusal({KeyValueLayer(0, 64)}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refusal({KeyValueLayer(2, 64, -1)}).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace pingti::worker
