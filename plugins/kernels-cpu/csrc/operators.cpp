// torch's side: operators on the products, in torch's stable ABI, so that one library serves every torch from 2.10 on.
//
// Threads are torch's own. Few rows of activations are multiplied with the packed weight; many, with tiles of it that are unpacked
// to float32 into the cache.
#include "products.h"

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <optional>
#include <vector>

namespace transept {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t few = 8;                 // rows of activations that are quantized
constexpr int64_t tile_floats = 1 << 18;   // 1 MiB
constexpr int64_t grain_bytes = 48 << 10;  // of packed weight: less is not worth waking another thread

const Products* fastest() {
  int64_t count;
  const Products* const* all = paths(&count);
  return *std::find_if(all, all + count, [](const Products* one) { return one->supported(); });
}

std::atomic<const Products*> chosen{fastest()};

Tensor empty(const std::vector<int64_t>& sizes) {
  std::vector<int64_t> strides(sizes.size());
  int64_t stride = 1;
  for (size_t i = sizes.size(); i-- > 0;) strides[i] = stride, stride *= std::max<int64_t>(sizes[i], 1);
  AtenTensorHandle made;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(
      int64_t(sizes.size()), sizes.data(), strides.data(), aoti_torch_dtype_float32(), aoti_torch_device_type_cpu(), 0, &made));
  return Tensor(made);
}

Tensor as_float(const Tensor& given) {
  const Tensor wide = given.scalar_type() == ScalarType::Float ? given : torch::stable::to(given, ScalarType::Float);
  return wide.is_contiguous() ? wide : torch::stable::contiguous(wide);
}

std::vector<int64_t> with_last(const Tensor& like, int64_t last) {
  const auto sizes = like.sizes();
  std::vector<int64_t> made(sizes.begin(), sizes.end());
  made.back() = last;
  return made;
}

// Memory that a thread keeps from product to product, aligned to a cache line.
void* scratch(int64_t bytes) {
  static thread_local std::vector<char> held;
  if (int64_t(held.size()) < bytes + 64) held.resize(size_t(bytes + 64));
  return reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(held.data()) + 63) & ~uintptr_t(63));
}

void multiply_few(const Weight& weight, int64_t rows, const float* given, int64_t count, const float* bias, float* out) {
  const Products& path = *chosen.load(std::memory_order_relaxed);
  const int64_t bytes = (Activations::bytes(weight.columns) + 63) / 64 * 64;
  auto* memory = static_cast<char*>(scratch(bytes * count));
  std::array<Activations, few> quantized;
  for (int64_t i = 0; i < count; ++i) {
    quantized[size_t(i)] = Activations::at(memory + i * bytes, weight.columns);
    path.quantize(given + i * weight.columns, weight.columns, quantized[size_t(i)]);
  }
  const int64_t grain = std::max<int64_t>(1, grain_bytes / (4 * weight.row_bytes * count));
  torch::stable::parallel_for(0, (rows + 3) / 4, grain, [&](int64_t first, int64_t last) {
    const int64_t begin = 4 * first, end = std::min(4 * last, rows);
    path.multiply(weight, begin, end, quantized.data(), count, out, rows);
    for (int64_t i = 0; bias != nullptr && i < count; ++i) {
      for (int64_t row = begin; row < end; ++row) out[i * rows + row] += bias[row];
    }
  });
}

void unpack_rows(const Weight& weight, int64_t begin, int64_t end, float* out) {
  const Products& path = *chosen.load(std::memory_order_relaxed);
  torch::stable::parallel_for(begin, end, std::max<int64_t>(1, grain_bytes / weight.row_bytes), [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) path.unpack(weight, row, out + (row - begin) * weight.columns);
  });
}

void mm_out(const Tensor& out, const Tensor& left, const Tensor& right) {
  std::array<StableIValue, 3> stack{
      torch::stable::detail::from(left), torch::stable::detail::from(right), torch::stable::detail::from(out)};
  STABLE_TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::mm", "out", stack.data(), TORCH_ABI_VERSION));
  torch::stable::detail::to<Tensor>(stack[0]);
}

void multiply_many(const Weight& weight, int64_t rows, const Tensor& given, const float* bias, const Tensor& out) {
  const int64_t step = std::max<int64_t>(32, tile_floats / weight.columns / 32 * 32);
  const Tensor tile = empty({std::min(step, rows), weight.columns});
  for (int64_t begin = 0; begin < rows; begin += step) {
    const int64_t end = std::min(begin + step, rows);
    unpack_rows(weight, begin, end, tile.mutable_data_ptr<float>());
    const Tensor part = torch::stable::narrow(const_cast<Tensor&>(tile), 0, 0, end - begin);
    const Tensor to = torch::stable::narrow(const_cast<Tensor&>(out), 1, begin, end - begin);
    mm_out(to, given, torch::stable::transpose(part, 0, 1));
  }
  if (bias == nullptr) return;
  float* values = out.mutable_data_ptr<float>();
  torch::stable::parallel_for(0, out.size(0), std::max<int64_t>(1, (1 << 15) / std::max<int64_t>(rows, 1)), [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      for (int64_t row = 0; row < rows; ++row) values[i * rows + row] += bias[row];
    }
  });
}

