// A batch of sequences over a paged cache for the decode tests: 16-bit or int8 KV, everything a
// kernel must not read poisoned. int8 caches use power-of-two scales, so that a 16-bit twin of the
// cache holds exactly the same values and one float64 reference serves both. Single thread. Next:
// attention_reference.h.
#pragma once

#include <cuda_bf16.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "pingti/kernels/decode_attention.h"
#include "pingti/kernels/prefill_attention.h"
#include "tests/kernels/testing/compare.h"
#include "tests/kernels/testing/device.h"

namespace pingti::kernels::testing {

using Bf16 = __nv_bfloat16;

struct DecodeCase {
  std::vector<int> kv_lens;
  std::vector<int> q_lens;  // empty: max_q_len each, and no q_starts array
  int max_q_len = 1;
  int num_q_heads = 8;
  int num_kv_heads = 1;
  int head_dim = 128;
  int page_tokens = 64;
  int window = 0;
  bool int8_kv = false;
  bool paired_scales = false;  // kv_layout.h
  float q_scale = 1.0f;
};

class DecodeBatch {
 public:
  DecodeBatch(const DecodeCase& shape, uint64_t seed) : shape_(shape), random_(seed) {
    FillLengths();
    q_ = DeviceBuffer<Bf16>(RandomNormal<Bf16>(static_cast<size_t>(total_q_) * RowElements(),
                                               &random_, shape_.q_scale));
    FillPool();
  }

  int num_rows() const { return total_q_; }
  int RowElements() const { return shape_.num_q_heads * shape_.head_dim; }
  bool uniform() const { return shape_.q_lens.empty(); }

  // Everything but plan, workspace and out.
  DecodeAttentionParams Params() const {
    DecodeAttentionParams p;
    p.shape.num_seqs = static_cast<int>(shape_.kv_lens.size());
    p.shape.num_q_heads = shape_.num_q_heads;
    p.shape.num_kv_heads = shape_.num_kv_heads;
    p.shape.max_q_len = shape_.max_q_len;
    p.shape.window = shape_.window;
    p.shape.kv_lens = kv_len_.data();
    p.shape.q_starts = uniform() ? nullptr : q_start_.data();
    p.kv = shape_.int8_kv ? kv8_ : kv_;
    p.q = q_.data();
    p.q_token_stride = p.out_token_stride = RowElements();
    p.q_head_stride = p.out_head_stride = shape_.head_dim;
    p.softmax_scale = 1.0f / std::sqrt(static_cast<float>(shape_.head_dim));
    return p;
  }

  // The same batch for AttentionReference, which knows 16-bit KV only.
  PrefillAttentionParams ReferenceParams() const {
    PrefillAttentionParams p;
    p.q = q_.data();
    p.q_head_stride = shape_.head_dim;
    p.q_token_stride = RowElements();
    p.kv = kv_;
    p.num_q_heads = shape_.num_q_heads;
    p.q_start = q_start_.data();
    p.kv_len = kv_len_.data();
    p.num_seqs = static_cast<int>(shape_.kv_lens.size());
    p.total_q_tokens = total_q_;
    p.softmax_scale = 1.0f / std::sqrt(static_cast<float>(shape_.head_dim));
    p.causal = true;
    p.window = shape_.window;
    return p;
  }

 private:
  void FillLengths() {
    std::vector<int32_t> q_start = {0};
    for (size_t s = 0; s < shape_.kv_lens.size(); ++s) {
      q_start.push_back(q_start.back() + (uniform() ? shape_.max_q_len : shape_.q_lens[s]));
    }
    total_q_ = q_start.back();
    q_start_ = DeviceBuffer<int32_t>(q_start);
    kv_len_ =
        DeviceBuffer<int32_t>(std::vector<int32_t>(shape_.kv_lens.begin(), shape_.kv_lens.end()));
  }

  void DescribePool(PagedKv* kv, int num_pages, DType dtype) {
    kv->num_kv_heads = shape_.num_kv_heads;
    kv->head_dim = shape_.head_dim;
    kv->page_tokens = shape_.page_tokens;
    kv->dtype = dtype;
    kv->num_pages = num_pages;
    SetDenseStrides(kv);
  }

