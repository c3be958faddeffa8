// Runs every path on odd shapes and on memory of the exact size, and compares it with the portable one: compiled with sanitizers by
// `test_sanitizers.py`. Prints what differs, and how many products were compared.
#include "../csrc/products.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

using namespace transept;

namespace {

uint32_t state = 1;

uint32_t random_bits() {
  state ^= state << 13;
  state ^= state >> 17;
  return state ^= state << 5;
}

// Scales where a packing has them: between 2^-10 and 2^-7 in size, or anything at all, infinite and NaN included.
void put_scale(uint8_t* at, bool wild) {
  const uint16_t bits = wild ? uint16_t(random_bits()) : uint16_t((random_bits() & 0x83ff) | (5 + random_bits() % 3) << 10);
  std::memcpy(at, &bits, 2);
}

bool near(float one, float other, float scale) {
  if (!std::isfinite(one) || !std::isfinite(other)) return !std::isfinite(one) && !std::isfinite(other);
  return std::fabs(one - other) <= 1e-5f * scale + 1e-30f;
}

struct Made {
  std::unique_ptr<uint8_t[]> data;
  std::unique_ptr<uint16_t[]> scales;
  Weight weight;
};

Made random_weight(Packing packing, int64_t rows, int64_t columns, int64_t group, bool wild) {
  const Layout& layout = layouts[int64_t(packing)];
  const int64_t bytes = columns / layout.block * layout.bytes;
  Made made{std::unique_ptr<uint8_t[]>(new uint8_t[size_t(rows * bytes)]), nullptr, {packing, nullptr, columns, bytes}};
  for (int64_t i = 0; i < rows * bytes; ++i) made.data[size_t(i)] = uint8_t(random_bits());
  made.weight.data = made.data.get();
  const bool two = packing == Packing::Q4_1 || packing == Packing::Q5_1 || packing == Packing::Q4_K || packing == Packing::Q5_K;
  for (int64_t at = 0; packing != Packing::int8 && at < rows * bytes; at += layout.bytes) {
    put_scale(made.data.get() + at + (packing == Packing::Q6_K ? 208 : 0), wild);
    if (two) put_scale(made.data.get() + at + 2, wild);
  }
  if (packing == Packing::int8) {
    made.scales.reset(new uint16_t[size_t(rows * (columns / group))]);
    for (int64_t i = 0; i < rows * (columns / group); ++i) put_scale(reinterpret_cast<uint8_t*>(&made.scales[size_t(i)]), wild);
    made.weight.scales = made.scales.get();
    made.weight.group = group;
  }
  return made;
}

struct Rows {
  std::vector<std::unique_ptr<char[], void (*)(void*)>> memory;
  std::vector<Activations> rows;
};

Rows quantized(const Products& path, const std::vector<float>& values, int64_t count, int64_t columns) {
  Rows made;
  for (int64_t i = 0; i < count; ++i) {
    const auto bytes = size_t((Activations::bytes(columns) + 63) / 64 * 64);
    made.memory.emplace_back(static_cast<char*>(std::aligned_alloc(64, bytes)), [](void* held) { std::free(held); });
    made.rows.push_back(Activations::at(made.memory.back().get(), columns));
    const std::unique_ptr<float[]> exact(new float[size_t(columns)]);
    std::memcpy(exact.get(), values.data() + i * columns, size_t(columns) * sizeof(float));
    path.quantize(exact.get(), columns, made.rows.back());
  }
  return made;
}

std::vector<float> random_rows(int64_t count, int64_t columns, bool wild) {
  std::vector<float> values(size_t(count * columns));
  for (float& value : values) value = float(int32_t(random_bits())) * 0x1p-30f;
  if (!values.empty()) std::memset(values.data(), 0, 32 * sizeof(float));  // a block of zeros
  if (wild) {
    const float odd[] = {INFINITY, -INFINITY, NAN, 1e-38f, 3e38f, -0.0f, 1e-31f};
    for (int i = 0; i < 4; ++i) values[random_bits() % values.size()] = odd[random_bits() % 7];
  }
  return values;
}

int failures = 0;
long compared = 0;

void compare(const Products& path, const Made& made, int64_t rows, const std::vector<float>& values, int64_t count, bool wild) {
  const int64_t columns = made.weight.columns;
  const Rows mine = quantized(path, values, count, columns), plain = quantized(portable, values, count, columns);
  const auto floats = size_t(columns / 32) * 4 * sizeof(float);
  for (int64_t i = 0; i < count; ++i) {
    if (std::memcmp(mine.rows[size_t(i)].quants, plain.rows[size_t(i)].quants, size_t(columns)) != 0 ||
        (!wild && std::memcmp(mine.rows[size_t(i)].scale, plain.rows[size_t(i)].scale, floats) != 0)) {
      std::printf("%s: activations differ, columns %ld\n", path.name, long(columns)), ++failures;
    }
  }
  const std::unique_ptr<float[]> found(new float[size_t(rows * count)]), wanted(new float[size_t(rows * count)]);
  path.multiply(made.weight, 0, rows / 2, mine.rows.data(), count, found.get(), rows);
  path.multiply(made.weight, rows / 2, rows, mine.rows.data(), count, found.get(), rows);
  portable.multiply(made.weight, 0, rows, plain.rows.data(), count, wanted.get(), rows);
  const std::unique_ptr<float[]> one(new float[size_t(columns)]), other(new float[size_t(columns)]);
  for (int64_t row = 0; row < rows; ++row) {
    path.unpack(made.weight, row, one.get());
    portable.unpack(made.weight, row, other.get());
    float size = 0;
    for (int64_t i = 0; i < columns; ++i) {
      size += std::isfinite(other[size_t(i)]) ? std::fabs(other[size_t(i)]) : 0;
      const bool same = one[size_t(i)] == other[size_t(i)] || (std::isnan(one[size_t(i)]) && std::isnan(other[size_t(i)]));
      if (!same) std::printf("%s %s: unpacks otherwise\n", path.name, layouts[int64_t(made.weight.packing)].name), ++failures;
    }
    for (int64_t i = 0; i < count && !wild; ++i, ++compared) {
      if (!near(found[size_t(i * rows + row)], wanted[size_t(i * rows + row)], 2 * size)) {
        std::printf(
            "%s %s: row %ld of %ld by %ld columns, %ld given: %g and not %g\n", path.name,
            layouts[int64_t(made.weight.packing)].name, long(row), long(rows), long(columns), long(count),
            double(found[size_t(i * rows + row)]), double(wanted[size_t(i * rows + row)])), ++failures;
      }
    }
  }
}

}  // namespace

int main() {
  int64_t count;
  const Products* const* all = paths(&count);
  for (int64_t p = 0; p < count; ++p) {
    if (!all[p]->supported()) continue;
    for (int64_t packing = 0; packing < int64_t(Packing::count); ++packing) {
      const int64_t block = layouts[packing].block;
      for (int64_t blocks : {1, 2, 3, 5, 8, 13}) {
        for (int64_t rows : {1, 2, 7}) {
          for (int64_t given : {1, 2, 3, 4, 5, 8, 9}) {
            for (int64_t groups : {int64_t(1), blocks}) {
              for (bool wild : {false, true}) {
                const int64_t columns = blocks * block;
                const Made made = random_weight(Packing(packing), rows, columns, columns / groups, wild);
                compare(*all[p], made, rows, random_rows(given, columns, wild), given, wild);
              }
            }
          }
        }
      }
    }
    std::printf("%s\n", all[p]->name);
  }
  std::printf("%ld products compared, %d failures\n", compared, failures);
  return failures != 0;
}
