// One block of each GGUF type to floats. Used by this folder alone; ggml_blocks.h is the face.
// Every function reads BlockBytes bytes and writes BlockElements values of its type.
#pragma once

#include <cstdint>

namespace pingti::worker::ggml {

// ggml_blocks_of_32.cc
void Q8_0(const uint8_t* block, float* out);
void Q4_0(const uint8_t* block, float* out);
void Q4_1(const uint8_t* block, float* out);
void Q5_0(const uint8_t* block, float* out);
void Q5_1(const uint8_t* block, float* out);
void Iq4Nl(const uint8_t* block, float* out);
void Mxfp4(const uint8_t* block, float* out);

// nf4_block.cc; of bitsandbytes, not of GGUF
void Nf4(const uint8_t* block, float* out);

// ggml_k_blocks.cc
void Q2K(const uint8_t* block, float* out);
void Q3K(const uint8_t* block, float* out);
void Q4K(const uint8_t* block, float* out);
void Q5K(const uint8_t* block, float* out);
void Q6K(const uint8_t* block, float* out);
void Tq1_0(const uint8_t* block, float* out);
void Tq2_0(const uint8_t* block, float* out);

// ggml_iq_blocks.cc
void Iq1S(const uint8_t* block, float* out);
void Iq1M(const uint8_t* block, float* out);
void Iq2Xxs(const uint8_t* block, float* out);
void Iq2Xs(const uint8_t* block, float* out);
void Iq2S(const uint8_t* block, float* out);
void Iq3Xxs(const uint8_t* block, float* out);
void Iq3S(const uint8_t* block, float* out);
void Iq4Xs(const uint8_t* block, float* out);

}  // namespace pingti::worker::ggml
