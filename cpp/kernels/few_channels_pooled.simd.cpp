// A network's first layer under a 2x2 max pool: convolution of images with one to four channels, forward with
// the pool fused, and the kernel's gradient straight from the pooled gradient.
//
// A sum of 9 to 100 products per output is too short for anything that is set up per output, so both kernels
// work window by window, with output channels in the lanes: nothing between convolution and pool touches
// memory, and the backward pass builds no lists.
#include "kernels/few_channels.h"
#include "kernels/rows.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

const char* not_2x2(const PoolShape& p) {
    if (p.h.size != 2 || p.w.size != 2) return "pooling window is not 2x2";
    if (p.h.pad || p.w.pad || p.h.pad_end() || p.w.pad_end()) return "pooling pads";
    return nullptr;
}

// ------------------------------------------------------------------------------------------------- forward

// Packed kernel: [block of output channels][kernel row][kernel column][input channel][columns of the block].
std::int64_t forward_packed(const Conv2dForward& f) {
    return packed_columns(f.shape.out_channels) * f.shape.h.size * f.shape.w.size * f.shape.in_channels;
}

void forward_pack(const Conv2dForward& f, const float* weights, float* packed, int part, int parts) {
    const std::int64_t rows = f.shape.h.size * f.shape.w.size * f.shape.in_channels;
    const std::int64_t columns = f.shape.out_channels, blocks = block_count(columns);
    for (std::int64_t block = blocks * part / parts; block < blocks * (part + 1) / parts; ++block) {
        const std::int64_t first = block * kBlockWidth, width = block_vecs(columns, block) * kWidth;
        float* to = packed + first * rows;
        for (std::int64_t r = 0; r < rows; ++r, to += width)
            for (std::int64_t v = 0; v < width; v += kWidth)
                store(to + v, load_partial(weights + r * columns + first + v, columns - first - v));
    }
}

const char* windows_declines(const Conv2dForward& f) {
    if (!f.pooled) return "no pooling";
    if (const char* reason = not_few_channels(f.shape)) return reason;
    if (f.pool.h.stride != 2 || f.pool.w.stride != 2) return "pooling stride is not 2";
    return not_2x2(f.pool);
}

// Neighbouring windows of one row of windows, one block of channels.
struct WindowTile {
    const float* x = nullptr;                    // first tap of the first position
    std::int64_t tap_row = 0;                    // between rows of the kernel
    std::int64_t row_step = 0, column_step = 0;  // between positions
    const float* kernel = nullptr;
    std::int64_t rows = 0, run = 0;  // of the kernel: rows, columns x channels
    const float* bias = nullptr;     // whole vectors
    bool relu = false;
    std::int64_t lanes = 0;  // channels of the block
    float* y = nullptr;
    std::uint8_t* argmax = nullptr;
    std::int64_t channels = 0;
};

struct Maximum {
    Vec value;
    IVec slot;
};

// Of four numbers; the first wins ties.
struct FirstMaximum {
    FASTCNN_INLINE Maximum operator()(Vec a, Vec b, Vec c, Vec d) const {
        const Vec top = max(b, a), bottom = max(d, c);  // max(new, old) is old unless new > old
        const IVec top_slot = iselect(gt(b, a), iset1(1), iset1(0));
        const IVec bottom_slot = iselect(gt(d, c), iset1(3), iset1(2));
        return {max(bottom, top), iselect(gt(bottom, top), bottom_slot, top_slot)};
    }
};

// The same where NaN may be among them: the first NaN wins.
struct FirstMaximumOrNan {
    FASTCNN_INLINE Maximum operator()(Vec a, Vec b, Vec c, Vec d) const {
        const Vec all[4] = {a, b, c, d};
        Maximum best{a, iset1(0)};
#pragma GCC unroll 3
        for (int k = 1; k < 4; ++k) {
            const Mask better = mask_and(mask_not(is_nan(best.value)), not_le(all[k], best.value));
            best.value = select(better, all[k], best.value);
            best.slot = iselect(better, iset1(k), best.slot);
        }
        return best;
    }
};

// The same pointer, of which the compiler knows nothing. GCC would otherwise see that the next tap reads the
// pixels of the neighbouring positions, and keep all of them in registers that are not there: 136 instead of
// 200 GFLOP/s.
FASTCNN_INLINE const float* unrelated(const float* p) {
    asm("" : "+r"(p));
    return p;
}

