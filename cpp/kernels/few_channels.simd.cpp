// Convolution of images with one to four channels, with bias, ReLU and a 2x2 max pool: a network's first
// layer.
//
// A sum of 9 to 100 products per output is too short for anything that is set up per output: all taps are one
// loop, the image has its padding, and distances between pixels are known when this is compiled.
#include "kernels/few_channels.h"
#include "kernels/rows.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

// Whether there are functions for usual distances between pixels: at the baseline they would be code for
// nobody's sake.
constexpr bool kKnownSteps = kWidth > 4;

// Packed kernel: [block of output channels][kernel row][kernel column][input channel][columns of the block].
std::int64_t forward_packed(const Conv2dForward& f) {
    return packed_columns(f.shape.out_channels) * f.shape.h.size * f.shape.w.size * f.shape.in_channels;
}

void forward_pack(const Conv2dForward& f, const float* weights, float* packed, int part, int parts) {
    const std::int64_t rows = f.shape.h.size * f.shape.w.size * f.shape.in_channels;
    const std::int64_t columns = f.shape.out_channels, blocks = pair_count(columns);
    for (std::int64_t block = blocks * part / parts; block < blocks * (part + 1) / parts; ++block) {
        const std::int64_t first = block * kPairWidth, width = pair_vecs(columns, block) * kWidth;
        float* to = packed + first * rows;
        for (std::int64_t r = 0; r < rows; ++r, to += width)
            for (std::int64_t v = 0; v < width; v += kWidth)
                store(to + v, load_partial(weights + r * columns + first + v, columns - first - v));
    }
}

std::int64_t forward_scratch(const Conv2dForward& f) {
    const Padded padded(f.shape, false);
    return padded.needed(f.shape) ? padded.image.size() : 0;
}

// Neighbouring positions in one or two rows of the convolution's output, one block of channels.
struct PositionTile {
    const float* x = nullptr;                    // first tap of the first position
    std::int64_t tap_row = 0;                    // between rows of the kernel
    std::int64_t row_step = 0, column_step = 0;  // between positions
    const float* kernel = nullptr;
    std::int64_t rows = 0, run = 0;  // of the kernel: rows, columns x channels
    const float* bias = nullptr;     // whole vectors
    bool relu = false, stream = false;
    std::int64_t lanes = 0;  // channels of the block
    float* y = nullptr;
    std::uint8_t* argmax = nullptr;
    std::int64_t channels = 0;
    std::int64_t tiles = 1;  // as large, one after the other in a row (convolve_strips())

    FASTCNN_INLINE void move(std::int64_t columns) {
        x += columns * column_step;
        y += columns * channels;
    }
};

