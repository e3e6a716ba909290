#include "engine/whole_rules.h"

#include <algorithm>
#include <cfloat>
#include <cmath>

namespace fastcnn {

namespace {

double mean_of_squares(const float* values, std::int64_t size) {
    double sum = 0;
    for (std::int64_t i = 0; i < size; ++i) sum += static_cast<double>(values[i]) * values[i];
    return size ? sum / static_cast<double>(size) : 0;
}

}  // namespace

void lamb_update(const OptimizerSpec&, const Updater::Step& step, const WholeUpdate& a) {
    const OptimizerUpdate& rule = step.rule;
    const std::int64_t size = size_of(a.shape);
    const double t = step.updates_done + 1;
    const float fresh_1 = static_cast<float>(1.0 - rule.beta_1),
                fresh_2 = static_cast<float>(1.0 - rule.beta_2);
    const float correction_1 = static_cast<float>(1.0 / (1.0 - std::pow(rule.beta_1, t)));
    const float correction_2 = static_cast<float>(1.0 / (1.0 - std::pow(rule.beta_2, t)));
    double params = 0, updates = 0;
    for (std::int64_t i = 0; i < size; ++i) {
        const float g = a.gradient[i];
        a.m[i] += (g - a.m[i]) * fresh_1;
        a.v[i] += (g * g - a.v[i]) * fresh_2;
        a.gradient[i] = a.m[i] * correction_1 / (std::sqrt(a.v[i] * correction_2) + rule.epsilon);
        params += static_cast<double>(a.param[i]) * a.param[i];
        updates += static_cast<double>(a.gradient[i]) * a.gradient[i];
    }
    const double ratio = params > 0 && updates > 0 ? std::sqrt(params / updates) : 1.0;
    const float rate = static_cast<float>(ratio * rule.learning_rate);
    for (std::int64_t i = 0; i < size; ++i) a.param[i] -= rate * a.gradient[i];
}

void adafactor_update(const OptimizerSpec& spec, const Updater::Step& step, const WholeUpdate& a) {
    const std::int64_t size = size_of(a.shape);
    const double t = step.updates_done + 1;
    const double rho = std::min<double>(step.rule.learning_rate, 1.0 / std::sqrt(t));
    const double alpha = std::max(spec.epsilon_2, std::sqrt(mean_of_squares(a.param, size))) * rho;
    const double kept = 1.0 - std::pow(t, spec.beta_2_decay), fresh = 1.0 - kept;
    const auto square = [&](std::int64_t i) {
        return static_cast<double>(a.gradient[i]) * a.gradient[i] + spec.epsilon_1;
    };
    if (a.shape.size() < 2) {
        for (std::int64_t i = 0; i < size; ++i)
            a.v[i] = static_cast<float>(kept * a.v[i] + fresh * square(i));
    } else {
        const std::int64_t columns = a.shape.back(), rows = a.shape[a.shape.size() - 2];
        for (std::int64_t first = 0; first < size; first += rows * columns) {
            float* of_rows = a.m + first / columns;
            float* of_columns = a.u + first / rows;
            double mean = 0;
            for (std::int64_t r = 0; r < rows; ++r) {
                double sum = 0;
                for (std::int64_t c = 0; c < columns; ++c) sum += square(first + r * columns + c);
                of_rows[r] =
                    static_cast<float>(kept * of_rows[r] + fresh * sum / static_cast<double>(columns));
                mean += of_rows[r];
            }
            mean /= static_cast<double>(rows);
            for (std::int64_t c = 0; c < columns; ++c) {
                double sum = 0;
                for (std::int64_t r = 0; r < rows; ++r) sum += square(first + r * columns + c);
                of_columns[c] =
                    static_cast<float>(kept * of_columns[c] + fresh * sum / static_cast<double>(rows));
            }
            for (std::int64_t r = 0; r < rows; ++r) {
                const double share = of_rows[r] / mean;
                for (std::int64_t c = 0; c < columns; ++c)
                    a.v[first + r * columns + c] = static_cast<float>(share * of_columns[c]);
            }
        }
    }
    // Where a row and a column have no gradient their means' product is below the least float: 0 / 0 would be
    // NaN.
    for (std::int64_t i = 0; i < size; ++i) a.gradient[i] /= std::sqrt(std::max(a.v[i], FLT_MIN));
    const double clip = std::max(1.0, std::sqrt(mean_of_squares(a.gradient, size)) / spec.clip_threshold);
    const float rate = static_cast<float>(alpha / clip);
    for (std::int64_t i = 0; i < size; ++i) a.param[i] -= rate * a.gradient[i];
}

namespace {

void transpose(const float* x, std::int64_t rows, std::int64_t columns, float* y) {
    for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t c = 0; c < columns; ++c) y[c * rows + r] = x[r * columns + c];
}

// y = x matrix for x of (rows, n) and a matrix of (n, n); packed: packed_floats(n) floats.
std::int64_t packed_floats(std::int64_t n) {
    return n * ((n + kPackedGroup - 1) / kPackedGroup * kPackedGroup);
}

void product(const float* x, std::int64_t rows, std::int64_t n, const float* matrix, float* packed,
             float* y) {
    DenseForward d;
    d.inputs = d.units = n;
    d.batch = rows;
    d.x = x;
    d.kernel = packed;
    d.y = y;
    d.x_stride = d.y_stride = n;
    const Choice<DenseForward> choice = choose(d, active_isa(), "direct");
    choice.row->kernel->pack(d, matrix, packed, 0, 1);
    choice(d);
}

// The nearest matrix with orthonormal columns, roughly, to x of (rows, columns), rows >= columns, in place:
// steps of x <- a x + x (b s + c s^2) with s = x^T x, from x over its norm.
void make_orthogonal(const OptimizerSpec& spec, std::int64_t rows, std::int64_t n, float* x, float* scratch) {
    const std::int64_t size = rows * n;
    const float scale =
        static_cast<float>(1.0 / (std::sqrt(mean_of_squares(x, size) * static_cast<double>(size)) + 1e-7));
    for (std::int64_t i = 0; i < size; ++i) x[i] *= scale;
    const float factor = static_cast<float>(spec.muon_a), b = static_cast<float>(spec.muon_b);
    const float c = static_cast<float>(spec.muon_c);
    float *squares = scratch, *polynomial = squares + n * n, *moved = polynomial + n * n,
          *packed = moved + size;
    for (std::int64_t s = 0; s < spec.newton_schulz_steps; ++s) {
        DenseGradKernel d;
        d.inputs = d.units = d.last_input = n;
        d.batch = rows;
        d.x = d.dy = x;
        d.x_stride = d.dy_stride = n;
        d.dkernel = squares;
        choose(d)(d);
        product(squares, n, n, squares, packed, polynomial);
        for (std::int64_t i = 0; i < n * n; ++i) polynomial[i] = b * squares[i] + c * polynomial[i];
        product(x, rows, n, polynomial, packed, moved);
        for (std::int64_t i = 0; i < size; ++i) x[i] = factor * x[i] + moved[i];
    }
}

}  // namespace

