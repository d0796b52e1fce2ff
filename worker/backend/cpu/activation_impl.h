// The elementwise functions of feed-forward blocks; see worker/tensor/activation_function.h for the
// formulas. Included by kernels_impl.h inside the namespace of an instruction set, after
// elementwise_impl.h.

inline Vf Sigmoid(Vf x) {
  const Vf one = Set1(1.0f);
  return Div(one, Add(one, Exp(Sub(Zero(), x))));
}

// tanh(x) = 2 sigmoid(2x) - 1; the error is absolute, 1e-7.
inline Vf Tanh(Vf x) { return Fma(Set1(2.0f), Sigmoid(Add(x, x)), Set1(-1.0f)); }

// erfc(z) for z >= 0, relative error below 2e-7 where exp does not lose more: t exp(-z^2 + p(t)),
// t = 1 / (1 + z / 2), p a Chebyshev fit. `square` is z^2, which the caller may know more exactly.
// Source: Press et al., "Numerical Recipes in C", section 6.2.
inline Vf Erfc(Vf z, Vf square) {
  const Vf one = Set1(1.0f);
  const Vf t = Div(one, Fma(Set1(0.5f), z, one));
  Vf p = Set1(0.17087277f);
  p = Fma(p, t, Set1(-0.82215223f));
  p = Fma(p, t, Set1(1.48851587f));
  p = Fma(p, t, Set1(-1.13520398f));
  p = Fma(p, t, Set1(0.27886807f));
  p = Fma(p, t, Set1(-0.18628806f));
  p = Fma(p, t, Set1(0.09678418f));
  p = Fma(p, t, Set1(0.37409196f));
  p = Fma(p, t, Set1(1.00002368f));
  p = Fma(p, t, Set1(-1.26551223f));
  return Mul(t, Exp(Sub(p, square)));
}

// max(x, 0) - |x| erfc(|x| / sqrt 2) / 2, which loses nothing where x is far below 0.
inline Vf Gelu(Vf x) {
  const Vf half_square = Mul(Mul(x, x), Set1(0.5f));
  const Vf size = Abs(x);
  const Vf tail = Mul(size, Erfc(Mul(size, Set1(0.70710678f)), half_square));
  return Fma(Set1(-0.5f), tail, Max(x, Zero()));
}

// x (1 + tanh u) / 2 = x sigmoid(2u).
inline Vf GeluTanh(Vf x) {
  const Vf cubic = Mul(Mul(Set1(0.044715f), x), Mul(x, x));
  return Mul(x, Sigmoid(Mul(Set1(1.59576912f), Add(x, cubic))));
}

template <ActivationFunction kFunction>
inline Vf Activated(Vf x) {
  if constexpr (kFunction == ActivationFunction::kGelu) {
    return Gelu(x);
  } else if constexpr (kFunction == ActivationFunction::kGeluTanh) {
    return GeluTanh(x);
  } else {
    return Mul(x, Sigmoid(x));
  }
}

// With `up`, the products of both; `up` may be null.
template <ActivationFunction kFunction>
void ActivateRow(const float* x, const float* up, int64_t count, float* out) {
  for (int64_t i = 0; i < count; i += 16) {
    const Vf y = Activated<kFunction>(LoadAt(x, i, count));
    StoreAt(out, i, count, up == nullptr ? y : Mul(y, LoadAt(up, i, count)));
  }
}

void ClampedSwigluRow(const float* gate, const float* up, int64_t count, float* out) {
  const Vf limit = Set1(7.0f);
  const Vf lowest = Set1(-7.0f);
  for (int64_t i = 0; i < count; i += 16) {
    // In this order what is not a number stays so.
    const Vf g = Min(limit, LoadAt(gate, i, count));
    const Vf u = Max(lowest, Min(limit, LoadAt(up, i, count)));
    const Vf y = Mul(g, Sigmoid(Mul(Set1(1.702f), g)));
    StoreAt(out, i, count, Fma(y, u, y));
  }
}

void ActivateGated(ActivationFunction f, const float* gate, const float* up, int64_t count,
                   float* out) {
  switch (f) {
    case ActivationFunction::kSilu:
      return ActivateRow<ActivationFunction::kSilu>(gate, up, count, out);
    case ActivationFunction::kGelu:
      return ActivateRow<ActivationFunction::kGelu>(gate, up, count, out);
    case ActivationFunction::kGeluTanh:
      return ActivateRow<ActivationFunction::kGeluTanh>(gate, up, count, out);
    case ActivationFunction::kClampedSwiglu:
      return ClampedSwigluRow(gate, up, count, out);
  }
}

void Activate(ActivationFunction f, const float* x, int64_t count, float* out) {
  ActivateGated(f, x, nullptr, count, out);
}
