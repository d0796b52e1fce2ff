#include "worker/quant/ggml_blocks.h"

#include <cstring>

#include "common/base/check.h"
#include "worker/quant/ggml_block_types.h"
#include "worker/quant/ggml_sub_blocks.h"
#include "worker/tensor/float16.h"

namespace pingti::worker {
namespace {

using ReadBlock = void (*)(const uint8_t* block, float* out);

ReadBlock ReaderOf(DType dtype) {
  switch (dtype) {
    case DType::kQ8_0:
      return ggml::Q8_0;
    case DType::kQ4_0:
      return ggml::Q4_0;
    case DType::kQ4_1:
      return ggml::Q4_1;
    case DType::kQ5_0:
      return ggml::Q5_0;
    case DType::kQ5_1:
      return ggml::Q5_1;
    case DType::kQ2K:
      return ggml::Q2K;
    case DType::kQ3K:
      return ggml::Q3K;
    case DType::kQ4K:
      return ggml::Q4K;
    case DType::kQ5K:
      return ggml::Q5K;
    case DType::kQ6K:
      return ggml::Q6K;
    case DType::kIq1S:
      return ggml::Iq1S;
    case DType::kIq1M:
      return ggml::Iq1M;
    case DType::kIq2Xxs:
      return ggml::Iq2Xxs;
    case DType::kIq2Xs:
      return ggml::Iq2Xs;
    case DType::kIq2S:
      return ggml::Iq2S;
    case DType::kIq3Xxs:
      return ggml::Iq3Xxs;
    case DType::kIq3S:
      return ggml::Iq3S;
    case DType::kIq4Nl:
      return ggml::Iq4Nl;
    case DType::kIq4Xs:
      return ggml::Iq4Xs;
    case DType::kTq1_0:
      return ggml::Tq1_0;
    case DType::kTq2_0:
      return ggml::Tq2_0;
    case DType::kMxfp4:
      return ggml::Mxfp4;
    case DType::kNf4:
      return ggml::Nf4;
    default:
      CheckFailed(__FILE__, __LINE__, "a block type", "");
  }
}

}  // namespace

bool CanDequantize(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBf16 ||
         dtype == DType::kF8E4M3 || dtype == DType::kI8 || IsBlockType(dtype);
}

void Dequantize(DType dtype, const void* source, int64_t count, float* out) {
  PINGTI_CHECK(CanDequantize(dtype) && count % BlockElements(dtype) == 0);
  const auto* bytes = static_cast<const uint8_t*>(source);
  switch (dtype) {
    case DType::kF32:
      std::memcpy(out, bytes, static_cast<size_t>(count) * 4);
      return;
    case DType::kF16:
      for (int64_t i = 0; i < count; ++i) out[i] = LoadF16(bytes + 2 * i);
      return;
    case DType::kBf16:
      for (int64_t i = 0; i < count; ++i) out[i] = Bf16ToFloat(LoadU16(bytes + 2 * i));
      return;
    case DType::kF8E4M3:
      for (int64_t i = 0; i < count; ++i) out[i] = F8E4M3ToFloat(bytes[i]);
      return;
    case DType::kI8:
      for (int64_t i = 0; i < count; ++i)
        out[i] = static_cast<float>(static_cast<int8_t>(bytes[i]));
      return;
    default:
      break;
  }
  const ReadBlock read = ReaderOf(dtype);
  const int64_t elements = BlockElements(dtype);
  for (int64_t b = 0; b < count / elements; ++b) {
    read(bytes + b * BlockBytes(dtype), out + b * elements);
  }
}

}  // namespace pingti::worker
