// The elementwise functions of feed-forward blocks.
#pragma once

namespace pingti::worker {

// Sources: Hendrycks and Gimpel, "Gaussian Error Linear Units (GELUs)" (2016), for both forms of
// it; Elfwing et al., "Sigmoid-Weighted Linear Units" (2017).
enum class ActivationFunction {
  kSilu,      // x / (1 + exp(-x))
  kGelu,      // x (1 + erf(x / sqrt 2)) / 2
  kGeluTanh,  // x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2
  // Of gated feed-forwards alone, whole: with gate at most 7 and up in [-7, 7],
  // gate / (1 + exp(-1.702 gate)) * (up + 1) (OpenAI 2025, gpt-oss).
  kClampedSwiglu,
};

}  // namespace pingti::worker
