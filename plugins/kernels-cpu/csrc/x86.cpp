// The products for x86 with AVX2, and with either kind of VNNI. Compiled once for each, with the flags that allow it: see
// `build_library.py`. Nothing of the standard library is instantiated here, since the linker may keep such code for everybody.
#include "products.h"

#include <immintrin.h>

#if defined(PATH_AVX512_VNNI)
#define PATH avx512_vnni
#elif defined(PATH_AVX_VNNI)
#define PATH avx_vnni
#else
#define PATH avx2
#endif
#define NAME_(path) #path
#define NAME(path) NAME_(path)
// Loops over rows are short and their arrays are registers: left to itself the compiler keeps some of them in memory.
#define UNROLL _Pragma("GCC unroll 8")

namespace transept {
namespace {

using Bytes = __m256i;

// To each of eight sums of four: products of unsigned and signed bytes. Weights are below 64, or their absolute value is taken with
// the sign given to the other factor, so that `maddubs` never saturates: 2 * 128 * 127 < 32768.
inline __m256i add_dot(__m256i sums, Bytes unsigned_, Bytes signed_) {
#if defined(PATH_AVX512_VNNI)
  return _mm256_dpbusd_epi32(sums, unsigned_, signed_);
#elif defined(PATH_AVX_VNNI)
  return _mm256_dpbusd_avx_epi32(sums, unsigned_, signed_);
#else
  return _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_maddubs_epi16(unsigned_, signed_), _mm256_set1_epi16(1)));
#endif
}

inline __m256 dot(Bytes unsigned_, Bytes signed_) {
  return _mm256_cvtepi32_ps(add_dot(_mm256_setzero_si256(), unsigned_, signed_));
}

inline __m256 signed_dot(Bytes weight, Bytes size, Bytes quants) { return dot(size, _mm256_sign_epi8(quants, weight)); }

inline Bytes load(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
inline __m128i load16(const void* from) { return _mm_loadu_si128(static_cast<const __m128i*>(from)); }

inline __m128 load8(const float* from) { return _mm_castsi128_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))); }

// Low nibbles of 16 bytes, then the high ones.
inline Bytes nibbles(const void* from) {
  const __m128i raw = load16(from);
  return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(raw, 4), raw), _mm256_set1_epi8(15));
}

// 32 bits as 32 bytes of 0 or 16.
inline Bytes fifth_bits(const void* from) {
  const __m256i each = _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
  const __m256i bit = _mm256_set1_epi64x(int64_t(0x8040201008040201));
  const __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32(int(read32(from))), each);
  return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit), _mm256_set1_epi8(16));
}

inline __m128 half(const void* from) { return _mm_cvtph_ps(_mm_cvtsi32_si128(read16(from))); }
inline __m128 two_halves(const void* from) { return _mm_cvtph_ps(_mm_cvtsi32_si128(int(read32(from)))); }
inline float number(__m128 value) { return _mm_cvtss_f32(value); }

// Rows are read one after another, each from its begin to its end, and asked for a page ahead: several at a time (which saves loads)
// run at a third of the memory's speed, since processors foresee one stream better than four.
inline void ahead(const uint8_t* at) { _mm_prefetch(reinterpret_cast<const char*>(at + 4096), _MM_HINT_T0); }

inline float total(__m256 sums) {
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return number(_mm_add_ss(four, _mm_movehdup_ps(four)));
}

// ---- blocks of 32 -----------------------------------------------------------------------------------------------------------

// A packing says how a block is read: `Block` holds what all rows of activations share.
struct Nibbles {
  Bytes quants;
  __m128 scale;  // and what multiplies the sum, in the second lane
  __m256 dot(Bytes other) const { return transept::dot(quants, other); }
};

struct Signed {
  Bytes quants, size;
  __m128 scale;
  __m256 dot(Bytes other) const { return signed_dot(quants, size, other); }
};

inline __m128 twice(__m128 one) { return _mm_moveldup_ps(one); }