Tensor product(const Weight& weight, int64_t rows, const Tensor& input, const std::optional<Tensor>& bias) {
  STD_TORCH_CHECK(input.dim() >= 1 && input.size(input.dim() - 1) == weight.columns, "the input needs ", weight.columns,
                  " columns, as the packed weight has");
  STD_TORCH_CHECK(!bias.has_value() || bias->numel() == rows, "the bias needs ", rows, " elements, as the packed weight has rows");
  const Tensor given = as_float(input);
  const std::optional<Tensor> wide = bias.has_value() ? std::optional<Tensor>(as_float(*bias)) : std::nullopt;
  const float* added = wide.has_value() ? wide->const_data_ptr<float>() : nullptr;
  const Tensor out = empty(with_last(input, rows));
  const int64_t count = weight.columns ? given.numel() / weight.columns : 0;
  if (count > 0 && count <= few) {
    multiply_few(weight, rows, given.const_data_ptr<float>(), count, added, out.mutable_data_ptr<float>());
  } else if (count > 0 && rows > 0) {
    multiply_many(weight, rows, torch::stable::view(given, {count, weight.columns}), added, torch::stable::view(out, {count, rows}));
  }
  return input.scalar_type() == ScalarType::Float ? out : torch::stable::to(out, input.scalar_type());
}

Weight blocks_of(const Tensor& weight, int64_t packing) {
  STD_TORCH_CHECK(packing >= 0 && packing < int64_t(Packing::int8), "there is no packing ", packing);
  const Layout& layout = layouts[packing];
  STD_TORCH_CHECK(weight.scalar_type() == ScalarType::Byte && weight.dim() >= 1 && weight.is_contiguous(),
                  "packed weights are contiguous, in bytes");
  const int64_t bytes = weight.size(weight.dim() - 1);
  STD_TORCH_CHECK(bytes > 0 && bytes % layout.bytes == 0, bytes, " bytes are no whole blocks of ", layout.name);
  return {Packing(packing), static_cast<const uint8_t*>(weight.const_data_ptr()), bytes / layout.bytes * layout.block, bytes};
}

Weight groups_of(const Tensor& qweight, const Tensor& scales) {
  STD_TORCH_CHECK(qweight.scalar_type() == ScalarType::Char && qweight.dim() >= 1 && qweight.is_contiguous() &&
                      scales.scalar_type() == ScalarType::Half && scales.dim() == qweight.dim() && scales.is_contiguous(),
                  "8-bit weights are contiguous, with their scales in float16");
  const int64_t columns = qweight.size(qweight.dim() - 1), groups = scales.size(scales.dim() - 1);
  STD_TORCH_CHECK(groups > 0 && columns % (32 * groups) == 0 && qweight.numel() / columns == scales.numel() / groups, columns,
                  " columns in ", groups, " groups: groups need to be multiples of 32");
  return {Packing::int8, static_cast<const uint8_t*>(qweight.const_data_ptr()), columns, columns,
          static_cast<const uint16_t*>(scales.const_data_ptr()), columns / groups};
}

Tensor unpacked(const Weight& weight, const Tensor& like) {
  const Tensor out = empty(with_last(like, weight.columns));
  unpack_rows(weight, 0, like.numel() / weight.row_bytes, out.mutable_data_ptr<float>());
  return out;
}

Tensor blocks_linear(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias, int64_t packing) {
  STD_TORCH_CHECK(weight.dim() == 2, "a packed weight has rows of bytes");
  return product(blocks_of(weight, packing), weight.size(0), input, bias);
}

Tensor int8_linear(const Tensor& input, const Tensor& qweight, const Tensor& scales, const std::optional<Tensor>& bias) {
  STD_TORCH_CHECK(qweight.dim() == 2, "a packed weight has rows");
  return product(groups_of(qweight, scales), qweight.size(0), input, bias);
}

Tensor unpack_blocks(const Tensor& blocks, int64_t packing) { return unpacked(blocks_of(blocks, packing), blocks); }

Tensor unpack_int8(const Tensor& qweight, const Tensor& scales) { return unpacked(groups_of(qweight, scales), qweight); }

}  // namespace
}  // namespace transept

STABLE_TORCH_LIBRARY(transept_kernels_cpu, library) {
  library.def("blocks_linear(Tensor input, Tensor weight, Tensor? bias, int packing) -> Tensor");
  library.def("int8_linear(Tensor input, Tensor qweight, Tensor scales, Tensor? bias) -> Tensor");
  library.def("unpack_blocks(Tensor blocks, int packing) -> Tensor");
  library.def("unpack_int8(Tensor qweight, Tensor scales) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(transept_kernels_cpu, CPU, library) {
  library.impl("blocks_linear", TORCH_BOX(&transept::blocks_linear));
  library.impl("int8_linear", TORCH_BOX(&transept::int8_linear));
  library.impl("unpack_blocks", TORCH_BOX(&transept::unpack_blocks));
  library.impl("unpack_int8", TORCH_BOX(&transept::unpack_int8));
}

// What Python asks by ctypes: the packings' names by number, and the paths.
#define EXPORTED __attribute__((visibility("default")))

extern "C" {

EXPORTED const char* transept_packing_name(int64_t packing) {
  return packing >= 0 && packing < int64_t(transept::Packing::count) ? transept::layouts[packing].name : nullptr;
}

// The name of a path that this processor can take, the fastest first; null behind the last.
EXPORTED const char* transept_path_name(int64_t index) {
  int64_t count;
  const transept::Products* const* all = transept::paths(&count);
  for (int64_t i = 0; i < count; ++i) {
    if (all[i]->supported() && index-- == 0) return all[i]->name;
  }
  return nullptr;
}

// Take another path from now on: for tests and measurements. False where there is none of that name.
EXPORTED bool transept_take_path(const char* name) {
  int64_t count;
  const transept::Products* const* all = transept::paths(&count);
  for (int64_t i = 0; i < count; ++i) {
    if (all[i]->supported() && std::strcmp(all[i]->name, name) == 0) {
      transept::chosen.store(all[i]);
      return true;
    }
  }
  return false;
}

EXPORTED const char* transept_taken_path() { return transept::chosen.load()->name; }
}