// All positions of the windows of one tile at once: 12 x 2 vectors of accumulators on AVX-512, 4 x 2 on
// others, so that a tap costs 12 broadcasts and 2 loads for 24 multiply-adds. Weights come from L1: kept in
// registers (they fit for one channel and 3x3) they would leave room for a single window and save nothing,
// the multiply-adds being the limit.
template <int Windows, int Vecs, bool Argmax, int Step>
void convolve_windows(const WindowTile& t) {
    Vec acc[2][2 * Windows][Vecs];
#pragma GCC unroll 4
    for (int n = 0; n < Vecs; ++n) {
        const Vec start = load(t.bias + n * kWidth);
#pragma GCC unroll 8
        for (int q = 0; q < 2 * Windows; ++q) acc[0][q][n] = acc[1][q][n] = start;
    }
    const std::int64_t column_step = Step ? Step : t.column_step;
    const float* b = t.kernel;
    for (std::int64_t ky = 0; ky < t.rows; ++ky) {
        const float* a[2] = {t.x + ky * t.tap_row, t.x + ky * t.tap_row + t.row_step};
        for (std::int64_t i = 0; i < t.run; ++i, ++a[0], ++a[1], b += Vecs * kWidth) {
            a[0] = unrelated(a[0]);
            a[1] = unrelated(a[1]);
            Vec weight[Vecs];
#pragma GCC unroll 4
            for (int n = 0; n < Vecs; ++n) weight[n] = load(b + n * kWidth);
#pragma GCC unroll 2
            for (int r = 0; r < 2; ++r) {
#pragma GCC unroll 8
                for (int q = 0; q < 2 * Windows; ++q) {
                    const Vec x = set1(a[r][q * column_step]);
#pragma GCC unroll 4
                    for (int n = 0; n < Vecs; ++n) acc[r][q][n] = fma(x, weight[n], acc[r][q][n]);
                }
            }
        }
    }
    // One NaN anywhere makes this NaN; treating every window exactly would be 3 times that work.
    Vec sum = zero();
#pragma GCC unroll 8
    for (int q = 0; q < 2 * Windows; ++q) {
#pragma GCC unroll 4
        for (int n = 0; n < Vecs; ++n) sum = add(sum, add(acc[0][q][n], acc[1][q][n]));
    }
    const auto pool = [&](auto maximum_of) {
#pragma GCC unroll 4
        for (int i = 0; i < Windows; ++i) {
#pragma GCC unroll 4
            for (int n = 0; n < Vecs; ++n) {
                Maximum best = maximum_of(acc[0][2 * i][n], acc[0][2 * i + 1][n], acc[1][2 * i][n],
                                          acc[1][2 * i + 1][n]);
                if (t.relu) best.value = max(zero(), best.value);
                const std::int64_t at = i * t.channels + n * kWidth, lanes = t.lanes - n * kWidth;
                store_partial(t.y + at, best.value, lanes);
                if (Argmax) istore_bytes_partial(t.argmax + at, best.slot, lanes);
            }
        }
    };
    if (bits(is_nan(sum)) == 0)
        pool(FirstMaximum{});
    else
        pool(FirstMaximumOrNan{});
}

using WindowFunction = void (*)(const WindowTile&);

constexpr int kTileWindows = kTileRows / 4;

template <int Windows, int Step>
constexpr WindowFunction windows_of(int vecs, bool argmax) {
    if (argmax)
        return vecs == 1 ? convolve_windows<Windows, 1, true, Step>
                         : convolve_windows<Windows, 2, true, Step>;
    return vecs == 1 ? convolve_windows<Windows, 1, false, Step> : convolve_windows<Windows, 2, false, Step>;
}

template <int Windows = kTileWindows>
WindowFunction window_function(std::int64_t windows, int vecs, bool argmax, std::int64_t step) {
    if constexpr (Windows > 1)
        if (windows < Windows) return window_function<Windows - 1>(windows, vecs, argmax, step);
    return step == 1   ? windows_of<Windows, 1>(vecs, argmax)
           : step == 3 ? windows_of<Windows, 3>(vecs, argmax)
                       : windows_of<Windows, 0>(vecs, argmax);
}