struct Q4_0 {
  static constexpr int bytes = 18;
  static constexpr float sums = -8;  // the second lane's part in the result
  static Nibbles read(const uint8_t* block) { return {nibbles(block + 2), twice(half(block))}; }
};

struct Q4_1 {
  static constexpr int bytes = 20;
  static constexpr float sums = 1;
  static Nibbles read(const uint8_t* block) { return {nibbles(block + 4), two_halves(block)}; }
};

struct Q5_0 {
  static constexpr int bytes = 22;
  static constexpr float sums = -16;
  static Nibbles read(const uint8_t* block) {
    return {_mm256_or_si256(nibbles(block + 6), fifth_bits(block + 2)), twice(half(block))};
  }
};

struct Q5_1 {
  static constexpr int bytes = 24;
  static constexpr float sums = 1;
  static Nibbles read(const uint8_t* block) {
    return {_mm256_or_si256(nibbles(block + 8), fifth_bits(block + 4)), two_halves(block)};
  }
};

struct Q8_0 {
  static constexpr int bytes = 34;
  static constexpr float sums = 0;
  static Signed read(const uint8_t* block) {
    const Bytes quants = load(block + 2);
    return {quants, _mm256_abs_epi8(quants), half(block)};
  }
};

// Sums that do not wait for each other: one row of activations alone would leave the units idle between two additions.
constexpr int chains_for(int count) { return count == 1 ? 4 : count == 2 ? 2 : 1; }

template <class P, int count>
inline void small_row(const Weight& weight, int64_t row, const Activations* given, float* out, int64_t stride) {
  constexpr int chains = chains_for(count);
  __m256 dots[chains][count];
  __m128 sums[chains][count];
  UNROLL
  for (int c = 0; c < chains; ++c) {
    UNROLL
    for (int i = 0; i < count; ++i) dots[c][i] = _mm256_setzero_ps(), sums[c][i] = _mm_setzero_ps();
  }
  const uint8_t* at = weight.row(row);
  const int64_t blocks = weight.columns / 32;
  for (int64_t b = 0; b < blocks; b += chains) {
    UNROLL
    for (int c = 0; c < chains; ++c) {
      if (b + c >= blocks) break;
      const auto block = P::read(at);
      ahead(at);
      at += P::bytes;
      UNROLL
      for (int i = 0; i < count; ++i) {
        const __m128 scale = _mm_mul_ps(block.scale, load8(given[i].pair + 2 * (b + c)));  // of the product, and the sum's part
        if (P::sums != 0) sums[c][i] = _mm_add_ps(sums[c][i], scale);
        const __m256 product = block.dot(load(given[i].quants + 32 * (b + c)));
        dots[c][i] = _mm256_fmadd_ps(product, _mm256_broadcastss_ps(scale), dots[c][i]);
      }
    }
  }
  UNROLL
  for (int i = 0; i < count; ++i) {
    UNROLL
    for (int c = 1; c < chains; ++c) {
      dots[0][i] = _mm256_add_ps(dots[0][i], dots[c][i]);
      sums[0][i] = _mm_add_ps(sums[0][i], sums[c][i]);
    }
    const float shifted = P::sums == 0 ? 0 : P::sums * number(_mm_movehdup_ps(sums[0][i]));
    out[i * stride + row] = total(dots[0][i]) + shifted;
  }
}

// ---- transept-int8: scales beside the integers ------------------------------------------------------------------------------

template <int count>
inline void add_int8(const uint8_t* at, const Activations* given, int64_t block, __m256 scale, __m256 dots[count]) {
  const Bytes quants = load(at + 32 * block), size = _mm256_abs_epi8(quants);
  ahead(at + 32 * block);
  UNROLL
  for (int i = 0; i < count; ++i) {
    const __m256 product = signed_dot(quants, size, load(given[i].quants + 32 * block));
    const __m256 both = _mm256_mul_ps(scale, _mm256_broadcast_ss(given[i].scale + block));
    dots[i] = _mm256_fmadd_ps(product, both, dots[i]);
  }
}