// 12 x 2 vectors of accumulators on AVX-512, so that a tap costs 12 broadcasts and 2 loads for 24
// multiply-adds. Weights come from L1: kept in registers (they fit for one channel and 3x3) they would leave
// room for four positions and save nothing, the multiply-adds being the limit. Step is column_step, or 0:
// any; Size the kernel's rows and its columns x channels, so that no loop has to be counted, or 0.
// `left_out`: last taps that are not added.
template <int Rows, int Columns, int Vecs, int Step, int Size = 0>
FASTCNN_INLINE void convolve(const PositionTile& t, Vec (&acc)[Rows][Columns][Vecs], int left_out = 0) {
#pragma GCC unroll 2
    for (int n = 0; n < Vecs; ++n) {
        const Vec start = load(t.bias + n * kWidth);
#pragma GCC unroll 2
        for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 16
            for (int q = 0; q < Columns; ++q) acc[r][q][n] = start;
        }
    }
    const std::int64_t column_step = Step ? Step : t.column_step;
    const float* b = t.kernel;
    const float* a[Rows];
    const auto begin_row = [&](std::int64_t ky) {
#pragma GCC unroll 2
        for (int r = 0; r < Rows; ++r) a[r] = t.x + ky * t.tap_row + r * t.row_step;
    };
    const auto add_tap = [&] {
        Vec weight[Vecs];
#pragma GCC unroll 2
        for (int n = 0; n < Vecs; ++n) weight[n] = load(b + n * kWidth);
        b += Vecs * kWidth;
#pragma GCC unroll 2
        for (int r = 0; r < Rows; ++r) {
            // GCC would otherwise see that the next tap reads the pixels of the neighbouring positions, and
            // keep all of them in registers that are not there: 136 instead of 200 GFLOP/s.
            const float* x = unrelated(a[r]++);
#pragma GCC unroll 16
            for (int q = 0; q < Columns; ++q) {
                const Vec pixel = set1(x[q * column_step]);
#pragma GCC unroll 2
                for (int n = 0; n < Vecs; ++n) acc[r][q][n] = fma(pixel, weight[n], acc[r][q][n]);
            }
        }
    };
    static_assert(Size == 0 || Size == 3);
    if constexpr (Size) {
#pragma GCC unroll 3
        for (int ky = 0; ky < Size; ++ky) {
            begin_row(ky);
#pragma GCC unroll 3
            for (int i = 0; i < Size; ++i) add_tap();
        }
    } else {
        for (std::int64_t ky = 0; ky < t.rows; ++ky) {
            begin_row(ky);
            const std::int64_t taps = ky + 1 < t.rows ? t.run : t.run - left_out;
            for (std::int64_t i = 0; i < taps; ++i) add_tap();
        }
    }
}

using TileOfPositions = void (*)(const PositionTile&);

// Calls visit(tile, vecs) for each sample and block of output channels, the tile at the first position.
template <class Visit>
FASTCNN_INLINE void for_each_block(const Conv2dForward& f, const Visit& visit) {
    const Conv2dShape& c = f.shape;
    const Padded padded(c, false);
    const std::int64_t row = padded.image.row(), weights = c.h.size * c.w.size * c.in_channels;
    PositionTile t;
    t.tap_row = c.h.dilation * row;
    t.row_step = c.h.stride * row;
    t.column_step = c.w.stride * c.in_channels;
    t.rows = c.h.size;
    t.run = c.w.size * c.in_channels;
    t.relu = f.relu;
    t.stream = f.stream;
    t.channels = c.out_channels;
    for (std::int64_t s = 0; s < f.batch; ++s) {
        const float* x = f.x + s * f.x_stride;
        if (padded.needed(c)) {
            copy_padded(x, 0, 1, c.h.in, c.w.in, padded, f.scratch);
            x = f.scratch;
        }
        for (std::int64_t block = 0; block < pair_count(c.out_channels); ++block) {
            const std::int64_t first = block * kPairWidth;
            const int vecs = pair_vecs(c.out_channels, block);
            t.lanes = min_of(c.out_channels - first, vecs * kWidth);
            alignas(64) float bias[kPairWidth] = {};
            if (f.bias) std::memcpy(bias, f.bias + first, static_cast<std::size_t>(t.lanes) * sizeof(float));
            t.bias = bias;
            t.kernel = f.kernel + first * weights;
            t.x = x;
            t.y = f.y + s * f.y_stride + first;
            t.argmax = f.argmax ? f.argmax + s * f.argmax_stride + first : nullptr;
            visit(t, vecs);
        }
    }
}

// ------------------------------------------------------------------------------------------- without pooling

