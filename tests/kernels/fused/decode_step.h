// A small decoder's decode step made of our kernels alone, for the graph test: page copies,
// embedding, and per layer norm, int8 product, rope and append, paged attention, 4-bit product,
// SwiGLU; then logits and sampling, whose tokens the next step embeds. Everything that changes from
// step to step stands in device memory. Random weights; single thread. Next: decode_step_test.cu.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "pingti/kernels/activation.h"
#include "pingti/kernels/decode_attention.h"
#include "pingti/kernels/embedding.h"
#include "pingti/kernels/gemm_s8.h"
#include "pingti/kernels/gemm_w4a16.h"
#include "pingti/kernels/kv_copy.h"
#include "pingti/kernels/norm.h"
#include "pingti/kernels/quantize.h"
#include "pingti/kernels/rope_kv.h"
#include "pingti/kernels/sampling.h"
#include "tests/kernels/testing/compare.h"
#include "tests/kernels/testing/device.h"

namespace pingti::kernels::testing {

using Bf16 = __nv_bfloat16;

inline constexpr int kLayers = 2;
inline constexpr int kSeqs = 5;
inline constexpr int kHidden = 512;
inline constexpr int kQHeads = 8;
inline constexpr int kKvHeads = 2;
inline constexpr int kHeadDim = 64;
inline constexpr int kQkvWidth = (kQHeads + 2 * kKvHeads) * kHeadDim;
inline constexpr int kWidth = 1024;
inline constexpr int kVocab = 1000;
inline constexpr int kPageTokens = 16;
inline constexpr int kPages = 96;
inline constexpr int kTableStride = 20;
inline constexpr int kMaxPosition = kTableStride * kPageTokens;
inline constexpr int kMaxCopies = 2;

// What the host says about one step; copied to the device before it.
struct StepState {
  std::vector<int32_t> positions = std::vector<int32_t>(kSeqs, 0);
  std::vector<int32_t> kv_lens = std::vector<int32_t>(kSeqs, 0);  // 0: an unused slot
  std::vector<int64_t> slots = std::vector<int64_t>(kSeqs, -1);
  std::vector<int32_t> block_table = std::vector<int32_t>(kSeqs * kTableStride, -1);
  std::vector<KvPageCopy> copies = std::vector<KvPageCopy>(kMaxCopies);
  std::vector<SamplingRowParams> rows = std::vector<SamplingRowParams>(kSeqs);
};

__global__ void ToFloatKernel(const Bf16* from, float* to, int size) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < size) to[i] = __bfloat162float(from[i]);
}

class DecodeStep {
 public:
  DecodeStep(DType kv_dtype, uint64_t seed) : kv_dtype_(kv_dtype), random_(seed) {
    for (Layer& layer : layers_) FillLayer(&layer);
    FillS8(kVocab, kHidden, &head_);
    embedding_ = DeviceBuffer<Bf16>(RandomNormal<Bf16>(kVocab * kHidden, &random_));
    std::vector<int32_t> tokens(kSeqs);
    for (int32_t& token : tokens) token = static_cast<int32_t>(random_.Below(kVocab));
    tokens_ = DeviceBuffer<int32_t>(tokens);
    cos_ = DeviceBuffer<float>(RandomNormal<float>(kMaxPosition * kHeadDim / 2, &random_));
    sin_ = DeviceBuffer<float>(RandomNormal<float>(kMaxPosition * kHeadDim / 2, &random_));
    norm_ = DeviceBuffer<float>(RandomNormal<float>(kHidden, &random_));
    gemm_workspace_.Zero();
    w4_workspace_.Zero();
    size_t bytes = 0;
    PINGTI_CUDA(DecodePlanBytes(kSeqs, kKvHeads, &bytes));
    plan_ = DeviceBuffer<uint8_t>(bytes);
    PINGTI_CUDA(DecodeWorkspaceBytes(Shape(), kHeadDim, &bytes));
    attention_workspace_ = DeviceBuffer<uint8_t>(bytes);
    PINGTI_CUDA(SampleWorkspaceBytes(kSeqs, kVocab, &bytes));
    sample_workspace_ = DeviceBuffer<uint8_t>(bytes);
    std::vector<KvCopyPlane> planes;
    for (const Layer& layer : layers_) {
      KvCopyPlane list[kMaxKvCopyPlanesPerLayer];
      planes.insert(planes.end(), list, list + ListKvCopyPlanes(Kv(layer), list));
    }
    num_planes_ = static_cast<int>(planes.size());
    max_page_bytes_ = planes[0].page_bytes;
    planes_ = DeviceBuffer<KvCopyPlane>(planes);
  }