template <class P, int count>
inline void int8_row(const Weight& weight, int64_t row, const Activations* given, float* out, int64_t stride) {
  constexpr int chains = chains_for(count);
  __m256 dots[chains][count];
  UNROLL
  for (int c = 0; c < chains; ++c) {
    UNROLL
    for (int i = 0; i < count; ++i) dots[c][i] = _mm256_setzero_ps();
  }
  const uint8_t* at = weight.row(row);
  const uint16_t* scales = weight.row_scales(row);
  const int64_t blocks = weight.columns / 32, in_group = weight.group / 32;
  if (in_group == 1) {
    for (int64_t b = 0; b < blocks; b += chains) {
      UNROLL
      for (int c = 0; c < chains; ++c) {
        if (b + c >= blocks) break;
        add_int8<count>(at, given, b + c, _mm256_broadcastss_ps(half(scales + b + c)), dots[c]);
      }
    }
  } else {
    for (int64_t begin = 0; begin < blocks; begin += in_group, ++scales) {
      const __m256 scale = _mm256_broadcastss_ps(half(scales));
      for (int64_t b = begin; b < begin + in_group; b += chains) {
        UNROLL
        for (int c = 0; c < chains; ++c) {
          if (b + c < begin + in_group) add_int8<count>(at, given, b + c, scale, dots[c]);
        }
      }
    }
  }
  UNROLL
  for (int i = 0; i < count; ++i) {
    UNROLL
    for (int c = 1; c < chains; ++c) dots[0][i] = _mm256_add_ps(dots[0][i], dots[c][i]);
    out[i * stride + row] = total(dots[0][i]);
  }
}

// ---- K-quants: eight parts of 32 in a block -----------------------------------------------------------------------------------

// Scales of the eight parts in float32, and what multiplies their sums, with its sign.
struct Eight {
  __m256 scale, minimum;
};

inline Eight eight_scales(const uint8_t* block) {
  uint8_t packed[16];
  scales_and_minima(block + 4, packed, packed + 8);
  const __m128 both = two_halves(block);
  const __m256 scales = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(packed))));
  const __m256 minima = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(packed + 8))));
  const __m256 minus = _mm256_set1_ps(-0.0f);
  return {
      _mm256_mul_ps(_mm256_broadcastss_ps(both), scales),
      _mm256_xor_ps(_mm256_mul_ps(_mm256_broadcastss_ps(_mm_movehdup_ps(both)), minima), minus)};
}

struct Q4_K {
  static constexpr int bytes = 144;
  static void read(const uint8_t* block, Bytes quants[8]) {
    for (int i = 0; i < 4; ++i) {
      const Bytes raw = load(block + 16 + 32 * i);
      quants[2 * i] = _mm256_and_si256(raw, _mm256_set1_epi8(15));
      quants[2 * i + 1] = _mm256_and_si256(_mm256_srli_epi16(raw, 4), _mm256_set1_epi8(15));
    }
  }
};

struct Q5_K {
  static constexpr int bytes = 176;
  static void read(const uint8_t* block, Bytes quants[8]) {
    const Bytes high = load(block + 16);
    for (int i = 0; i < 8; ++i) {
      const Bytes raw = load(block + 48 + i / 2 * 32);
      const Bytes low = _mm256_and_si256(i % 2 ? _mm256_srli_epi16(raw, 4) : raw, _mm256_set1_epi8(15));
      const Bytes bit = _mm256_set1_epi8(char(1 << i));
      const Bytes fifth = _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(high, bit), bit), _mm256_set1_epi8(16));
      quants[i] = _mm256_or_si256(low, fifth);
    }
  }
};

