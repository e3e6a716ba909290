// The oracle of api_layers.h.
#include <algorithm>
#include <cmath>
#include <vector>

#include "base/random.h"
#include "kernels/reference.h"

namespace fastcnn::reference {

namespace {

constexpr double kPi = 3.14159265358979323846;
const double kNan = std::nan("");

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }
double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }
double below(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }
double density(double x) { return std::exp(-0.5 * x * x) / std::sqrt(2.0 * kPi); }
double gelu_logit(double x) { return 2.0 * std::sqrt(2.0 / kPi) * (x + 0.044715 * x * x * x); }

}  // namespace

double elementwise(Function kind, double a, double b, double c, double x) {
    if (std::isnan(x)) return kNan;
    switch (kind) {
        case Function::relu:
            return x > c ? std::min(x, b) : a == 0 ? 0.0 : a * (x - c);
        case Function::elu:
            return x > 0 ? c * x : c * a * std::expm1(b * x);
        case Function::exponential:
            return std::exp(x);
        case Function::gelu:
            return x * below(x);
        case Function::gelu_tanh:
            return x * sigmoid(gelu_logit(x));
        case Function::silu:
            return x * sigmoid(x);
        case Function::mish:
            return x * std::tanh(softplus(x));
        case Function::softplus:
            return softplus(x);
        case Function::log_sigmoid:
            return -softplus(-x);
        case Function::softsign:
            return x / (1.0 + std::abs(x));
        case Function::squareplus:
            return x < 0 ? 0.5 * a / (std::sqrt(x * x + a) - x) : 0.5 * (x + std::sqrt(x * x + a));
        case Function::hard_sigmoid:
            return std::clamp(x + 3.0, 0.0, 6.0) / 6.0;
        case Function::hard_silu:
            return x * (std::clamp(x + 3.0, 0.0, 6.0) / 6.0);
        case Function::hard_tanh:
            return std::clamp(x, -1.0, 1.0);
        case Function::hard_shrink:
            return std::abs(x) > a ? x : 0.0;
        case Function::soft_shrink:
            return x > a ? x - a : x < -a ? x + a : 0.0;
        case Function::tanh_shrink:
            return x - std::tanh(x);
        case Function::threshold:
            return x > a ? x : b;
        case Function::sparse_plus:
            return x <= -1.0 ? 0.0 : x < 1.0 ? 0.25 * (x + 1.0) * (x + 1.0) : x;
        case Function::sparse_sigmoid:
            return 0.5 * std::clamp(x + 1.0, 0.0, 2.0);
    }
    return kNan;
}

double elementwise_derivative(Function kind, double a, double b, double c, double x) {
    if (std::isnan(x)) return kNan;
    switch (kind) {
        case Function::relu:
            return x > c ? (x <= b ? 1.0 : 0.0) : a;
        case Function::elu:
            return x > 0 ? c : c * a * b * std::exp(b * x);
        case Function::exponential:
            return std::exp(x);
        case Function::gelu:
            return below(x) + x * density(x);
        case Function::gelu_tanh: {
            const double s = sigmoid(gelu_logit(x)), other = sigmoid(-gelu_logit(x));
            return s + x * s * other * 2.0 * std::sqrt(2.0 / kPi) * (1.0 + 3.0 * 0.044715 * x * x);
        }
        case Function::silu:
            return sigmoid(x) + x * sigmoid(x) * sigmoid(-x);
        case Function::mish: {
            const double t = std::tanh(softplus(x));
            return t + x * (1.0 - t * t) * sigmoid(x);
        }
        case Function::softplus:
            return sigmoid(x);
        case Function::log_sigmoid:
            return sigmoid(-x);
        case Function::softsign:
            return 1.0 / ((1.0 + std::abs(x)) * (1.0 + std::abs(x)));
        case Function::squareplus: {
            const double root = std::sqrt(x * x + a);
            return x < 0 ? 0.5 * a / ((root - x) * root) : 0.5 * (x + root) / root;
        }
        case Function::hard_sigmoid:
            return std::abs(x) <= 3.0 ? 1.0 / 6.0 : 0.0;
        case Function::hard_silu:
            return std::abs(x) <= 3.0 ? x / 3.0 + 0.5 : x > 0 ? 1.0 : 0.0;
        case Function::hard_tanh:
            return std::abs(x) <= 1.0 ? 1.0 : 0.0;
        case Function::hard_shrink:
        case Function::soft_shrink:
            return std::abs(x) > a ? 1.0 : 0.0;
        case Function::tanh_shrink:
            return std::tanh(x) * std::tanh(x);
        case Function::threshold:
            return x > a ? 1.0 : 0.0;
        case Function::sparse_plus:
            return 0.5 * std::clamp(x + 1.0, 0.0, 2.0);
        case Function::sparse_sigmoid:
            return std::abs(x) < 1.0 ? 0.5 : 0.0;
    }
    return kNan;
}

