// The oracle of batch normalisation, dropout, optimizers and reading.
#include "kernels/reference.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace fastcnn::reference {

std::array<std::uint32_t, 4> philox(std::uint64_t seed, std::array<std::uint32_t, 4> counter) {
    std::uint32_t key_0 = static_cast<std::uint32_t>(seed), key_1 = static_cast<std::uint32_t>(seed >> 32);
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t product_0 = std::uint64_t{0xD2511F53u} * counter[0];
        const std::uint64_t product_1 = std::uint64_t{0xCD9E8D57u} * counter[2];
        const std::uint32_t high_0 = static_cast<std::uint32_t>(product_0 >> 32);
        const std::uint32_t high_1 = static_cast<std::uint32_t>(product_1 >> 32);
        counter = {high_1 ^ counter[1] ^ key_0, static_cast<std::uint32_t>(product_1),
                   high_0 ^ counter[3] ^ key_1, static_cast<std::uint32_t>(product_0)};
        key_0 += 0x9E3779B9u;
        key_1 += 0xBB67AE85u;
    }
    return counter;
}

void dropout(double rate, std::uint64_t seed, std::uint32_t layer, std::uint32_t step,
             std::int64_t first_sample, std::int64_t batch, std::int64_t size, const double* x, double* y) {
    for (std::int64_t s = 0; s < batch; ++s)
        for (std::int64_t e = 0; e < size; ++e) {
            const auto block = philox(seed, {static_cast<std::uint32_t>(e / 4),
                                             static_cast<std::uint32_t>(first_sample + s), step, layer});
            const double uniform =
                static_cast<double>(block[static_cast<std::size_t>(e % 4)] >> 8) / 16777216.0;
            y[s * size + e] = uniform >= rate ? x[s * size + e] / (1.0 - rate) : 0.0;
        }
}

void sum_gradients(std::int64_t size, std::int64_t lanes, const double* lane, const double* param, double l1,
                   double l2, double* gradient, double* penalty, double* sum_squares) {
    *penalty = *sum_squares = 0.0;
    for (std::int64_t i = 0; i < size; ++i) {
        double sum = 0.0;
        for (std::int64_t k = 0; k < lanes; ++k) sum += lane[k * size + i];
        const double sign = param[i] > 0.0 ? 1.0 : param[i] < 0.0 ? -1.0 : 0.0;
        gradient[i] = sum + l1 * sign + 2.0 * l2 * param[i];
        *penalty += l1 * std::abs(param[i]) + l2 * param[i] * param[i];
        *sum_squares += gradient[i] * gradient[i];
    }
}

void sum_gradients_transposed(std::int64_t rows, std::int64_t columns, std::int64_t lanes, const double* lane,
                              double* gradient) {
    for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t c = 0; c < columns; ++c) {
            gradient[r * columns + c] = 0.0;
            for (std::int64_t k = 0; k < lanes; ++k)
                gradient[r * columns + c] += lane[(k * columns + c) * rows + r];
        }
}

