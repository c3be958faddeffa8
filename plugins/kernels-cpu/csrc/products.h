// Products with packed weights: what the paths (plain C++, and one for each set of instructions) share. No torch here.
//
// A weight is rows of blocks. ggml's blocks follow https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h; `int8` is
// transept-int8's: a row of bytes, and float16 scales for groups of it in a tensor of their own.
//
// Activations are quantized for a product as llama.cpp does for the blocks of 32: integers from -127 to 127 and a scale for each 32
// numbers. Scales are kept in float32, and the K-quants have the same 32 (llama.cpp: 256), which is closer to the exact product.
#pragma once

#include <cstdint>
#include <cstring>

namespace transept {

enum class Packing : int64_t { Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K, int8, count };

struct Layout {
  const char* name;
  int64_t block;  // weights in a block
  int64_t bytes;  // bytes of a block
};

constexpr Layout layouts[] = {
    {"Q4_0", 32, 18},   {"Q4_1", 32, 20},   {"Q5_0", 32, 22},   {"Q5_1", 32, 24}, {"Q8_0", 32, 34},
    {"Q4_K", 256, 144}, {"Q5_K", 256, 176}, {"Q6_K", 256, 210}, {"int8", 32, 32},
};

struct Weight {
  Packing packing;
  const uint8_t* data;
  int64_t columns;
  int64_t row_bytes;
  const uint16_t* scales = nullptr;  // int8: float16, `columns / group` in a row
  int64_t group = 0;                 // int8: a multiple of 32

  const uint8_t* row(int64_t index) const { return data + index * row_bytes; }
  const uint16_t* row_scales(int64_t index) const { return scales + index * (columns / group); }
};

// One row of activations. `scale` and `sum` have an entry for each 32 columns, `pair` both in turn: what a packing likes to read.
struct Activations {
  int8_t* quants;
  float* scale;
  float* sum;  // of the 32 numbers as they are after rounding: scale * (sum of the integers)
  float* pair;

  static int64_t bytes(int64_t columns) { return columns + columns / 32 * 4 * int64_t(sizeof(float)); }

  // Inside memory of `bytes(columns)`, aligned to 32.
  static Activations at(void* memory, int64_t columns) {
    auto* quants = static_cast<int8_t*>(memory);
    auto* floats = reinterpret_cast<float*>(quants + columns);
    const int64_t blocks = columns / 32;
    return {quants, floats, floats + blocks, floats + 2 * blocks};
  }
};

constexpr float smallest = 1e-30f;  // blocks below this are zeros: their inverse scale would overflow

struct Products {
  const char* name;
  bool (*supported)();
  void (*quantize)(const float* row, int64_t columns, const Activations& to);
  // out[i * stride + r] = row r of the weight times activations i, for r from `begin` to `end`.
  void (*multiply)(const Weight&, int64_t begin, int64_t end, const Activations*, int64_t count, float* out, int64_t stride);
  // The weights of a row as they are: in float32, with products and sums rounded one after the other.
  void (*unpack)(const Weight&, int64_t row, float* out);
};

extern const Products portable;
#if defined(__x86_64__)
extern const Products avx2, avx_vnni, avx512_vnni;
#endif

// Every path that was compiled, the fastest first; `portable` is the last.
inline const Products* const* paths(int64_t* count) {
  static const Products* const all[] = {
#if defined(__x86_64__)
      &avx512_vnni, &avx_vnni, &avx2,
#endif
      &portable};
  *count = sizeof(all) / sizeof(all[0]);
  return all;
}

inline uint16_t read16(const void* from) {
  uint16_t value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

inline uint32_t read32(const void* from) {
  uint32_t value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

// The 6-bit scales and minima of a K-quant's eight sub-blocks, from their 12 bytes.
inline void scales_and_minima(const uint8_t* packed, uint8_t scales[8], uint8_t minima[8]) {
  const uint32_t a = read32(packed), b = read32(packed + 4), c = read32(packed + 8);
  const uint32_t words[4] = {
      a & 0x3f3f3f3f,
      (c & 0x0f0f0f0f) | ((a >> 6 & 0x03030303) << 4),
      b & 0x3f3f3f3f,
      (c >> 4 & 0x0f0f0f0f) | ((b >> 6 & 0x03030303) << 4),
  };
  std::memcpy(scales, words, 8);
  std::memcpy(minima, words + 2, 8);
}

}  // namespace transept
