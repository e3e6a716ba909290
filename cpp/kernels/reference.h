// The oracle: every operation of api.h once more, as plain loops in double on dense arrays (one sample after
// the other, no strides). It is written to be read beside the equations of api.h and is never optimised; the
// kernels are tested against it, and it is tested against PyTorch and by finite differences.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/api.h"

namespace fastcnn::reference {

// ---------------------------------------------------------------------------------------------- convolution

// x (batch, h.in, w.in, in_channels), kernel HWIO, bias (out_channels) or null, y (batch, h.out, w.out,
// out_channels)
void conv2d_forward(const Conv2dShape& shape, std::int64_t batch, const double* x, const double* kernel,
                    const double* bias, bool relu, double* y);
void conv2d_grad_input(const Conv2dShape& shape, std::int64_t batch, const double* dy, const double* kernel,
                       double* dx);
void conv2d_grad_kernel(const Conv2dShape& shape, std::int64_t batch, const double* x, const double* dy,
                        double* dkernel, double* dbias);

// -------------------------------------------------------------------------------------------------- pooling

// argmax (max only, or null): position of the maximum in its window, row-major.
void pool_forward(Pooling kind, const PoolShape& shape, std::int64_t batch, const double* x, double* y,
                  std::uint8_t* argmax = nullptr);
void pool_backward(Pooling kind, const PoolShape& shape, std::int64_t batch, const double* x,
                   const double* dy, double* dx);
// The gradient before a max pool, from the positions that the forward pass wrote down.
void unpool(const PoolShape& shape, std::int64_t batch, const double* dy, const std::uint8_t* argmax,
            double* dx);

// Kernel's gradient of a convolution below a max pool, dy and argmax those of the pool.
void pooled_conv2d_grad_kernel(const Conv2dShape& shape, const PoolShape& pool, std::int64_t batch,
                               const double* x, const double* dy, const std::uint8_t* argmax, double* dkernel,
                               double* dbias);

// ---------------------------------------------------------------------------------------------------- dense

void dense_forward(std::int64_t batch, std::int64_t inputs, std::int64_t units, const double* x,
                   const double* kernel, const double* bias, bool relu, double* y);
void dense_grad_input(std::int64_t batch, std::int64_t inputs, std::int64_t units, const double* dy,
                      const double* kernel, double* dx);
void dense_grad_kernel(std::int64_t batch, std::int64_t inputs, std::int64_t units, const double* x,
                       const double* dy, double* dkernel, double* dbias);

// ---------------------------------------------------------------------------------------------- activations

void activation_forward(Activation kind, std::int64_t size, const double* x, double* y);
// dy *= act'(x), from y = act(x)
void activation_backward(Activation kind, std::int64_t size, const double* y, double* dy);
void softmax_forward(std::int64_t rows, std::int64_t classes, const double* x, double* y, bool log = false);
void softmax_backward(std::int64_t rows, std::int64_t classes, const double* y, double* dy, bool log = false);

// --------------------------------------------------------------------------------------------------- losses

// As fastcnn::Loss; grad and activated may be null.
struct Loss : LossRule {
    std::int64_t batch = 0, rows = 1, classes = 1;
    const double* prediction = nullptr;
    const double* target = nullptr;
    const std::int32_t* target_class = nullptr;
    const double* weight = nullptr;
    double scale = 1.0;
    double* grad = nullptr;
    double* activated = nullptr;
};

// The weighted sum of the row losses.
double loss(const Loss& loss);

struct Accuracy {
    AccuracyKind kind = AccuracyKind::binary;
    double threshold = 0.5;
    std::int64_t batch = 0, rows = 1, classes = 1;
    const double* prediction = nullptr;
    const double* target = nullptr;
    const std::int32_t* target_class = nullptr;
    const double* weight = nullptr;
};

void accuracy(const Accuracy& accuracy, double* total, double* count);

void confusion_counts(std::int64_t size, std::int64_t thresholds, const double* prediction,
                      const double* target, const double* weight, const double* threshold, double* tp,
                      double* fp, double* fn, double* tn);

// ------------------------------------------------------------------------------------- batch normalisation

// mean (taps * in_channels), scatter (the same squared) of the input's patches
void patch_moments(const Conv2dShape& shape, std::int64_t batch, const double* x, double* mean,
                   double* scatter);
// n = batch * positions rows of `channels`
void batch_norm_statistics(std::int64_t n, std::int64_t channels, const double* x, double* mean, double* m2);
void batch_norm_forward(std::int64_t n, std::int64_t channels, const double* x, const double* mean,
                        const double* scale, const double* shift, bool relu, double* y);
// And the max over windows of it; picked: x at each window's argmax.
void batch_norm_pool(const PoolShape& pool, std::int64_t batch, const double* x, const double* mean,
                     const double* scale, const double* shift, bool relu, double* y, std::uint8_t* argmax,
                     double* picked);
// dy *= relu'(batch_norm_forward(x))
void batch_norm_relu_gradient(std::int64_t n, std::int64_t channels, const double* x, const double* mean,
                              const double* scale, const double* shift, double* dy);
void batch_norm_reduce(std::int64_t n, std::int64_t channels, const double* x, const double* dy,
                       const double* mean, const double* inv_std, double* sum_dy, double* sum_dy_x);
// From the sums: a = sum_dy / n and b = sum_dy_x / n of fastcnn::BatchNormBackward.
void batch_norm_backward(std::int64_t n, std::int64_t channels, const double* x, const double* dy,
                         const double* mean, const double* inv_std, const double* scale, const double* sum_dy,
                         const double* sum_dy_x, double* dx);

// -------------------------------------------------------------------------------------------------- dropout

// One block of Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
std::array<std::uint32_t, 4> philox(std::uint64_t seed, std::array<std::uint32_t, 4> counter);

void dropout(double rate, std::uint64_t seed, std::uint32_t layer, std::uint32_t step,
             std::int64_t first_sample, std::int64_t batch, std::int64_t size, const double* x, double* y);

// ------------------------------------------------------------------------------------------ layers, by
// sample

double elementwise(Function kind, double a, double b, double c, double x);
double elementwise_derivative(Function kind, double a, double b, double c, double x);
// Pointers and strides of the argument structs are not read: arrays are dense, taps and shapes are theirs.
void permute(const Permute& order, std::int64_t batch, const double* x, double* y);
// x: (batch, in_height, in_width, channels)
void resample(const Resample& map, std::int64_t batch, std::int64_t in_height, const double* x, double* y);
void adaptive_max_forward(const AdaptiveMaxShape& shape, std::int64_t batch, const double* x, double* y);
void adaptive_max_backward(const AdaptiveMaxShape& shape, std::int64_t batch, const double* x,
                           const double* dy, double* dx);
void prelu_forward(const Broadcast& broadcast, std::int64_t batch, const double* alpha, const double* x,
                   double* y);
void prelu_backward(const Broadcast& broadcast, std::int64_t batch, const double* alpha, const double* x,
                    const double* dy, double* dx, double* dalpha);
// gamma and beta may be null, and so may dgamma and dbeta.
void normalize_forward(NormalizeKind kind, const NormalizeShape& shape, double epsilon, std::int64_t batch,
                       const double* gamma, const double* beta, const double* x, double* y);
void normalize_backward(NormalizeKind kind, const NormalizeShape& shape, double epsilon, std::int64_t batch,
                        const double* gamma, const double* x, const double* dy, double* dx, double* dgamma,
                        double* dbeta);
void noise(const Noise& noise, std::int64_t batch, const double* x, double* y);
// Number `e` of a sample's noise: uniform, or normal.
double drawn(std::uint64_t seed, std::uint32_t layer, std::uint32_t step, std::int64_t sample, std::int64_t e,
             bool normal);

// ---------------------------------------------------------------------------------------------------- images

void scale(const Scale& scale, std::int64_t batch, const double* a, const double* b, const double* x,
           double* y);
// parameters: of each sample, as the kernels'.
void warp_forward(const WarpShape& shape, std::int64_t batch, const double* parameters, const double* x,
                  double* y);
void warp_backward(const WarpShape& shape, std::int64_t batch, const double* parameters, const double* dy,
                   double* dx);
void recolor_forward(const RecolorShape& shape, std::int64_t batch, const double* parameters, const double* x,
                     double* y);
void recolor_backward(const RecolorShape& shape, std::int64_t batch, const double* parameters,
                      const double* x, const double* dy, double* dx);
void erase(const Erase& erase, std::int64_t batch, const double* parameters, const double* fill,
           const double* x, double* y);

// ------------------------------------------------------------------------------------------------ optimizers

void sum_gradients(std::int64_t size, std::int64_t lanes, const double* lane, const double* param, double l1,
                   double l2, double* gradient, double* penalty, double* sum_squares);
// lane (lanes, columns, rows) -> gradient (rows, columns)
void sum_gradients_transposed(std::int64_t rows, std::int64_t columns, std::int64_t lanes, const double* lane,
                              double* gradient);

// As fastcnn::OptimizerUpdate.
struct OptimizerUpdate {
    OptimizerKind kind = OptimizerKind::sgd;
    std::int64_t size = 0;
    double* param = nullptr;
    const double* gradient = nullptr;
    double* m = nullptr;
    double* v = nullptr;
    double* u = nullptr;
    double gradient_scale = 1.0;
    double clip_value = 0.0;
    double learning_rate = 0.0, alpha = 0.0;
    double gradient_rate = 0.0, correction = 1.0, mix = 1.0;
    double weight_decay = 0.0;
    double momentum = 0.0, rho = 0.0, beta_1 = 0.0, beta_2 = 0.0, epsilon = 0.0;
    double l1 = 0.0, l2 = 0.0, shrinkage = 0.0, power = 0.5;
    bool nesterov = false, amsgrad = false, centered = false;
};

void optimizer_update(const OptimizerUpdate& update);

// --------------------------------------------------------------------------------------------------- reading

// The float32 nearest to x[i], as a double.
void read_samples(DType dtype, std::int64_t size, const void* x, double* y);

}  // namespace fastcnn::reference