  // Waits for the device: the step before reads what this overwrites.
  void SetState(const StepState& state) const {
    PINGTI_CUDA(cudaDeviceSynchronize());
    Upload(state.positions, positions_);
    Upload(state.kv_lens, kv_lens_);
    Upload(state.slots, slots_);
    Upload(state.block_table, block_table_);
    Upload(state.copies, copies_);
    Upload(state.rows, rows_);
  }

  // One step: the same calls whatever the state.
  void Launch(cudaStream_t stream) const {
    CopyKvPagesParams copy;
    copy.planes = planes_.data();
    copy.num_planes = num_planes_;
    copy.max_page_bytes = max_page_bytes_;
    copy.copies = copies_.data();
    copy.num_copies = kMaxCopies;
    PINGTI_CUDA(LaunchCopyKvPages(copy, stream));
    EmbeddingParams embed;
    embed.token_ids = tokens_.data();
    embed.table = embedding_.data();
    embed.out = delta_.data();
    embed.table_stride = embed.out_stride = embed.width = kHidden;
    embed.num_rows = kVocab;
    embed.num_tokens = kSeqs;
    PINGTI_CUDA(LaunchEmbedding(embed, stream));
    PINGTI_CUDA(cudaMemsetAsync(residual_.data(), 0, residual_.bytes(), stream));
    PINGTI_CUDA(LaunchDecodePlan(Shape(), plan_.data(), stream));
    for (const Layer& layer : layers_) LaunchLayer(layer, stream);
    LaunchNorm(true, stream);
    LaunchS8(head_, quantized_, logits16_, stream);
    ToFloatKernel<<<(kSeqs * kVocab + 255) / 256, 256, 0, stream>>>(logits16_.data(),
                                                                    logits_.data(), kSeqs * kVocab);
    PINGTI_CUDA(cudaGetLastError());
    SampleParams sample;
    sample.logits = logits_.data();
    sample.logits_stride = sample.vocab_size = kVocab;
    sample.rows = rows_.data();
    sample.workspace = sample_workspace_.data();
    sample.token_ids = tokens_.data();
    sample.num_rows = kSeqs;
    PINGTI_CUDA(LaunchSample(sample, stream));
  }

  std::vector<int32_t> Tokens() const { return tokens_.ToHost(); }
  std::vector<uint8_t> Residual() const { return Bytes(residual_); }
  // Keys, values and scales of all layers.
  std::vector<uint8_t> Cache() const {
    std::vector<uint8_t> bytes;
    for (const Layer& layer : layers_) {
      for (const DeviceBuffer<uint8_t>* part : {&layer.k, &layer.v}) {
        const std::vector<uint8_t> host = part->ToHost();
        bytes.insert(bytes.end(), host.begin(), host.end());
      }
      for (const DeviceBuffer<float>* part : {&layer.k_scale, &layer.v_scale}) {
        const std::vector<uint8_t> host = Bytes(*part);
        bytes.insert(bytes.end(), host.begin(), host.end());
      }
    }
    return bytes;
  }

 private:
  struct S8Weight {
    int n = 0, k = 0;
    DeviceBuffer<int8_t> values;
    DeviceBuffer<float> channel_scale;
  };
  struct Layer {
    S8Weight qkv, gate_up, down;
    DeviceBuffer<uint8_t> o_packed;
    DeviceBuffer<Bf16> o_scales;
    DeviceBuffer<uint8_t> k, v;
    DeviceBuffer<float> k_scale, v_scale;
  };

  template <typename T>
  static void Upload(const std::vector<T>& host, const DeviceBuffer<T>& device) {
    PINGTI_CUDA(
        cudaMemcpy(device.data(), host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice));
  }
  template <typename T>
  static std::vector<uint8_t> Bytes(const DeviceBuffer<T>& buffer) {
    const std::vector<T> host = buffer.ToHost();
    const auto* first = reinterpret_cast<const uint8_t*>(host.data());
    return {first, first + host.size() * sizeof(T)};
  }

  void FillS8(int n, int k, S8Weight* weight) {
    std::vector<int8_t> values(static_cast<size_t>(n) * k);
    for (int8_t& value : values)
      value = static_cast<int8_t>(static_cast<int>(random_.Below(255)) - 127);
    std::vector<float> scale(n);
    for (float& value : scale) value = 2e-4f + 1e-4f * random_.Uniform();
    weight->n = n;
    weight->k = k;
    weight->values = DeviceBuffer<int8_t>(values);
    weight->channel_scale = DeviceBuffer<float>(scale);
  }

