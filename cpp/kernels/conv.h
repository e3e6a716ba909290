// What the convolution kernels share: which taps an output reads, and images with their padding written out.
#pragma once

#include <cstring>

#include "kernels/api.h"
#include "kernels/tile.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

FASTCNN_INLINE std::int64_t min_of(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
FASTCNN_INLINE std::int64_t max_of(std::int64_t a, std::int64_t b) { return a > b ? a : b; }

// Cycles of `products` multiply-adds of vectors at the share of the peak (two a cycle) that a kernel reaches.
FASTCNN_INLINE double product_cycles(double products, double share) { return products / (2 * share); }

// Multiply-adds of vectors where `lanes` channels of each group fill them.
FASTCNN_INLINE double vector_products(const Conv2dShape& c, std::int64_t positions, std::int64_t lanes,
                                      std::int64_t others) {
    return static_cast<double>(positions * c.h.size * c.w.size * others * c.groups) *
           static_cast<double>(packed_columns(lanes) / kWidth);
}

// ceil(a / b) for b > 0 and any a.
FASTCNN_INLINE std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
    return a >= 0 ? (a + b - 1) / b : -(-a / b);
}

constexpr std::int64_t kMaxTaps = 1024;  // taps of one window listed on the stack
// A block of samples whose inputs exceed this (floats) falls out of L2 between positions.
constexpr std::int64_t kSamplesInCache = 256 * 1024;

// Outputs read the input at their own position only, and neighbours there are neighbours here.
FASTCNN_INLINE bool is_pointwise(const Conv2dShape& c) {
    return c.h.size == 1 && c.w.size == 1 && c.h.stride == 1 && c.w.stride == 1 && c.h.pad == 0 &&
           c.w.pad == 0 && c.w.in == c.w.out;
}

// Rows of a pointwise convolution's result that are computed in all their `channels` before the next ones:
// they are written whole while they are in L1, and the weights come from L2. Written a block of columns at a
// time for all rows of a strip, each row left and entered the cache again for every block (56x56x64 to 256,
// AVX2: 63 -> 81 GFLOP/s). Of a shallow operand more rows stay in L1, and the weights come for them together
// (there 24 -> 72 rows: a tenth faster).
FASTCNN_INLINE std::int64_t pointwise_rows(std::int64_t channels, std::int64_t depth) {
    constexpr std::int64_t kFloats = 6 * 1024, kOperand = 4608;
    const std::int64_t least = channels * depth > 128 * 1024 ? 4 : 2;  // tiles: large weights come from L3
    const std::int64_t rows = max_tile_rows(ColumnBlocks(channels).widest());
    return max_of(least, max_of(kFloats / channels, kOperand / depth) / rows) * rows;
}

// Rows of the operand that lie a multiple of 2 KB apart share few of L1's sets: a tile's rows, read side by
// side, would drive each other out. They are copied, this many floats apart (14x14x1024 to 256, AVX-512: 100
// -> 160 GFLOP/s); 0: they are read where they are.
FASTCNN_INLINE std::int64_t pointwise_copy_step(std::int64_t channels) {
    return channels % 512 == 0 ? channels + kWidth : 0;
}

// `rows` rows of a pointwise convolution's operand as a tile reads them: its step, and where they begin.
FASTCNN_INLINE const float* pointwise_operand(const float* x, std::int64_t rows, std::int64_t channels,
                                              float* copy) {
    const std::int64_t step = pointwise_copy_step(channels);
    if (!step) return x;
    for (std::int64_t r = 0; r < rows; ++r)
        std::memcpy(copy + r * step, x + r * channels, static_cast<std::size_t>(channels) * sizeof(float));
    return copy;
}

// Taps [first, last) of the window of output `o` that lie inside the input.
struct TapRange {
    std::int64_t first, last;
    FASTCNN_INLINE TapRange(const Window& w, std::int64_t o)
        : first(max_of(0, ceil_div(-w.begin(o), w.dilation))),
          last(min_of(w.size, ceil_div(w.in - w.begin(o), w.dilation))) {}
    FASTCNN_INLINE std::int64_t count() const { return last > first ? last - first : 0; }
};

// Output that reads input `i` through tap `k`, or -1.
FASTCNN_INLINE std::int64_t output_reading(const Window& w, std::int64_t i, std::int64_t k) {
    const std::int64_t shifted = i + w.pad - k * w.dilation;
    if (shifted < 0 || shifted % w.stride != 0) return -1;
    const std::int64_t o = shifted / w.stride;
    return o < w.out ? o : -1;
}

// Outputs [first, last) that read inside the input through tap `k`.
struct OutputRange {
    std::int64_t first, last;
    FASTCNN_INLINE OutputRange(const Window& w, std::int64_t k)
        : first(max_of(0, ceil_div(w.pad - k * w.dilation, w.stride))),
          last(min_of(w.out, ceil_div(w.in + w.pad - k * w.dilation, w.stride))) {}
    FASTCNN_INLINE std::int64_t count() const { return last > first ? last - first : 0; }
};

