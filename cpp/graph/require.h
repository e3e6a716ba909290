// Checks that several operations share.
#pragma once

#include "base/check.h"
#include "graph/graph.h"

namespace fastcnn {

inline constexpr std::int64_t kMaxSize =
    std::int64_t{1} << 40;  // elements of a sample; keeps every product far from overflow

inline std::string text(Pair p) { return to_string(Shape{p.first, p.second}); }

inline void require_positive(const std::string& layer, const char* argument, Pair p) {
    require(p.first > 0 && p.second > 0, layer, ": ", argument, ": expected positive integers, received ",
            text(p));
    // No size times dilation, nor output times stride, overflows then.
    constexpr std::int64_t most = (std::int64_t{1} << 31) - 1;
    require(p.first <= most && p.second <= most, layer, ": ", argument,
            ": expected integers below 2^31, received ", text(p));
}

inline Image require_image(const std::string& layer, const Shape& shape) {
    require(shape.size() == 3, layer, ": input: expected shape (height, width, channels), received ",
            to_string(shape));
    return image_of(shape);
}

inline void require_fits(const std::string& layer, const Window& h, const Window& w, const char* what,
                         Pair size, const Shape& in) {
    require(h.out > 0 && w.out > 0, layer, ": input: expected an image at least as large as the ", what, " ",
            text(size), ", received shape ", to_string(in));
}

inline void require_size(const std::string& layer, const Shape& out) {
    std::int64_t n = 1;
    for (std::int64_t d : out) {
        require(d > 0, layer, ": output: expected positive dimensions, received ", to_string(out));
        require(d <= kMaxSize / n, layer, ": output: expected at most 2^40 elements a sample, received ",
                to_string(out));
        n *= d;
    }
}

}  // namespace fastcnn
