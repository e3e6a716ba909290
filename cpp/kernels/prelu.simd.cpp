// ReLU with a trained slope below zero.
#include "kernels/broadcast.h"
#include "kernels/rows.h"
#include "simd/vec.h"

namespace fastcnn::FASTCNN_ISA {
namespace {

void prelu_forward(const PReluForward& a) {
    for (std::int64_t s = 0; s < a.batch; ++s)
        for_each_row(a.broadcast, [&](std::int64_t at, std::int64_t small) {
            const float* x = a.x + s * a.x_stride + at;
            float* y = a.y + s * a.y_stride + at;
            for_each_vector(a.broadcast.shape[3], [&](std::int64_t i, auto lanes) {
                const Vec v = lanes.load(x + i);
                const Vec slope = load_broadcast(a.broadcast, a.alpha + small, i, lanes);
                lanes.store(y + i, select(gt(v, zero()), v, mul(slope, v)));
            });
        });
}

void grad_input(const PReluBackward& a, std::int64_t s) {
    for_each_row(a.broadcast, [&](std::int64_t at, std::int64_t small) {
        const float* x = a.x + s * a.x_stride + at;
        const float* dy = a.dy + s * a.dy_stride + at;
        float* dx = a.dx + s * a.dx_stride + at;
        for_each_vector(a.broadcast.shape[3], [&](std::int64_t i, auto lanes) {
            const Vec v = lanes.load(x + i), d = lanes.load(dy + i);
            const Vec below = mul(load_broadcast(a.broadcast, a.alpha + small, i, lanes), d);
            lanes.store(dx + i, select(gt(v, zero()), d, select(eq(v, zero()), zero(), below)));
        });
    });
}

// A sample's sum first, in `scratch`: the fewer terms are added one after the other, the less is lost.
void grad_alpha(const PReluBackward& a, std::int64_t s) {
    float* sums = a.scratch;
    std::memset(sums, 0, static_cast<std::size_t>(a.broadcast.size) * sizeof(float));
    for_each_row(a.broadcast, [&](std::int64_t at, std::int64_t small) {
        const float* x = a.x + s * a.x_stride + at;
        const float* dy = a.dy + s * a.dy_stride + at;
        Vec total = zero();
        for_each_vector(a.broadcast.shape[3], [&](std::int64_t i, auto lanes) {
            const Vec v = lanes.load(x + i);
            const Vec term = mul(select(gt(v, zero()), zero(), v), lanes.load(dy + i));
            if (a.broadcast.stride[3] == 0)
                total = add(total, lanes.keep(term));
            else
                lanes.store(sums + small + i, add(lanes.load(sums + small + i), term));
        });
        if (a.broadcast.stride[3] == 0) sums[small] += reduce_add(total);
    });
    const bool adds = a.accumulate || s > 0;
    for_each_vector(a.broadcast.size, [&](std::int64_t i, auto lanes) {
        const Vec sum = lanes.load(sums + i);
        lanes.store(a.dalpha + i, adds ? add(lanes.load(a.dalpha + i), sum) : sum);
    });
}

void prelu_backward(const PReluBackward& a) {
    for (std::int64_t s = 0; s < a.batch; ++s) {
        if (a.dx) grad_input(a, s);
        if (a.dalpha) grad_alpha(a, s);
    }
}

std::int64_t scratch(const PReluBackward& a) { return a.broadcast.size; }

}  // namespace

const Kernel<PReluForward> prelu_forward_direct = {prelu_forward};
const Kernel<PReluBackward> prelu_backward_direct = {prelu_backward, nullptr, scratch};

}  // namespace fastcnn::FASTCNN_ISA
