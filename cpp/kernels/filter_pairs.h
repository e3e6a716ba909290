// What convolutions over AMX tiles share: filters by pairs of tiles, and the axes of a convolution or of a
// phase of its input's gradient.
#pragma once

#include "kernels/lines.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

constexpr std::int64_t kFilters = 32;                    // computed together: two tiles
constexpr std::int64_t kKernelStep = 2 * kTileElements;  // packed kernel of 32 channels and 32 filters

// A pair of tiles of filters, and the channels that they sum over.
struct FilterPair {
    std::int64_t group, first, filters;  // the first of its filters in its group; how many exist
    std::int64_t filter;                 // the first one of all
    FASTCNN_INLINE FilterPair(const AmxLine& all, std::int64_t pair) {
        const std::int64_t of_group = all.group_size() / kFilters;
        group = pair / of_group;
        first = pair % of_group * kFilters;
        filters = at_most(kFilters, all.in_group() - first);
        filter = group * all.in_group() + first;
    }
};

// One axis of what is computed together: a window over x, the taps of the kernel that are its own, and where
// its outputs go.
struct Axis {
    Window window;
    std::int64_t first_tap = 0, tap_step = 1, first = 0, step = 1;
    FASTCNN_INLINE explicit Axis(const Window& forward) : window(forward) {}
    FASTCNN_INLINE explicit Axis(const AmxPhase& p)
        : window(p.window), first_tap(p.first_tap), tap_step(-p.tap_step), first(p.phase), step(p.stride) {}
    FASTCNN_INLINE std::int64_t tap(std::int64_t i) const { return first_tap + i * tap_step; }
    FASTCNN_INLINE std::int64_t input(std::int64_t output, std::int64_t i) const {
        return window.begin(output) + i * window.dilation;
    }
};

}  // namespace

}  // namespace fastcnn::FASTCNN_ISA
