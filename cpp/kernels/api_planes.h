// Contracts of the kernels with AMX tiles for bfloat16 samples as NumPy holds them: (sample, height, width,
// channels). What api_amx.h's kernels pass from layer to layer as lines is here made for one call, a strip of
// rows at a time, and its results are written as samples.
#pragma once

#include "kernels/api_amx.h"

namespace fastcnn {

// A strip of rows of some samples in planes of 32 channels: [32 channels][row][column][sample], lines of 64
// bytes each. Sixteen lines one after the other are a tile: one kilobyte in one piece, whatever the number of
// channels. Rows and columns that a convolution reaches beside the image are there, as zeros.
struct AmxPlanes {
    std::uint16_t* data = nullptr;
    std::int64_t top = 0, rows = 1;      // the first row's number in the image, perhaps negative
    std::int64_t left = 0, columns = 1;  // how many are left of the image; how many in all
    std::int64_t samples = 1;
    AmxLine channels;
    std::int64_t stride = 1;   // a row holds its columns 0, stride, 2 stride, ..., then 1, stride + 1, ...
    bool whole_lines = false;  // [row][column][sample][channels] instead

    FASTCNN_INLINE std::int64_t run() const { return (columns + stride - 1) / stride; }
    // Lines of a row.
    FASTCNN_INLINE std::int64_t row() const { return stride * run() * samples; }
    // The first line of a column, counted from the leftmost.
    FASTCNN_INLINE std::int64_t column(std::int64_t x) const {
        return (x % stride * run() + x / stride) * samples;
    }
    FASTCNN_INLINE std::int64_t planes() const { return channels.size() / 32; }
    // Lines of a plane. Behind the last one there is room for a tile's; an odd number, that planes do not lie
    // a multiple of 4 KB apart, in the same sets of the L1 cache.
    FASTCNN_INLINE std::int64_t plane() const { return (rows * row() + 32) | 1; }
    FASTCNN_INLINE std::int64_t floats() const { return planes() * plane() * 16; }
    // Words from a line to the next, and from 32 channels to the next ones.
    FASTCNN_INLINE std::int64_t line_step() const { return whole_lines ? channels.size() : 32; }
    FASTCNN_INLINE std::int64_t plane_step() const { return whole_lines ? 32 : plane() * 32; }
};

// Samples, `stride` words apart -> rows [first, last) of planes; samples from `count` on are zero.
struct AmxReadPlanes {
    const std::uint16_t* words = nullptr;
    std::int64_t stride = 0, count = 0;
    std::int64_t height = 1, width = 1;
    AmxPlanes planes;
    std::int64_t first = 0, last = 0;
};

// Images of few channels: the numbers that rows [first, last) of a convolution's outputs read, of samples
// `stride` words apart, as whole lines (`lines`: their rows are outputs). A convolution is then one of size 1
// over them, with the same weights. Windows without dilation. Samples from `count` on are zero.
struct AmxReadPatches {
    const std::uint16_t* words = nullptr;
    std::int64_t stride = 0, count = 0;
    Window h, w;
    std::int64_t channels = 1;
    AmxPlanes lines;
    std::int64_t first = 0, last = 0;
    float* scratch = nullptr;

    FASTCNN_INLINE std::int64_t patch() const { return h.size * w.size * channels; }
    // The rows of one sample that are read, padding written out: words of a row, and their number.
    FASTCNN_INLINE std::int64_t row() const { return ((w.out - 1) * w.stride + w.size) * channels; }
    FASTCNN_INLINE std::int64_t rows() const { return (last - first - 1) * h.stride + h.size; }
};

// y = act(bias + sum_taps sum_c x[o * stride - pad + tap * dilation][c] * kernel[tap][c]), rounded to
// bfloat16; sums in float32. act is ReLU or the identity. `transposed` and groups: as in AmxConv.
//
// Filters are computed in pairs of tiles, of 32 filters of one group: pairs [first_pair, last_pair). Rows
// [first, last) of the result; transposed, of the inputs of each phase.
struct AmxPlanesConv {
    Window h, w;
    AmxLine channels, filters;
    bool relu = false, transposed = false;
    bool stream = false;  // y is written past the caches; lines of 32 filters begin at cache lines
    // Tiles run over the ends of rows: what they hold of the columns beside the image is dropped. Else they
    // begin with each row. For a stride of 1.
    bool over_rows = false;
    AmxPlanes x;
    std::int64_t first = 0, last = 0, first_pair = 0, last_pair = 0;
    const std::uint16_t* kernel = nullptr;  // packed, from first_pair on
    const float* bias = nullptr;
    std::uint16_t* y = nullptr;
    std::int64_t y_stride = 0, count = 0;
    float* scratch = nullptr;