std::int64_t muon_scratch(const Shape& shape) {
    const std::int64_t n = std::min(shape[0], shape[1]);
    return 2 * shape[0] * shape[1] + 2 * n * n + packed_floats(n);
}

void muon_update(const OptimizerSpec& spec, const Updater::Step& step, const WholeUpdate& a) {
    const std::int64_t rows = a.shape[0], columns = a.shape[1], size = rows * columns;
    const float momentum = step.rule.momentum;
    for (std::int64_t i = 0; i < size; ++i) {
        a.m[i] += a.gradient[i] + a.m[i] * (momentum - 1.0f);
        a.gradient[i] = step.rule.nesterov ? a.gradient[i] + momentum * a.m[i] : a.m[i];
    }
    if (rows < columns) {
        float* turned = a.scratch;
        transpose(a.gradient, rows, columns, turned);
        make_orthogonal(spec, columns, rows, turned, turned + size);
        transpose(turned, columns, rows, a.gradient);
    } else {
        make_orthogonal(spec, rows, columns, a.gradient, a.scratch);
    }
    double rate = step.rule.learning_rate;
    if (spec.rms_rate != 0) rate *= spec.rms_rate * std::sqrt(static_cast<double>(std::max(rows, columns)));
    for (std::int64_t i = 0; i < size; ++i) a.param[i] -= static_cast<float>(rate) * a.gradient[i];
}

}  // namespace fastcnn
