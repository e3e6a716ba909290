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

RowResult error_row(const Loss& a, const double* prediction, const double* target) {
    RowResult row;
    const double mean = 1.0 / static_cast<double>(a.classes);
    for (std::int64_t i = 0; i < a.classes; ++i) {
        const double error = prediction[i] - target[i];
        const bool squared = a.kind == LossKind::mean_squared_error;
        row.loss += mean * (squared ? error * error : std::abs(error));
        // d|e| / de = sign(e), 0 at 0
        const double sign = error > 0.0 ? 1.0 : error < 0.0 ? -1.0 : error;
        row.grad.push_back(mean * (squared ? 2.0 * error : sign));
        row.probability.push_back(prediction[i]);
    }
    return row;
}

RowResult row_of(const Loss& a, std::int64_t r) {
    const double* prediction = a.prediction + r * a.classes;
    const double* target = a.target ? a.target + r * a.classes : nullptr;
    std::vector<double> t(static_cast<std::size_t>(a.classes), 0.0);
    switch (a.kind) {
        case LossKind::binary_crossentropy:
            return binary_row(a, prediction, target);
        case LossKind::categorical_crossentropy:
            for (std::size_t i = 0; i < t.size(); ++i)
                t[i] = target[i] * (1.0 - a.label_smoothing) +
                       a.label_smoothing / static_cast<double>(a.classes);
            return categorical_row(a, prediction, t);
        case LossKind::sparse_categorical_crossentropy:
            t[static_cast<std::size_t>(a.target_class[r])] = 1.0;
            return categorical_row(a, prediction, t);
        default:
            return error_row(a, prediction, target);
    }
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