std::int64_t windows_scratch(const Conv2dForward& f) {
    const Padded padded(f.shape, false);
    return padded.needed(f.shape) ? padded.image.size() : 0;
}

// One sample, one block of channels: rows of windows, cut into tiles as even as possible.
FASTCNN_INLINE void forward_sample(const Conv2dForward& f, WindowTile t, int vecs) {
    const std::int64_t windows = f.pool.w.out, tiles = (windows + kTileWindows - 1) / kTileWindows;
    const std::int64_t base = windows / tiles, larger = windows % tiles;
    const WindowFunction run[2] = {window_function(base, vecs, t.argmax != nullptr, t.column_step),
                                   window_function(base + 1, vecs, t.argmax != nullptr, t.column_step)};
    const float* x = t.x;
    for (std::int64_t py = 0; py < f.pool.h.out; ++py) {
        t.x = x + 2 * py * t.row_step;
        for (std::int64_t i = 0; i < tiles; ++i) {
            const std::int64_t count = base + (i < larger);
            run[i < larger](t);
            t.x += 2 * count * t.column_step;
            t.y += count * t.channels;
            if (t.argmax) t.argmax += count * t.channels;
        }
    }
}

void windows_run(const Conv2dForward& f) {
    const Conv2dShape& c = f.shape;
    const Padded padded(c, false);
    const std::int64_t row = padded.image.row(), weights = c.h.size * c.w.size * c.in_channels;
    WindowTile t;
    t.tap_row = c.h.dilation * row;
    t.row_step = c.h.stride * row;
    t.column_step = c.w.stride * c.in_channels;
    t.rows = c.h.size;
    t.run = c.w.size * c.in_channels;
    t.relu = f.relu;
    t.channels = c.out_channels;
    for (std::int64_t s = 0; s < f.batch; ++s) {
        const float* x = f.x + s * f.x_stride;
        if (padded.needed(c)) {
            copy_padded(x, 0, 1, c.h.in, c.w.in, padded, f.scratch);
            x = f.scratch;
        }
        for (std::int64_t block = 0; block < block_count(c.out_channels); ++block) {
            const std::int64_t first = block * kBlockWidth;
            const int vecs = block_vecs(c.out_channels, block);
            t.lanes = min_of(c.out_channels - first, vecs * kWidth);
            alignas(64) float bias[kBlockWidth] = {};
            if (f.bias) std::memcpy(bias, f.bias + first, static_cast<std::size_t>(t.lanes) * sizeof(float));
            t.bias = bias;
            t.kernel = f.kernel + first * weights;
            t.x = x;
            t.y = f.y + s * f.y_stride + first;
            t.argmax = f.argmax ? f.argmax + s * f.argmax_stride + first : nullptr;
            forward_sample(f, t, vecs);
        }
    }
}

// ----------------------------------------------------------------------------------------- kernel's gradient

// For a tap, the pixel that a window's gradient meets is one of four, by the position of the channel's
// maximum. Those four lie side by side in `quads`: lane by lane a permutation picks its channel's, then one
// multiply-add serves kWidth channels. Dense over windows, and still faster than lists of the non-zero
// gradients (half of them): 4.9 times with 1 channel (1.6 us for 26x26x32), 2.4 times with 3, because making
// lists and filling vectors partly costs more than the zeros.
//
// quads[y][i] = pixels (y, i), (y, i + column), (y + row, i), (y + row, i + column), where y and i (column x
// channels) count from the band's first, and row and column are steps between the convolution's outputs.
struct QuadBand {
    std::int64_t row = 0;      // positions of a row of quads
    std::int64_t windows = 0;  // rows of windows in a band
    std::int64_t rows = 0;     // rows of quads in a band
    // A band of quads is four times its part of the image, and is to stay in L1.
    static constexpr std::int64_t kFloats = 8 * 1024;

