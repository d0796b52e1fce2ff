// A batch of sequences over a paged KV cache for the attention tests and benches: random queries,
// keys and values in randomly placed pages, everything a kernel must not read poisoned with NaN or
// garbage. Single thread. Next: attention_reference.h.
#pragma once

#include <cuda_bf16.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "pingti/kernels/prefill_attention.h"
#include "tests/kernels/testing/compare.h"
#include "tests/kernels/testing/device.h"

namespace pingti::kernels::testing {

using Bf16 = __nv_bfloat16;

struct SequenceLengths {
  int q_len;
  int kv_len;  // tokens in the cache, the new ones included
};

struct BatchShape {
  std::vector<SequenceLengths> seqs;
  int num_q_heads = 1;
  int num_kv_heads = 1;
  int head_dim = 128;
  int page_tokens = 64;
  bool fused_pool = false;  // K and V planes of one allocation
  int q_padding = 0;        // elements between the tokens of q, as in a fused q, k, v matrix; 8 n
  int spare_rows = 0;       // poisoned rows of q past the last sequence
  float q_scale = 1.0f;     // larger: sharper softmax
};

class PagedBatch {
 public:
  PagedBatch(const BatchShape& shape, uint64_t seed) : shape_(shape), random_(seed) {
    FillLengths();
    FillQueries();
    FillPool();
  }

  int total_rows() const { return total_q_ + shape_.spare_rows; }
  int num_rows() const { return total_q_; }
  const BatchShape& shape() const { return shape_; }

  // Everything but out, workspace, causal and window.
  PrefillAttentionParams Params() const {
    PrefillAttentionParams params;
    params.q = q_.data();
    params.q_head_stride = shape_.head_dim;
    params.q_token_stride = QTokenStride();
    params.kv = kv_;
    params.num_q_heads = shape_.num_q_heads;
    params.q_start = q_start_.data();
    params.kv_len = kv_len_.data();
    params.num_seqs = static_cast<int>(shape_.seqs.size());
    params.total_q_tokens = total_rows();
    params.softmax_scale = 1.0f / std::sqrt(static_cast<float>(shape_.head_dim));
    return params;
  }

 private:
  int64_t QTokenStride() const {
    return static_cast<int64_t>(shape_.num_q_heads) * shape_.head_dim + shape_.q_padding;
  }

  void FillLengths() {
    std::vector<int32_t> q_start = {0};
    std::vector<int32_t> kv_len;
    for (const SequenceLengths& seq : shape_.seqs) {
      q_start.push_back(q_start.back() + seq.q_len);
      kv_len.push_back(seq.kv_len);
    }
    total_q_ = q_start.back();
    q_start_ = DeviceBuffer<int32_t>(q_start);
    kv_len_ = DeviceBuffer<int32_t>(kv_len);
  }

  static std::vector<Bf16> Poisoned(size_t size) {
    std::vector<Bf16> values(size);
    std::memset(static_cast<void*>(values.data()), 0xFF, size * sizeof(Bf16));
    return values;
  }

  void FillQueries() {
    std::vector<Bf16> q = Poisoned(total_rows() * QTokenStride());
    for (int row = 0; row < total_q_; ++row) {
      for (int i = 0; i < shape_.num_q_heads * shape_.head_dim; ++i) {
        q[row * QTokenStride() + i] = FromFloat<Bf16>(random_.Normal() * shape_.q_scale);
      }
    }
    q_ = DeviceBuffer<Bf16>(q);
  }

  void FillPool() {
    const int page_tokens = shape_.page_tokens;
    int pages = 0;
    int most = 0;
    for (const SequenceLengths& seq : shape_.seqs) {
      const int count = (seq.kv_len + page_tokens - 1) / page_tokens;
      pages += count;
      most = std::max(most, count);
    }
    kv_.num_kv_heads = shape_.num_kv_heads;
    kv_.head_dim = shape_.head_dim;
    kv_.page_tokens = page_tokens;
    kv_.dtype = DType::kBf16;
    kv_.num_pages = pages + 3;
    SetDenseStrides(&kv_, shape_.fused_pool ? 2 : 1);
    std::vector<int32_t> order(kv_.num_pages);
    for (int i = 0; i < kv_.num_pages; ++i) order[i] = i;
    for (int i = kv_.num_pages - 1; i > 0; --i) std::swap(order[i], order[random_.Below(i + 1)]);

    // Four columns of garbage after the longest sequence; shorter ones have more.
    kv_.block_table_stride = most + 4;
    std::vector<int32_t> table(shape_.seqs.size() * kv_.block_table_stride);
    for (int32_t& entry : table) entry = static_cast<int32_t>(random_.Next());
    const int64_t plane = kv_.head_stride * shape_.num_kv_heads;
    const size_t size = static_cast<size_t>(kv_.page_stride) * kv_.num_pages;
    std::vector<Bf16> k = Poisoned(size);
    std::vector<Bf16> v = shape_.fused_pool ? std::vector<Bf16>() : Poisoned(size);
    Bf16* v_base = shape_.fused_pool ? k.data() + plane : v.data();
    int next = 0;
    for (size_t s = 0; s < shape_.seqs.size(); ++s) {
      for (int first = 0; first < shape_.seqs[s].kv_len; first += page_tokens) {
        const int page = order[next++];
        table[s * kv_.block_table_stride + first / page_tokens] = page;
        const int tokens = std::min(page_tokens, shape_.seqs[s].kv_len - first);
        FillPage(k.data() + page * kv_.page_stride, tokens);
        FillPage(v_base + page * kv_.page_stride, tokens);
      }
    }
    block_table_ = DeviceBuffer<int32_t>(table);
    k_ = DeviceBuffer<Bf16>(k);
    v_ = DeviceBuffer<Bf16>(v);
    kv_.k = k_.data();
    kv_.v = shape_.fused_pool ? k_.data() + plane : v_.data();
    kv_.block_table = block_table_.data();
  }

  void FillPage(Bf16* page, int tokens) {
    for (int head = 0; head < shape_.num_kv_heads; ++head) {
      Bf16* first = page + head * kv_.head_stride;
      for (int i = 0; i < tokens * shape_.head_dim; ++i)
        first[i] = FromFloat<Bf16>(random_.Normal());
    }
  }

  BatchShape shape_;
  Random random_;
  int total_q_ = 0;
  PagedKv kv_;
  DeviceBuffer<int32_t> q_start_, kv_len_, block_table_;
  DeviceBuffer<Bf16> q_, k_, v_;
};

}  // namespace pingti::kernels::testing