void permute(const Permute& order, std::int64_t batch, const double* x, double* y) {
    std::int64_t size = 1;
    for (int axis = 0; axis < order.rank; ++axis) size *= order.shape[axis];
    for (std::int64_t s = 0; s < batch; ++s)
        for (std::int64_t e = 0; e < size; ++e) {
            std::int64_t rest = e, at = 0;
            for (int axis = order.rank - 1; axis >= 0; --axis) {
                at += rest % order.shape[axis] * order.stride[axis];
                rest /= order.shape[axis];
            }
            y[s * size + e] = x[s * size + at];
        }
}

void resample(const Resample& map, std::int64_t batch, std::int64_t in_height, const double* x, double* y) {
    for (std::int64_t s = 0; s < batch; ++s, x += in_height * map.in_width * map.channels)
        for (std::int64_t o = 0; o < map.out_height; ++o)
            for (std::int64_t p = 0; p < map.out_width; ++p)
                for (std::int64_t c = 0; c < map.channels; ++c) {
                    double sum = 0.0;
                    for (std::int32_t i = map.h.begin[o]; i < map.h.begin[o + 1]; ++i)
                        for (std::int32_t j = map.w.begin[p]; j < map.w.begin[p + 1]; ++j) {
                            const double weight =
                                static_cast<double>(map.h.weight[i]) * static_cast<double>(map.w.weight[j]);
                            sum += weight *
                                   x[(map.h.index[i] * map.in_width + map.w.index[j]) * map.channels + c];
                        }
                    *y++ = sum;
                }
}

namespace {

// visit(offset of the window's result, offset of its first maximum) for every window of a sample.
template <class Visit>
void for_each_maximum(const AdaptiveMaxShape& n, const double* x, const Visit& visit) {
    const auto first = [](std::int64_t o, std::int64_t in, std::int64_t out) { return o * in / out; };
    const auto last = [](std::int64_t o, std::int64_t in, std::int64_t out) {
        return ((o + 1) * in + out - 1) / out;
    };
    for (std::int64_t o = 0; o < n.out_height; ++o)
        for (std::int64_t p = 0; p < n.out_width; ++p)
            for (std::int64_t c = 0; c < n.channels; ++c) {
                std::int64_t best = -1;
                for (std::int64_t i = first(o, n.in_height, n.out_height);
                     i < last(o, n.in_height, n.out_height); ++i)
                    for (std::int64_t j = first(p, n.in_width, n.out_width);
                         j < last(p, n.in_width, n.out_width); ++j) {
                        const std::int64_t at = (i * n.in_width + j) * n.channels + c;
                        if (best < 0 || (!std::isnan(x[best]) && !(x[at] <= x[best]))) best = at;
                    }
                visit((o * n.out_width + p) * n.channels + c, best);
            }
}

}  // namespace

void adaptive_max_forward(const AdaptiveMaxShape& shape, std::int64_t batch, const double* x, double* y) {
    const std::int64_t in = shape.in_height * shape.in_width * shape.channels;
    const std::int64_t out = shape.out_height * shape.out_width * shape.channels;
    for (std::int64_t s = 0; s < batch; ++s, x += in, y += out)
        for_each_maximum(shape, x, [&](std::int64_t to, std::int64_t best) { y[to] = x[best]; });
}

void adaptive_max_backward(const AdaptiveMaxShape& shape, std::int64_t batch, const double* x,
                           const double* dy, double* dx) {
    const std::int64_t in = shape.in_height * shape.in_width * shape.channels;
    const std::int64_t out = shape.out_height * shape.out_width * shape.channels;
    std::fill(dx, dx + batch * in, 0.0);
    for (std::int64_t s = 0; s < batch; ++s, x += in, dy += out, dx += in)
        for_each_maximum(shape, x, [&](std::int64_t to, std::int64_t best) { dx[best] += dy[to]; });
}

