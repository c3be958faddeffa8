// The products in plain C++: for processors that no other path knows, and what the other paths are held to.
#include "products.h"

#include <cmath>

namespace transept {
namespace {

float half(const void* from) {
  const uint16_t bits = read16(from);
  const uint32_t exponent = bits >> 10 & 31, fraction = bits & 1023;
  float value;
  if (exponent == 31) {
    value = fraction ? NAN : INFINITY;
  } else if (exponent == 0) {
    value = float(fraction) * 0x1p-24f;
  } else {
    const uint32_t wide = (exponent + 112) << 23 | fraction << 13;
    std::memcpy(&value, &wide, sizeof(value));
  }
  return bits >> 15 ? -value : value;
}

// 32 weights of a row: value = scale * integer, with one scale for each 16, and where they are shifted + offset.
struct Part {
  int8_t quants[32];
  float scale[2];
  float offset;
  bool shifted;
};

int fifth(const uint8_t* bits, int index) { return bits[index / 8] >> index % 8 & 1; }

void small_block(Packing packing, const uint8_t* block, Part& to) {
  const bool five = packing == Packing::Q5_0 || packing == Packing::Q5_1;
  const bool minimum = packing == Packing::Q4_1 || packing == Packing::Q5_1;
  const uint8_t* high = block + (minimum ? 4 : 2);
  const uint8_t* nibbles = high + (five ? 4 : 0);
  const int middle = minimum ? 0 : five ? 16 : 8;
  for (int i = 0; i < 32; ++i) {
    const int low = i < 16 ? nibbles[i] & 15 : nibbles[i - 16] >> 4;
    to.quants[i] = int8_t(low + (five ? fifth(high, i) << 4 : 0) - middle);
  }
  to.scale[0] = to.scale[1] = half(block);
  to.offset = minimum ? half(block + 2) : 0;
  to.shifted = minimum;
}

void k_block(Packing packing, const uint8_t* block, int sub, Part& to) {
  const bool five = packing == Packing::Q5_K;
  uint8_t scales[8], minima[8];
  scales_and_minima(block + 4, scales, minima);
  const uint8_t* high = block + 16;
  const uint8_t* nibbles = high + (five ? 32 : 0) + sub / 2 * 32;
  for (int i = 0; i < 32; ++i) {
    const int low = sub % 2 ? nibbles[i] >> 4 : nibbles[i] & 15;
    to.quants[i] = int8_t(low + (five ? (high[i] >> sub & 1) << 4 : 0));
  }
  to.scale[0] = to.scale[1] = half(block) * float(scales[sub]);
  to.offset = -(half(block + 2) * float(minima[sub]));
  to.shifted = true;
}

void six_bits(const uint8_t* block, int sub, Part& to) {
  const int hundred = sub / 4, quarter = sub % 4;  // 128 weights, and 32 of those
  const uint8_t* low = block + 64 * hundred + quarter % 2 * 32;
  const uint8_t* high = block + 128 + 32 * hundred;
  const auto* scales = reinterpret_cast<const int8_t*>(block + 192 + 8 * hundred + 2 * quarter);
  for (int i = 0; i < 32; ++i) {
    const int four = quarter < 2 ? low[i] & 15 : low[i] >> 4;
    to.quants[i] = int8_t((four | (high[i] >> 2 * quarter & 3) << 4) - 32);
  }
  const float scale = half(block + 208);
  to.scale[0] = scale * float(scales[0]);
  to.scale[1] = scale * float(scales[1]);
  to.shifted = false;
}

// The 32 weights of a row from column 32 * index on.
void part(const Weight& weight, int64_t row, int64_t index, Part& to) {
  const Layout& layout = layouts[int64_t(weight.packing)];
  const int64_t parts = layout.block / 32;
  const uint8_t* block = weight.row(row) + index / parts * layout.bytes;
  switch (weight.packing) {
    case Packing::Q4_K:
    case Packing::Q5_K:
      return k_block(weight.packing, block, int(index % parts), to);
    case Packing::Q6_K:
      return six_bits(block, int(index % parts), to);
    case Packing::Q8_0:
      std::memcpy(to.quants, block + 2, 32);
      to.scale[0] = to.scale[1] = half(block);
      to.shifted = false;
      return;
    case Packing::int8:
      std::memcpy(to.quants, block, 32);
      to.scale[0] = to.scale[1] = half(weight.row_scales(row) + index * 32 / weight.group);
      to.shifted = false;
      return;
    default:
      return small_block(weight.packing, block, to);
  }
}

void quantize(const float* row, int64_t columns, const Activations& to) {
  for (int64_t block = 0; block < columns / 32; ++block) {
    const float* values = row + 32 * block;
    float largest = 0;
    for (int i = 0; i < 32; ++i) {
      const float size = std::fabs(values[i]);
      largest = size > largest || std::isnan(size) ? size : largest;  // NaN stays: nothing is larger
    }
    const float inverse = largest >= smallest && largest < INFINITY ? 127.0f / largest : 0;
    int sum = 0;
    for (int i = 0; i < 32; ++i) {
      const int quant = inverse > 0 ? int(std::nearbyint(values[i] * inverse)) : 0;
      to.quants[32 * block + i] = int8_t(quant);
      sum += quant;
    }
    const float scale = largest < smallest ? 0 : largest / 127.0f;
    to.scale[block] = to.pair[2 * block] = scale;
    to.sum[block] = to.pair[2 * block + 1] = scale * float(sum);
  }
}

constexpr int64_t together = 8;  // rows of activations for which a part is unpacked once

void multiply(
    const Weight& weight, int64_t begin, int64_t end, const Activations* rows, int64_t count, float* out, int64_t stride) {
  for (; count > together; count -= together, rows += together, out += together * stride) {
    multiply(weight, begin, end, rows, together, out, stride);
  }
  for (int64_t row = begin; row < end; ++row) {
    float totals[together] = {};
    for (int64_t index = 0; index < weight.columns / 32; ++index) {
      Part of;
      part(weight, row, index, of);
      for (int64_t i = 0; i < count; ++i) {
        const int8_t* quants = rows[i].quants + 32 * index;
        int first = 0, second = 0;
        for (int k = 0; k < 16; ++k) first += of.quants[k] * quants[k];
        for (int k = 16; k < 32; ++k) second += of.quants[k] * quants[k];
        totals[i] += rows[i].scale[index] * (of.scale[0] * float(first) + of.scale[1] * float(second));
        if (of.shifted) totals[i] += of.offset * rows[i].sum[index];
      }
    }
    for (int64_t i = 0; i < count; ++i) out[i * stride + row] = totals[i];
  }
}

void unpack(const Weight& weight, int64_t row, float* out) {
  for (int64_t index = 0; index < weight.columns / 32; ++index) {
    Part of;
    part(weight, row, index, of);
    for (int i = 0; i < 32; ++i) {
      const float product = of.scale[i / 16] * float(of.quants[i]);
      out[32 * index + i] = of.shifted ? product + of.offset : product;
    }
  }
}

bool supported() { return true; }

}  // namespace

const Products portable = {"portable", supported, quantize, multiply, unpack};

}  // namespace transept
