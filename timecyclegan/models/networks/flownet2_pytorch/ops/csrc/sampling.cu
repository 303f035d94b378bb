// Resample2d and channelnorm in CUDA: one thread for each pixel, which goes through the channels.
#include "kernels.h"
#include "sampling.h"

namespace cuda {
namespace {

constexpr int THREADS = 256;

// A thread's pixel: sample n, offset `pixel` into a plane (H, W).
struct Place {
  int64_t n, pixel;
  bool exists;

  __device__ Place(Shape shape) {
    const int64_t plane = shape.height * shape.width, index = int64_t(blockIdx.x) * THREADS + threadIdx.x;
    n = index / plane, pixel = index % plane, exists = n < shape.samples;
  }
};

int64_t blocks(Shape shape) { return (shape.samples * shape.height * shape.width + THREADS - 1) / THREADS; }

// Where the flow points to from a pixel.
template <class T>
__device__ Corners<T> corners_of(const T* flow, Shape flow_shape, Place at, Shape shape) {
  const int64_t w = flow_shape.width, plane = flow_shape.height * w;
  const T* const dx = flow + at.n * 2 * plane + at.pixel;
  return Corners<T>(T(at.pixel % w) + dx[0], T(at.pixel / w) + dx[plane], shape.height, shape.width);
}

template <class T>
__global__ void sample(const T* image, Shape shape, const T* flow, Shape flow_shape, T* out) {
  const Place at(flow_shape);
  if (!at.exists) return;
  const auto corners = corners_of(flow, flow_shape, at, shape);
  const int64_t plane = shape.height * shape.width, pixels = flow_shape.height * flow_shape.width;
  for (int64_t c = at.n * shape.channels; c < (at.n + 1) * shape.channels; ++c)
    out[c * pixels + at.pixel] = corners.value(image + c * plane);
}

template <class T>
__global__ void sample_gradient(const T* grad, const T* image, Shape shape, const T* flow, Shape flow_shape,
                                T* grad_image, T* grad_flow) {
  const Place at(flow_shape);
  if (!at.exists) return;
  const auto corners = corners_of(flow, flow_shape, at, shape);
  const int64_t plane = shape.height * shape.width, pixels = flow_shape.height * flow_shape.width;
  T along_x = 0, along_y = 0;
  for (int64_t c = at.n * shape.channels; c < (at.n + 1) * shape.channels; ++c) {
    const T weight = grad[c * pixels + at.pixel];
    along_x += weight * corners.slope_x(image + c * plane);
    along_y += weight * corners.slope_y(image + c * plane);
    corners.scatter(weight, grad_image + c * plane, [](T& to, T value) { atomicAdd(&to, value); });
  }
  T* const to = grad_flow + at.n * 2 * pixels + at.pixel;
  to[0] = along_x, to[pixels] = along_y;
}

template <class T>
__global__ void norm_of(const T* x, Shape shape, T* norm) {
  const Place at(shape);
  if (!at.exists) return;
  const int64_t plane = shape.height * shape.width;
  const T* const values = x + at.n * shape.channels * plane + at.pixel;
  T sum = 0;
  for (int64_t c = 0; c < shape.channels; ++c) sum += values[c * plane] * values[c * plane];
  norm[at.n * plane + at.pixel] = std::sqrt(sum);
}

template <class T>
__global__ void norm_gradient(const T* grad, const T* x, const T* norm, Shape shape, T* grad_x) {
  const Place at(shape);
  if (!at.exists) return;
  const int64_t plane = shape.height * shape.width, pixel = at.n * plane + at.pixel;
  const int64_t first = at.n * shape.channels * plane + at.pixel;
  const T weight = grad[pixel] / (norm[pixel] + NORM_EPSILON<T>);
  for (int64_t c = 0; c < shape.channels; ++c) grad_x[first + c * plane] = weight * x[first + c * plane];
}

}  // namespace

#define LAUNCH(kernel, shape) kernel<<<blocks(shape), THREADS, 0, static_cast<cudaStream_t>(stream)>>>

template <class T>
void resample2d(const T* image, Shape shape, const T* flow, Shape flow_shape, T* out, void* stream) {
  LAUNCH(sample, flow_shape)(image, shape, flow, flow_shape, out);
}

template <class T>
void resample2d_backward(const T* grad, const T* image, Shape shape, const T* flow, Shape flow_shape, T* grad_image,
                         T* grad_flow, void* stream) {
  LAUNCH(sample_gradient, flow_shape)(grad, image, shape, flow, flow_shape, grad_image, grad_flow);
}

template <class T>
void channelnorm(const T* x, Shape shape, T* norm, void* stream) {
  LAUNCH(norm_of, shape)(x, shape, norm);
}

template <class T>
void channelnorm_backward(const T* grad, const T* x, const T* norm, Shape shape, T* grad_x, void* stream) {
  LAUNCH(norm_gradient, shape)(grad, x, norm, shape, grad_x);
}

#define INSTANTIATE(T)                                                                                 \
  template void resample2d<T>(const T*, Shape, const T*, Shape, T*, void*);                            \
  template void resample2d_backward<T>(const T*, const T*, Shape, const T*, Shape, T*, T*, void*);     \
  template void channelnorm<T>(const T*, Shape, T*, void*);                                            \
  template void channelnorm_backward<T>(const T*, const T*, const T*, Shape, T*, void*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace cuda
