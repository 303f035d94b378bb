// The three operations and their gradients as operators of torch, to which ../kernels.py adds shapes for tracing and
// autograd: tensors are checked, made contiguous and allocated here, for the CPU and for CUDA alike.
#include <string>
#include <tuple>

#include <ATen/ATen.h>
#include <ATen/DeviceGuard.h>
#include <torch/library.h>
#ifdef WITH_CUDA
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>
#endif

#include "built_for.h"  // BUILT_FOR: "CPU" and the CUDA architectures; the build writes it
#include "kernels.h"

namespace {

using at::Tensor;

Shape shape_of(const Tensor& x) { return {x.size(0), x.size(1), x.size(2), x.size(3)}; }

void check(const Tensor& x, const Tensor& reference, const char* name) {
  TORCH_CHECK(x.dim() == 4, name, ": needs tensors of four dimensions, not ", x.dim());
  TORCH_CHECK(x.size(0) == reference.size(0), name, ": ", x.size(0), " and ", reference.size(0), " samples");
  TORCH_CHECK(x.scalar_type() == reference.scalar_type() && x.device() == reference.device(), name,
              ": needs tensors of one type on one device");
}

Tensor allocate(const Tensor& like, at::IntArrayRef sizes) {
  return at::empty(sizes, like.options().memory_format(at::MemoryFormat::Contiguous));
}

#define READ(x) x.const_data_ptr<scalar_t>()
#define WRITE(x) x.mutable_data_ptr<scalar_t>()

// Run a kernel for the type of `x` where `x` is.
#ifdef WITH_CUDA
#define RUN(x, name, ...)                                                                                \
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), #name, [&] {                                               \
    if (x.is_cuda()) {                                                                                   \
      cuda::name<scalar_t>(__VA_ARGS__, c10::cuda::getCurrentCUDAStream().stream());                     \
      C10_CUDA_CHECK(cudaGetLastError());                                                                \
    } else {                                                                                             \
      cpu::name<scalar_t>(__VA_ARGS__, nullptr);                                                         \
    }                                                                                                    \
  })
#else
#define RUN(x, name, ...) \
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), #name, [&] { cpu::name<scalar_t>(__VA_ARGS__, nullptr); })
#endif

Tensor correlation(const Tensor& a_, const Tensor& b_, int64_t radius, int64_t stride) {
  const at::OptionalDeviceGuard guard(at::device_of(a_));
  check(a_, a_, "correlation"), check(b_, a_, "correlation");
  TORCH_CHECK(a_.sizes() == b_.sizes(), "correlation: maps of sizes ", a_.sizes(), " and ", b_.sizes());
  TORCH_CHECK(radius >= 0 && stride >= 1, "correlation: radius ", radius, ", stride ", stride);
  const Tensor a = a_.contiguous(), b = b_.contiguous();
  const int64_t displacements = (2 * radius + 1) * (2 * radius + 1);
  Tensor out = allocate(a, {a.size(0), displacements, a.size(2), a.size(3)});
  if (out.numel()) RUN(a, correlation, READ(a), READ(b), shape_of(a), radius, stride, WRITE(out));
  return out;
}

std::tuple<Tensor, Tensor> correlation_backward(const Tensor& grad_, const Tensor& a_, const Tensor& b_,
                                                int64_t radius, int64_t stride) {
  const at::OptionalDeviceGuard guard(at::device_of(a_));
  const Tensor grad = grad_.contiguous(), a = a_.contiguous(), b = b_.contiguous();
  Tensor grad_a = allocate(a, a.sizes()), grad_b = allocate(b, b.sizes());
  if (a.numel())
    RUN(a, correlation_backward, READ(grad), READ(a), READ(b), shape_of(a), radius, stride, WRITE(grad_a),
        WRITE(grad_b));
  return {grad_a, grad_b};
}

Tensor resample2d(const Tensor& image_, const Tensor& flow_) {
  const at::OptionalDeviceGuard guard(at::device_of(image_));
  check(image_, image_, "resample2d"), check(flow_, image_, "resample2d");
  TORCH_CHECK(flow_.size(1) == 2, "resample2d: a flow has 2 channels, not ", flow_.size(1));
  const Tensor image = image_.contiguous(), flow = flow_.contiguous();
  Tensor out = allocate(image, {image.size(0), image.size(1), flow.size(2), flow.size(3)});
  if (out.numel()) RUN(image, resample2d, READ(image), shape_of(image), READ(flow), shape_of(flow), WRITE(out));
  return out;
}

std::tuple<Tensor, Tensor> resample2d_backward(const Tensor& grad_, const Tensor& image_, const Tensor& flow_) {
  const at::OptionalDeviceGuard guard(at::device_of(image_));
  const Tensor grad = grad_.contiguous(), image = image_.contiguous(), flow = flow_.contiguous();
  Tensor grad_image = allocate(image, image.sizes()).zero_(), grad_flow = allocate(flow, flow.sizes());
  // Pixels that several flows point to add up in whatever order the threads come.
  if (image.is_cuda()) at::globalContext().alertNotDeterministic("timecyclegan::resample2d_backward");
  if (grad.numel())
    RUN(image, resample2d_backward, READ(grad), READ(image), shape_of(image), READ(flow), shape_of(flow),
        WRITE(grad_image), WRITE(grad_flow));
  else
    grad_flow.zero_();
  return {grad_image, grad_flow};
}

Tensor channelnorm(const Tensor& x_) {
  const at::OptionalDeviceGuard guard(at::device_of(x_));
  check(x_, x_, "channelnorm");
  const Tensor x = x_.contiguous();
  Tensor norm = allocate(x, {x.size(0), 1, x.size(2), x.size(3)});
  if (norm.numel()) RUN(x, channelnorm, READ(x), shape_of(x), WRITE(norm));
  return norm;
}

Tensor channelnorm_backward(const Tensor& grad_, const Tensor& x_, const Tensor& norm_) {
  const at::OptionalDeviceGuard guard(at::device_of(x_));
  const Tensor grad = grad_.contiguous(), x = x_.contiguous(), norm = norm_.contiguous();
  Tensor grad_x = allocate(x, x.sizes());
  if (x.numel()) RUN(x, channelnorm_backward, READ(grad), READ(x), READ(norm), shape_of(x), WRITE(grad_x));
  return grad_x;
}

void implement(torch::Library& m) {
  m.impl("correlation", correlation);
  m.impl("correlation_backward", correlation_backward);
  m.impl("resample2d", resample2d);
  m.impl("resample2d_backward", resample2d_backward);
  m.impl("channelnorm", channelnorm);
  m.impl("channelnorm_backward", channelnorm_backward);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(timecyclegan, m) {
  m.def("built_for() -> str", [] { return std::string(BUILT_FOR); });
  m.def("correlation(Tensor a, Tensor b, int radius, int stride) -> Tensor");
  m.def("correlation_backward(Tensor grad, Tensor a, Tensor b, int radius, int stride) -> (Tensor, Tensor)");
  m.def("resample2d(Tensor image, Tensor flow) -> Tensor");
  m.def("resample2d_backward(Tensor grad, Tensor image, Tensor flow) -> (Tensor, Tensor)");
  m.def("channelnorm(Tensor x) -> Tensor");
  m.def("channelnorm_backward(Tensor grad, Tensor x, Tensor norm) -> Tensor");
}
TORCH_LIBRARY_IMPL(timecyclegan, CPU, m) { implement(m); }
#ifdef WITH_CUDA
TORCH_LIBRARY_IMPL(timecyclegan, CUDA, m) { implement(m); }
#endif
