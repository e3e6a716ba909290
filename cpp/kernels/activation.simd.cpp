// Activations and softmax, one pass over memory where the function allows it.
#include "kernels/rows.h"
#include "kernels/softmax.h"
#include "simd/lanes.h"
#include "simd/math.h"
#include "simd/vec.h"

namespace fastcnn::FASTCNN_ISA {
namespace {

// y = f(a, b) elementwise over `batch` arrays of `size`; y may be a or b.
template <class F>
FASTCNN_INLINE void map(std::int64_t batch, std::int64_t size, const float* a, std::int64_t a_stride,
                        const float* b, std::int64_t b_stride, float* y, std::int64_t y_stride, const F& f) {
    if (a_stride == size && b_stride == size && y_stride == size) {  // one array, one tail
        size *= batch;
        batch = 1;
    }
    for (std::int64_t s = 0; s < batch; ++s) {
        const float* as = a + s * a_stride;
        const float* bs = b + s * b_stride;
        float* ys = y + s * y_stride;
        for_each_vector(size, [&](std::int64_t i, auto lanes) {
            lanes.store(ys + i, f(lanes.load(as + i), lanes.load(bs + i)));
        });
    }
}

template <class F>
FASTCNN_INLINE void forward(const ActivationForward& a, const F& f) {
    map(a.batch, a.size, a.x, a.x_stride, a.x, a.x_stride, a.y, a.y_stride, [&](Vec x, Vec) { return f(x); });
}

void copy(const ActivationForward& a) {
    if (a.x == a.y) return;
    for (std::int64_t s = 0; s < a.batch; ++s)
        std::memcpy(a.y + s * a.y_stride, a.x + s * a.x_stride,
                    static_cast<std::size_t>(a.size) * sizeof(float));
}

void activation_forward(const ActivationForward& a) {
    switch (a.kind) {
        case Activation::linear:
            return copy(a);
        case Activation::relu:
            return forward(a, [](Vec x) { return max(zero(), x); });  // in this order NaN stays
        case Activation::sigmoid:
            return forward(a, [](Vec x) { return sigmoid(x); });
        case Activation::tanh:
            return forward(a, [](Vec x) { return tanh(x); });
    }
}

template <class F>
FASTCNN_INLINE void backward(const ActivationBackward& a, const F& f) {
    map(a.batch, a.size, a.y, a.y_stride, a.dy, a.dy_stride, a.dy, a.dy_stride, f);
}

void activation_backward(const ActivationBackward& a) {
    const Vec one = set1(1.0f);
    switch (a.kind) {
        case Activation::linear:
            return;
        case Activation::relu:
            return backward(a, [](Vec y, Vec dy) { return select(not_le(y, zero()), dy, zero()); });
        case Activation::sigmoid:
            return backward(a, [&](Vec y, Vec dy) { return mul(dy, mul(y, sub(one, y))); });
        case Activation::tanh:
            // (1 - y)(1 + y): near saturation 1 - y is exact, 1 - y^2 is not.
            return backward(a, [&](Vec y, Vec dy) { return mul(dy, mul(sub(one, y), add(one, y))); });
    }
}

void softmax_row(const float* x, std::int64_t classes, float* y) {
    alignas(64) float buffer[kShortRow];
    const bool is_short = classes <= kShortRow;
    const float highest = row_max(x, classes);
    const RowSums sums =
        is_short
            ? row_exp(x, classes, highest, [&](std::int64_t i, auto, Vec e) { store(buffer + i, e); })
            : row_exp(x, classes, highest, [&](std::int64_t i, auto lanes, Vec e) { lanes.store(y + i, e); });
    const float* e = is_short ? buffer : y;
    const Vec inverse = set1(1.0f / (sums.top + sums.rest));
    for_each_vector(classes,
                    [&](std::int64_t i, auto lanes) { lanes.store(y + i, mul(lanes.load(e + i), inverse)); });
}

void log_softmax_row(const float* x, std::int64_t classes, float* y) {
    const float highest = row_max(x, classes);
    const RowSums sums = row_exp(x, classes, highest, [](std::int64_t, auto, Vec) {});
    const Vec shift = set1(highest), rest = set1(static_cast<float>(std::log(
                                         static_cast<double>(sums.top) + static_cast<double>(sums.rest))));
    for_each_vector(classes, [&](std::int64_t i, auto lanes) {
        lanes.store(y + i, sub(sub(lanes.load(x + i), shift), rest));
    });
}

void softmax_forward(const SoftmaxForward& a) {
    const auto row = a.log ? log_softmax_row : softmax_row;
    for (std::int64_t s = 0; s < a.batch; ++s)
        for (std::int64_t r = 0; r < a.rows; ++r)
            row(a.x + s * a.x_stride + r * a.classes, a.classes, a.y + s * a.y_stride + r * a.classes);
}

void log_softmax_row_backward(const float* y, std::int64_t classes, float* dy) {
    Vec sum = zero();
    for_each_vector(classes, [&](std::int64_t i, auto lanes) { sum = add(sum, lanes.load(dy + i)); });
    const Vec total = set1(reduce_add(sum));
    for_each_vector(classes, [&](std::int64_t i, auto lanes) {
        lanes.store(dy + i, fnma(exp(lanes.load(y + i)), total, lanes.load(dy + i)));
    });
}

void softmax_backward(const SoftmaxBackward& a) {
    for (std::int64_t s = 0; s < a.batch; ++s)
        for (std::int64_t r = 0; r < a.rows; ++r) {
            const float* y = a.y + s * a.y_stride + r * a.classes;
            float* dy = a.dy + s * a.dy_stride + r * a.classes;
            if (a.log) {
                log_softmax_row_backward(y, a.classes, dy);
                continue;
            }
            Vec sum = zero();
            for_each_vector(a.classes, [&](std::int64_t i, auto lanes) {
                sum = fma(lanes.load(dy + i), lanes.load(y + i), sum);
            });
            const Vec dot = set1(reduce_add(sum));
            for_each_vector(a.classes, [&](std::int64_t i, auto lanes) {
                lanes.store(dy + i, mul(lanes.load(y + i), sub(lanes.load(dy + i), dot)));
            });
        }
}

}  // namespace

const Kernel<ActivationForward> activation_forward_direct = {activation_forward};
const Kernel<ActivationBackward> activation_backward_direct = {activation_backward};
const Kernel<SoftmaxForward> softmax_forward_direct = {softmax_forward};
const Kernel<SoftmaxBackward> softmax_backward_direct = {softmax_backward};

}  // namespace fastcnn::FASTCNN_ISA
