// What the depthwise kernels share: how channels become vectors, and images as wide as the output.
//
// With a depth multiplier m = out_channels / in_channels the kernels run on images as wide as the output: a
// sample's input is spread, each channel repeated m times, or its wide gradient summed m by m.
#pragma once

#include "kernels/conv.h"
#include "simd/lanes.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

// Keeps the compiler from loading `v` again at each use: GCC folds the load into every multiply-add that
// reads it, as many loads as multiply-adds, which is what loading once is to avoid.
FASTCNN_INLINE void keep_in_register(Vec& v) {
#if defined(__SSE2__) && defined(__GNUC__)
    __asm__("" : "+v"(v));
#else
    (void)v;
#endif
}

// a / b where b is nearly always 1, without the processor's division then.
FASTCNN_INLINE std::int64_t quotient(std::int64_t a, std::int64_t b) { return b == 1 ? a : a / b; }

const char* declines(const Conv2dShape& c) {
    if (c.groups == 1 || c.groups != c.in_channels) return "not depthwise";
    // A group of that many outputs fills the general kernel's tiles, and spreading would cost more than it.
    if (c.out_channels / c.groups > kWidth) return "depth multiplier exceeds the vector's width";
    return nullptr;
}

// Whether a kernel's lanes are only the first ones of a vector.
template <class Lanes>
constexpr bool kMasked = false;
template <>
constexpr bool kMasked<First> = true;

// Vectors of channels. Where the channels are no whole number of vectors the last one starts early and
// overlaps its neighbour, which costs as much as a masked one and leaves no mask in any loop: the same values
// are stored twice. Fewer channels than lanes are one masked vector.
//
// Pixels as long as whole cache lines lie alike in them. An image that starts elsewhere, as NumPy's large
// arrays do, gets its vectors from the first line's boundary on and one more before it: with no vector across
// two lines, 7x7x1024 forward takes 0.54 of the time.
struct ChannelVectors {
    std::int64_t channels, count;
    FASTCNN_INLINE explicit ChannelVectors(std::int64_t all, const float* image = nullptr)
        : channels(all), start_(0) {
        const std::int64_t past =
            static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(image) / sizeof(float)) % kWidth;
        if (channels % kWidth == 0 && channels >= 4 * kWidth) start_ = -past;
        count = (channels - start_ + kWidth - 1) / kWidth;
    }
    // For an image anywhere.
    FASTCNN_INLINE static std::int64_t most(std::int64_t channels) {
        return (channels + kWidth - 1) / kWidth + 1;
    }
    FASTCNN_INLINE bool whole() const { return channels >= kWidth; }
    FASTCNN_INLINE std::int64_t first(std::int64_t v) const {
        return max_of(0, min_of(start_ + v * kWidth, channels - kWidth));
    }
    // The end of the channels that vectors up to v have.
    FASTCNN_INLINE std::int64_t end(std::int64_t v) const { return min_of(channels, first(v) + kWidth); }

  private:
    std::int64_t start_;
};

FASTCNN_INLINE std::int64_t taps_of(const Conv2dShape& c) { return c.h.size * c.w.size; }
FASTCNN_INLINE std::int64_t multiplier(const Conv2dShape& c) { return c.out_channels / c.in_channels; }

// A sample as wide as the output: channel c at [c * m, c * m + m). A store may reach a vector further, where
// the next one overwrites it.
FASTCNN_INLINE void spread(const Conv2dShape& c, const float* x, float* wide) {
    const std::int64_t m = multiplier(c), size = c.h.in * c.w.in * c.in_channels;
    for (std::int64_t i = 0; i < size; ++i, wide += m) store(wide, set1(x[i]));
}

FASTCNN_INLINE std::int64_t wide_floats(const Conv2dShape& c) {
    return multiplier(c) > 1 ? c.h.in * c.w.in * c.out_channels + kWidth : 0;
}

}  // namespace

}  // namespace fastcnn::FASTCNN_ISA