    FASTCNN_INLINE QuadBand(const Conv2dShape& c, const PoolShape& p) {
        const Image image = Padded(c, false).image;
        row = image.row() - c.w.stride * c.in_channels;
        const std::int64_t step = p.h.stride * c.h.stride;  // image rows from window to window
        const std::int64_t fit = kFloats / (4 * padded_row());
        windows = max_of(1, min_of(p.h.out, (fit - c.h.extent()) / step + 1));
        rows = (windows - 1) * step + c.h.extent();
    }
    FASTCNN_INLINE std::int64_t padded_row() const { return packed_columns(row); }
    FASTCNN_INLINE std::int64_t floats() const { return 4 * rows * padded_row(); }
};

FASTCNN_INLINE void write_quads(const Conv2dShape& c, const float* x, const QuadBand& band, std::int64_t rows,
                                float* quads) {
    const std::int64_t row = Padded(c, false).image.row(), column = c.w.stride * c.in_channels;
    for (std::int64_t y = 0; y < rows; ++y, x += row) {
        const float* below = x + c.h.stride * row;
        for (std::int64_t i = 0; i < band.row; i += kWidth, quads += 4 * kWidth) {
            const std::int64_t n = band.row - i;
            store_interleaved(quads, load_partial(x + i, n), load_partial(x + i + column, n),
                              load_partial(below + i, n), load_partial(below + i + column, n));
        }
    }
}

// Some taps of kWidth output channels, summed over the windows of one band.
struct QuadTile {
    const float* quads = nullptr;  // first tap of the first window
    std::int64_t line_step = 0;    // between the kernel's rows
    std::int64_t window_step = 0, row_step = 0;
    std::int64_t rows = 0, windows = 0;  // of windows, and windows in a row
    const float* dy = nullptr;
    const std::uint8_t* argmax = nullptr;
    std::int64_t channels = 0, lanes = 0;
    float* dkernel = nullptr;
    std::int64_t line_out = 0;
    float* dbias = nullptr;  // or null
};

template <int Lines, int Columns>
void sum_quads(const QuadTile& t) {
    Vec acc[Lines][Columns], bias = zero();
#pragma GCC unroll 4
    for (int l = 0; l < Lines; ++l) {
#pragma GCC unroll 16
        for (int i = 0; i < Columns; ++i)
            acc[l][i] = load_partial(t.dkernel + l * t.line_out + i * t.channels, t.lanes);
    }
    const float* dy = t.dy;
    const std::uint8_t* argmax = t.argmax;
    for (std::int64_t py = 0; py < t.rows; ++py) {
        const float* quads = t.quads + py * t.row_step;
        for (std::int64_t px = 0; px < t.windows; ++px) {
            const Vec g = load_partial(dy, t.lanes);
            const IVec slot = iload_bytes_partial(argmax, t.lanes);
            bias = add(bias, g);
#pragma GCC unroll 4
            for (int l = 0; l < Lines; ++l) {
#pragma GCC unroll 16
                for (int i = 0; i < Columns; ++i)
                    acc[l][i] = fma(g, lookup_of_four(quads + l * t.line_step + 4 * i, slot), acc[l][i]);
            }
            dy += t.channels;
            argmax += t.channels;
            quads += t.window_step;
        }
    }
#pragma GCC unroll 4
    for (int l = 0; l < Lines; ++l) {
#pragma GCC unroll 16
        for (int i = 0; i < Columns; ++i)
            store_partial(t.dkernel + l * t.line_out + i * t.channels, acc[l][i], t.lanes);
    }
    if (t.dbias) store_partial(t.dbias, add(load_partial(t.dbias, t.lanes), bias), t.lanes);
}

using QuadFunction = void (*)(const QuadTile&);

// 3 kernel rows of 3 pixels of 3 channels fit AVX-512's registers, one row of them those of the others.
constexpr int kMaxLines = 3, kMaxColumns = 9;
constexpr int kQuadSums = kTileRows >= 12 ? kMaxLines * kMaxColumns : kMaxColumns;

template <int Lines, int Columns = kMaxColumns>
QuadFunction columns_function(std::int64_t columns) {
    if constexpr (Columns > 1)
        if (columns < Columns) return columns_function<Lines, Columns - 1>(columns);
    if constexpr (Lines * Columns <= kQuadSums)
        return sum_quads<Lines, Columns>;
    else
        return nullptr;  // quad_lines() does not ask for it
}

// Kernel rows that are summed together where `columns` of each are.
FASTCNN_INLINE std::int64_t quad_lines(std::int64_t columns) {
    return max_of(1, min_of(kMaxLines, kQuadSums / columns));
}

