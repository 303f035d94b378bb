// What a device has to offer for the three operations; ../pytorch.py states what each computes.
//
// All tensors are contiguous, float or double, and not empty. `stream` is a cudaStream_t, and unused on the CPU.
#pragma once
#include <cstdint>

struct Shape {
  int64_t samples, channels, height, width;
};

#define DECLARE_KERNELS                                                                                               \
  /* a and b of one shape, out (samples, (2 radius + 1)^2, height, width) */                                          \
  template <class T>                                                                                                  \
  void correlation(const T* a, const T* b, Shape shape, int64_t radius, int64_t stride, T* out, void* stream);        \
  template <class T>                                                                                                  \
  void correlation_backward(const T* grad, const T* a, const T* b, Shape shape, int64_t radius, int64_t stride,       \
                            T* grad_a, T* grad_b, void* stream);                                                      \
  /* flow (samples, 2, height, width), of any size; out and grad (samples, channels) of the flow's size */            \
  template <class T>                                                                                                  \
  void resample2d(const T* image, Shape shape, const T* flow, Shape flow_shape, T* out, void* stream);                \
  /* grad_image holds zeros */                                                                                        \
  template <class T>                                                                                                  \
  void resample2d_backward(const T* grad, const T* image, Shape shape, const T* flow, Shape flow_shape,               \
                           T* grad_image, T* grad_flow, void* stream);                                                \
  template <class T>                                                                                                  \
  void channelnorm(const T* x, Shape shape, T* norm, void* stream);                                                   \
  template <class T>                                                                                                  \
  void channelnorm_backward(const T* grad, const T* x, const T* norm, Shape shape, T* grad_x, void* stream);

namespace cpu {
DECLARE_KERNELS
}
namespace cuda {
DECLARE_KERNELS
}
