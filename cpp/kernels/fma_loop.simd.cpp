// The peak that kernels are measured against: multiply-adds between registers, no memory.
#include "kernels/rows.h"
#include "simd/vec.h"

namespace fastcnn::FASTCNN_ISA {
namespace {

// Twice what two units with a latency of four or five cycles have under way; fewer would wait for one
// another.
constexpr int kChains = 12;

void run(const FmaLoop& f) {
    Vec r[kChains];
    const Vec a = set1(f.a), b = set1(f.b);
    for (Vec& v : r) v = set1(f.start);
    for (std::int64_t i = 0; i < f.rounds; ++i) {
#pragma GCC unroll 12
        for (int k = 0; k < kChains; ++k) r[k] = fma(a, r[k], b);
    }
    float sum = 0.0f;
    for (const Vec& v : r) sum += reduce_add(v);
    *f.value = sum / static_cast<float>(kChains * kWidth);
    *f.flops = 2 * f.rounds * kChains * kWidth;
}

}  // namespace

const Kernel<FmaLoop> fma_loop_registers = {run};

}  // namespace fastcnn::FASTCNN_ISA