// On AVX-512 results are written one by one while the last tap is added: at the end, all at once, they would
// keep the multiply-adds waiting (3x3, one channel to 32, on 112x112: 1.13 to 1.15 times as fast; AVX2, with
// half as many: 0.93 to 0.99).
template <int Columns, int Vecs, int Step, int Size>
FASTCNN_INLINE void convolve_strip(const PositionTile& t) {
    Vec acc[1][Columns][Vecs];
    if constexpr (!kManyRegisters) {
        convolve<1, Columns, Vecs, Step, Size>(t, acc);
        return write_rows(
            acc[0], {.relu = t.relu, .stream = t.stream, .columns = t.lanes, .c = t.y, .c_step = t.channels});
    }
    convolve<1, Columns, Vecs, Step>(t, acc, 1);
    const Vec least = t.relu ? zero() : set1(-__builtin_inff());
    const std::int64_t column_step = Step ? Step : t.column_step, channels = t.channels;
    const float* x = unrelated(t.x + (t.rows - 1) * t.tap_row + t.run - 1);
    Vec weight[Vecs];
#pragma GCC unroll 2
    for (int n = 0; n < Vecs; ++n)
        weight[n] = in_register(load(t.kernel + (t.rows * t.run - 1) * Vecs * kWidth + n * kWidth));
    float* y = t.y;
    const bool whole = t.lanes >= Vecs * kWidth;
#pragma GCC unroll 16
    for (int q = 0; q < Columns; ++q, y = unrelated(y + channels)) {
        const Vec pixel = set1(x[q * column_step]);
#pragma GCC unroll 2
        for (int n = 0; n < Vecs; ++n) {
            const Vec v = max(least, fma(pixel, weight[n], acc[0][q][n]));
            if (!whole)
                store_partial(y + n * kWidth, v, t.lanes - n * kWidth);
            else if (t.stream)
                stream(y + n * kWidth, v);
            else
                store(y + n * kWidth, v);
        }
    }
}

// A call for all strips of a width in a row: what it sets up costs as much as a seventh of a strip of one
// channel and 3x3. With the known size, on AVX2, 1.2 to 1.4 times as fast as a call a strip (112x112 to 32).
template <int Columns, int Vecs, int Step, int Size = 0>
void convolve_strips(const PositionTile& first) {
    PositionTile t = first;
    for (; t.tiles > 0; --t.tiles, t.move(Columns)) convolve_strip<Columns, Vecs, Step, Size>(t);
}

// Positions of a tile at most. Of one vector they must be more to hide the latency of the multiply-add (8
// channels on AVX2: 12 instead of 6 take 0.7 of the time).
constexpr int max_columns(int vecs) { return vecs == 1 && !kManyRegisters ? 2 * kPositions : kPositions; }

// A known step is worth up to 15 % for two vectors: of one and three channels, and of three with a stride
// of 2. One vector waits for its broadcasts in any case.
template <int Vecs, int Columns = max_columns(Vecs)>
TileOfPositions strip_function(std::int64_t columns, const PositionTile& t) {
    if constexpr (Columns > 1)
        if (columns < Columns) return strip_function<Vecs, Columns - 1>(columns, t);
    const std::int64_t step = t.column_step;
    if constexpr (Vecs == 1 || !kKnownSteps) return convolve_strips<Columns, Vecs, 0>;
    if (!kManyRegisters && step == 1 && t.rows == 3 && t.run == 3)
        return convolve_strips<Columns, Vecs, 1, 3>;
    return step == 1   ? convolve_strips<Columns, Vecs, 1>
           : step == 3 ? convolve_strips<Columns, Vecs, 3>
           : step == 6 ? convolve_strips<Columns, Vecs, 6>
                       : convolve_strips<Columns, Vecs, 0>;
}

const char* strips_declines(const Conv2dForward& f) {
    if (f.pooled) return "pooling";
    if (f.shape.w.out < kPositions) return "output is narrower than a tile";
    return not_few_channels(f.shape);
}

void strips_run(const Conv2dForward& f) {
    for_each_block(f, [&](PositionTile t, int vecs) {
        const RowSplit split(f.shape.w.out, max_columns(vecs));
        const auto function = vecs == 1 ? strip_function<1> : strip_function<2>;
        const TileOfPositions run[2] = {function(split.base, t), function(split.base + 1, t)};
        const float* x = t.x;
        for (std::int64_t oy = 0; oy < f.shape.h.out; ++oy) {
            t.x = x + oy * t.row_step;
            for (int larger = 1; larger >= 0; --larger) {
                t.tiles = larger ? split.larger : split.tiles - split.larger;
                run[larger](t);
                t.move(t.tiles * (split.base + larger));
            }
        }
    });
    if (f.stream) end_stream();
}

