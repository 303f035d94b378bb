// Correlation of two feature maps on the CPU.
//
// The vectors run along x. Maps are first copied to (N, H, C, W) with zeros left and right, so that the inner loops
// meet neither an edge nor a remainder. One task is one row of the output; tasks share nothing that they write, so
// results do not depend on the number of threads.
#include <algorithm>
#include <cstring>
#include <vector>

#include <ATen/Parallel.h>

#include "kernels.h"

// The inner loops are compiled for the processor's vectors of 32 bytes, and for processors without them; which is
// chosen when the library is loaded, so what was built on one machine runs on every other.
#if defined(__x86_64__) && defined(__GLIBC__)
#define EACH_INSTRUCTION_SET __attribute__((target_clones("default", "fma")))
#define VECTOR_BYTES 32
#else
#define EACH_INSTRUCTION_SET
#define VECTOR_BYTES 16
#endif
#define INLINE inline __attribute__((always_inline))

namespace cpu {
namespace {

constexpr int64_t BLOCK = 7;  // sums kept in registers at a time; divides the 21 displacements of FlowNet2

template <class T>
struct Lanes {
  typedef T Vector __attribute__((vector_size(VECTOR_BYTES)));
  static constexpr int64_t count = VECTOR_BYTES / sizeof(T);
  T sums[BLOCK * count];
};

int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// A map in the order (N, H, C, W), with zeros beside every row and whole channels of zeros up to a multiple of BLOCK.
template <class T>
struct Rows {
  int64_t left, channels, height, width;  // width: of a row with its zeros
  std::vector<T> memory;

  Rows(const T* map, Shape shape, int64_t left, int64_t right)
      : left(left), channels(round_up(shape.channels, BLOCK)), height(shape.height), width(left + shape.width + right),
        memory(shape.samples * height * channels * width) {
    at::parallel_for(0, shape.samples * height, 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task)
        for (int64_t c = 0; c < shape.channels; ++c) {
          const T* const from = map + ((task / height * shape.channels + c) * height + task % height) * shape.width;
          std::copy(from, from + shape.width, memory.data() + (task * channels + c) * width + left);
        }
    });
  }
  // The first channel of a row, at x = 0.
  const T* at(int64_t n, int64_t y) const { return memory.data() + (n * height + y) * channels * width + left; }
};

template <class T>
INLINE void load(typename Lanes<T>::Vector& v, const T* from) {
  std::memcpy(&v, from, sizeof v);  // the address need not be aligned
}

// sums[i][x] = sum over c of a[c][x] * b[c][x + i * stride], for BLOCK displacements i.
template <class T>
INLINE void products(const T* a, int64_t a_width, const T* b, int64_t b_width, int64_t channels, int64_t stride,
                     T* sums) {
  typename Lanes<T>::Vector sum[BLOCK] = {}, left, right;
  for (int64_t c = 0; c < channels; ++c, a += a_width, b += b_width) {
    load(left, a);
#pragma GCC unroll 7
    for (int i = 0; i < BLOCK; ++i) {
      load(right, b + i * stride);
      sum[i] += left * right;
    }
  }
  std::memcpy(sums, sum, sizeof sum);
}

// sums[c][x] += sum over i of grad[i][x + i * grad_step] * other[c][x + i * step], for BLOCK channels c.
template <class T>
INLINE void weighted(const T* grad, int64_t grad_width, int64_t grad_step, const T* other, int64_t other_width,
                     int64_t step, int64_t count, T* sums) {
  typename Lanes<T>::Vector sum[BLOCK], weight, value;
  std::memcpy(sum, sums, sizeof sum);
  for (int64_t i = 0; i < count; ++i, grad += grad_width + grad_step, other += step) {
    load(weight, grad);
#pragma GCC unroll 7
    for (int c = 0; c < BLOCK; ++c) {
      load(value, other + c * other_width);
      sum[c] += weight * value;
    }
  }
  std::memcpy(sums, sum, sizeof sum);
}

// Only plain functions can be compiled for several instruction sets, so each type has its own.
#define FOR_EACH_INSTRUCTION_SET(T)                                                                                   \
  EACH_INSTRUCTION_SET void row_products(const T* a, int64_t aw, const T* b, int64_t bw, int64_t channels,            \
                                         int64_t stride, T* sums) {                                                   \
    products(a, aw, b, bw, channels, stride, sums);                                                                   \
  }                                                                                                                   \
  EACH_INSTRUCTION_SET void row_weighted(const T* grad, int64_t gw, int64_t gs, const T* other, int64_t ow,           \
                                         int64_t step, int64_t count, T* sums) {                                      \
    weighted(grad, gw, gs, other, ow, step, count, sums);                                                             \
  }