    FASTCNN_INLINE std::int64_t pairs() const { return filters.size() / 32; }
    FASTCNN_INLINE std::int64_t depth() const { return channels.group_size() / 32; }
    // Of a pair: steps of 32 channels x 32 filters, and their floats.
    FASTCNN_INLINE std::int64_t steps() const { return h.size * w.size * depth(); }
    FASTCNN_INLINE std::int64_t packed() const { return steps() * 512; }
};

// Weights (Keras's order, bfloat16) -> pairs [conv.first_pair, conv.last_pair) as AmxPlanesConv reads them.
struct AmxPackPlanes {
    AmxPlanesConv conv;
    const std::uint16_t* weights = nullptr;
    std::uint16_t* packed = nullptr;
};

// dkernel = sum over samples and outputs of x * dy, and dbias = sum of dy, rounded to bfloat16 from float32
// sums; in three steps. What is summed over are lines: 32 of them are a tile's depth. The gradient dy is made
// tiles of 16 filters x 32 lines, x planes of 16 channels of pairs of lines (64 bytes; `planes.samples` is
// even), so that every tap's 32 lines are a tile in one piece. A column is 16 channels of x under one tap;
// the last one of a group is of ones, for dbias.
struct AmxPlanesGradKernel {
    Window h, w;
    AmxLine channels, filters;
    bool over_rows = false;  // as in AmxPlanesConv: lines beside the image count as zeros
    // Rows [first, last) of dy, of `count` samples. Words between samples, rows and pixels.
    const std::uint16_t *x = nullptr, *dy = nullptr;
    std::int64_t x_stride = 0, x_row = 0, x_pixel = 0, dy_stride = 0, count = 0, first = 0, last = 0;
    std::int64_t part = 0, parts = 1;  // of the rows, for the kernels that read
    AmxPlanes planes;                  // of x
    std::uint16_t* tiles = nullptr;    // of dy: [tile of filters][tile of lines]
    // Sums of blocks [first_block, last_block): tiles [tile of filters][column] of 16 filters x 16 channels.
    std::int64_t first_block = 0, last_block = 0;
    float* sums = nullptr;
    bool accumulate = false;
    std::int64_t lanes = 1, lane = 0;  // sums that are added up at last, floats from one to the next
    std::uint16_t *dkernel = nullptr, *dbias = nullptr;

    FASTCNN_INLINE std::int64_t channel_tiles() const { return (channels.in_group() + 15) / 16; }
    FASTCNN_INLINE std::int64_t group_filter_tiles() const { return (filters.in_group() + 15) / 16; }
    FASTCNN_INLINE std::int64_t filter_tiles() const { return filters.groups * group_filter_tiles(); }
    FASTCNN_INLINE std::int64_t columns() const { return h.size * w.size * channel_tiles() + 1; }
    // Blocks of up to six columns for 16 filters.
    FASTCNN_INLINE std::int64_t column_blocks() const { return (columns() + 5) / 6; }
    FASTCNN_INLINE std::int64_t blocks() const { return filter_tiles() * column_blocks(); }
    // Pairs of lines: of a row, of a plane (see AmxPlanes::plane()), and those of a row that dy has.
    FASTCNN_INLINE std::int64_t row() const { return planes.row() / 2; }
    FASTCNN_INLINE std::int64_t plane() const { return (planes.rows * row() + 16) | 1; }
    FASTCNN_INLINE std::int64_t row_pairs() const { return w.out * planes.samples / 2; }
    // Tiles of lines, in rows.
    FASTCNN_INLINE std::int64_t tile_rows() const { return over_rows ? 1 : last - first; }
    FASTCNN_INLINE std::int64_t row_tiles() const {
        return ((over_rows ? (last - first - 1) * row() : 0) + row_pairs() + 15) / 16;
    }
    FASTCNN_INLINE std::int64_t x_floats() const { return channels.groups * channel_tiles() * plane() * 16; }
    FASTCNN_INLINE std::int64_t dy_floats() const { return filter_tiles() * tile_rows() * row_tiles() * 256; }
    FASTCNN_INLINE std::int64_t sums_floats() const { return filter_tiles() * columns() * 256; }
};

}  // namespace fastcnn
