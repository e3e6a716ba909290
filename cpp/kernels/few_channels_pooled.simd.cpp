// Kernel's gradient of a convolution of images with one to four channels under a 2x2 max pool, straight from
// the pooled gradient: a network's first layer, whose input's gradient nobody wants.
#include "kernels/few_channels.h"
#include "kernels/rows.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

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
constexpr int kQuadSums = kManyRegisters ? kMaxLines * kMaxColumns : kMaxColumns;

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

const Kernel<PooledConv2dGradKernelDirect> pooled_conv2d_grad_kernel_direct_quads = {
    quads_run, quads_declines, quads_scratch};

}  // namespace fastcnn::FASTCNN_ISA
