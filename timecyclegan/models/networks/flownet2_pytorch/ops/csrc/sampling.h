// Where a flow points to and the weights of the four pixels there; the same on the CPU and in CUDA.
#pragma once
#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define HOST_DEVICE __host__ __device__ __forceinline__
#else
#define HOST_DEVICE inline
#endif

// Keeps the gradient of a norm of zero at zero.
template <class T>
constexpr T NORM_EPSILON = T(1e-9);

// The nearest index of a row of n pixels; of no number, which compares false to everything, the first.
template <class T>
HOST_DEVICE int64_t nearest_index(T position, int64_t n) {
  return position > T(0) ? (position < T(n - 1) ? static_cast<int64_t>(position) : n - 1) : 0;
}

// The pixels around (x, y) and its distance from the upper left one. The indices are clamped to the picture; the
// distances are those of the unclamped position.
template <class T>
struct Corners {
  int64_t top_left, top_right, bottom_left, bottom_right;  // offsets into a plane (height, width)
  T right, down;                                           // distances, in [0, 1)

  HOST_DEVICE Corners(T x, T y, int64_t height, int64_t width) {
    const T x0 = std::floor(x), y0 = std::floor(y);
    const int64_t first = nearest_index(x0, width), second = nearest_index(x0 + 1, width);
    const int64_t top = nearest_index(y0, height) * width, bottom = nearest_index(y0 + 1, height) * width;
    top_left = top + first, top_right = top + second;
    bottom_left = bottom + first, bottom_right = bottom + second;
    right = x - x0, down = y - y0;
  }

  HOST_DEVICE T value(const T* plane) const {
    return (1 - down) * ((1 - right) * plane[top_left] + right * plane[top_right]) +
           down * ((1 - right) * plane[bottom_left] + right * plane[bottom_right]);
  }
  // The derivatives of value by x and y.
  HOST_DEVICE T slope_x(const T* plane) const {
    return (1 - down) * (plane[top_right] - plane[top_left]) + down * (plane[bottom_right] - plane[bottom_left]);
  }
  HOST_DEVICE T slope_y(const T* plane) const {
    return (1 - right) * (plane[bottom_left] - plane[top_left]) + right * (plane[bottom_right] - plane[top_right]);
  }
  // Add the derivatives of weight * value by the four pixels to a plane.
  template <class Add>
  HOST_DEVICE void scatter(T weight, T* plane, Add add) const {
    add(plane[top_left], weight * (1 - down) * (1 - right));
    add(plane[top_right], weight * (1 - down) * right);
    add(plane[bottom_left], weight * down * (1 - right));
    add(plane[bottom_right], weight * down * right);
  }
};
