// One tile of causal attention with a running softmax. Included by kernels_impl.h inside the
// namespace of an instruction set.
//
// Source: Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018). Tiles start
// at multiples of kKvTile tokens of the sequence, so a query sums in the same order in a prefill
// chunk of any size and in decode. Masked tokens get weight exactly 0.

inline constexpr float kMasked = -3.0e38f;
inline constexpr int kTileVectors = kKvTile / 16;

// scores[r][t] = query[r] . keys[:, t] for all kKvTile tokens.
template <int kRows>
void TileScores(const AttentionTile& tile, const float* const* query, float (*scores)[kKvTile]) {
  Vf sums[kRows][kTileVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kTileVectors; ++v) sums[r][v] = Zero();
  }
  for (int64_t d = 0; d < tile.key_dim; ++d) {
    const float* key = tile.keys + d * kKvTile;
    Vf columns[kTileVectors];
    for (int v = 0; v < kTileVectors; ++v) columns[v] = Load(key + 16 * v);
    for (int r = 0; r < kRows; ++r) {
      const Vf q = Set1(query[r][d]);
      for (int v = 0; v < kTileVectors; ++v) sums[r][v] = Fma(q, columns[v], sums[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kTileVectors; ++v) Store(scores[r] + 16 * v, sums[r][v]);
  }
}

// Turns a row of scores into weights, updates the running maximum and sum, and returns the factor
// that earlier sums are scaled by. Tokens outside [begin, end) of the tile are masked.
inline float TileSoftmax(int64_t begin, int64_t end, float* scores, float* running_max,
                         float* running_sum) {
  for (int64_t t = 0; t < begin; ++t) scores[t] = kMasked;
  for (int64_t t = end; t < kKvTile; ++t) scores[t] = kMasked;
  Vf most = Load(scores);
  for (int v = 1; v < kTileVectors; ++v) most = Max(most, Load(scores + 16 * v));
  const float tile_max = ReduceMax(most);
  const float new_max = tile_max > *running_max ? tile_max : *running_max;
  const Vf shift = Set1(new_max);
  Vf sum = Zero();
  for (int v = 0; v < kTileVectors; ++v) {
    const Vf weight = Exp(Sub(Load(scores + 16 * v), shift));
    Store(scores + 16 * v, weight);
    sum = Add(sum, weight);
  }
  float factor[16];
  Store(factor, Exp(Set1(*running_max - new_max)));
  *running_max = new_max;
  *running_sum = *running_sum * factor[0] + ReduceAdd(sum);
  return factor[0];
}

// out[r] = out[r] * factor[r] + sum over t of weights[r][t] * values[t], 64 dimensions at a time.
template <int kRows, int kVectors>
void TileValues(const AttentionTile& tile, const float (*weights)[kKvTile], const float* factor,
                int64_t first_dim, float* out) {
  Vf sums[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    const Vf scale = Set1(factor[r]);
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = Mul(Load(out + r * tile.value_dim + first_dim + 16 * v), scale);
    }
  }
  for (int64_t t = 0; t < tile.num_tokens; ++t) {
    const float* value = tile.values + t * tile.value_dim + first_dim;
    Vf columns[kVectors];
    for (int v = 0; v < kVectors; ++v) columns[v] = Load(value + 16 * v);
    for (int r = 0; r < kRows; ++r) {
      const Vf w = Set1(weights[r][t]);
      for (int v = 0; v < kVectors; ++v) sums[r][v] = Fma(w, columns[v], sums[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      Store(out + r * tile.value_dim + first_dim + 16 * v, sums[r][v]);
    }
  }
}

// softcap * tanh(scores / softcap).
inline void CapScores(float softcap, float* scores) {
  const Vf cap = Set1(softcap);
  const Vf inverse = Set1(1.0f / softcap);
  for (int v = 0; v < kTileVectors; ++v) {
    Store(scores + 16 * v, Mul(cap, Tanh(Mul(Load(scores + 16 * v), inverse))));
  }
}

// Adds slope * (key's position - query's position) to each score.
inline void AddAlibi(float slope, int64_t first_key, int64_t query, float* scores) {
  alignas(64) static constexpr float kColumns[16] = {0, 1, 2,  3,  4,  5,  6,  7,
                                                     8, 9, 10, 11, 12, 13, 14, 15};
  const Vf columns = Load(kColumns);
  for (int v = 0; v < kTileVectors; ++v) {
    const Vf distance = Add(columns, Set1(static_cast<float>(first_key + 16 * v - query)));
    Store(scores + 16 * v, Fma(Set1(slope), distance, Load(scores + 16 * v)));
  }
}

template <int kRows>
void AttentionRowsTile(const AttentionTile& tile, const AttentionRows& rows, int64_t r) {
  alignas(64) float scores[kRows][kKvTile];
  float factor[kRows];
  TileScores<kRows>(tile, rows.query + r, scores);
  for (int i = 0; i < kRows; ++i) {
    int64_t begin = rows.first[r + i] - tile.first_token;
    int64_t end = rows.last[r + i] + 1 - tile.first_token;
    if (rows.logit_softcap != 0.0f) CapScores(rows.logit_softcap, scores[i]);
    if (rows.alibi_slope != nullptr) {
      AddAlibi(rows.alibi_slope[r + i], tile.first_token, rows.last[r + i], scores[i]);
    }
    begin = begin < 0 ? 0 : begin > kKvTile ? kKvTile : begin;
    end = end < 0 ? 0 : end > tile.num_tokens ? tile.num_tokens : end;
    factor[i] =
        TileSoftmax(begin, end, scores[i], rows.running_max + r + i, rows.running_sum + r + i);
  }
  float* out = rows.out + r * tile.value_dim;
  int64_t dim = 0;
  for (; dim + 64 <= tile.value_dim; dim += 64) {
    TileValues<kRows, 4>(tile, scores, factor, dim, out);
  }
  for (; dim + 16 <= tile.value_dim; dim += 16) {
    TileValues<kRows, 1>(tile, scores, factor, dim, out);
  }
  for (; dim < tile.value_dim; ++dim) {
    for (int i = 0; i < kRows; ++i) {
      float sum = out[i * tile.value_dim + dim] * factor[i];
      for (int64_t t = 0; t < tile.num_tokens; ++t) {
        sum += scores[i][t] * tile.values[t * tile.value_dim + dim];
      }
      out[i * tile.value_dim + dim] = sum;
    }
  }
}

void AttentionTileKernel(const AttentionTile& tile, const AttentionRows& rows) {
  int64_t r = 0;
  for (; r + kAttentionRows <= rows.rows; r += kAttentionRows) {
    AttentionRowsTile<kAttentionRows>(tile, rows, r);
  }
  if constexpr (kAttentionRows > 3) {
    for (; r + 3 <= rows.rows; r += 3) AttentionRowsTile<3>(tile, rows, r);
  }
  for (; r < rows.rows; ++r) AttentionRowsTile<1>(tile, rows, r);
}