  void FillLayer(Layer* layer) {
    FillS8(kQkvWidth, kHidden, &layer->qkv);
    FillS8(2 * kWidth, kHidden, &layer->gate_up);
    FillS8(kHidden, kWidth, &layer->down);
    std::vector<uint8_t> packed(PackedWeightBytes(kHidden, kHidden, WeightBits::k4));
    for (uint8_t& byte : packed) byte = static_cast<uint8_t>(random_.Next());
    layer->o_packed = DeviceBuffer<uint8_t>(packed);
    std::vector<Bf16> scales(kHidden / 128 * kHidden);
    for (Bf16& scale : scales) scale = __float2bfloat16(0.01f + 0.005f * random_.Uniform());
    layer->o_scales = DeviceBuffer<Bf16>(scales);
    const PagedKv kv = Kv(*layer);
    const size_t size = static_cast<size_t>(kv.page_stride) * kPages;
    const auto plane = [&](DeviceBuffer<uint8_t>* values) {  // old tokens of every sequence
      if (kv_dtype_ == DType::kI8) {
        std::vector<uint8_t> host(size);
        for (uint8_t& byte : host) byte = static_cast<uint8_t>(random_.Below(255) + 129);
        *values = DeviceBuffer<uint8_t>(host);
        return;
      }
      const std::vector<Bf16> host = RandomNormal<Bf16>(size, &random_);
      const auto* first = reinterpret_cast<const uint8_t*>(host.data());
      *values = DeviceBuffer<uint8_t>(std::vector<uint8_t>(first, first + 2 * size));
    };
    plane(&layer->k);
    plane(&layer->v);
    std::vector<float> kv_scale(size / kHeadDim);
    for (float& scale : kv_scale) scale = 0.01f + 0.002f * random_.Uniform();
    layer->k_scale = DeviceBuffer<float>(kv_scale);
    layer->v_scale = DeviceBuffer<float>(kv_scale);
  }

  DecodeShape Shape() const {
    DecodeShape shape;
    shape.num_seqs = kSeqs;
    shape.num_q_heads = kQHeads;
    shape.num_kv_heads = kKvHeads;
    shape.kv_lens = kv_lens_.data();
    return shape;
  }

  PagedKv Kv(const Layer& layer) const {
    PagedKv kv;
    kv.k = layer.k.data();
    kv.v = layer.v.data();
    kv.k_scale = layer.k_scale.data();
    kv.v_scale = layer.v_scale.data();
    kv.block_table = block_table_.data();
    kv.block_table_stride = kTableStride;
    kv.num_pages = kPages;
    kv.num_kv_heads = kKvHeads;
    kv.page_tokens = kPageTokens;
    kv.head_dim = kHeadDim;
    kv.dtype = kv_dtype_;
    SetDenseStrides(&kv);
    return kv;
  }

  // residual += delta; quantized (or normed) = norm of it.
  void LaunchNorm(bool quantize, cudaStream_t stream) const {
    RmsNormParams p;
    p.x = delta_.data();
    p.residual = residual_.data();
    p.weight = norm_.data();
    p.out = quantize ? nullptr : normed_.data();
    p.quantized = quantize ? quantized_.data() : nullptr;
    p.scales = token_scales_.data();
    p.x_stride = p.residual_stride = p.out_stride = p.quantized_stride = p.hidden = kHidden;
    p.num_tokens = kSeqs;
    PINGTI_CUDA(LaunchRmsNorm(p, stream));
  }

  void LaunchS8(const S8Weight& weight, const DeviceBuffer<int8_t>& a, const DeviceBuffer<Bf16>& y,
                cudaStream_t stream) const {
    GemmS8Params p;
    p.m = kSeqs;
    p.n = weight.n;
    p.k = weight.k;
    p.a = a.data();
    p.a_row_stride = p.w_row_stride = weight.k;
    p.w = weight.values.data();
    p.token_scale = token_scales_.data();
    p.channel_scale = weight.channel_scale.data();
    p.y = y.data();
    p.y_row_stride = weight.n;
    p.workspace = gemm_workspace_.data();
    p.workspace_bytes = gemm_workspace_.bytes();
    PINGTI_CUDA(LaunchGemmS8(p, stream));
  }