namespace {

// visit(offset in the sample, offset in the array that is broadcast)
template <class Visit>
void for_each_element(const Broadcast& b, const Visit& visit) {
    std::int64_t at = 0;
    for (std::int64_t i = 0; i < b.shape[0]; ++i)
        for (std::int64_t j = 0; j < b.shape[1]; ++j)
            for (std::int64_t k = 0; k < b.shape[2]; ++k)
                for (std::int64_t l = 0; l < b.shape[3]; ++l)
                    visit(at++, i * b.stride[0] + j * b.stride[1] + k * b.stride[2] + l * b.stride[3]);
}

std::int64_t sample_size(const Broadcast& b) { return b.shape[0] * b.shape[1] * b.shape[2] * b.shape[3]; }

}  // namespace

void prelu_forward(const Broadcast& broadcast, std::int64_t batch, const double* alpha, const double* x,
                   double* y) {
    const std::int64_t size = sample_size(broadcast);
    for (std::int64_t s = 0; s < batch; ++s, x += size, y += size)
        for_each_element(broadcast, [&](std::int64_t at, std::int64_t small) {
            y[at] = x[at] > 0 ? x[at] : alpha[small] * x[at];
        });
}

void prelu_backward(const Broadcast& broadcast, std::int64_t batch, const double* alpha, const double* x,
                    const double* dy, double* dx, double* dalpha) {
    const std::int64_t size = sample_size(broadcast);
    std::fill(dalpha, dalpha + broadcast.size, 0.0);
    for (std::int64_t s = 0; s < batch; ++s, x += size, dy += size, dx += size)
        for_each_element(broadcast, [&](std::int64_t at, std::int64_t small) {
            dx[at] = x[at] > 0 ? dy[at] : x[at] == 0 ? 0.0 : alpha[small] * dy[at];
            if (!(x[at] > 0)) dalpha[small] += x[at] * dy[at];
        });
}

namespace {

struct Moments {
    double mean = 0.0, inverse = 0.0;
    bool at_limit = false;
};

// visit(offset in the sample, index of gamma) for the numbers of (outer r, group g).
template <class Visit>
void for_each_of_group(const NormalizeShape& n, std::int64_t r, std::int64_t g, const Visit& visit) {
    for (std::int64_t p = 0; p < n.positions; ++p)
        for (std::int64_t c = 0; c < n.channels; ++c)
            visit(((r * n.positions + p) * n.groups + g) * n.channels + c, g * n.channels + c);
}

Moments moments(NormalizeKind kind, const NormalizeShape& n, double epsilon, const double* x, std::int64_t r,
                std::int64_t g) {
    const double count = static_cast<double>(n.positions * n.channels);
    Moments found;
    if (kind == NormalizeKind::standard) {
        for_each_of_group(n, r, g, [&](std::int64_t i, std::int64_t) { found.mean += x[i]; });
        found.mean /= count;
    }
    double squares = 0.0;
    for_each_of_group(
        n, r, g, [&](std::int64_t i, std::int64_t) { squares += (x[i] - found.mean) * (x[i] - found.mean); });
    if (kind == NormalizeKind::unit) {
        found.inverse = 1.0 / std::sqrt(squares);
        found.at_limit = found.inverse > 1.0 / epsilon;
        if (found.at_limit) found.inverse = 1.0 / epsilon;
    } else {
        found.inverse = 1.0 / std::sqrt(squares / count + epsilon);
    }
    return found;
}

std::int64_t size_of(const NormalizeShape& n) { return n.outer * n.positions * n.groups * n.channels; }

}  // namespace

void normalize_forward(NormalizeKind kind, const NormalizeShape& shape, double epsilon, std::int64_t batch,
                       const double* gamma, const double* beta, const double* x, double* y) {
    for (std::int64_t s = 0; s < batch; ++s, x += size_of(shape), y += size_of(shape))
        for (std::int64_t r = 0; r < shape.outer; ++r)
            for (std::int64_t g = 0; g < shape.groups; ++g) {
                const Moments m = moments(kind, shape, epsilon, x, r, g);
                for_each_of_group(shape, r, g, [&](std::int64_t i, std::int64_t j) {
                    y[i] = (x[i] - m.mean) * m.inverse * (gamma ? gamma[j] : 1.0) + (beta ? beta[j] : 0.0);
                });
            }
}