QuadFunction quad_function(std::int64_t lines, std::int64_t columns) {
    return lines == 1   ? columns_function<1>(columns)
           : lines == 2 ? columns_function<2>(columns)
                        : columns_function<3>(columns);
}

const char* quads_declines(const PooledConv2dGradKernelDirect& g) {
    if (const char* reason = not_few_channels(g.shape)) return reason;
    return not_2x2(g.pool);
}

std::int64_t quads_scratch(const PooledConv2dGradKernelDirect& g) {
    const Padded padded(g.shape, false);
    return QuadBand(g.shape, g.pool).floats() + (padded.needed(g.shape) ? padded.image.size() : 0);
}

// All taps and channels of one band of one sample.
FASTCNN_INLINE void add_band(const PooledConv2dGradKernelDirect& g, QuadTile t, const float* quads) {
    const Conv2dShape& c = g.shape;
    const std::int64_t run = c.w.size * c.in_channels, parts = (run + kMaxColumns - 1) / kMaxColumns;
    const float* dy = t.dy;
    const std::uint8_t* argmax = t.argmax;
    for (std::int64_t channel = 0; channel < c.out_channels; channel += kWidth) {
        t.dy = dy + channel;
        t.argmax = argmax + channel;
        t.lanes = min_of(kWidth, c.out_channels - channel);
        t.dbias = g.dbias ? g.dbias + channel : nullptr;
        for (std::int64_t part = 0; part < parts; ++part) {
            const std::int64_t first = run * part / parts, columns = run * (part + 1) / parts - first;
            for (std::int64_t line = 0; line < c.h.size;) {
                const std::int64_t lines = min_of(quad_lines(columns), c.h.size - line);
                t.quads = quads + line * t.line_step + 4 * first;
                t.dkernel = g.dkernel + (line * run + first) * c.out_channels + channel;
                quad_function(lines, columns)(t);
                t.dbias = nullptr;
                line += lines;
            }
        }
    }
}

void quads_run(const PooledConv2dGradKernelDirect& g) {
    const Conv2dShape& c = g.shape;
    const PoolShape& p = g.pool;
    const Padded padded(c, false);
    const QuadBand band(c, p);
    float* quads = g.scratch;
    float* copy = g.scratch + band.floats();
    const std::int64_t step = p.h.stride * c.h.stride;  // image rows from window to window
    QuadTile t;
    t.line_step = c.h.dilation * 4 * band.padded_row();
    t.window_step = p.w.stride * c.w.stride * c.in_channels * 4;
    t.row_step = step * 4 * band.padded_row();
    t.windows = p.w.out;
    t.channels = c.out_channels;
    t.line_out = c.w.size * c.in_channels * c.out_channels;
    if (!g.accumulate) {
        std::memset(g.dkernel, 0, static_cast<std::size_t>(c.h.size * t.line_out) * sizeof(float));
        if (g.dbias) std::memset(g.dbias, 0, static_cast<std::size_t>(c.out_channels) * sizeof(float));
    }
    for (std::int64_t s = 0; s < g.batch; ++s) {
        const float* x = g.x + s * g.x_stride;
        if (padded.needed(c)) {
            copy_padded(x, 0, 1, c.h.in, c.w.in, padded, copy);
            x = copy;
        }
        for (std::int64_t py = 0; py < p.h.out; py += band.windows) {
            t.rows = min_of(band.windows, p.h.out - py);
            write_quads(c, x + py * step * padded.image.row(), band, (t.rows - 1) * step + c.h.extent(),
                        quads);
            t.dy = g.dy + s * g.dy_stride + py * p.w.out * c.out_channels;
            t.argmax = g.argmax + s * g.argmax_stride + py * p.w.out * c.out_channels;
            add_band(g, t, quads);
        }
    }
}

}  // namespace

const Kernel<Conv2dForward> conv2d_forward_windows = {windows_run, windows_declines, windows_scratch,
                                                      forward_packed, forward_pack};
const Kernel<PooledConv2dGradKernelDirect> pooled_conv2d_grad_kernel_direct_quads = {
    quads_run, quads_declines, quads_scratch};

}  // namespace fastcnn::FASTCNN_ISA
