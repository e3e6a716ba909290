// The oracle of batch normalisation.
#include <vector>

#include "kernels/reference.h"

namespace fastcnn::reference {

// A convolution with the identity writes the patches out.
void patch_moments(const Conv2dShape& shape, std::int64_t batch, const double* x, double* mean,
                   double* scatter) {
    const std::int64_t taps = shape.h.size * shape.w.size * shape.in_channels;
    const std::int64_t n = batch * shape.h.out * shape.w.out;
    std::vector<double> identity(static_cast<std::size_t>(taps * taps)),
        patches(static_cast<std::size_t>(n * taps));
    for (std::int64_t i = 0; i < taps; ++i) identity[static_cast<std::size_t>(i * taps + i)] = 1.0;
    Conv2dShape copying = shape;
    copying.out_channels = taps;
    conv2d_forward(copying, batch, x, identity.data(), nullptr, false, patches.data());
    std::vector<double> m2(static_cast<std::size_t>(taps));
    batch_norm_statistics(n, taps, patches.data(), mean, m2.data());
    for (std::int64_t i = 0; i < taps; ++i)
        for (std::int64_t j = 0; j < taps; ++j) {
            double sum = 0.0;
            for (std::int64_t k = 0; k < n; ++k) {
                const double* patch = patches.data() + k * taps;
                sum += (patch[i] - mean[i]) * (patch[j] - mean[j]);
            }
            scatter[i * taps + j] = sum;
        }
}

void batch_norm_statistics(std::int64_t n, std::int64_t channels, const double* x, double* mean, double* m2) {
    for (std::int64_t c = 0; c < channels; ++c) {
        double sum = 0.0, squares = 0.0;
        for (std::int64_t i = 0; i < n; ++i) sum += x[i * channels + c];
        mean[c] = sum / static_cast<double>(n);
        for (std::int64_t i = 0; i < n; ++i) {
            const double deviation = x[i * channels + c] - mean[c];
            squares += deviation * deviation;
        }
        m2[c] = squares;
    }
}

void batch_norm_forward(std::int64_t n, std::int64_t channels, const double* x, const double* mean,
                        const double* scale, const double* shift, bool relu, double* y) {
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t c = 0; c < channels; ++c) {
            const double value = (x[i * channels + c] - mean[c]) * scale[c] + shift[c];
            y[i * channels + c] = relu && value <= 0.0 ? 0.0 : value;
        }
}

void batch_norm_pool(const PoolShape& pool, std::int64_t batch, const double* x, const double* mean,
                     const double* scale, const double* shift, bool relu, double* y, std::uint8_t* argmax,
                     double* picked) {
    const std::int64_t rows = batch * pool.h.in * pool.w.in, windows = batch * pool.h.out * pool.w.out;
    std::vector<double> normalised(static_cast<std::size_t>(rows * pool.channels));
    batch_norm_forward(rows, pool.channels, x, mean, scale, shift, false, normalised.data());
    pool_forward(Pooling::max, pool, batch, normalised.data(), y, argmax);
    for (std::int64_t i = 0; i < windows * pool.channels; ++i) {
        const std::int64_t window = i / pool.channels, per_sample = pool.h.out * pool.w.out;
        const std::int64_t py = window % per_sample / pool.w.out, px = window % pool.w.out;
        const std::int64_t row = pool.h.begin(py) + argmax[i] / pool.w.size;
        const std::int64_t column = pool.w.begin(px) + argmax[i] % pool.w.size;
        picked[i] = x[((window / per_sample * pool.h.in + row) * pool.w.in + column) * pool.channels +
                      i % pool.channels];
        if (relu && y[i] <= 0.0) y[i] = 0.0;
    }
}

void batch_norm_relu_gradient(std::int64_t n, std::int64_t channels, const double* x, const double* mean,
                              const double* scale, const double* shift, double* dy) {
    std::vector<double> y(static_cast<std::size_t>(n * channels));
    batch_norm_forward(n, channels, x, mean, scale, shift, true, y.data());
    activation_backward(Activation::relu, n * channels, y.data(), dy);
}

void batch_norm_reduce(std::int64_t n, std::int64_t channels, const double* x, const double* dy,
                       const double* mean, const double* inv_std, double* sum_dy, double* sum_dy_x) {
    for (std::int64_t c = 0; c < channels; ++c) {
        sum_dy[c] = sum_dy_x[c] = 0.0;
        for (std::int64_t i = 0; i < n; ++i) {
            sum_dy[c] += dy[i * channels + c];
            sum_dy_x[c] += dy[i * channels + c] * (x[i * channels + c] - mean[c]) * inv_std[c];
        }
    }
}

void batch_norm_backward(std::int64_t n, std::int64_t channels, const double* x, const double* dy,
                         const double* mean, const double* inv_std, const double* scale, const double* sum_dy,
                         const double* sum_dy_x, double* dx) {
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t c = 0; c < channels; ++c) {
            const double a = sum_dy[c] / static_cast<double>(n), b = sum_dy_x[c] / static_cast<double>(n);
            const double normalised = (x[i * channels + c] - mean[c]) * inv_std[c];
            dx[i * channels + c] = scale[c] * (dy[i * channels + c] - a - normalised * b);
        }
}

}  // namespace fastcnn::reference