template <class P, int count>
inline void k_row(const Weight& weight, int64_t row, const Activations* given, float* out, int64_t stride) {
  __m256 dots[count], sums[count];
  UNROLL
  for (int i = 0; i < count; ++i) dots[i] = sums[i] = _mm256_setzero_ps();
  const uint8_t* block = weight.row(row);
  for (int64_t b = 0; b < weight.columns / 256; ++b, block += P::bytes) {
    Bytes quants[8];
    P::read(block, quants);
    const Eight eight = eight_scales(block);
    UNROLL
    for (int i = 0; i < count; ++i) {
      alignas(32) float scales[8];
      _mm256_store_ps(scales, _mm256_mul_ps(eight.scale, _mm256_loadu_ps(given[i].scale + 8 * b)));
      sums[i] = _mm256_fmadd_ps(eight.minimum, _mm256_loadu_ps(given[i].sum + 8 * b), sums[i]);
      __m256 even = dots[i], odd = _mm256_setzero_ps();  // two chains, so that one does not wait for the other
      UNROLL
      for (int part = 0; part < 8; part += 2) {
        const int8_t* other = given[i].quants + 256 * b + 32 * part;
        even = _mm256_fmadd_ps(dot(quants[part], load(other)), _mm256_broadcast_ss(scales + part), even);
        odd = _mm256_fmadd_ps(dot(quants[part + 1], load(other + 32)), _mm256_broadcast_ss(scales + part + 1), odd);
      }
      dots[i] = _mm256_add_ps(even, odd);
    }
  }
  UNROLL
  for (int i = 0; i < count; ++i) out[i * stride + row] = total(_mm256_add_ps(dots[i], sums[i]));
}

struct Q6_K {
  static constexpr int bytes = 210;
  static void read(const uint8_t* block, Bytes quants[8]) {
    const Bytes four = _mm256_set1_epi8(15), two = _mm256_set1_epi8(48), middle = _mm256_set1_epi8(32);
    for (int half = 0; half < 2; ++half) {
      const Bytes first = load(block + 64 * half), second = load(block + 64 * half + 32), high = load(block + 128 + 32 * half);
      const Bytes low[4] = {
          _mm256_and_si256(first, four), _mm256_and_si256(second, four), _mm256_and_si256(_mm256_srli_epi16(first, 4), four),
          _mm256_and_si256(_mm256_srli_epi16(second, 4), four)};
      const Bytes bits[4] = {
          _mm256_and_si256(_mm256_slli_epi16(high, 4), two), _mm256_and_si256(_mm256_slli_epi16(high, 2), two),
          _mm256_and_si256(high, two), _mm256_and_si256(_mm256_srli_epi16(high, 2), two)};
      for (int i = 0; i < 4; ++i) quants[4 * half + i] = _mm256_sub_epi8(_mm256_or_si256(low[i], bits[i]), middle);
    }
  }
  // Scales of sixteen parts of 16.
  static void scales(const uint8_t* block, float to[16]) {
    const __m256 whole = _mm256_broadcastss_ps(half(block + 208));
    const __m128i packed = load16(block + 192);
    _mm256_storeu_ps(to, _mm256_mul_ps(whole, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(packed))));
    _mm256_storeu_ps(to + 8, _mm256_mul_ps(whole, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(packed, 8)))));
  }
};

template <class P, int count>
inline void six_row(const Weight& weight, int64_t row, const Activations* given, float* out, int64_t stride) {
  __m256 dots[count];
  UNROLL
  for (int i = 0; i < count; ++i) dots[i] = _mm256_setzero_ps();
  const uint8_t* block = weight.row(row);
  for (int64_t b = 0; b < weight.columns / 256; ++b, block += P::bytes) {
    Bytes quants[8];
    P::read(block, quants);
    alignas(32) float scales[16];
    P::scales(block, scales);
    __m256 odd[count];
    UNROLL
    for (int i = 0; i < count; ++i) odd[i] = _mm256_setzero_ps();
    UNROLL
    for (int part = 0; part < 8; ++part) {
      const Bytes size = _mm256_abs_epi8(quants[part]);
      const __m256 both = _mm256_set_m128(_mm_broadcast_ss(scales + 2 * part + 1), _mm_broadcast_ss(scales + 2 * part));
      UNROLL
      for (int i = 0; i < count; ++i) {
        const __m256 product = signed_dot(quants[part], size, load(given[i].quants + 256 * b + 32 * part));
        const __m256 scale = _mm256_mul_ps(both, _mm256_broadcast_ss(given[i].scale + 8 * b + part));
        __m256& sum = part % 2 ? odd[i] : dots[i];
        sum = _mm256_fmadd_ps(product, scale, sum);
      }
    }
    UNROLL
    for (int i = 0; i < count; ++i) dots[i] = _mm256_add_ps(dots[i], odd[i]);
  }
  UNROLL
  for (int i = 0; i < count; ++i) out[i * stride + row] = total(dots[i]);
}

