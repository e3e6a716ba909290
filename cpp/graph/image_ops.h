// Operations that prepare and disturb images, as the graph keeps them, and the random numbers of the latter.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "graph/sample_ops.h"
#include "kernels/api.h"

namespace fastcnn {

struct ScaleOp {
    ScaleKind kind = ScaleKind::affine;
    float epsilon = 0.0f;
    int a = -1, b = -1;                     // parameters; absent where there are numbers:
    std::vector<float> a_values, b_values;  // of `shape`
    Shape shape;                            // a sample's, 1 along axes that share a number
    Broadcast broadcast;
};

// What a random number is drawn for.
struct Draw {
    std::uint32_t layer = 0, step = 0;
    std::int64_t sample = 0;
};

enum class WarpKind : int {
    flip,         // with probability 1/2, along the axes where high is not 0
    rotation,     // by [low.x, high.x) turns about the middle
    translation,  // by [low, high) of the height and of the width
    zoom,         // by factors of [1 + low, 1 + high) about the middle; above 1 the image becomes smaller
    shear,        // by factors of [low, high), both with the same random sign
    crop,         // a window anywhere, the same for all samples
};

// A number for the height, or vertical direction, and one for the width.
struct Both {
    float y = 0.0f, x = 0.0f;
};

// While training; at inference nothing, or `otherwise`.
struct WarpOp {
    static constexpr std::int64_t kNumbers = kTransform;

    WarpKind kind = WarpKind::flip;
    Both low, high;
    bool tied = false;  // one random number for both axes
    std::uint64_t seed = 0;
    WarpShape shape;
    std::optional<ResampleOp> otherwise;

    // A sample's transform, see WarpForward.
    void draw(const Draw& of, float* numbers) const;
};

// A number of [low, high), which is p or, for functions with a condition, the probability that it holds. For
// solarize: p1 of [low, high), p2 of [second_low, second_high).
struct RecolorOp {
    static constexpr std::int64_t kNumbers = kRecolor;

    float low = 0.0f, high = 0.0f, second_low = 0.0f, second_high = 0.0f;
    std::uint64_t seed = 0;
    RecolorShape shape;

    void draw(const Draw& of, float* numbers) const;
};

struct EraseOp {
    static constexpr std::int64_t kNumbers = kBox;

    float rate_low = 0.0f, rate_high = 1.0f;  // the probability itself is drawn from here
    float area_low = 0.0f, area_high = 1.0f;  // squares of the box's sides, relative to the image's
    std::vector<float> fill;                  // a number a channel; empty: noise
    std::uint64_t seed = 0;
    EraseShape shape;

    void draw(const Draw& of, float* numbers) const;
};

}  // namespace fastcnn
