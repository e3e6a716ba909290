// The oracle of api_images.h.
#include <algorithm>
#include <cmath>

#include "kernels/reference.h"

namespace fastcnn::reference {

void scale(const Scale& a, std::int64_t batch, const double* first, const double* second, const double* x,
           double* y) {
    const Broadcast& b = a.broadcast;
    std::int64_t at = 0;
    for (std::int64_t s = 0; s < batch; ++s)
        for (std::int64_t i = 0; i < b.shape[0]; ++i)
            for (std::int64_t j = 0; j < b.shape[1]; ++j)
                for (std::int64_t k = 0; k < b.shape[2]; ++k)
                    for (std::int64_t l = 0; l < b.shape[3]; ++l, ++at) {
                        const std::int64_t small =
                            i * b.stride[0] + j * b.stride[1] + k * b.stride[2] + l * b.stride[3];
                        const double p = first[small], q = second[small];
                        const double root = std::sqrt(q);
                        const double deviation =
                            root < static_cast<double>(a.epsilon) ? static_cast<double>(a.epsilon) : root;
                        switch (a.kind) {
                            case ScaleKind::affine:
                                y[at] = x[at] * p + (a.backward ? 0.0 : q);
                                break;
                            case ScaleKind::normalize:
                                y[at] = (x[at] - (a.backward ? 0.0 : p)) / deviation;
                                break;
                            case ScaleKind::denormalize:
                                y[at] = x[at] * deviation + (a.backward ? 0.0 : p);
                                break;
                        }
                    }
}

namespace {

// The pixel that position i of an axis stands for, or -1 for none.
std::int64_t source(FillMode fill, std::int64_t i, std::int64_t size) {
    const auto modulo = [](std::int64_t a, std::int64_t n) { return (a % n + n) % n; };
    switch (fill) {
        case FillMode::constant:
            return i >= 0 && i < size ? i : -1;
        case FillMode::nearest:
            return std::clamp<std::int64_t>(i, 0, size - 1);
        case FillMode::wrap:
            return modulo(i, size);
        case FillMode::reflect: {
            const std::int64_t m = modulo(i, 2 * size);
            return std::min(m, 2 * size - 1 - m);
        }
    }
    return -1;
}

// visit(output pixel, input pixel or -1, weight)
template <class Visit>
void for_each_corner(const WarpShape& n, const double* t, const Visit& visit) {
    for (std::int64_t i = 0; i < n.out_height; ++i)
        for (std::int64_t j = 0; j < n.out_width; ++j) {
            const double di = static_cast<double>(i), dj = static_cast<double>(j);
            const double at[] = {t[3] * dj + t[4] * di + t[5], t[0] * dj + t[1] * di + t[2]};
            const std::int64_t sizes[] = {n.in_height, n.in_width};
            std::int64_t index[2][2];
            double weight[2][2];
            for (int axis = 0; axis < 2; ++axis) {
                const double lower = n.bilinear ? std::floor(at[axis]) : std::nearbyint(at[axis]);
                weight[axis][1] = n.bilinear ? at[axis] - lower : 0.0;
                weight[axis][0] = 1.0 - weight[axis][1];
                for (int k = 0; k < 2; ++k)
                    index[axis][k] = source(n.fill, static_cast<std::int64_t>(lower) + k, sizes[axis]);
            }
            for (int r = 0; r < 2; ++r)
                for (int c = 0; c < 2; ++c) {
                    const double w = weight[0][r] * weight[1][c];
                    if (w == 0.0) continue;
                    const bool inside = index[0][r] >= 0 && index[1][c] >= 0;
                    visit(i * n.out_width + j, inside ? index[0][r] * n.in_width + index[1][c] : -1, w);
                }
        }
}

}  // namespace

void warp_forward(const WarpShape& n, std::int64_t batch, const double* parameters, const double* x,
                  double* y) {
    const std::int64_t out = n.out_height * n.out_width * n.channels;
    for (std::int64_t s = 0; s < batch; ++s, y += out, x += n.in_height * n.in_width * n.channels) {
        std::fill(y, y + out, 0.0);
        for_each_corner(
            n, parameters + s * kTransform, [&](std::int64_t to, std::int64_t from, double weight) {
                for (std::int64_t c = 0; c < n.channels; ++c)
                    y[to * n.channels + c] +=
                        weight * (from < 0 ? static_cast<double>(n.fill_value) : x[from * n.channels + c]);
            });
    }
}

void warp_backward(const WarpShape& n, std::int64_t batch, const double* parameters, const double* dy,
                   double* dx) {
    const std::int64_t in = n.in_height * n.in_width * n.channels;
    for (std::int64_t s = 0; s < batch; ++s, dx += in, dy += n.out_height * n.out_width * n.channels) {
        std::fill(dx, dx + in, 0.0);
        for_each_corner(n, parameters + s * kTransform,
                        [&](std::int64_t to, std::int64_t from, double weight) {
                            for (std::int64_t c = 0; from >= 0 && c < n.channels; ++c)
                                dx[from * n.channels + c] += weight * dy[to * n.channels + c];
                        });
    }
}

namespace {

constexpr double kGray[] = {0.2989, 0.587, 0.114};

double clip(const RecolorShape& n, double x) {
    return x < static_cast<double>(n.low)    ? static_cast<double>(n.low)
           : x > static_cast<double>(n.high) ? static_cast<double>(n.high)
                                             : x;
}

double mean_of_channel(const RecolorShape& n, const double* x, std::int64_t c) {
    double sum = 0.0;
    for (std::int64_t i = 0; i < n.positions; ++i) sum += x[i * n.channels + c];
    return sum / static_cast<double>(n.positions);
}

// visit(element, channel)
template <class Visit>
void for_each_value(const RecolorShape& n, const Visit& visit) {
    for (std::int64_t i = 0; i < n.positions; ++i)
        for (std::int64_t c = 0; c < n.channels; ++c) visit(i * n.channels + c, c);
}

bool whole_pixels(const RecolorShape& n) { return n.kind == RecolorKind::grayscale && n.channels == 3; }

// Before it is clipped.
double changed(const RecolorShape& n, const double* p, double x, double mean) {
    switch (n.kind) {
        case RecolorKind::brightness:
        case RecolorKind::solarize:
            return x + p[0];
        case RecolorKind::contrast:
            return mean + p[0] * (x - mean);
        case RecolorKind::invert:
            return static_cast<double>(n.high) - x;
        case RecolorKind::grayscale:
            break;
    }
    return x;
}

// Whether the sample stays as it is.
bool untouched(const RecolorShape& n, const double* p) {
    const bool condition = n.kind == RecolorKind::grayscale || n.kind == RecolorKind::invert;
    return condition && (p[0] == 0.0 || (n.kind == RecolorKind::grayscale && n.channels == 1));
}

}  // namespace

void recolor_forward(const RecolorShape& n, std::int64_t batch, const double* parameters, const double* x,
                     double* y) {
    const std::int64_t size = n.positions * n.channels;
    for (std::int64_t s = 0; s < batch; ++s, x += size, y += size) {
        const double* p = parameters + s * kRecolor;
        if (untouched(n, p)) {
            std::copy(x, x + size, y);
        } else if (whole_pixels(n)) {
            for_each_value(n, [&](std::int64_t i, std::int64_t c) {
                const double* pixel = x + i - c;
                y[i] = kGray[0] * pixel[0] + kGray[1] * pixel[1] + kGray[2] * pixel[2];
            });
        } else {
            for_each_value(n, [&](std::int64_t i, std::int64_t c) {
                y[i] = changed(n, p, x[i], mean_of_channel(n, x, c));
                if (n.kind != RecolorKind::invert) y[i] = clip(n, y[i]);
                if (n.kind == RecolorKind::solarize && !(y[i] < p[1]))
                    y[i] = static_cast<double>(n.low + n.high) - y[i];
            });
        }
    }
}

void recolor_backward(const RecolorShape& n, std::int64_t batch, const double* parameters, const double* x,
                      const double* dy, double* dx) {
    const std::int64_t size = n.positions * n.channels;
    for (std::int64_t s = 0; s < batch; ++s, x += size, dy += size, dx += size) {
        const double* p = parameters + s * kRecolor;
        if (untouched(n, p)) {
            std::copy(dy, dy + size, dx);
            continue;
        }
        if (whole_pixels(n)) {
            for_each_value(n, [&](std::int64_t i, std::int64_t c) {
                const double* g = dy + i - c;
                dx[i] = kGray[c] * (g[0] + g[1] + g[2]);
            });
            continue;
        }
        for_each_value(n, [&](std::int64_t i, std::int64_t c) {
            const double value = changed(n, p, x[i], mean_of_channel(n, x, c));
            dx[i] = value > static_cast<double>(n.low) && value < static_cast<double>(n.high) ? dy[i] : 0.0;
            if (n.kind == RecolorKind::invert) dx[i] = -dy[i];
            if (n.kind == RecolorKind::solarize && !(clip(n, value) < p[1])) dx[i] = -dx[i];
        });
        if (n.kind != RecolorKind::contrast) continue;
        for (std::int64_t c = 0; c < n.channels; ++c) {
            const double mean = mean_of_channel(n, dx, c);
            for (std::int64_t i = c; i < size; i += n.channels) dx[i] = p[0] * dx[i] + (1.0 - p[0]) * mean;
        }
    }
}

void erase(const Erase& a, std::int64_t batch, const double* parameters, const double* fill, const double* x,
           double* y) {
    const EraseShape& n = a.shape;
    const std::int64_t size = n.height * n.width * n.channels;
    for (std::int64_t s = 0; s < batch; ++s, x += size, y += size) {
        const double* box = parameters + s * kBox;
        for (std::int64_t e = 0; e < size; ++e) {
            const std::int64_t pixel = e / n.channels;
            const double row = static_cast<double>(pixel / n.width),
                         column = static_cast<double>(pixel % n.width);
            y[e] = x[e];
            if (row < box[0] || row >= box[1] || column < box[2] || column >= box[3]) continue;
            if (a.backward)
                y[e] = 0.0;
            else if (n.noise)
                y[e] = std::clamp(static_cast<double>(n.deviation) *
                                      drawn(a.seed, a.layer, a.step, a.first_sample + s, e, true),
                                  static_cast<double>(n.low), static_cast<double>(n.high));
            else
                y[e] = fill[e % n.channels];
        }
    }
}

}  // namespace fastcnn::reference