void normalize_backward(NormalizeKind kind, const NormalizeShape& shape, double epsilon, std::int64_t batch,
                        const double* gamma, const double* x, const double* dy, double* dx, double* dgamma,
                        double* dbeta) {
    const std::int64_t parameters = shape.groups * shape.channels;
    if (dgamma) std::fill(dgamma, dgamma + parameters, 0.0);
    if (dbeta) std::fill(dbeta, dbeta + parameters, 0.0);
    const double count = static_cast<double>(shape.positions * shape.channels);
    for (std::int64_t s = 0; s < batch; ++s, x += size_of(shape), dy += size_of(shape), dx += size_of(shape))
        for (std::int64_t r = 0; r < shape.outer; ++r)
            for (std::int64_t g = 0; g < shape.groups; ++g) {
                const Moments m = moments(kind, shape, epsilon, x, r, g);
                double sum = 0.0, product = 0.0;
                for_each_of_group(shape, r, g, [&](std::int64_t i, std::int64_t j) {
                    const double normal = (x[i] - m.mean) * m.inverse, d = dy[i] * (gamma ? gamma[j] : 1.0);
                    sum += d;
                    product += d * normal;
                    if (dgamma) dgamma[j] += dy[i] * normal;
                    if (dbeta) dbeta[j] += dy[i];
                });
                sum = kind == NormalizeKind::standard ? sum / count : 0.0;
                product = m.at_limit ? 0.0 : kind == NormalizeKind::unit ? product : product / count;
                for_each_of_group(shape, r, g, [&](std::int64_t i, std::int64_t j) {
                    const double normal = (x[i] - m.mean) * m.inverse, d = dy[i] * (gamma ? gamma[j] : 1.0);
                    dx[i] = m.inverse * (d - sum - normal * product);
                });
            }
}

double drawn(std::uint64_t seed, std::uint32_t layer, std::uint32_t step, std::int64_t sample, std::int64_t e,
             bool normal) {
    const std::array<std::uint32_t, 4> words =
        philox(seed, {static_cast<std::uint32_t>(e / 4), static_cast<std::uint32_t>(sample), step, layer});
    const auto top = [&](std::int64_t i) {
        return static_cast<double>(words[static_cast<std::size_t>(i)] >> 8);
    };
    const std::int64_t i = e % 4, even = i / 2 * 2;
    if (!normal) return top(i) * 0x1p-24;
    const double radius = std::sqrt(-2.0 * std::log((top(even) + 1.0) * 0x1p-24));
    const double angle = 2.0 * kPi * top(even + 1) * 0x1p-24;
    return radius * (i == even ? std::cos(angle) : std::sin(angle));
}

void noise(const Noise& a, std::int64_t batch, const double* x, double* y) {
    const double rate = static_cast<double>(a.rate), p = -1.7580993408473766;
    const double scale = 1.0 / std::sqrt((1.0 - rate) * (1.0 + rate * p * p));
    const std::int64_t size = sample_size(a.broadcast);
    for (std::int64_t s = 0; s < batch; ++s, x += size, y += size)
        for_each_element(a.broadcast, [&](std::int64_t at, std::int64_t small) {
            const std::int64_t sample = a.shared ? 0 : a.first_sample + s;
            const auto draw = [&](bool normal) {
                return drawn(a.seed, a.layer, a.step, sample, small, normal);
            };
            switch (a.kind) {
                case NoiseKind::dropout:
                    y[at] = draw(false) >= rate ? x[at] / (1.0 - rate) : 0.0;
                    break;
                case NoiseKind::alpha_dropout: {
                    const bool kept = draw(false) >= rate;
                    if (a.backward)
                        y[at] = kept ? scale * x[at] : 0.0;
                    else
                        y[at] = scale * (kept ? x[at] : p) - scale * p * rate;
                    break;
                }
                case NoiseKind::gaussian_dropout:
                    y[at] = x[at] * (1.0 + rate * draw(true));
                    break;
                case NoiseKind::gaussian:
                    y[at] = a.backward ? x[at] : x[at] + rate * draw(true);
                    break;
            }
        });
}

}  // namespace fastcnn::reference