FOR_EACH_INSTRUCTION_SET(float)
FOR_EACH_INSTRUCTION_SET(double)

// The first `columns` of each of `rows` rows of sums, scaled, go to rows that are `pitch` apart.
template <class T>
void store(const Lanes<T>& from, int64_t rows, int64_t columns, T scale, T* to, int64_t pitch) {
  constexpr int64_t count = Lanes<T>::count;
  for (int64_t i = 0; i < std::min(rows, BLOCK); ++i)
    for (int64_t x = 0; x < std::min(columns, count); ++x) to[i * pitch + x] = from.sums[i * count + x] * scale;
}

// The gradient of one of the two maps; `other` is the other one. For the left map (sign 1) the weight of other[p + d]
// in the gradient at p is grad[d][p]; for the right map (sign -1) that of other[p - d] is grad[d][p - d].
template <class T>
void gradient(const Rows<T>& grad, const Rows<T>& other, Shape shape, int64_t radius, int64_t stride, int64_t sign,
              T* out) {
  const int64_t N = shape.samples, C = shape.channels, H = shape.height, W = shape.width;
  const int64_t D = 2 * radius + 1, step = sign * stride, grad_step = sign < 0 ? step : 0;
  at::parallel_for(0, N * H, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t n = task / H, y = task % H;
      for (int64_t c = 0; c < C; c += BLOCK)
        for (int64_t x = 0; x < W; x += Lanes<T>::count) {
          Lanes<T> lanes = {};
          for (int64_t j = 0; j < D; ++j) {
            const int64_t from = y + (j - radius) * step;
            if (from < 0 || from >= H) continue;
            const T* const weights = grad.at(n, sign < 0 ? from : y) + j * D * grad.width + x - radius * grad_step;
            const T* const values = other.at(n, from) + c * other.width + x - radius * step;
            row_weighted(weights, grad.width, grad_step, values, other.width, step, D, lanes.sums);
          }
          store(lanes, C - c, W - x, T(1) / T(C), out + ((n * C + c) * H + y) * W + x, H * W);
        }
    }
  });
}

}  // namespace

template <class T>
void correlation(const T* a, const T* b, Shape shape, int64_t radius, int64_t stride, T* out, void*) {
  const int64_t N = shape.samples, C = shape.channels, H = shape.height, W = shape.width;
  const int64_t D = 2 * radius + 1, plane = H * W, surplus = round_up(W, Lanes<T>::count) - W;
  const Rows<T> left(a, shape, 0, surplus);
  const Rows<T> right(b, shape, radius * stride, surplus + (round_up(D, BLOCK) - 1 - radius) * stride);
  at::parallel_for(0, N * H, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t n = task / H, y = task % H;
      for (int64_t j = 0; j < D; ++j) {
        const int64_t other = y + (j - radius) * stride;
        for (int64_t i = 0; i < D; i += BLOCK)
          for (int64_t x = 0; x < W; x += Lanes<T>::count) {
            Lanes<T> lanes = {};
            if (other >= 0 && other < H)
              row_products(left.at(n, y) + x, left.width, right.at(n, other) + x + (i - radius) * stride, right.width,
                           C, stride, lanes.sums);
            store(lanes, D - i, W - x, T(1) / T(C), out + ((n * D + j) * D + i) * plane + y * W + x, plane);
          }
      }
    }
  });
}

template <class T>
void correlation_backward(const T* grad, const T* a, const T* b, Shape shape, int64_t radius, int64_t stride,
                          T* grad_a, T* grad_b, void*) {
  const int64_t D = 2 * radius + 1, margin = radius * stride;
  const int64_t right = margin + round_up(shape.width, Lanes<T>::count) - shape.width;
  const Rows<T> weights(grad, {shape.samples, D * D, shape.height, shape.width}, margin, right);
  gradient(weights, Rows<T>(b, shape, margin, right), shape, radius, stride, 1, grad_a);
  gradient(weights, Rows<T>(a, shape, margin, right), shape, radius, stride, -1, grad_b);
}

#define INSTANTIATE(T)                                                                          \
  template void correlation<T>(const T*, const T*, Shape, int64_t, int64_t, T*, void*);         \
  template void correlation_backward<T>(const T*, const T*, const T*, Shape, int64_t, int64_t, T*, T*, void*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace cpu