// ---------------------------------------------------------------------------------------------- with pooling

// All positions of neighbouring windows at once, pooled in registers.
template <int Windows, int Vecs, bool Argmax, int Step, int Size = 0>
void convolve_windows(const PositionTile& t) {
    Vec acc[2][2 * Windows][Vecs];
    convolve<2, 2 * Windows, Vecs, Step, Size>(t, acc);
    // One NaN anywhere makes this NaN; treating every window exactly would be 3 times that work.
    Vec sum = zero();
#pragma GCC unroll 8
    for (int q = 0; q < 2 * Windows; ++q) {
#pragma GCC unroll 4
        for (int n = 0; n < Vecs; ++n) sum = add(sum, add(acc[0][q][n], acc[1][q][n]));
    }
    const WrittenMaxima to{t.relu, t.lanes, t.channels, t.y, t.argmax};
    if (bits(is_nan(sum)) == 0)
        write_maxima<Windows, Vecs, Argmax>(acc, FirstMaximum{}, to);
    else
        write_maxima<Windows, Vecs, Argmax>(acc, FirstMaximumOrNan{}, to);
}

constexpr int max_windows(int vecs) { return vecs == 1 ? 3 : !kManyRegisters ? 1 : kPositions / 4; }

template <bool Argmax, int Vecs, int Windows = max_windows(Vecs)>
TileOfPositions window_function(std::int64_t windows, const PositionTile& t) {
    if constexpr (Windows > 1)
        if (windows < Windows) return window_function<Argmax, Vecs, Windows - 1>(windows, t);
    const std::int64_t step = t.column_step;
    if constexpr (Vecs == 1 || !kKnownSteps) return convolve_windows<Windows, Vecs, Argmax, 0>;
    if (step == 1 && t.rows == 3 && t.run == 3) return convolve_windows<Windows, Vecs, Argmax, 1, 3>;
    return step == 1   ? convolve_windows<Windows, Vecs, Argmax, 1>
           : step == 3 ? convolve_windows<Windows, Vecs, Argmax, 3>
                       : convolve_windows<Windows, Vecs, Argmax, 0>;
}

const char* windows_declines(const Conv2dForward& f) {
    if (!f.pooled) return "no pooling";
    if (const char* reason = not_few_channels(f.shape)) return reason;
    if (f.pool.h.stride != 2 || f.pool.w.stride != 2) return "pooling stride is not 2";
    return not_2x2(f.pool);
}

void windows_run(const Conv2dForward& f) {
    for_each_block(f, [&](PositionTile t, int vecs) {
        const RowSplit split(f.pool.w.out, max_windows(vecs));
        const auto function = t.argmax    ? vecs == 1 ? window_function<true, 1> : window_function<true, 2>
                              : vecs == 1 ? window_function<false, 1>
                                          : window_function<false, 2>;
        const TileOfPositions run[2] = {function(split.base, t), function(split.base + 1, t)};
        const float* x = t.x;
        for (std::int64_t py = 0; py < f.pool.h.out; ++py) {
            t.x = x + 2 * py * t.row_step;
            for (std::int64_t i = 0; i < split.tiles; ++i) {
                const std::int64_t count = split.rows(i);
                run[i < split.larger](t);
                t.x += 2 * count * t.column_step;
                t.y += count * t.channels;
                if (t.argmax) t.argmax += count * t.channels;
            }
        }
    });
}

}  // namespace

const Kernel<Conv2dForward> conv2d_forward_strips = {strips_run, strips_declines, forward_scratch,
                                                     forward_packed, forward_pack};
const Kernel<Conv2dForward> conv2d_forward_windows = {windows_run, windows_declines, forward_scratch,
                                                      forward_packed, forward_pack};

}  // namespace fastcnn::FASTCNN_ISA
