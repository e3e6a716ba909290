// The oracle of convolution, pooling and dense layers.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/reference.h"

namespace fastcnn::reference {

namespace {

// Calls visit(x index, kernel index, y index) for each multiplication of the convolution.
template <class Visit>
void for_each_product(const Conv2dShape& s, std::int64_t batch, Visit visit) {
    const std::int64_t group_in = s.in_channels / s.groups, group_out = s.out_channels / s.groups;
    for (std::int64_t n = 0; n < batch; ++n)
        for (std::int64_t oy = 0; oy < s.h.out; ++oy)
            for (std::int64_t ox = 0; ox < s.w.out; ++ox)
                for (std::int64_t ky = 0; ky < s.h.size; ++ky)
                    for (std::int64_t kx = 0; kx < s.w.size; ++kx) {
                        const std::int64_t iy = s.h.begin(oy) + ky * s.h.dilation;
                        const std::int64_t ix = s.w.begin(ox) + kx * s.w.dilation;
                        if (iy < 0 || iy >= s.h.in || ix < 0 || ix >= s.w.in) continue;
                        for (std::int64_t i = 0; i < group_in; ++i)
                            for (std::int64_t o = 0; o < s.out_channels; ++o) {
                                const std::int64_t c = o / group_out * group_in + i;
                                visit(((n * s.h.in + iy) * s.w.in + ix) * s.in_channels + c,
                                      ((ky * s.w.size + kx) * group_in + i) * s.out_channels + o,
                                      ((n * s.h.out + oy) * s.w.out + ox) * s.out_channels + o);
                            }
                    }
}

double relu_of(double x) { return x <= 0.0 ? 0.0 : x; }  // NaN stays

std::int64_t output_pixels(const Conv2dShape& s, std::int64_t batch) { return batch * s.h.out * s.w.out; }

// Calls visit(position in the window, x index) for the window's positions inside the image, row-major.
template <class Visit>
void for_each_position(const PoolShape& s, std::int64_t n, std::int64_t oy, std::int64_t ox, std::int64_t c,
                       Visit visit) {
    for (std::int64_t ky = 0; ky < s.h.size; ++ky)
        for (std::int64_t kx = 0; kx < s.w.size; ++kx) {
            const std::int64_t iy = s.h.begin(oy) + ky, ix = s.w.begin(ox) + kx;
            if (iy < 0 || iy >= s.h.in || ix < 0 || ix >= s.w.in) continue;
            visit(ky * s.w.size + kx, ((n * s.h.in + iy) * s.w.in + ix) * s.channels + c);
        }
}

// Calls visit(n, oy, ox, c, y index) for each output of the pool.
template <class Visit>
void for_each_window(const PoolShape& s, std::int64_t batch, Visit visit) {
    for (std::int64_t n = 0; n < batch; ++n)
        for (std::int64_t oy = 0; oy < s.h.out; ++oy)
            for (std::int64_t ox = 0; ox < s.w.out; ++ox)
                for (std::int64_t c = 0; c < s.channels; ++c)
                    visit(n, oy, ox, c, ((n * s.h.out + oy) * s.w.out + ox) * s.channels + c);
}

struct Maximum {
    std::int64_t position = -1, index = -1;
};

// The first NaN of the window, or its first maximum.
Maximum maximum(const PoolShape& s, std::int64_t n, std::int64_t oy, std::int64_t ox, std::int64_t c,
                const double* x) {
    Maximum best;
    for_each_position(s, n, oy, ox, c, [&](std::int64_t position, std::int64_t index) {
        if (best.index >= 0 && std::isnan(x[best.index])) return;
        if (best.index < 0 || x[index] > x[best.index] || std::isnan(x[index])) best = {position, index};
    });
    return best;
}

std::int64_t positions_inside(const PoolShape& s, std::int64_t n, std::int64_t oy, std::int64_t ox,
                              std::int64_t c) {
    std::int64_t count = 0;
    for_each_position(s, n, oy, ox, c, [&](std::int64_t, std::int64_t) { ++count; });
    return count;
}

std::int64_t input_size(const PoolShape& s, std::int64_t batch) {
    return batch * s.h.in * s.w.in * s.channels;
}

}  // namespace

void conv2d_forward(const Conv2dShape& shape, std::int64_t batch, const double* x, const double* kernel,
                    const double* bias, bool relu, double* y) {
    const std::int64_t size = output_pixels(shape, batch) * shape.out_channels;
    for (std::int64_t i = 0; i < size; ++i) y[i] = bias ? bias[i % shape.out_channels] : 0.0;
    for_each_product(shape, batch,
                     [&](std::int64_t xi, std::int64_t ki, std::int64_t yi) { y[yi] += x[xi] * kernel[ki]; });
    if (relu)
        for (std::int64_t i = 0; i < size; ++i) y[i] = relu_of(y[i]);
}

void conv2d_grad_input(const Conv2dShape& shape, std::int64_t batch, const double* dy, const double* kernel,
                       double* dx) {
    std::fill_n(dx, batch * shape.h.in * shape.w.in * shape.in_channels, 0.0);
    for_each_product(shape, batch, [&](std::int64_t xi, std::int64_t ki, std::int64_t yi) {
        dx[xi] += dy[yi] * kernel[ki];
    });
}

void conv2d_grad_kernel(const Conv2dShape& shape, std::int64_t batch, const double* x, const double* dy,
                        double* dkernel, double* dbias) {
    const std::int64_t group_in = shape.in_channels / shape.groups;
    std::fill_n(dkernel, shape.h.size * shape.w.size * group_in * shape.out_channels, 0.0);
    std::fill_n(dbias, shape.out_channels, 0.0);
    for_each_product(shape, batch, [&](std::int64_t xi, std::int64_t ki, std::int64_t yi) {
        dkernel[ki] += x[xi] * dy[yi];
    });
    for (std::int64_t i = 0; i < output_pixels(shape, batch) * shape.out_channels; ++i)
        dbias[i % shape.out_channels] += dy[i];
}

void pool_forward(Pooling kind, const PoolShape& shape, std::int64_t batch, const double* x, double* y,
                  std::uint8_t* argmax) {
    for_each_window(shape, batch,
                    [&](std::int64_t n, std::int64_t oy, std::int64_t ox, std::int64_t c, std::int64_t yi) {
                        if (kind == Pooling::max) {
                            const Maximum best = maximum(shape, n, oy, ox, c, x);
                            y[yi] = x[best.index];
                            if (argmax) argmax[yi] = static_cast<std::uint8_t>(best.position);
                            return;
                        }
                        double sum = 0.0;
                        for_each_position(shape, n, oy, ox, c,
                                          [&](std::int64_t, std::int64_t index) { sum += x[index]; });
                        y[yi] = sum / static_cast<double>(positions_inside(shape, n, oy, ox, c));
                    });
}

void pool_backward(Pooling kind, const PoolShape& shape, std::int64_t batch, const double* x,
                   const double* dy, double* dx) {
    std::fill_n(dx, input_size(shape, batch), 0.0);
    for_each_window(
        shape, batch, [&](std::int64_t n, std::int64_t oy, std::int64_t ox, std::int64_t c, std::int64_t yi) {
            if (kind == Pooling::max) {
                dx[maximum(shape, n, oy, ox, c, x).index] += dy[yi];
                return;
            }
            const double share = dy[yi] / static_cast<double>(positions_inside(shape, n, oy, ox, c));
            for_each_position(shape, n, oy, ox, c,
                              [&](std::int64_t, std::int64_t index) { dx[index] += share; });
        });
}

void unpool(const PoolShape& shape, std::int64_t batch, const double* dy, const std::uint8_t* argmax,
            double* dx) {
    std::fill_n(dx, input_size(shape, batch), 0.0);
    for_each_window(
        shape, batch, [&](std::int64_t n, std::int64_t oy, std::int64_t ox, std::int64_t c, std::int64_t yi) {
            for_each_position(shape, n, oy, ox, c, [&](std::int64_t position, std::int64_t index) {
                if (position == argmax[yi]) dx[index] += dy[yi];
            });
        });
}

void pooled_conv2d_grad_kernel(const Conv2dShape& shape, const PoolShape& pool, std::int64_t batch,
                               const double* x, const double* dy, const std::uint8_t* argmax, double* dkernel,
                               double* dbias) {
    std::vector<double> dz(static_cast<std::size_t>(output_pixels(shape, batch) * shape.out_channels));
    unpool(pool, batch, dy, argmax, dz.data());
    conv2d_grad_kernel(shape, batch, x, dz.data(), dkernel, dbias);
}

void dense_forward(std::int64_t batch, std::int64_t inputs, std::int64_t units, const double* x,
                   const double* kernel, const double* bias, bool relu, double* y) {
    for (std::int64_t n = 0; n < batch; ++n)
        for (std::int64_t u = 0; u < units; ++u) {
            double sum = bias ? bias[u] : 0.0;
            for (std::int64_t i = 0; i < inputs; ++i) sum += x[n * inputs + i] * kernel[i * units + u];
            y[n * units + u] = relu ? relu_of(sum) : sum;
        }
}

void dense_grad_input(std::int64_t batch, std::int64_t inputs, std::int64_t units, const double* dy,
                      const double* kernel, double* dx) {
    for (std::int64_t n = 0; n < batch; ++n)
        for (std::int64_t i = 0; i < inputs; ++i) {
            double sum = 0.0;
            for (std::int64_t u = 0; u < units; ++u) sum += dy[n * units + u] * kernel[i * units + u];
            dx[n * inputs + i] = sum;
        }
}

void dense_grad_kernel(std::int64_t batch, std::int64_t inputs, std::int64_t units, const double* x,
                       const double* dy, double* dkernel, double* dbias) {
    for (std::int64_t u = 0; u < units; ++u) {
        dbias[u] = 0.0;
        for (std::int64_t n = 0; n < batch; ++n) dbias[u] += dy[n * units + u];
        for (std::int64_t i = 0; i < inputs; ++i) {
            double sum = 0.0;
            for (std::int64_t n = 0; n < batch; ++n) sum += x[n * inputs + i] * dy[n * units + u];
            dkernel[i * units + u] = sum;
        }
    }
}

}  // namespace fastcnn::reference