  std::vector<int32_t> FillTable(std::vector<std::pair<int, int>>* used) {
    const int page_tokens = shape_.page_tokens;
    int pages = 3;
    int most = 0;
    for (int kv_len : shape_.kv_lens) {
      const int count = (kv_len + page_tokens - 1) / page_tokens;
      pages += count;
      most = std::max(most, count);
    }
    DescribePool(&kv_, pages, DType::kBf16);
    DescribePool(&kv8_, pages, DType::kI8);
    std::vector<int32_t> order(pages);
    for (int i = 0; i < pages; ++i) order[i] = i;
    for (int i = pages - 1; i > 0; --i) std::swap(order[i], order[random_.Below(i + 1)]);
    const int stride = most + 4;  // the table's tails are garbage
    kv_.block_table_stride = kv8_.block_table_stride = stride;
    std::vector<int32_t> table(shape_.kv_lens.size() * stride);
    for (int32_t& entry : table) entry = static_cast<int32_t>(random_.Next());
    int next = 0;
    for (size_t s = 0; s < shape_.kv_lens.size(); ++s) {
      for (int first = 0; first < shape_.kv_lens[s]; first += page_tokens) {
        const int page = order[next++];
        table[s * stride + first / page_tokens] = page;
        used->push_back({page, std::min(page_tokens, shape_.kv_lens[s] - first)});
      }
    }
    return table;
  }

  // One plane (K or V): the 16-bit values, and with int8_kv the bytes and scales they equal.
  void FillPlane(const std::vector<std::pair<int, int>>& used, DeviceBuffer<Bf16>* values,
                 DeviceBuffer<int8_t>* bytes, std::vector<float>* scales) {
    const size_t size = static_cast<size_t>(kv_.page_stride) * kv_.num_pages;
    std::vector<Bf16> value(size);
    std::memset(static_cast<void*>(value.data()), 0xFF, size * sizeof(Bf16));
    std::vector<int8_t> byte(shape_.int8_kv ? size : 0, -128);
    std::vector<float> scale(shape_.int8_kv ? size / shape_.head_dim : 0,
                             std::numeric_limits<float>::quiet_NaN());
    for (const auto& [page, tokens] : used) {
      for (int head = 0; head < shape_.num_kv_heads; ++head) {
        for (int token = 0; token < tokens; ++token) {
          const size_t row = static_cast<size_t>(page) * shape_.num_kv_heads * shape_.page_tokens +
                             head * shape_.page_tokens + token;
          const float power = std::ldexp(1.0f, -5 - static_cast<int>(random_.Below(3)));
          for (int d = 0; d < shape_.head_dim; ++d) {
            const size_t i = row * shape_.head_dim + d;
            if (shape_.int8_kv) {
              byte[i] = static_cast<int8_t>(static_cast<int>(random_.Below(255)) - 127);
              value[i] = FromFloat<Bf16>(power * byte[i]);
            } else {
              value[i] = FromFloat<Bf16>(random_.Normal());
            }
          }
          if (shape_.int8_kv) scale[row] = power;
        }
      }
    }
    *values = DeviceBuffer<Bf16>(value);
    *bytes = DeviceBuffer<int8_t>(byte);
    *scales = std::move(scale);
  }

  // The scales of the int8 pool, in two planes or in one.
  void PlaceScales(const std::vector<float>& keys, const std::vector<float>& values) {
    if (!shape_.paired_scales) {
      k_scale_ = DeviceBuffer<float>(keys);
      v_scale_ = DeviceBuffer<float>(values);
      kv8_.k_scale = k_scale_.data();
      kv8_.v_scale = v_scale_.data();
      return;
    }
    std::vector<float> pairs;
    for (auto at = size_t{0}; at < keys.size(); at += shape_.page_tokens) {
      pairs.insert(pairs.end(), keys.begin() + at, keys.begin() + at + shape_.page_tokens);
      pairs.insert(pairs.end(), values.begin() + at, values.begin() + at + shape_.page_tokens);
    }
    k_scale_ = DeviceBuffer<float>(pairs);
    SetPairedScales(&kv8_, k_scale_.data());
  }

  void FillPool() {
    std::vector<std::pair<int, int>> used;  // page, tokens in it
    block_table_ = DeviceBuffer<int32_t>(FillTable(&used));
    std::vector<float> scales[2];
    FillPlane(used, &k_, &k8_, &scales[0]);
    FillPlane(used, &v_, &v8_, &scales[1]);
    kv_.block_table = kv8_.block_table = block_table_.data();
    kv_.k = k_.data();
    kv_.v = v_.data();
    kv8_.k = k8_.data();
    kv8_.v = v8_.data();
    PlaceScales(scales[0], scales[1]);
  }

  DecodeCase shape_;
  Random random_;
  int total_q_ = 0;
  PagedKv kv_, kv8_;
  DeviceBuffer<int32_t> q_start_, kv_len_, block_table_;
  DeviceBuffer<Bf16> q_, k_, v_;
  DeviceBuffer<int8_t> k8_, v8_;
  DeviceBuffer<float> k_scale_, v_scale_;  // paired: the first holds both
};

}  // namespace pingti::kernels::testing
