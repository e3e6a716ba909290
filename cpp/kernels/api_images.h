// Contracts of what is done to images before, or while, a network learns from them: scaling, geometry,
// colour. Random numbers are not drawn here: what a kernel does to a sample is in that sample's parameters,
// except for the noise that fills erased rectangles. See api.h, which includes this.
#pragma once

#include <cstdint>

#include "kernels/api_layers.h"

namespace fastcnn {

// --------------------------------------------------------------------------------------------------- scaling

enum class ScaleKind : int {
    affine,       // y = x a + b
    normalize,    // y = (x - a) / max(sqrt(b), epsilon)
    denormalize,  // y = x max(sqrt(b), epsilon) + a
};

// a and b have the shape of `broadcast`; x == y is allowed. Where `backward`, x is the gradient by y and y
// the one by x. The scratch holds the factors and summands that a and b give.
struct Scale {
    ScaleKind kind = ScaleKind::affine;
    Broadcast broadcast;
    float epsilon = 0.0f;
    bool backward = false;
    const float* a = nullptr;
    const float* b = nullptr;
    std::int64_t batch = 0;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    float* y = nullptr;
    std::int64_t y_stride = 0;
    float* scratch = nullptr;
};

// -------------------------------------------------------------------------------------------------- geometry

// What a position outside of an image reads.
enum class FillMode : int {
    constant,  // k k k | a b c d | k k k
    nearest,   // a a a | a b c d | d d d
    wrap,      // b c d | a b c d | a b c
    reflect,   // c b a | a b c d | d c b
};

inline constexpr std::int64_t kTransform = 6;  // numbers of a sample's transform

struct WarpShape {
    std::int64_t in_height = 1, in_width = 1, out_height = 1, out_width = 1, channels = 1;
    bool bilinear = true;
    FillMode fill = FillMode::constant;
    float fill_value = 0.0f;
};

// y[i, j] = x at row b0 j + b1 i + b2 and column a0 j + a1 i + a2 of the sample's transform a0 a1 a2 b0 b1
// b2: between four pixels, weighted by the distances, where `bilinear`, else the nearest (ties: the even
// one). Whole shifts and mirror images that stay inside of x copy every bit.
struct WarpForward {
    WarpShape shape;
    const float* parameters = nullptr;  // kTransform a sample
    std::int64_t batch = 0;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    float* y = nullptr;
    std::int64_t y_stride = 0;
    float* scratch = nullptr;
};

// dx = the transposed map of dy. Overwrites dx.
struct WarpBackward {
    WarpShape shape;
    const float* parameters = nullptr;
    std::int64_t batch = 0;
    const float* x = nullptr;  // not read
    std::int64_t x_stride = 0;
    const float* dy = nullptr;
    std::int64_t dy_stride = 0;
    float* dx = nullptr;
    std::int64_t dx_stride = 0;
    float* scratch = nullptr;
};

// ---------------------------------------------------------------------------------------------------- colour

enum class RecolorKind : int {
    brightness,  // y = clip(x + p)
    contrast,    // y = clip(m + p (x - m)), m the mean of the channel over the sample
    grayscale,   // where p: 0.2989 r + 0.587 g + 0.114 b in all channels; one channel stays as it is
    invert,      // where p: y = high - x
    solarize,    // z = clip(x + p1); y = z < p2 ? z : low + high - z
};

inline constexpr std::int64_t kRecolor = 2;  // numbers of a sample: p, or p1 and p2

// clip is to [low, high]; NaN stays NaN. x == y is allowed.
struct RecolorShape {
    RecolorKind kind = RecolorKind::brightness;
    std::int64_t positions = 1, channels = 1;
    float low = 0.0f, high = 255.0f;
};

struct RecolorForward {
    RecolorShape shape;
    const float* parameters = nullptr;  // kRecolor a sample
    std::int64_t batch = 0;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    float* y = nullptr;
    std::int64_t y_stride = 0;
    float* scratch = nullptr;
};

// Where a result lies on a limit of clip or beyond, its gradient is 0.
struct RecolorBackward {
    RecolorShape shape;
    const float* parameters = nullptr;
    std::int64_t batch = 0;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    const float* dy = nullptr;
    std::int64_t dy_stride = 0;
    float* dx = nullptr;
    std::int64_t dx_stride = 0;
    float* scratch = nullptr;
};

// --------------------------------------------------------------------------------------------------- erasing

inline constexpr std::int64_t kBox = 4;  // first row, row after the last, first column, column after the last

struct EraseShape {
    std::int64_t height = 1, width = 1, channels = 1;
    bool noise = false;
    float deviation = 1.0f, low = 0.0f, high = 0.0f;
};

// y = x, but inside the sample's box `fill` (one number a channel), or, where `noise`, normal numbers times
// `deviation` within [low, high]: element e of sample s is drawn as in Noise. Backward: x is the gradient by
// y, and 0 goes into the box. x == y is allowed.
struct Erase {
    EraseShape shape;
    bool backward = false;
    const float* fill = nullptr;
    const float* parameters = nullptr;  // kBox a sample, whole numbers
    std::uint64_t seed = 0;
    std::uint32_t layer = 0, step = 0;
    std::int64_t first_sample = 0;
    std::int64_t batch = 0;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    float* y = nullptr;
    std::int64_t y_stride = 0;
    float* scratch = nullptr;
};

}  // namespace fastcnn
