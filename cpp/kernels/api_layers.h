// Contracts of the layers' smaller operations, functions of one sample each; see api.h, which includes this.
#pragma once

#include <cstdint>

namespace fastcnn {

// ---------------------------------------------------------------------------------------------- elementwise

// Functions of one number, with up to three constants a, b and c. s is the sigmoid.
enum class Function : int {
    relu,            // x > c ? min(x, b) : a (x - c): slope a below the threshold c, at most b
    elu,             // x > 0 ? c x : c a (e^(b x) - 1): ELU, SELU, CELU
    exponential,     // e^x
    gelu,            // x P(Z < x), Z standard normal
    gelu_tanh,       // x s(2 sqrt(2 / pi) (x + 0.044715 x^3))
    silu,            // x s(x)
    mish,            // x tanh(softplus(x))
    softplus,        // log(1 + e^x)
    log_sigmoid,     // -log(1 + e^-x)
    softsign,        // x / (1 + |x|)
    squareplus,      // (x + sqrt(x^2 + a)) / 2
    hard_sigmoid,    // x / 6 + 1 / 2, within [0, 1]
    hard_silu,       // x hard_sigmoid(x)
    hard_tanh,       // x, within [-1, 1]
    hard_shrink,     // |x| > a ? x : 0
    soft_shrink,     // x > a ? x - a : x < -a ? x + a : 0
    tanh_shrink,     // x - tanh x
    threshold,       // x > a ? x : b
    sparse_plus,     // x <= -1 ? 0 : x < 1 ? (x + 1)^2 / 4 : x
    sparse_sigmoid,  // (x + 1) / 2, within [0, 1]
};

// y = f(x); x == y is allowed. `size` elements a sample. NaN gives NaN.
struct ElementwiseForward {
    Function kind = Function::relu;
    float a = 0.0f, b = 0.0f, c = 0.0f;
    std::int64_t batch = 0, size = 0;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    float* y = nullptr;
    std::int64_t y_stride = 0;
};

// dx = dy f'(x); dx == dy is allowed. At a corner f' is that of the branch the equation above takes, but at a
// limit (b of relu, hard_tanh's, ...) that of the inner side.
struct ElementwiseBackward {
    Function kind = Function::relu;
    float a = 0.0f, b = 0.0f, c = 0.0f;
    std::int64_t batch = 0, size = 0;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    const float* dy = nullptr;
    std::int64_t dy_stride = 0;
    float* dx = nullptr;
    std::int64_t dx_stride = 0;
};

// --------------------------------------------------------------------------------------------- rearrangement

inline constexpr int kMaxRank = 6;

// y[i_0, ..., i_k] = x[sum i_j * stride[j]], y dense: axes of x in another order. Backward: the inverse
// order.
struct Permute {
    int rank = 1;
    std::int64_t shape[kMaxRank] = {};   // of y
    std::int64_t stride[kMaxRank] = {};  // of y's axes in x; 1 for one of them
    std::int64_t batch = 0;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    float* y = nullptr;
    std::int64_t y_stride = 0;
};

// What positions of one axis of an image read: output o the inputs index[i] with weight[i], begin[o] <= i <
// begin[o + 1].
struct AxisTaps {
    const std::int32_t* begin = nullptr;
    const std::int32_t* index = nullptr;
    const float* weight = nullptr;
};

// y[o, p] = sum over h's taps i of o and w's taps j of p: weight_i weight_j x[i, j], all channels; 0 where
// there are none. Cropping, zero padding, resizing and adaptive mean pooling are this; so are their
// gradients, with the taps of the transposed map. A single tap of weight 1 copies every bit.
struct Resample {
    AxisTaps h, w;
    std::int64_t out_height = 1, out_width = 1, in_width = 1, channels = 1;
    std::int64_t batch = 0;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    float* y = nullptr;
    std::int64_t y_stride = 0;
};

// -------------------------------------------------------------------------------------- adaptive max pooling

// Output o of an axis covers inputs [floor(o in / out), ceil((o + 1) in / out)). Maxima as in Conv2dForward.
struct AdaptiveMaxShape {
    std::int64_t in_height = 1, in_width = 1, out_height = 1, out_width = 1, channels = 1;
};

struct AdaptiveMaxForward {
    AdaptiveMaxShape shape;
    std::int64_t batch = 0;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    float* y = nullptr;
    std::int64_t y_stride = 0;
};

// dx: dy added at each window's first maximum, found again in x; 0 elsewhere. Overwrites dx.
struct AdaptiveMaxBackward {
    AdaptiveMaxShape shape;
    std::int64_t batch = 0;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    const float* dy = nullptr;
    std::int64_t dy_stride = 0;
    float* dx = nullptr;
    std::int64_t dx_stride = 0;
};

// ------------------------------------------------------------------------------------------------- broadcast

// A sample as a dense array of four axes, and a smaller array that is broadcast to it: element (i, j, k, l)
// meets element i stride[0] + j stride[1] + k stride[2] + l stride[3] of that. stride[3] is 0 or 1.
struct Broadcast {
    std::int64_t shape[4] = {1, 1, 1, 1};
    std::int64_t stride[4] = {};
    std::int64_t size = 1;  // of the smaller array
};

// y = x > 0 ? x : alpha x
struct PReluForward {
    Broadcast broadcast;
    const float* alpha = nullptr;
    std::int64_t batch = 0;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    float* y = nullptr;
    std::int64_t y_stride = 0;
};

// dx = dy, alpha dy or (where x is 0, as in Keras) 0; null: not wanted. dalpha += min(x, 0) dy, overwritten
// where not `accumulate`; null: not wanted.
struct PReluBackward {
    Broadcast broadcast;
    const float* alpha = nullptr;
    bool accumulate = false;
    std::int64_t batch = 0;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    const float* dy = nullptr;
    std::int64_t dy_stride = 0;
    float* dx = nullptr;
    std::int64_t dx_stride = 0;
    float* dalpha = nullptr;
    float* scratch = nullptr;
};

// ------------------------------------------------------------------------------------- normalisation, sample

// A sample as (outer, positions, groups, channels). Each (outer, group) is normalised by itself, over its
// positions and channels (n numbers); gamma and beta are (groups, channels).
struct NormalizeShape {
    std::int64_t outer = 1, positions = 1, groups = 1, channels = 1;
};

enum class NormalizeKind : int {
    standard,  // m = mean x, r = 1 / sqrt(mean (x - m)^2 + epsilon)
    rms,       // m = 0, r = 1 / sqrt(mean x^2 + epsilon)
    unit,      // m = 0, r = min(1 / sqrt(sum x^2), 1 / epsilon)
};

// Floats of statistics that a group leaves for the backward pass: m, r, and (m's rounding) r.
inline constexpr std::int64_t kNormalizeStatistics = 3;

// y = (x - m) r gamma + beta (null: 1 and 0). statistics: of each (outer, group); overwritten.
struct NormalizeForward {
    NormalizeKind kind = NormalizeKind::standard;
    NormalizeShape shape;
    float epsilon = 0.0f;
    const float* gamma = nullptr;
    const float* beta = nullptr;
    std::int64_t batch = 0;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    float* y = nullptr;
    std::int64_t y_stride = 0;
    float* statistics = nullptr;
    std::int64_t statistics_stride = 0;
};

// With t = (x - m) r and g = dy gamma:
//   dx = r (g - mean g - t mean(g t)); rms: r (g - t mean(g t)); unit: r (g - t sum(g t)), r g where r is at
//   its limit. Null: not wanted.
// dgamma += dy t and dbeta += dy, each (or both) null where not wanted; overwritten where not `accumulate`.
struct NormalizeBackward {
    NormalizeKind kind = NormalizeKind::standard;
    NormalizeShape shape;
    float epsilon = 0.0f;
    const float* gamma = nullptr;
    bool accumulate = false;
    std::int64_t batch = 0;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    const float* statistics = nullptr;
    std::int64_t statistics_stride = 0;
    const float* dy = nullptr;
    std::int64_t dy_stride = 0;
    float* dx = nullptr;
    std::int64_t dx_stride = 0;
    float* dgamma = nullptr;
    float* dbeta = nullptr;
};

// ----------------------------------------------------------------------------------------------------- noise

enum class NoiseKind : int {
    dropout,           // y = x / (1 - rate) where u >= rate, else 0
    alpha_dropout,     // y = a (u >= rate ? x : p) + b, p = -1.7580993408473766: keeps mean 0 and variance 1;
                       // a = 1 / sqrt((1 - rate) (1 + rate p^2)), b = -a p rate
    gaussian_dropout,  // y = x (1 + rate z)
    gaussian,          // y = x + rate z
};

// Number e of the noise of sample s is drawn as in Dropout: u uniform from word e % 4 of block e / 4. z is
// normal: of words w_0 .. w_3, sqrt(-2 log u_0) times cos and sin of the angle w_1 2^-32 (24 bits of it)
// turns are the first two, and so on with w_2 and w_3; u_0 = (24 bits + 1) 2^-24. `shared`: all samples have
// sample 0's noise. Where `backward`, x is the gradient by y and y the one by x, which for `gaussian` is x.
struct Noise {
    NoiseKind kind = NoiseKind::dropout;
    float rate = 0.0f;
    std::uint64_t seed = 0;
    std::uint32_t layer = 0, step = 0;
    bool shared = false, backward = false;
    Broadcast broadcast;
    std::int64_t first_sample = 0;
    std::int64_t batch = 0;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    float* y = nullptr;
    std::int64_t y_stride = 0;
    float* scratch = nullptr;
};

}  // namespace fastcnn
