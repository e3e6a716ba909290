// Accuracies and confusion counts. Matches are counted in integers where no weight makes them fractions.
#include "kernels/rows.h"
#include "simd/lanes.h"
#include "simd/vec.h"

namespace fastcnn::FASTCNN_ISA {
namespace {

// Position of the first NaN, else of the first maximum, as numpy.argmax: the maximum itself first, then the
// first lane that equals it, so that no indices travel through the registers.
std::int64_t argmax(const float* x, std::int64_t n) {
    const Vec lowest = set1(-__builtin_inff());
    Vec highest = lowest;
    bool any_nan = false;
    for_each_vector(n, [&](std::int64_t i, auto lanes) {
        const Vec v = lanes.load(x + i);
        any_nan |= lanes.bits(is_nan(v)) != 0;
        highest = max(lanes.keep(v, lowest), highest);
    });
    const Vec maximum = set1(reduce_max(highest));
    std::int64_t found = -1;
    for_each_vector(n, [&](std::int64_t i, auto lanes) {
        if (found >= 0) return;
        const Vec v = lanes.load(x + i);
        const unsigned hits = lanes.bits(any_nan ? is_nan(v) : eq(v, maximum));
        if (hits) found = i + __builtin_ctz(hits);
    });
    return found;
}

// Elements whose decision prediction > threshold is what the target says.
std::int64_t binary_matches(const float* prediction, const float* target, std::int64_t n, float threshold) {
    const Vec limit = set1(threshold), one = set1(1.0f);
    std::int64_t matches = 0;
    for_each_vector(n, [&](std::int64_t i, auto lanes) {
        const Vec decision = select(gt(lanes.load(prediction + i), limit), one, zero());
        matches += __builtin_popcount(lanes.bits(eq(decision, lanes.load(target + i))));
    });
    return matches;
}

// Rows of sample s that match; for binary accuracy elements, of which `classes` make one.
std::int64_t sample_matches(const Accuracy& a, std::int64_t s) {
    const float* prediction = a.prediction + s * a.prediction_stride;
    if (a.kind == AccuracyKind::binary)
        return binary_matches(prediction, a.target + s * a.target_stride, a.rows * a.classes, a.threshold);
    std::int64_t matches = 0;
    for (std::int64_t r = 0; r < a.rows; ++r) {
        const std::int64_t wanted = a.kind == AccuracyKind::categorical
                                        ? argmax(a.target + s * a.target_stride + r * a.classes, a.classes)
                                        : a.target_class[s * a.target_stride + r];
        matches += argmax(prediction + r * a.classes, a.classes) == wanted;
    }
    return matches;
}

void accuracy(const Accuracy& a) {
    double total = 0.0, count = 0.0;
    for (std::int64_t s = 0; s < a.batch; ++s) {
        const double weight = a.weight ? static_cast<double>(a.weight[s]) : 1.0;
        total += weight * static_cast<double>(sample_matches(a, s));
        count += weight * static_cast<double>(a.rows);
    }
    if (a.kind == AccuracyKind::binary) total /= static_cast<double>(a.classes);
    *a.total += total;
    *a.count += count;
}

// Adds the weights of the elements that are positive at `threshold`, apart for true and false targets.
// `counts` are {true, false}. Every sum of this file adds in the same order with zeros in place of what it
// leaves out; addition is monotone, so a part never exceeds its whole and no difference below is negative.
void add_positives(const ConfusionCounts& a, float threshold, double (&counts)[2]) {
    const Vec limit = set1(threshold);
    if (!a.weight) {
        std::int64_t hits[2] = {0, 0};
        for_each_vector(a.size, [&](std::int64_t i, auto lanes) {
            const unsigned positive = lanes.bits(gt(lanes.load(a.prediction + i), limit));
            const unsigned truth = lanes.bits(differs(lanes.load(a.target + i), zero()));
            hits[0] += __builtin_popcount(positive & truth);
            hits[1] += __builtin_popcount(positive & ~truth);
        });
        counts[0] = static_cast<double>(hits[0]);
        counts[1] = static_cast<double>(hits[1]);
        return;
    }
    Sum64 of_true, of_false;
    for_each_vector(a.size, [&](std::int64_t i, auto lanes) {
        const Vec weight = select(gt(lanes.load(a.prediction + i), limit), lanes.load(a.weight + i), zero());
        const Mask truth = differs(lanes.load(a.target + i), zero());
        of_true.add(lanes.keep(select(truth, weight, zero())));
        of_false.add(lanes.keep(select(truth, zero(), weight)));
    });
    counts[0] = of_true.total();
    counts[1] = of_false.total();
}

// {weight of true targets, weight of false ones}
void add_targets(const ConfusionCounts& a, double (&counts)[2]) {
    Sum64 of_true, of_false;
    const Vec one = set1(1.0f);
    for_each_vector(a.size, [&](std::int64_t i, auto lanes) {
        const Vec weight = lanes.keep(a.weight ? lanes.load(a.weight + i) : one);
        const Mask truth = differs(lanes.load(a.target + i), zero());
        of_true.add(select(truth, weight, zero()));
        of_false.add(select(truth, zero(), weight));
    });
    counts[0] = of_true.total();
    counts[1] = of_false.total();
}

// One pass over the elements a threshold: they stay in L1 or L2, and a pass is two loads and a comparison a
// vector.
void confusion_counts(const ConfusionCounts& a) {
    double all[2];
    add_targets(a, all);
    for (std::int64_t k = 0; k < a.thresholds; ++k) {
        double positive[2];
        add_positives(a, a.threshold[k], positive);
        a.tp[k] += positive[0];
        a.fp[k] += positive[1];
        a.fn[k] += all[0] - positive[0];
        a.tn[k] += all[1] - positive[1];
    }
}

}  // namespace

const Kernel<Accuracy> accuracy_direct = {accuracy};
const Kernel<ConfusionCounts> confusion_counts_direct = {confusion_counts};

}  // namespace fastcnn::FASTCNN_ISA