// Neighbouring taps of a kernel row read neighbouring pixels: the row is one run of size * channels floats.
FASTCNN_INLINE bool rows_are_runs(const Conv2dShape& c) { return c.w.dilation == 1 && c.groups == 1; }

// An image inside a wider one of zeros.
struct Padded {
    Image image;  // with padding
    std::int64_t top, left;

    // Padding on the left and right only where `columns_only` (the caller skips taps above and below the
    // image).
    FASTCNN_INLINE Padded(const Conv2dShape& c, bool columns_only)
        : image{c.h.in, c.w.in + c.w.pad + c.w.pad_end(), c.in_channels}, top(0), left(c.w.pad) {
        if (columns_only) return;
        image.height += c.h.pad + c.h.pad_end();
        top = c.h.pad;
    }
    FASTCNN_INLINE bool needed(const Conv2dShape& c) const {
        return image.width != c.w.in || image.height != c.h.in;
    }
};

FASTCNN_INLINE void copy_padded(const float* x, std::int64_t x_stride, std::int64_t batch,
                                std::int64_t height, std::int64_t width, const Padded& to, float* out) {
    const std::int64_t row = width * to.image.channels, out_row = to.image.row();
    const std::int64_t left = to.left * to.image.channels;
    std::memset(out, 0, static_cast<std::size_t>(batch * to.image.size()) * sizeof(float));
    for (std::int64_t s = 0; s < batch; ++s)
        for (std::int64_t y = 0; y < height; ++y)
            std::memcpy(out + s * to.image.size() + (y + to.top) * out_row + left, x + s * x_stride + y * row,
                        static_cast<std::size_t>(row) * sizeof(float));
}

// What a convolution works on at a time: rows of one sample, or several whole samples. All blocks of columns
// and all taps pass over a strip before the next is touched, so that its images are read from memory once.
struct StripSize {
    std::int64_t rows, samples;

    // `height` rows a sample, of row_floats to read and to write each. A strip is as large as the weights
    // that pass over it, so that neither dominates the traffic, within what L2 holds.
    FASTCNN_INLINE StripSize(std::int64_t height, std::int64_t row_floats, std::int64_t weights,
                             std::int64_t batch)
        : rows(height), samples(1) {
        const std::int64_t floats = min_of(max_of(weights, 96 * 1024), 256 * 1024);
        const std::int64_t fit = max_of(1, floats / row_floats);
        if (fit < height)
            rows = ceil_div(height, ceil_div(height, fit));
        else
            samples = min_of(batch, fit / height);
    }
};

// A convolution's weights in the order that its tiles read them: [group][block of columns][depth][columns of
// the block]. Parts are whole blocks. A block's weights, read once a row of the image, stay in L2 (7x7x512).
struct PackedBlocks {
    static constexpr std::int64_t kFloats = 160 * 1024;
    std::int64_t columns, depth, groups;  // of each group the first two
    ColumnBlocks blocks;
    FASTCNN_INLINE PackedBlocks(std::int64_t columns_, std::int64_t depth_, std::int64_t groups_)
        : columns(columns_),
          depth(depth_),
          groups(groups_),
          blocks(columns_, depth_ * kTileVecs * kWidth > kFloats) {}

    FASTCNN_INLINE std::int64_t floats(const WeightPart& part) const {
        return part.alone ? begin(part.part + 1, part.parts) - begin(part.part, part.parts) : begin(1, 1);
    }
    // Calls visit(group, block, where its weights are) for each block of the part.
    template <class Visit>
    FASTCNN_INLINE void for_each(const WeightPart& part, const Visit& visit) const {
        const std::int64_t all = blocks.count * groups;
        const std::int64_t start = part.alone ? begin(part.part, part.parts) : 0;
        for (std::int64_t i = all * part.part / part.parts; i < all * (part.part + 1) / part.parts; ++i)
            visit(i / blocks.count, i % blocks.count, at(i) - start);
    }

  private:
    FASTCNN_INLINE std::int64_t at(std::int64_t i) const {
        return depth * (i / blocks.count * packed_columns(columns) + blocks.first(i % blocks.count));
    }
    FASTCNN_INLINE std::int64_t begin(std::int64_t part, std::int64_t parts) const {
        return at(blocks.count * groups * part / parts);
    }
};

// A strip's input: `row` floats from row to row, the first of them is row `first_row` of the image.
struct Source {
    const float* x;
    std::int64_t stride, row, first_row;
};

// Rows of `width` floats with `left` and `right` zeros around each.
FASTCNN_INLINE void copy_rows(const float* from, std::int64_t rows, std::int64_t width, std::int64_t left,
                              std::int64_t right, float* to) {
    for (std::int64_t y = 0; y < rows; ++y, from += width) {
        std::memset(to, 0, static_cast<std::size_t>(left) * sizeof(float));
        to += left;
        std::memcpy(to, from, static_cast<std::size_t>(width) * sizeof(float));
        to += width;
        std::memset(to, 0, static_cast<std::size_t>(right) * sizeof(float));
        to += right;
    }
}

}  // namespace

}  // namespace fastcnn::FASTCNN_ISA
