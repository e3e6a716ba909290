// Convolution of bfloat16 arrays by dot products of pairs (AVX512-BF16): the direct kernels, compiled once
// more with two bfloat16 numbers in the place of a float. What a sum runs over has to lie in pairs in memory,
// and counts half: input channels in the forward pass, output channels in the input's gradient, samples in
// the kernel's gradient. Results are float32.
#pragma once

#include "kernels/dispatch.h"

namespace fastcnn {

struct PairRows {
    Row<Conv2dForward> forward;
    Row<Conv2dGradInput> grad_input;
    Row<Conv2dGradKernel> grad_kernel;
};

// Null where they are not in use: by default they are where they are faster than float32.
const PairRows* pair_rows();

// For tests: elsewhere too, and `always`, also where float32 is estimated to be faster. Throws Error where
// the processor or the build has no pairs.
void set_pairs(bool used, bool always);
bool pairs_always();

}  // namespace fastcnn