  void LaunchAttention(const Layer& layer, cudaStream_t stream) const {
    RopeKvParams rope;
    rope.qkv = rope.q_out = qkv_.data();
    rope.qkv_stride = rope.q_out_stride = kQkvWidth;
    rope.cos = cos_.data();
    rope.sin = sin_.data();
    rope.positions = positions_.data();
    rope.kv = Kv(layer);
    rope.slots = slots_.data();
    rope.num_tokens = kSeqs;
    rope.num_q_heads = kQHeads;
    PINGTI_CUDA(LaunchRopeKv(rope, stream));
    DecodeAttentionParams attention;
    attention.shape = Shape();
    attention.kv = Kv(layer);
    attention.plan = plan_.data();
    attention.workspace = attention_workspace_.data();
    attention.q = qkv_.data();
    attention.q_token_stride = kQkvWidth;
    attention.q_head_stride = attention.out_head_stride = kHeadDim;
    attention.out = attended_.data();
    attention.out_token_stride = kQHeads * kHeadDim;
    attention.softmax_scale = 0.125f;
    PINGTI_CUDA(LaunchDecodeAttention(attention, stream));
  }

  void LaunchOutput(const Layer& layer, cudaStream_t stream) const {
    GemmW4A16Params p;
    p.m = kSeqs;
    p.n = p.k = kHidden;
    p.a = attended_.data();
    p.a_row_stride = p.y_row_stride = kHidden;
    p.packed = layer.o_packed.data();
    p.scales = layer.o_scales.data();
    p.scale_type = ScaleType::kBf16;
    p.y = delta_.data();
    p.workspace = w4_workspace_.data();
    p.workspace_bytes = w4_workspace_.bytes();
    PINGTI_CUDA(LaunchGemmW4A16(p, stream));
  }

  void LaunchLayer(const Layer& layer, cudaStream_t stream) const {
    LaunchNorm(true, stream);
    LaunchS8(layer.qkv, quantized_, qkv_, stream);
    LaunchAttention(layer, stream);
    LaunchOutput(layer, stream);
    LaunchNorm(false, stream);
    QuantizeTokensParams quantize;
    quantize.x = normed_.data();
    quantize.quantized = quantized_.data();
    quantize.scales = token_scales_.data();
    quantize.x_stride = quantize.quantized_stride = quantize.width = kHidden;
    quantize.num_tokens = kSeqs;
    PINGTI_CUDA(LaunchQuantizeTokens(quantize, stream));
    LaunchS8(layer.gate_up, quantized_, gate_up_, stream);
    ActivationParams swiglu;
    swiglu.x = gate_up_.data();
    swiglu.x_stride = 2 * kWidth;
    swiglu.quantized = activated_.data();
    swiglu.scales = token_scales_.data();
    swiglu.quantized_stride = swiglu.width = kWidth;
    swiglu.num_tokens = kSeqs;
    PINGTI_CUDA(LaunchActivation(swiglu, stream));
    LaunchS8(layer.down, activated_, delta_, stream);
  }

  DType kv_dtype_;
  Random random_;
  Layer layers_[kLayers];
  S8Weight head_;
  DeviceBuffer<Bf16> embedding_;
  DeviceBuffer<float> cos_, sin_, norm_;

  // The state of a step.
  DeviceBuffer<int32_t> tokens_, positions_{kSeqs}, kv_lens_{kSeqs};
  DeviceBuffer<int64_t> slots_{kSeqs};
  DeviceBuffer<int32_t> block_table_{kSeqs * kTableStride};
  DeviceBuffer<KvPageCopy> copies_{kMaxCopies};
  DeviceBuffer<SamplingRowParams> rows_{kSeqs};
  DeviceBuffer<KvCopyPlane> planes_;
  int num_planes_ = 0;
  int64_t max_page_bytes_ = 0;

  // Activations.
  DeviceBuffer<Bf16> delta_{kSeqs * kHidden}, residual_{kSeqs * kHidden}, normed_{kSeqs * kHidden};
  DeviceBuffer<int8_t> quantized_{kSeqs * kHidden}, activated_{kSeqs * kWidth};
  DeviceBuffer<float> token_scales_{kSeqs};
  DeviceBuffer<Bf16> qkv_{kSeqs * kQkvWidth}, attended_{kSeqs * kQHeads * kHeadDim};
  DeviceBuffer<Bf16> gate_up_{kSeqs * 2 * kWidth}, logits16_{kSeqs * kVocab};
  DeviceBuffer<float> logits_{kSeqs * kVocab};
  DeviceBuffer<uint8_t> gemm_workspace_{GemmS8WorkspaceBytes()};
  DeviceBuffer<uint8_t> w4_workspace_{GemmW4A16WorkspaceBytes()};
  DeviceBuffer<uint8_t> plan_, attention_workspace_, sample_workspace_;
};

}  // namespace pingti::kernels::testing
