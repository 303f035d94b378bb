// Resample2d and channelnorm on the CPU. One task is one row, or one plane of a gradient that is scattered:
// tasks share nothing that they write, so results do not depend on the number of threads.
#include <algorithm>
#include <cmath>

#include <ATen/Parallel.h>

#include "kernels.h"
#include "sampling.h"

namespace cpu {
namespace {

constexpr int64_t GRAIN = 4096;  // pixels that are worth a thread

// Where the flow of one sample, (2, h, w), points to in a picture (H, W).
template <class T>
struct Sampler {
  const T* flow;
  int64_t h, w, H, W;

  Corners<T> operator()(int64_t y, int64_t x) const {
    const T* const dx = flow + y * w + x;
    return Corners<T>(T(x) + dx[0], T(y) + dx[h * w], H, W);
  }
};

template <class T>
void flow_gradient(const T* grad, const T* image, Shape shape, const T* flow, Shape flow_shape, T* out) {
  const int64_t N = shape.samples, C = shape.channels, H = shape.height, W = shape.width;
  const int64_t h = flow_shape.height, w = flow_shape.width, plane = H * W, pixels = h * w;
  at::parallel_for(0, N * h, GRAIN / w + 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t n = task / h, y = task % h;
      const Sampler<T> sample{flow + n * 2 * pixels, h, w, H, W};
      for (int64_t x = 0; x < w; ++x) {
        const auto corners = sample(y, x);
        T along_x = 0, along_y = 0;
        for (int64_t c = n * C; c < (n + 1) * C; ++c) {
          const T weight = grad[c * pixels + y * w + x];
          along_x += weight * corners.slope_x(image + c * plane);
          along_y += weight * corners.slope_y(image + c * plane);
        }
        T* const to = out + n * 2 * pixels + y * w + x;
        to[0] = along_x, to[pixels] = along_y;
      }
    }
  });
}

template <class T>
void image_gradient(const T* grad, Shape shape, const T* flow, Shape flow_shape, T* out) {
  const int64_t N = shape.samples, C = shape.channels, H = shape.height, W = shape.width;
  const int64_t h = flow_shape.height, w = flow_shape.width;
  at::parallel_for(0, N * C, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const Sampler<T> sample{flow + task / C * 2 * h * w, h, w, H, W};
      for (int64_t y = 0; y < h; ++y)
        for (int64_t x = 0; x < w; ++x)
          sample(y, x).scatter(grad[(task * h + y) * w + x], out + task * H * W, [](T& to, T value) { to += value; });
    }
  });
}

}  // namespace

template <class T>
void resample2d(const T* image, Shape shape, const T* flow, Shape flow_shape, T* out, void*) {
  const int64_t N = shape.samples, C = shape.channels, H = shape.height, W = shape.width;
  const int64_t h = flow_shape.height, w = flow_shape.width, plane = H * W, pixels = h * w;
  at::parallel_for(0, N * h, GRAIN / w + 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t n = task / h, y = task % h;
      const Sampler<T> sample{flow + n * 2 * pixels, h, w, H, W};
      for (int64_t x = 0; x < w; ++x) {
        const auto corners = sample(y, x);
        for (int64_t c = n * C; c < (n + 1) * C; ++c) out[c * pixels + y * w + x] = corners.value(image + c * plane);
      }
    }
  });
}

template <class T>
void resample2d_backward(const T* grad, const T* image, Shape shape, const T* flow, Shape flow_shape, T* grad_image,
                         T* grad_flow, void*) {
  image_gradient(grad, shape, flow, flow_shape, grad_image);
  flow_gradient(grad, image, shape, flow, flow_shape, grad_flow);
}

// Both directions of channelnorm go row by row, channel by channel: the compiler turns the inner loops into vectors.
template <class T>
void channelnorm(const T* x, Shape shape, T* norm, void*) {
  const int64_t C = shape.channels, H = shape.height, W = shape.width;
  at::parallel_for(0, shape.samples * H, GRAIN / W + 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      T* const to = norm + task * W;
      std::fill(to, to + W, T(0));
      for (int64_t c = 0; c < C; ++c) {
        const T* const row = x + ((task / H * C + c) * H + task % H) * W;
        for (int64_t i = 0; i < W; ++i) to[i] += row[i] * row[i];
      }
      for (int64_t i = 0; i < W; ++i) to[i] = std::sqrt(to[i]);
    }
  });
}

template <class T>
void channelnorm_backward(const T* grad, const T* x, const T* norm, Shape shape, T* grad_x, void*) {
  const int64_t C = shape.channels, H = shape.height, W = shape.width;
  at::parallel_for(0, shape.samples * H, GRAIN / W + 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task)
      for (int64_t c = 0; c < C; ++c) {
        const int64_t row = ((task / H * C + c) * H + task % H) * W;
        for (int64_t i = 0; i < W; ++i) {
          const int64_t pixel = task * W + i;
          grad_x[row + i] = grad[pixel] / (norm[pixel] + NORM_EPSILON<T>) * x[row + i];
        }
      }
  });
}

#define INSTANTIATE(T)                                                                         \
  template void resample2d<T>(const T*, Shape, const T*, Shape, T*, void*);                    \
  template void resample2d_backward<T>(const T*, const T*, Shape, const T*, Shape, T*, T*, void*); \
  template void channelnorm<T>(const T*, Shape, T*, void*);                                    \
  template void channelnorm_backward<T>(const T*, const T*, const T*, Shape, T*, void*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace cpu
