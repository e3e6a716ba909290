// Winograd's method along the rows of images with one to four channels: what its convolution and its gradient
// of the kernel share.
//
// Four neighbouring outputs of a row take A = 3 + T products for each row and channel of the kernel, instead
// of 4 T; T are the taps of a kernel's row, at a stride of 2 those of its even or its odd columns, which are
// rows of two images. As in the direct kernels for few channels the image's numbers, here a tile's A
// transformed ones, are spread over vectors of output channels.
#pragma once

#include "kernels/few_channels.h"
#include "kernels/winograd.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

// Taps of one phase of a kernel's row.
FASTCNN_INLINE std::int64_t phase_taps(const Conv2dShape& c) { return ceil_div(c.w.size, c.w.stride); }

// Outputs of a tile.
constexpr int kRowOutputs = 4;

// Why Winograd's kernels along rows do not take `columns` outputs a row, or null.
FASTCNN_INLINE const char* rows_declines(const Conv2dShape& c, std::int64_t columns) {
    if (const char* reason = not_few_channels(c)) return reason;
    if (c.w.stride > 2) return "stride is more than 2";
    if (phase_taps(c) != 3 && phase_taps(c) != 4) return "not three or four taps a row";
    const std::int64_t lines = c.w.stride * c.in_channels;
    if (lines == 1 || lines * c.h.size < 9) return "too few products for a transform";
    // 6 outputs of 8, 32 filters: 0.87 times as fast as the direct sum; 10 of 12: 0.97.
    if (ceil_div(columns, kRowOutputs) * kRowOutputs * 4 > 5 * columns)
        return "more than a fifth of what tiles compute lies beyond the output";
    return nullptr;
}

// What `function` makes of Pass<T>(args), where there are registers enough for one.
template <template <int> class Pass, class Args, class Function>
FASTCNN_INLINE auto of_rows(const Args& args, Function function) -> decltype(function(Pass<3>(args))) {
    if constexpr (kManyRegisters)
        return phase_taps(args.shape) == 3 ? function(Pass<3>(args)) : function(Pass<4>(args));
    else
        return decltype(function(Pass<3>(args)))();
}

// Floats of a tile: the transformed numbers of a pair of lines, in turn.
constexpr std::int64_t kRowTile = 16;

template <int T>
struct RowTiles {
    static constexpr int M = kRowOutputs, A = M + T - 1;
    static_assert(2 * A <= kRowTile);

    // The input's transform, by columns.
    struct Columns {
        alignas(64) float at[A][kWidth] = {};
        constexpr Columns() {
            for (int a = 0; a < A; ++a)
                for (int k = 0; k < 2 * A && k < kWidth; ++k) at[a][k] = kWinograd<M, T>.input[k / 2][a];
        }
    };
    static constexpr Columns kColumns{};

    const Conv2dShape& c;
    std::int64_t lines;           // of a kernel's row: phases x channels
    std::int64_t tiles;           // of an output's row
    std::int64_t of_pair;         // floats of a row's tiles, two lines of them
    std::int64_t slots, of_slot;  // transformed rows of the image that are kept, and their floats
    std::int64_t of_row;          // floats of a row of the image with what the last tile reads

    // `columns` outputs a row, `rows` rows of them at once.
    FASTCNN_INLINE RowTiles(const Conv2dShape& shape, std::int64_t columns, std::int64_t rows)
        : c(shape),
          lines(c.w.stride * c.in_channels),
          tiles(ceil_div(columns, M)),
          of_pair(tiles * kRowTile),
          slots(c.h.extent() + (rows - 1) * c.h.stride),
          of_slot(ceil_div(lines, 2) * of_pair),
          of_row(packed_columns(max_of(c.w.pad + c.w.in, (M * tiles + A) * c.w.stride) * c.in_channels)) {}

    // Memory for the transformed rows, and a row of the image behind them.
    FASTCNN_INLINE std::int64_t scratch() const { return slots * of_slot + of_row; }
    FASTCNN_INLINE void begin(float* memory) const {
        std::memset(memory + slots * of_slot, 0, static_cast<std::size_t>(of_row) * sizeof(float));
    }

    FASTCNN_INLINE const float* slot(const float* memory, std::int64_t y) const {
        return memory + y % slots * of_slot;
    }

    // Transforms rows [first, last) of the padded image x, but for those before `ready`, which moves on.
    FASTCNN_INLINE void transform_rows(const float* x, std::int64_t first, std::int64_t last, float* memory,
                                       std::int64_t& ready) const {
        for (ready = max_of(ready, first); ready < last; ++ready)
            transform_row(x, ready, memory + slots * of_slot, memory + ready % slots * of_slot);
    }

  private:
    // [pair of lines][tile][product][line of the pair]. An odd number of lines has a last one of no use.
    FASTCNN_INLINE void transform_row(const float* x, std::int64_t y, float* row, float* v) const {
        if (y < c.h.pad || y >= c.h.pad + c.h.in) {
            std::memset(v, 0, static_cast<std::size_t>(of_slot) * sizeof(float));
            return;
        }
        const std::int64_t floats = c.w.in * c.in_channels, step = c.w.stride * c.in_channels;
        std::memcpy(row + c.w.pad * c.in_channels, x + (y - c.h.pad) * floats,
                    static_cast<std::size_t>(floats) * sizeof(float));
        for (std::int64_t line = 0; line < lines; line += 2, v += of_pair)
            transform_pair(row + line, step, tiles, v);
    }

    // Not inlined: its registers hold the matrix.
    FASTCNN_NOINLINE static void transform_pair(const float* d, std::int64_t step, std::int64_t tiles,
                                                float* v) {
        Vec columns[A];
#pragma GCC unroll 8
        for (int a = 0; a < A; ++a) columns[a] = in_register(load(kColumns.at[a]));
        for (std::int64_t t = 0; t < tiles; ++t, d += M * step, v += kRowTile) {
            Vec sum = mul(set1_pair(d), columns[0]);
#pragma GCC unroll 8
            for (int a = 1; a < A; ++a) sum = fma(set1_pair(d + a * step), columns[a], sum);
            store(v, sum);
        }
    }
};

}  // namespace

}  // namespace fastcnn::FASTCNN_ISA
