#include "kernels/pairs.h"

#include <atomic>

#include "base/check.h"

#ifdef FASTCNN_HAS_PAIRS
namespace fastcnn::avx512_pairs {
extern const Kernel<Conv2dForward> conv2d_forward_direct;
extern const Kernel<Conv2dGradInput> conv2d_grad_input_direct;
extern const Kernel<Conv2dGradKernel> conv2d_grad_kernel_direct;
}  // namespace fastcnn::avx512_pairs
#endif

namespace fastcnn {

namespace {

std::atomic<bool> always_switch{false};

std::atomic<bool>& pairs_switch() {
#ifdef FASTCNN_HAS_PAIRS
    static std::atomic<bool> used{bfloat16_pairs_pay()};
#else
    static std::atomic<bool> used{false};
#endif
    return used;
}

}  // namespace

const PairRows* pair_rows() {
#ifdef FASTCNN_HAS_PAIRS
    static const PairRows rows = {
        {"conv2d_forward", "pairs", Isa::avx512, &avx512_pairs::conv2d_forward_direct},
        {"conv2d_grad_input", "pairs", Isa::avx512, &avx512_pairs::conv2d_grad_input_direct},
        {"conv2d_grad_kernel", "pairs", Isa::avx512, &avx512_pairs::conv2d_grad_kernel_direct}};
    if (pairs_switch().load(std::memory_order_relaxed)) return &rows;
#endif
    return nullptr;
}

void set_pairs(bool used, bool always) {
#ifdef FASTCNN_HAS_PAIRS
    require(!used || has_bfloat16_pairs(), "set_pairs: expected a processor with AVX512-BF16");
#else
    require(!used, "set_pairs: expected a build with AVX512-BF16");
#endif
    pairs_switch().store(used, std::memory_order_relaxed);
    always_switch.store(used && always, std::memory_order_relaxed);
}

bool pairs_always() { return always_switch.load(std::memory_order_relaxed); }

}  // namespace fastcnn