namespace {

void sgd(const OptimizerUpdate& a, std::int64_t i, double g) {
    if (a.momentum == 0.0) {
        a.param[i] -= a.learning_rate * g;
        return;
    }
    a.m[i] = a.momentum * a.m[i] - a.learning_rate * g;
    a.param[i] += a.nesterov ? a.momentum * a.m[i] - a.learning_rate * g : a.m[i];
}

void adam(const OptimizerUpdate& a, std::int64_t i, double g) {
    a.m[i] += (g - a.m[i]) * (1.0 - a.beta_1);
    a.v[i] += (g * g - a.v[i]) * (1.0 - a.beta_2);
    double v = a.v[i];
    if (a.amsgrad) v = a.u[i] = std::max(a.u[i], v);
    a.param[i] -= a.m[i] * a.alpha / (std::sqrt(v) + a.epsilon);
}

void rmsprop(const OptimizerUpdate& a, std::int64_t i, double g) {
    a.v[i] = a.rho * a.v[i] + (1.0 - a.rho) * g * g;
    double denominator = a.v[i] + a.epsilon;
    if (a.centered) {
        a.u[i] = a.rho * a.u[i] + (1.0 - a.rho) * g;
        denominator = a.v[i] - a.u[i] * a.u[i] + a.epsilon;
    }
    double increment = a.learning_rate * g / std::sqrt(denominator);
    if (a.momentum > 0.0) increment = a.m[i] = a.momentum * a.m[i] + increment;
    a.param[i] -= increment;
}

void adadelta(const OptimizerUpdate& a, std::int64_t i, double g) {
    a.v[i] = a.rho * a.v[i] + (1.0 - a.rho) * g * g;
    const double change = g * std::sqrt(a.u[i] + a.epsilon) / std::sqrt(a.v[i] + a.epsilon);
    a.u[i] = a.rho * a.u[i] + (1.0 - a.rho) * change * change;
    a.param[i] -= a.learning_rate * change;
}

void adagrad(const OptimizerUpdate& a, std::int64_t i, double g) {
    a.v[i] += g * g;
    a.param[i] -= a.learning_rate * g / std::sqrt(a.v[i] + a.epsilon);
}

void adamax(const OptimizerUpdate& a, std::int64_t i, double g) {
    a.m[i] += (g - a.m[i]) * (1.0 - a.beta_1);
    a.v[i] = std::isnan(g) ? g : std::max(a.beta_2 * a.v[i], std::abs(g));
    a.param[i] -= a.alpha * a.m[i] / (a.v[i] + a.epsilon);
}

void nadam(const OptimizerUpdate& a, std::int64_t i, double g) {
    a.m[i] += (g - a.m[i]) * (1.0 - a.beta_1);
    a.v[i] += (g * g - a.v[i]) * (1.0 - a.beta_2);
    a.param[i] -= (a.alpha * a.m[i] + a.gradient_rate * g) / (std::sqrt(a.correction * a.v[i]) + a.epsilon);
}

void ftrl(const OptimizerUpdate& a, std::int64_t i, double g) {
    const double w = a.v[i] + g * g, p = a.param[i], power = a.power;
    a.m[i] +=
        g + 2.0 * a.shrinkage * p - (std::pow(w, power) - std::pow(a.v[i], power)) / a.learning_rate * p;
    a.v[i] = w;
    a.param[i] =
        (std::clamp(a.m[i], -a.l1, a.l1) - a.m[i]) / (std::pow(w, power) / a.learning_rate + 2.0 * a.l2);
}

void lion(const OptimizerUpdate& a, std::int64_t i, double g) {
    const double direction = a.beta_1 * a.m[i] + (1.0 - a.beta_1) * g;
    const double sign = direction > 0.0 ? 1.0 : direction < 0.0 ? -1.0 : direction;
    a.m[i] = a.beta_2 * a.m[i] + (1.0 - a.beta_2) * g;
    a.param[i] -= a.learning_rate * sign;
}

void schedule_free_adamw(const OptimizerUpdate& a, std::int64_t i, double g) {
    a.v[i] += (g * g - a.v[i]) * (1.0 - a.beta_2);
    double x = (a.param[i] - (1.0 - a.beta_1) * a.m[i]) / a.beta_1;
    a.m[i] -= a.alpha * g / (std::sqrt(a.correction * a.v[i]) + a.epsilon);
    x = (1.0 - a.mix) * x + a.mix * a.m[i];
    a.param[i] = (1.0 - a.beta_1) * a.m[i] + a.beta_1 * x;
}

void update_one(const OptimizerUpdate& a, std::int64_t i, double g) {
    switch (a.kind) {
        case OptimizerKind::sgd:
            return sgd(a, i, g);
        case OptimizerKind::adam:
            return adam(a, i, g);
        case OptimizerKind::rmsprop:
            return rmsprop(a, i, g);
        case OptimizerKind::adadelta:
            return adadelta(a, i, g);
        case OptimizerKind::adagrad:
            return adagrad(a, i, g);
        case OptimizerKind::adamax:
            return adamax(a, i, g);
        case OptimizerKind::nadam:
            return nadam(a, i, g);
        case OptimizerKind::ftrl:
            return ftrl(a, i, g);
        case OptimizerKind::lion:
            return lion(a, i, g);
        case OptimizerKind::schedule_free_adamw:
            return schedule_free_adamw(a, i, g);
    }
}

}  // namespace

void optimizer_update(const OptimizerUpdate& a) {
    for (std::int64_t i = 0; i < a.size; ++i) {
        double g = a.gradient[i] * a.gradient_scale;
        if (a.clip_value > 0.0) g = std::clamp(g, -a.clip_value, a.clip_value);
        a.param[i] -= a.param[i] * a.weight_decay * a.learning_rate;
        update_one(a, i, g);
    }
}

namespace {

template <class T>
double as_float(const void* x, std::int64_t i) {
    T value;  // read by bytes: x may be of any alignment
    std::memcpy(&value, static_cast<const char*>(x) + i * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
    return static_cast<double>(static_cast<float>(value));
}

// IEEE half precision: sign, 5 bits of exponent (bias 15), 10 bits of fraction.
double half(const void* x, std::int64_t i) {
    std::uint16_t bits;
    std::memcpy(&bits, static_cast<const char*>(x) + 2 * i, 2);
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const double sign = bits >> 15 ? -1.0 : 1.0;
    if (exponent == 31) return fraction ? std::nan("") : sign * INFINITY;
    if (exponent == 0) return sign * std::ldexp(fraction, -24);
    return sign * std::ldexp(1024 + fraction, exponent - 25);
}

double element(DType dtype, const void* x, std::int64_t i) {
    switch (dtype) {
        case DType::f32:
            return as_float<float>(x, i);
        case DType::f64:
            return as_float<double>(x, i);
        case DType::f16:
            return half(x, i);
        case DType::bf16: {
            std::uint16_t word;
            std::memcpy(&word, static_cast<const char*>(x) + 2 * i, 2);
            const std::uint32_t bits = std::uint32_t{word} << 16;
            return as_float<float>(&bits, 0);
        }
        case DType::u8:
            return as_float<std::uint8_t>(x, i);
        case DType::i8:
            return as_float<std::int8_t>(x, i);
        case DType::u16:
            return as_float<std::uint16_t>(x, i);
        case DType::i16:
            return as_float<std::int16_t>(x, i);
        case DType::u32:
            return as_float<std::uint32_t>(x, i);
        case DType::i32:
            return as_float<std::int32_t>(x, i);
        case DType::u64:
            return as_float<std::uint64_t>(x, i);
        case DType::i64:
            return as_float<std::int64_t>(x, i);
        case DType::boolean:
            return as_float<std::uint8_t>(x, i) != 0.0 ? 1.0 : 0.0;
    }
    return std::nan("");
}

}  // namespace

void read_samples(DType dtype, std::int64_t size, const void* x, double* y) {
    for (std::int64_t i = 0; i < size; ++i) y[i] = element(dtype, x, i);
}

}  // namespace fastcnn::reference