// ---- all rows -----------------------------------------------------------------------------------------------------------------

using Row = void (*)(const Weight&, int64_t, const Activations*, float*, int64_t);

// One row of the weight, which is unpacked once, by up to four of activations.
#define ROWS(row, P) \
  { row<P, 1>, row<P, 2>, row<P, 3>, row<P, 4> }

const Row by_packing[][4] = {
    ROWS(small_row, Q4_0), ROWS(small_row, Q4_1), ROWS(small_row, Q5_0), ROWS(small_row, Q5_1), ROWS(small_row, Q8_0),
    ROWS(k_row, Q4_K),     ROWS(k_row, Q5_K),     ROWS(six_row, Q6_K),   ROWS(int8_row, void),
};

void multiply(
    const Weight& weight, int64_t begin, int64_t end, const Activations* given, int64_t count, float* out, int64_t stride) {
  const Row* rows = by_packing[int64_t(weight.packing)];
  for (int64_t row = begin; row < end; ++row) {
    for (int64_t i = 0; i < count; i += 4) {
      rows[(count - i < 4 ? count - i : 4) - 1](weight, row, given + i, out + i * stride, stride);
    }
  }
}

// ---- activations ----------------------------------------------------------------------------------------------------------------

void quantize(const float* row, int64_t columns, const Activations& to) {
  const __m256i no_sign = _mm256_set1_epi32(0x7fffffff);
  for (int64_t block = 0; block < columns / 32; ++block) {
    __m256 values[4];
    __m256i most = _mm256_setzero_si256();  // as integers, so that NaN counts as the largest
    for (int i = 0; i < 4; ++i) {
      values[i] = _mm256_loadu_ps(row + 32 * block + 8 * i);
      most = _mm256_max_epi32(most, _mm256_and_si256(_mm256_castps_si256(values[i]), no_sign));
    }
    __m128i four = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0xb1));
    const float largest = number(_mm_castsi128_ps(four));
    const float inverse = largest >= smallest && largest < __builtin_inff() ? 127.0f / largest : 0;
    __m256i integers[4];
    for (int i = 0; i < 4; ++i) {
      const __m256 scaled = _mm256_mul_ps(values[i], _mm256_set1_ps(inverse));
      integers[i] = _mm256_cvtps_epi32(inverse > 0 ? scaled : _mm256_setzero_ps());
    }
    const __m256i sum = _mm256_add_epi32(_mm256_add_epi32(integers[0], integers[1]), _mm256_add_epi32(integers[2], integers[3]));
    __m128i sums = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    sums = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0x4e));
    sums = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0xb1));
    const __m256i packed = _mm256_packs_epi16(
        _mm256_packs_epi32(integers[0], integers[1]), _mm256_packs_epi32(integers[2], integers[3]));
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);  // packing works in halves
    _mm256_storeu_si256(
        reinterpret_cast<__m256i*>(to.quants + 32 * block), _mm256_permutevar8x32_epi32(packed, order));
    const float scale = largest < smallest ? 0 : largest / 127.0f;
    to.scale[block] = to.pair[2 * block] = scale;
    to.sum[block] = to.pair[2 * block + 1] = scale * float(_mm_cvtsi128_si32(sums));
  }
}

// ---- unpacking --------------------------------------------------------------------------------------------------------------------

