// Correlation of two feature maps in CUDA.
//
// A warp works on 32 neighbours in a row, so all reads and writes are of whole lines; a thread keeps several sums, so
// that what it reads once is used several times. What other warps read too comes from the caches.
#include "kernels.h"

namespace cuda {
namespace {

constexpr int WARP = 32;
constexpr int DISPLACEMENTS = 7;  // per thread: three warps have the 21 of FlowNet2 in one row
constexpr int CHANNELS = 8;       // per thread, in the gradients
constexpr int MOST_WARPS = 8;     // per block

// Divide a position that runs through several dimensions by the innermost one; returns the remainder.
__device__ int64_t split(int64_t& position, int64_t size) {
  const int64_t remainder = position % size;
  position /= size;
  return remainder;
}

int64_t divide_up(int64_t value, int64_t by) { return (value + by - 1) / by; }

// Block: 32 positions of a row, all displacements of one vertical displacement j.
template <class T>
__global__ void forward(const T* __restrict__ a, const T* __restrict__ b, Shape shape, int64_t radius, int64_t stride,
                        T* __restrict__ out) {
  const int64_t C = shape.channels, H = shape.height, W = shape.width, plane = H * W, D = 2 * radius + 1;
  int64_t position = blockIdx.x;
  const int64_t x = split(position, (W + WARP - 1) / WARP) * WARP + threadIdx.x;
  const int64_t y = split(position, H), j = split(position, D), n = position;
  const int64_t other = y + (j - radius) * stride;
  if (x >= W) return;
  for (int64_t first = threadIdx.y * DISPLACEMENTS; first < D; first += blockDim.y * DISPLACEMENTS) {
    T sums[DISPLACEMENTS] = {};
    if (other >= 0 && other < H) {
      const int64_t shifted = x + (first - radius) * stride;
      const T* left = a + (n * C * H + y) * W + x;
      const T* right = b + (n * C * H + other) * W;
      for (int64_t c = 0; c < C; ++c, left += plane, right += plane) {
        const T value = *left;
#pragma unroll
        for (int i = 0; i < DISPLACEMENTS; ++i) {
          const int64_t at = shifted + i * stride;
          if (at >= 0 && at < W) sums[i] += value * right[at];
        }
      }
    }
    T* const to = out + ((n * D + j) * D + first) * plane + y * W + x;
#pragma unroll
    for (int i = 0; i < DISPLACEMENTS; ++i)
      if (first + i < D) to[i * plane] = sums[i] / T(C);
  }
}

// The gradient of one of the two maps; `other` is the other one. For the left map (sign 1) the weight of other[p + d]
// in the gradient at p is grad[d][p]; for the right map (sign -1) that of other[p - d] is grad[d][p - d].
// Thread: one position, CHANNELS channels.
template <class T>
__global__ void __launch_bounds__(WARP* MOST_WARPS, 3)
    gradient(const T* __restrict__ grad, const T* __restrict__ other, Shape shape, int64_t radius, int64_t stride,
             int sign, T* __restrict__ out) {
  const int64_t C = shape.channels, H = shape.height, W = shape.width, plane = H * W, D = 2 * radius + 1;
  int64_t position = blockIdx.x;
  const int64_t x = split(position, (W + WARP - 1) / WARP) * WARP + threadIdx.x;
  const int64_t y = split(position, H), n = split(position, shape.samples);
  const int64_t first = (position * blockDim.y + threadIdx.y) * CHANNELS;
  if (x >= W || first >= C) return;
  const T* const values = other + (n * C + first) * plane;
  T sums[CHANNELS] = {};
  for (int64_t j = 0; j < D; ++j) {
    const int64_t row = y + sign * (j - radius) * stride;
    if (row < 0 || row >= H) continue;
    for (int64_t i = 0; i < D; ++i) {
      const int64_t column = x + sign * (i - radius) * stride, from = row * W + column;
      if (column < 0 || column >= W) continue;
      const T weight = grad[((n * D + j) * D + i) * plane + (sign < 0 ? from : y * W + x)];
#pragma unroll
      for (int c = 0; c < CHANNELS; ++c)
        if (first + c < C) sums[c] += weight * values[c * plane + from];
    }
  }
  T* const to = out + (n * C + first) * plane + y * W + x;
#pragma unroll
  for (int c = 0; c < CHANNELS; ++c)
    if (first + c < C) to[c * plane] = sums[c] / T(C);
}

unsigned warps(int64_t needed) { return static_cast<unsigned>(needed < MOST_WARPS ? needed : MOST_WARPS); }

}  // namespace

template <class T>
void correlation(const T* a, const T* b, Shape shape, int64_t radius, int64_t stride, T* out, void* stream) {
  const int64_t D = 2 * radius + 1, blocks = divide_up(shape.width, WARP) * shape.height * D * shape.samples;
  const dim3 block(WARP, warps(divide_up(D, DISPLACEMENTS)));
  forward<<<blocks, block, 0, static_cast<cudaStream_t>(stream)>>>(a, b, shape, radius, stride, out);
}

template <class T>
void correlation_backward(const T* grad, const T* a, const T* b, Shape shape, int64_t radius, int64_t stride,
                          T* grad_a, T* grad_b, void* stream) {
  const dim3 block(WARP, warps(divide_up(shape.channels, CHANNELS)));
  const int64_t blocks = divide_up(shape.width, WARP) * shape.height * shape.samples *
                         divide_up(shape.channels, block.y * CHANNELS);
  const auto queue = static_cast<cudaStream_t>(stream);
  gradient<<<blocks, block, 0, queue>>>(grad, b, shape, radius, stride, 1, grad_a);
  gradient<<<blocks, block, 0, queue>>>(grad, a, shape, radius, stride, -1, grad_b);
}

#define INSTANTIATE(T)                                                                                         \
  template void correlation<T>(const T*, const T*, Shape, int64_t, int64_t, T*, void*);                        \
  template void correlation_backward<T>(const T*, const T*, const T*, Shape, int64_t, int64_t, T*, T*, void*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace cuda
