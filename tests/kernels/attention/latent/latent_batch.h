// A batch of sequences over a paged cache of latents for the test and the bench: random queries and
// latents in randomly placed pages, everything a kernel must not read poisoned with NaN or garbage.
// Single thread. Next: latent_reference.h.
#pragma once

#include <cuda_bf16.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "pingti/kernels/latent_attention.h"
#include "tests/kernels/testing/compare.h"
#include "tests/kernels/testing/device.h"

namespace pingti::kernels::testing {

using Bf16 = __nv_bfloat16;

struct LatentSequence {
  int q_len;
  int kv_len;  // tokens in the cache, the new ones included
};

struct LatentCase {
  std::vector<LatentSequence> seqs;
  int num_heads = 16;
  int page_tokens = 64;
  int padding = 0;     // elements between the tokens of q and of out; 8 n
  int spare_rows = 0;  // poisoned rows of q past the last sequence
  float q_scale = 1.0f;
  bool int8 = false;  // the latents
};

class LatentBatch {
 public:
  LatentBatch(const LatentCase& shape, uint64_t seed) : shape_(shape), random_(seed) {
    FillLengths();
    FillQueries();
    FillPool();
  }

  int num_rows() const { return num_rows_; }  // without spare ones
  int64_t OutTokenStride() const {
    return int64_t{shape_.num_heads} * kLatentValueDim + shape_.padding;
  }

  // Everything but out and workspace.
  LatentPrefillParams Prefill() const {
    LatentPrefillParams params;
    params.tensors = Tensors();
    params.q_start = q_start_.data();
    params.kv_len = kv_len_.data();
    params.num_seqs = static_cast<int>(shape_.seqs.size());
    return params;
  }

  // The same; `uniform`: every sequence has as many query tokens, and no q_starts are given.
  LatentDecodeParams Decode(bool uniform) const {
    LatentDecodeParams params;
    params.tensors = Tensors();
    params.shape.num_seqs = static_cast<int>(shape_.seqs.size());
    params.shape.num_heads = shape_.num_heads;
    for (const LatentSequence& seq : shape_.seqs) {
      params.shape.max_q_len = std::max(params.shape.max_q_len, seq.q_len);
    }
    params.shape.kv_lens = kv_len_.data();
    if (!uniform) params.shape.q_starts = q_start_.data();
    return params;
  }

 private:
  int64_t QTokenStride() const {
    return int64_t{shape_.num_heads} * kLatentKeyDim + shape_.padding;
  }

  LatentTensors Tensors() const {
    LatentTensors t;
    t.q = q_.data();
    t.q_token_stride = QTokenStride();
    t.q_head_stride = kLatentKeyDim;
    t.out_token_stride = OutTokenStride();
    t.out_head_stride = kLatentValueDim;
    t.num_rows = num_rows_ + shape_.spare_rows;
    t.num_heads = shape_.num_heads;
    t.kv = kv_;
    t.softmax_scale = 1.0f / std::sqrt(192.0f);  // DeepSeek's heads of 128 + 64
    return t;
  }

  void FillLengths() {
    std::vector<int32_t> q_start = {0};
    std::vector<int32_t> kv_len;
    for (const LatentSequence& seq : shape_.seqs) {
      q_start.push_back(q_start.back() + seq.q_len);
      kv_len.push_back(seq.kv_len);
    }
    num_rows_ = q_start.back();
    q_start_ = DeviceBuffer<int32_t>(q_start);
    kv_len_ = DeviceBuffer<int32_t>(kv_len);
  }

  static std::vector<Bf16> Poisoned(size_t size) {
    std::vector<Bf16> values(size);
    std::memset(static_cast<void*>(values.data()), 0xFF, size * sizeof(Bf16));
    return values;
  }

  void FillQueries() {
    std::vector<Bf16> q = Poisoned((num_rows_ + shape_.spare_rows) * QTokenStride());
    for (int row = 0; row < num_rows_; ++row) {
      for (int i = 0; i < shape_.num_heads * kLatentKeyDim; ++i) {
        q[row * QTokenStride() + i] = FromFloat<Bf16>(random_.Normal() * shape_.q_scale);
      }
    }
    q_ = DeviceBuffer<Bf16>(q);
  }

  void FillPool() {
    int pages = 3;
    int most = 0;
    for (const LatentSequence& seq : shape_.seqs) {
      const int count = (seq.kv_len + shape_.page_tokens - 1) / shape_.page_tokens;
      pages += count;
      most = std::max(most, count);
    }
    kv_.dtype = shape_.int8 ? DType::kI8 : DType::kBf16;
    kv_.page_tokens = shape_.page_tokens;
    kv_.num_pages = pages;
    SetLatentStrides(&kv_);
    std::vector<int32_t> order(pages);
    for (int i = 0; i < pages; ++i) order[i] = i;
    for (int i = pages - 1; i > 0; --i) std::swap(order[i], order[random_.Below(i + 1)]);
    kv_.block_table_stride = most + 4;  // the table's tails are garbage
    std::vector<int32_t> table(shape_.seqs.size() * kv_.block_table_stride);
    for (int32_t& entry : table) entry = static_cast<int32_t>(random_.Next());
    std::vector<uint8_t> pool(kv_.page_stride * ElementBytes(kv_.dtype) * pages, 0xFF);
    int next = 0;
    for (size_t s = 0; s < shape_.seqs.size(); ++s) {
      for (int first = 0; first < shape_.seqs[s].kv_len; first += shape_.page_tokens) {
        const int page = order[next++];
        table[s * kv_.block_table_stride + first / shape_.page_tokens] = page;
        const int tokens = std::min(shape_.page_tokens, shape_.seqs[s].kv_len - first);
        for (int t = 0; t < tokens; ++t) {
          if (shape_.int8) {
            FillInt8(pool.data() + page * kv_.page_stride, t);
          } else {
            FillBf16(pool.data() + 2 * (page * kv_.page_stride + t * kv_.token_stride),
                     kLatentKeyDim);
          }
        }
      }
    }
    block_table_ = DeviceBuffer<int32_t>(table);
    pool_ = DeviceBuffer<uint8_t>(pool);
    kv_.k = pool_.data();
    kv_.block_table = block_table_.data();
  }

  void FillBf16(uint8_t* to, int count) {
    for (int i = 0; i < count; ++i)
      reinterpret_cast<Bf16*>(to)[i] = FromFloat<Bf16>(random_.Normal());
  }

  // Token `token` of a page: every int8 there is, scales over a wide range.
  void FillInt8(uint8_t* page, int token) {
    uint8_t* row = page + token * kLatentInt8RowBytes;
    for (int i = 0; i < kLatentValueDim; ++i) row[i] = static_cast<uint8_t>(random_.Below(256));
    FillBf16(row + kLatentValueDim, kLatentRopeDim);
    auto* scales = reinterpret_cast<Bf16*>(page + kv_.page_tokens * kLatentInt8RowBytes);
    for (int i = 0; i < kLatentScales; ++i) {
      scales[token * kLatentScales + i] =
          FromFloat<Bf16>(0.013f * std::exp(0.5f * random_.Normal()));
    }
  }

  LatentCase shape_;
  Random random_;
  int num_rows_ = 0;
  PagedKv kv_;
  DeviceBuffer<int32_t> q_start_, kv_len_, block_table_;
  DeviceBuffer<Bf16> q_;
  DeviceBuffer<uint8_t> pool_;
};

}  // namespace pingti::kernels::testing