inline __m256 eight_numbers(__m128i bytes) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)); }

// 32 signed bytes, with a scale for each half, and an offset.
template <bool shifted>
inline void write(Bytes quants, float first, float second, float offset, float* out) {
  const __m128i sides[2] = {_mm256_castsi256_si128(quants), _mm256_extracti128_si256(quants, 1)};
  for (int i = 0; i < 4; ++i) {
    const __m128i bytes = i % 2 ? _mm_srli_si128(sides[i / 2], 8) : sides[i / 2];
    __m256 value = _mm256_mul_ps(eight_numbers(bytes), _mm256_set1_ps(i < 2 ? first : second));
    if (shifted) value = _mm256_add_ps(value, _mm256_set1_ps(offset));
    _mm256_storeu_ps(out + 8 * i, value);
  }
}

template <class P>
inline void unpack_small(const Weight& weight, int64_t row, float* out) {
  const uint8_t* block = weight.row(row);
  for (int64_t b = 0; b < weight.columns / 32; ++b, block += P::bytes) {
    const auto read = P::read(block);
    const float scale = number(read.scale);
    if (P::sums > 0) {
      write<true>(read.quants, scale, scale, number(_mm_movehdup_ps(read.scale)), out + 32 * b);
    } else {
      const Bytes middle = _mm256_set1_epi8(char(-P::sums));
      write<false>(_mm256_sub_epi8(read.quants, middle), scale, scale, 0, out + 32 * b);
    }
  }
}

template <class P>
inline void unpack_k(const Weight& weight, int64_t row, float* out) {
  const uint8_t* block = weight.row(row);
  for (int64_t b = 0; b < weight.columns / 256; ++b, block += P::bytes) {
    Bytes quants[8];
    P::read(block, quants);
    const Eight eight = eight_scales(block);
    alignas(32) float scales[8], minima[8];
    _mm256_store_ps(scales, eight.scale);
    _mm256_store_ps(minima, eight.minimum);
    for (int i = 0; i < 8; ++i) write<true>(quants[i], scales[i], scales[i], minima[i], out + 256 * b + 32 * i);
  }
}

void unpack(const Weight& weight, int64_t row, float* out) {
  switch (weight.packing) {
    case Packing::Q4_0:
      return unpack_small<Q4_0>(weight, row, out);
    case Packing::Q4_1:
      return unpack_small<Q4_1>(weight, row, out);
    case Packing::Q5_0:
      return unpack_small<Q5_0>(weight, row, out);
    case Packing::Q5_1:
      return unpack_small<Q5_1>(weight, row, out);
    case Packing::Q8_0:
      return unpack_small<Q8_0>(weight, row, out);
    case Packing::Q4_K:
      return unpack_k<Q4_K>(weight, row, out);
    case Packing::Q5_K:
      return unpack_k<Q5_K>(weight, row, out);
    case Packing::Q6_K: {
      const uint8_t* block = weight.row(row);
      for (int64_t b = 0; b < weight.columns / 256; ++b, block += Q6_K::bytes) {
        Bytes quants[8];
        float scales[16];
        Q6_K::read(block, quants);
        Q6_K::scales(block, scales);
        for (int i = 0; i < 8; ++i) write<false>(quants[i], scales[2 * i], scales[2 * i + 1], 0, out + 256 * b + 32 * i);
      }
      return;
    }
    default:
      for (int64_t b = 0; b < weight.columns / 32; ++b) {
        const float scale = number(half(weight.row_scales(row) + 32 * b / weight.group));
        write<false>(load(weight.row(row) + 32 * b), scale, scale, 0, out + 32 * b);
      }
  }
}

bool supported() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("f16c")) return false;
#if defined(PATH_AVX512_VNNI)
  return __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni");
#elif defined(PATH_AVX_VNNI)
  return __builtin_cpu_supports("avxvnni");
#else
  return true;
#endif
}

}  // namespace

const Products PATH = {NAME(PATH), supported, quantize, multiply, unpack};

}  // namespace transept
