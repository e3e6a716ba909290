// The oracle of activations, losses and metrics.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/reference.h"

namespace fastcnn::reference {

namespace {

constexpr double kClip = 1e-7;  // Keras's epsilon: probabilities are kept this far from 0 and 1

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

double clip(double p) { return std::clamp(p, kClip, 1.0 - kClip); }  // NaN stays

bool clipped(double p) { return p < kClip || p > 1.0 - kClip; }

// The first NaN, or the first maximum.
std::int64_t argmax(std::int64_t n, const double* x) {
    const double* nan = std::find_if(x, x + n, [](double value) { return std::isnan(value); });
    return (nan != x + n ? nan : std::max_element(x, x + n)) - x;
}

// One row of a loss: its value, the gradient with respect to the prediction, and the probabilities.
struct RowResult {
    double loss = 0.0;
    std::vector<double> grad, probability;
};

RowResult binary_row(const Loss& a, const double* prediction, const double* target) {
    RowResult row;
    const double mean = 1.0 / static_cast<double>(a.classes);
    for (std::int64_t i = 0; i < a.classes; ++i) {
        const double x = prediction[i], t = target[i] * (1.0 - a.label_smoothing) + a.label_smoothing / 2.0;
        const double p = a.from_logits ? sigmoid(x) : clip(x);
        row.probability.push_back(p);
        if (a.from_logits) {
            // -(t log p + (1 - t) log(1 - p)) with log(1 + exp(-|x|)), which cannot overflow
            row.loss += mean * ((x < 0.0 ? 0.0 : x) - x * t + std::log1p(std::exp(-std::abs(x))));
            row.grad.push_back(mean * (p - t));
        } else {
            row.loss -= mean * (t * std::log(p) + (1.0 - t) * std::log1p(-p));
            row.grad.push_back(clipped(x) ? 0.0 : mean * (p - t) / (p * (1.0 - p)));
        }
    }
    return row;
}

// -sum_i t_i log p_i
RowResult categorical_row(const Loss& a, const double* prediction, const std::vector<double>& t) {
    const std::size_t classes = t.size();
    RowResult row;
    row.grad.assign(classes, 0.0);
    row.probability.assign(classes, 0.0);
    if (a.from_logits) {
        softmax_forward(1, a.classes, prediction, row.probability.data());
        const double highest = *std::max_element(prediction, prediction + a.classes);
        double sum = 0.0, weight = 0.0;
        for (std::size_t i = 0; i < classes; ++i) sum += std::exp(prediction[i] - highest), weight += t[i];
        for (std::size_t i = 0; i < classes; ++i) {
            row.loss -= t[i] * (prediction[i] - highest - std::log(sum));
            row.grad[i] = weight * row.probability[i] - t[i];
        }
        return row;
    }
    double sum = 0.0, dot = 0.0;
    for (std::size_t i = 0; i < classes; ++i) sum += prediction[i];
    // q_i = prediction_i / sum, p_i = clip(q_i): d loss / d q_i = -t_i / p_i where the clip does not hold;
    // d loss / d prediction_j = (d loss / d q_j - sum_i q_i d loss / d q_i) / sum
    std::vector<double> grad_q(classes, 0.0);
    for (std::size_t i = 0; i < classes; ++i) {
        const double q = prediction[i] / sum, p = clip(q);
        row.probability[i] = q;
        row.loss -= t[i] * std::log(p);
        if (!clipped(q)) grad_q[i] = -t[i] / p;
        dot += q * grad_q[i];
    }
    for (std::size_t i = 0; i < classes; ++i) row.grad[i] = (grad_q[i] - dot) / sum;
    return row;
}

// Value and derivative of one element, for losses that are their mean (kl_divergence: sum).
struct ElementResult {
    double loss, slope;
};

ElementResult element_of(const Loss& a, double p, double t) {
    const double d = p - t, sign = d > 0.0 ? 1.0 : d < 0.0 ? -1.0 : d;  // d|e| / de = sign(e), 0 at 0
    switch (a.kind) {
        case LossKind::mean_squared_error:
            return {d * d, 2.0 * d};
        case LossKind::mean_absolute_error:
            return {std::abs(d), sign};
        case LossKind::mean_absolute_percentage_error: {
            const double scale = 100.0 / std::max(std::abs(t), kClip);
            return {scale * std::abs(d), scale * sign};
        }
        case LossKind::mean_squared_logarithmic_error: {
            const double above = p < kClip ? kClip : p;
            const double difference = std::log(1.0 + above) - std::log(1.0 + std::max(t, kClip));
            return {difference * difference, p < kClip ? 0.0 : 2.0 * difference / (1.0 + above)};
        }
        case LossKind::huber:
            if (std::abs(d) > a.a) return {a.a * std::abs(d) - 0.5 * a.a * a.a, a.a * sign};
            return {0.5 * d * d, d};
        case LossKind::log_cosh:
            return {std::abs(d) + std::log((1.0 + std::exp(-2.0 * std::abs(d))) / 2.0), std::tanh(d)};
        case LossKind::poisson:
            return {p - t * std::log(p + kClip), 1.0 - t / (p + kClip)};
        case LossKind::hinge:
        case LossKind::squared_hinge: {
            const double margin = 1.0 - t * p <= 0.0 ? 0.0 : 1.0 - t * p;
            if (a.kind == LossKind::squared_hinge) return {margin * margin, -2.0 * t * margin};
            return {margin, margin == 0.0 ? 0.0 : std::isnan(margin) ? margin : -t};
        }
        default: {  // kl_divergence
            const double q = std::clamp(p, kClip, 1.0), target = std::clamp(t, kClip, 1.0);
            return {target * std::log(target / q), p < kClip || p > 1.0 ? 0.0 : -target / q};
        }
    }
}

RowResult elementwise_row(const Loss& a, const double* prediction, const double* target) {
    RowResult row;
    const bool is_sum = a.kind == LossKind::kl_divergence;
    const double mean = is_sum ? 1.0 : 1.0 / static_cast<double>(a.classes);
    for (std::int64_t i = 0; i < a.classes; ++i) {
        const ElementResult element = element_of(a, prediction[i], target[i]);
        row.loss += mean * element.loss;
        row.grad.push_back(mean * element.slope);
        row.probability.push_back(prediction[i]);
    }
    return row;
}

RowResult binary_focal_row(const Loss& a, const double* prediction, const double* target) {
    RowResult row;
    const double mean = 1.0 / static_cast<double>(a.classes);
    for (std::int64_t i = 0; i < a.classes; ++i) {
        const double t = target[i] * (1.0 - a.label_smoothing) + a.label_smoothing / 2.0;
        const double p = a.from_logits ? sigmoid(prediction[i]) : prediction[i], c = clip(p);
        const double entropy = -(t * std::log(c) + (1.0 - t) * std::log(1.0 - c));
        const double entropy_slope = clipped(p) ? 0.0 : (p - t) / (p * (1.0 - p));
        const double miss = 1.0 - (t * p + (1.0 - t) * (1.0 - p));
        const double factor = std::pow(miss, a.a);
        const double factor_slope = a.a == 0.0 ? 0.0 : a.a * std::pow(miss, a.a - 1.0) * (1.0 - 2.0 * t);
        const double w = mean * (a.b < 0.0 ? 1.0 : t * a.b + (1.0 - t) * (1.0 - a.b));
        row.loss += w * factor * entropy;
        row.grad.push_back(w * (factor_slope * entropy + factor * entropy_slope) *
                           (a.from_logits ? p * (1.0 - p) : 1.0));
        row.probability.push_back(p);
    }
    return row;
}

RowResult categorical_focal_row(const Loss& a, const double* prediction, const std::vector<double>& t) {
    const std::size_t classes = t.size();
    RowResult row;
    std::vector<double> grad_q(classes, 0.0);
    row.probability.assign(classes, 0.0);
    double sum = 0.0, dot = 0.0;
    for (std::size_t i = 0; i < classes; ++i) sum += prediction[i];
    if (a.from_logits)
        softmax_forward(1, a.classes, prediction, row.probability.data());
    else
        for (std::size_t i = 0; i < classes; ++i) row.probability[i] = prediction[i] / sum;
    for (std::size_t i = 0; i < classes; ++i) {
        const double q = row.probability[i], c = clip(q), w = a.class_weights ? a.class_weights[i] : a.b;
        row.loss -= w * std::pow(1.0 - c, a.a) * t[i] * std::log(c);
        const double by_factor = a.a == 0.0 ? 0.0 : a.a * std::pow(1.0 - c, a.a - 1.0) * std::log(c);
        if (!clipped(q)) grad_q[i] = w * t[i] * (by_factor - std::pow(1.0 - c, a.a) / c);
        dot += q * grad_q[i];
    }
    for (std::size_t i = 0; i < classes; ++i)
        row.grad.push_back((grad_q[i] - dot) * (a.from_logits ? row.probability[i] : 1.0 / sum));
    return row;
}

RowResult categorical_hinge_row(const Loss& a, const double* prediction, const double* target) {
    RowResult row;
    row.probability.assign(prediction, prediction + a.classes);
    double positive = 0.0;
    std::vector<double> negative;
    for (std::int64_t i = 0; i < a.classes; ++i) {
        positive += target[i] * prediction[i];
        negative.push_back((1.0 - target[i]) * prediction[i]);
    }
    const std::int64_t first = argmax(a.classes, negative.data());
    const double margin = negative[static_cast<std::size_t>(first)] - positive + 1.0;
    row.loss = margin <= 0.0 ? 0.0 : margin;
    for (std::int64_t i = 0; i < a.classes; ++i)
        row.grad.push_back(margin <= 0.0        ? 0.0
                           : std::isnan(margin) ? margin
                                                : (i == first ? 1.0 - target[i] : 0.0) - target[i]);
    return row;
}

RowResult cosine_row(const Loss& a, const double* prediction, const double* target) {
    RowResult row;
    row.probability.assign(prediction, prediction + a.classes);
    double dot = 0.0, p_squares = 0.0, t_squares = 0.0;
    for (std::int64_t i = 0; i < a.classes; ++i) {
        dot += prediction[i] * target[i];
        p_squares += prediction[i] * prediction[i];
        t_squares += target[i] * target[i];
    }
    const bool is_constant = 1.0 / std::sqrt(p_squares) > 1.0 / kClip;
    const double n = is_constant ? 1.0 / kClip : 1.0 / std::sqrt(p_squares);
    const double m = 1.0 / std::sqrt(t_squares) > 1.0 / kClip ? 1.0 / kClip : 1.0 / std::sqrt(t_squares);
    row.loss = -m * n * dot;
    for (std::int64_t i = 0; i < a.classes; ++i)
        row.grad.push_back(-n * m * target[i] + (is_constant ? 0.0 : n * n * n * m * dot * prediction[i]));
    return row;
}

RowResult generalized_row(const Loss& a, const double* prediction, std::int64_t target_class) {
    RowResult row;
    row.probability.assign(prediction, prediction + a.classes);
    row.grad.assign(static_cast<std::size_t>(a.classes), 0.0);
    row.loss = (1.0 - std::pow(prediction[target_class], a.a)) / a.a;
    row.grad[static_cast<std::size_t>(target_class)] = -std::pow(prediction[target_class], a.a - 1.0);
    return row;
}

// `r`: of all samples' rows.
RowResult row_of(const Loss& a, std::int64_t r) {
    const double* prediction = a.prediction + r * a.classes;
    const double* target = a.target ? a.target + r * a.classes : nullptr;
    std::vector<double> t(static_cast<std::size_t>(a.classes), 0.0);
    if (target)
        for (std::size_t i = 0; i < t.size(); ++i)
            t[i] = target[i] * (1.0 - a.label_smoothing) + a.label_smoothing / static_cast<double>(a.classes);
    std::int64_t target_class = a.target_class ? a.target_class[r] : 0;
    const bool is_ignored = a.ignores && target_class == a.ignored_class;
    if (is_ignored) target_class = 0;
    if (a.target_class) t[static_cast<std::size_t>(target_class)] = 1.0;
    RowResult row;
    switch (a.kind) {
        case LossKind::binary_crossentropy:
            return binary_row(a, prediction, target);
        case LossKind::binary_focal_crossentropy:
            return binary_focal_row(a, prediction, target);
        case LossKind::categorical_crossentropy:
            return categorical_row(a, prediction, t);
        case LossKind::categorical_focal_crossentropy:
            return categorical_focal_row(a, prediction, t);
        case LossKind::categorical_hinge:
            return categorical_hinge_row(a, prediction, target);
        case LossKind::cosine_similarity:
            return cosine_row(a, prediction, target);
        case LossKind::sparse_categorical_crossentropy:
            row = categorical_row(a, prediction, t);
            break;
        case LossKind::categorical_generalized_cross_entropy:
            row = generalized_row(a, prediction, target_class);
            break;
        default:
            return elementwise_row(a, prediction, target);
    }
    if (is_ignored) {
        row.loss = 0.0;
        std::fill(row.grad.begin(), row.grad.end(), 0.0);
    }
    return row;
}

}  // namespace

void activation_forward(Activation kind, std::int64_t size, const double* x, double* y) {
    for (std::int64_t i = 0; i < size; ++i) switch (kind) {
            case Activation::linear:
                y[i] = x[i];
                break;
            case Activation::relu:
                y[i] = x[i] <= 0.0 ? 0.0 : x[i];
                break;
            case Activation::sigmoid:
                y[i] = sigmoid(x[i]);
                break;
            case Activation::tanh:
                y[i] = std::tanh(x[i]);
                break;
        }
}

void activation_backward(Activation kind, std::int64_t size, const double* y, double* dy) {
    for (std::int64_t i = 0; i < size; ++i) switch (kind) {
            case Activation::linear:
                break;
            case Activation::relu:
                if (y[i] <= 0.0) dy[i] = 0.0;
                break;
            case Activation::sigmoid:
                dy[i] *= y[i] * (1.0 - y[i]);
                break;
            case Activation::tanh:
                dy[i] *= 1.0 - y[i] * y[i];
                break;
        }
}

void softmax_forward(std::int64_t rows, std::int64_t classes, const double* x, double* y, bool log) {
    for (std::int64_t r = 0; r < rows; ++r, x += classes, y += classes) {
        const double highest = *std::max_element(x, x + classes);
        double sum = 0.0;
        for (std::int64_t i = 0; i < classes; ++i) sum += y[i] = std::exp(x[i] - highest);
        for (std::int64_t i = 0; i < classes; ++i) y[i] = log ? x[i] - highest - std::log(sum) : y[i] / sum;
    }
}

void softmax_backward(std::int64_t rows, std::int64_t classes, const double* y, double* dy, bool log) {
    for (std::int64_t r = 0; r < rows; ++r, y += classes, dy += classes) {
        double dot = 0.0;
        for (std::int64_t i = 0; i < classes; ++i) dot += log ? dy[i] : dy[i] * y[i];
        for (std::int64_t i = 0; i < classes; ++i)
            dy[i] = log ? dy[i] - std::exp(y[i]) * dot : y[i] * (dy[i] - dot);
    }
}

double loss(const Loss& a) {
    double total = 0.0;
    for (std::int64_t r = 0; r < a.batch * a.rows; ++r) {
        const RowResult row = row_of(a, r);
        const double weight = a.weight ? a.weight[r / a.rows] : 1.0;
        total += weight * row.loss;
        for (std::int64_t i = 0; i < a.classes; ++i) {
            const std::size_t k = static_cast<std::size_t>(i);
            if (a.grad) a.grad[r * a.classes + i] = a.scale * weight * row.grad[k];
            if (a.activated) a.activated[r * a.classes + i] = row.probability[k];
        }
    }
    return total;
}

void accuracy(const Accuracy& a, double* total, double* count) {
    *total = *count = 0.0;
    for (std::int64_t r = 0; r < a.batch * a.rows; ++r) {
        const double* prediction = a.prediction + r * a.classes;
        const double* target = a.target ? a.target + r * a.classes : nullptr;
        double match = 0.0;
        if (a.kind == AccuracyKind::binary) {
            for (std::int64_t i = 0; i < a.classes; ++i)
                if ((prediction[i] > a.threshold ? 1.0 : 0.0) == target[i]) match += 1.0;
            match /= static_cast<double>(a.classes);
        } else {
            const std::int64_t wanted =
                a.kind == AccuracyKind::categorical ? argmax(a.classes, target) : a.target_class[r];
            match = argmax(a.classes, prediction) == wanted ? 1.0 : 0.0;
        }
        const double weight = a.weight ? a.weight[r / a.rows] : 1.0;
        *total += weight * match;
        *count += weight;
    }
}

void confusion_counts(std::int64_t size, std::int64_t thresholds, const double* prediction,
                      const double* target, const double* weight, const double* threshold, double* tp,
                      double* fp, double* fn, double* tn) {
    for (std::int64_t k = 0; k < thresholds; ++k) {
        tp[k] = fp[k] = fn[k] = tn[k] = 0.0;
        for (std::int64_t i = 0; i < size; ++i) {
            const bool positive = prediction[i] > threshold[k], truth = target[i] != 0.0;
            double& count = positive ? (truth ? tp[k] : fp[k]) : (truth ? fn[k] : tn[k]);
            count += weight ? weight[i] : 1.0;
        }
    }
}

}  // namespace fastcnn::reference
