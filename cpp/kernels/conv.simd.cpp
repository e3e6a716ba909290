// Convolution by register tiles: any size, stride, dilation, groups and padding; with bias, ReLU and max
// pooling on the way out.
//
// A tile's rows are either neighbouring output columns of one sample ("columns") or the same output position
// of several samples ("samples"). Columns serve wide images; on a map narrower than a tile the weights would
// be streamed from L2 for a handful of positions, and samples as rows are better: 3x3 outputs of 8 samples
// fill 8-row tiles. Rows of samples also need no padding: each position lists just the taps inside the image.
#include "kernels/conv.h"
#include "kernels/rows.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

// Depth: [kernel row][kernel column][input channel].
struct ForwardPack : PackedBlocks {
    std::int64_t group_in, group_out;
    FASTCNN_INLINE explicit ForwardPack(const Conv2dShape& c)
        : PackedBlocks(c.out_channels / c.groups, c.h.size * c.w.size * c.in_channels / c.groups, c.groups),
          group_in(c.in_channels / c.groups),
          group_out(columns) {}
};

std::int64_t forward_packed(const Conv2dForward& f) { return ForwardPack(f.shape).floats(f.weight_part); }

void forward_pack(const Conv2dForward& f, const float* weights, float* packed, int part, int parts) {
    const ForwardPack p(f.shape);
    // A few rows of all blocks before the next rows, which are fetched meanwhile: a block's rows lie so far
    // apart that the processor foresees none of them (512 channels: 2.4 -> 10 GB/s), and more of them at a
    // time would drive each other out of the few sets of L1 that they share.
    constexpr std::int64_t kTogether = 8;
    for (std::int64_t begin = 0; begin < p.depth; begin += kTogether)
        p.for_each({part, parts, f.weight_part.alone},
                   [&](std::int64_t group, std::int64_t block, std::int64_t at) {
                       const std::int64_t width = p.blocks.width(block), first = p.blocks.first(block);
                       const std::int64_t lanes = p.group_out - first, channels = f.shape.out_channels;
                       const float* from = weights + group * p.group_out + first + begin * channels;
                       float* to = packed + at + begin * width;
                       const std::int64_t rows = min_of(p.depth - begin, kTogether);
                       for (std::int64_t r = 0; r < rows; ++r, from += channels, to += width)
                           for (std::int64_t v = 0; v < width; v += kWidth) {
                               __builtin_prefetch(from + v + kTogether * channels);
                               store(to + v, load_partial(from + v, lanes - v));
                           }
                   });
}

FASTCNN_INLINE bool forward_by_samples(const Conv2dForward& f) {
    return !f.pooled && f.shape.w.out < kMostRows && f.batch > f.shape.w.out &&
           f.shape.h.size * f.shape.w.size <= kMaxTaps &&
           f.shape.h.in * f.shape.w.in * f.shape.in_channels * f.batch <= kSamplesInCache;
}

const char* forward_declines(const Conv2dForward& f) {
    if (f.shape.h.size * f.shape.w.size > kMaxTaps) return "kernel has more than 1024 taps";
    if (f.pooled && f.pool.h.size * f.pool.w.size > kMaxPoolPositions)
        return "pooling window has more than 256 positions";
    return nullptr;
}

// Ring of the convolution's output rows that the current row of pooling windows needs, one block of channels
// wide.
FASTCNN_INLINE std::int64_t band_floats(const Conv2dForward& f) {
    return f.pooled ? f.pool.h.size * f.shape.w.out * kMostVecs * kWidth : 0;
}

// Rows of y, and of the convolution's output below the pool.
struct ForwardStrip {
    std::int64_t first, last, conv_first, conv_last;
    FASTCNN_INLINE ForwardStrip(const Conv2dForward& f, std::int64_t first_row, std::int64_t rows)
        : first(first_row), last(first_row + rows), conv_first(first), conv_last(last) {
        if (!f.pooled) {
            last = conv_last = min_of(last, f.shape.h.out);
            return;
        }
        const Window& h = f.pool.h;
        last = min_of(last, h.out);
        conv_first = min_of(f.shape.h.out, max_of(0, h.begin(first)));
        conv_last = max_of(conv_first, min_of(f.shape.h.out, h.begin(last - 1) + h.size));
    }
};

FASTCNN_INLINE StripSize forward_strip_size(const Conv2dForward& f) {
    const Conv2dShape& c = f.shape;
    const std::int64_t step = f.pooled ? f.pool.h.stride : 1;
    const std::int64_t read = step * c.h.stride * c.w.in * c.in_channels;
    const std::int64_t written = (f.pooled ? f.pool.w.out : c.w.out) * c.out_channels;
    return {f.pooled ? f.pool.h.out : c.h.out, read + written,
            c.h.size * c.w.size * c.in_channels / c.groups * c.out_channels, f.batch};
}

// A smaller last block may run by columns where a full one runs by samples: padding is booked for either.
std::int64_t forward_scratch(const Conv2dForward& f) {
    const Conv2dShape& c = f.shape;
    if (!f.pooled && is_pointwise(c))
        return pointwise_rows(c.out_channels, c.in_channels / c.groups) * pointwise_copy_step(c.in_channels);
    const Padded padded(f.shape, true);
    if (!padded.needed(f.shape)) return band_floats(f);
    const StripSize strip = forward_strip_size(f);
    const std::int64_t rows = f.pooled ? (strip.rows - 1) * f.pool.h.stride + f.pool.h.size : strip.rows;
    const std::int64_t input_rows = min_of(f.shape.h.in, (rows - 1) * f.shape.h.stride + f.shape.h.extent());
    return band_floats(f) + strip.samples * input_rows * padded.image.row();
}

// Taps of output row `oy`, an unbroken kernel row each where rows are runs. Returns their number.
FASTCNN_INLINE std::int64_t row_taps(const Conv2dShape& c, const Source& source, std::int64_t oy,
                                     std::int64_t width, Tap* taps) {
    const std::int64_t group_in = c.in_channels / c.groups;
    const TapRange rows(c.h, oy);
    std::int64_t n = 0;
    for (std::int64_t ky = rows.first; ky < rows.last; ++ky) {
        const std::int64_t a = (c.h.begin(oy) + ky * c.h.dilation - source.first_row) * source.row;
        const std::int64_t b = ky * c.w.size * group_in * width;
        if (rows_are_runs(c)) {
            taps[n++] = {a, b};
            continue;
        }
        for (std::int64_t kx = 0; kx < c.w.size; ++kx)
            taps[n++] = {a + kx * c.w.dilation * c.in_channels, b + kx * group_in * width};
    }
    return n;
}

// What of a pooling window lies inside the convolution's output: rows of the band, from the window's first
// row on, and columns [first_column, last_column) of them.
struct PoolWindow {
    const float* const* line;
    std::int64_t first_row, last_row, first_column, last_column;
    FASTCNN_INLINE bool empty() const { return first_row >= last_row || first_column >= last_column; }
};

// The maximum of a vector of channels at `at` in each line, and its slot. NaN wins, the first of equals wins.
// Rows x Columns is the whole window, or 0 x 0: any.
template <int Rows, int Columns>
FASTCNN_INLINE void maximum_of(const PoolWindow& w, std::int64_t columns, std::int64_t width, std::int64_t at,
                               Vec& best, IVec& slot) {
    const std::int64_t r0 = Rows ? 0 : w.first_row, r1 = Rows ? Rows : w.last_row;
    const std::int64_t c0 = Columns ? 0 : w.first_column, c1 = Columns ? Columns : w.last_column;
    best = load(w.line[r0] + at + c0 * width);
    slot = iset1(static_cast<std::int32_t>(r0 * columns + c0));
#pragma GCC unroll 3
    for (std::int64_t r = r0; r < r1; ++r) {
        const float* line = w.line[r] + at;
#pragma GCC unroll 3
        for (std::int64_t c = c0; c < c1; ++c) {
            if (r == r0 && c == c0) continue;
            const Vec v = load(line + c * width);
            const Mask better = mask_or(gt(v, best), is_nan(v));
            best = select(better, v, best);
            slot = iselect(better, iset1(static_cast<std::int32_t>(r * columns + c)), slot);
        }
    }
}

// Max over one row of windows from the band; columns [first, first + width) of the output channels. Size: of
// both sides of the window, 0: any.
template <int Size>
void pool_row(const Conv2dForward& f, const float* band, std::int64_t py, int vecs, std::int64_t lanes,
              std::int64_t first, float* y, std::int64_t argmax_at) {
    const PoolShape& p = f.pool;
    const std::int64_t width = vecs * kWidth, channels = p.channels, y0 = p.h.begin(py);
    const float* line[kMaxPoolPositions];
    PoolWindow w{line, max_of(0, -y0), min_of(p.h.size, p.h.in - y0), 0, 0};
    for (std::int64_t r = w.first_row; r < w.last_row; ++r)
        line[r] = band + (y0 + r) % p.h.size * p.w.in * width;
    for (std::int64_t px = 0; px < p.w.out; ++px) {
        const std::int64_t x0 = p.w.begin(px), to = (py * p.w.out + px) * channels + first;
        w.first_column = max_of(0, -x0);
        w.last_column = min_of(p.w.size, p.w.in - x0);
        const bool whole = Size && w.last_row - w.first_row == Size && w.last_column - w.first_column == Size;
        for (int n = 0; n < vecs; ++n) {
            Vec best = zero();
            IVec slot = iset1(0);
            if (whole)
                maximum_of<Size, Size>(w, p.w.size, width, x0 * width + n * kWidth, best, slot);
            else if (!w.empty())
                maximum_of<0, 0>(w, p.w.size, width, x0 * width + n * kWidth, best, slot);
            if (f.relu) best = max(zero(), best);
            const std::int64_t at = to + n * kWidth;
            store_partial(y + at, best, lanes - n * kWidth);
            if (f.argmax) istore_bytes_partial(f.argmax + argmax_at + at, slot, lanes - n * kWidth);
        }
    }
}

// The common window without padding: everything known at compile time but the position.
FASTCNN_INLINE void pool_row_2x2(const Conv2dForward& f, const float* band, std::int64_t py, int vecs,
                                 std::int64_t lanes, std::int64_t first, float* y, std::int64_t argmax_at) {
    const PoolShape& p = f.pool;
    const std::int64_t width = vecs * kWidth;
    const float* top = band + (p.h.begin(py) % 2) * p.w.in * width;
    const float* bottom = band + ((p.h.begin(py) + 1) % 2) * p.w.in * width;
    for (std::int64_t px = 0; px < p.w.out; ++px) {
        const std::int64_t x = p.w.begin(px) * width;
        for (int n = 0; n < vecs; ++n) {
            const std::int64_t i = x + n * kWidth;
            Vec best = load(top + i);
            IVec slot = iset1(0);
            const Vec other[3] = {load(top + i + width), load(bottom + i), load(bottom + i + width)};
#pragma GCC unroll 3
            for (int k = 0; k < 3; ++k) {
                const Mask better = mask_or(gt(other[k], best), is_nan(other[k]));
                best = select(better, other[k], best);
                slot = iselect(better, iset1(k + 1), slot);
            }
            if (f.relu) best = max(zero(), best);
            const std::int64_t at = (py * p.w.out + px) * p.channels + first + n * kWidth;
            store_partial(y + at, best, lanes - n * kWidth);
            if (f.argmax) istore_bytes_partial(f.argmax + argmax_at + at, slot, lanes - n * kWidth);
        }
    }
}

// One sample, one block of output channels: rows of the output, or rows of windows through the band.
FASTCNN_INLINE void forward_block(const Conv2dForward& f, const ForwardStrip& strip, Tile t,
                                  const Source& source, std::int64_t first, int vecs, float* y,
                                  std::int64_t argmax_at) {
    const Conv2dShape& c = f.shape;
    const std::int64_t width = vecs * kWidth;
    Tap taps[kMaxTaps];
    const float* const x = t.a;
    t.taps = taps;
    const auto convolve = [&](std::int64_t oy, std::int64_t columns, float* out, std::int64_t step) {
        t.tap_count = row_taps(c, source, oy, width, taps);
        t.a = x;
        t.c = out;
        t.c_step = step;
        run_rows(t, columns, vecs);
    };
    if (!f.pooled) {
        for (std::int64_t oy = strip.first; oy < strip.last; ++oy)
            convolve(oy, c.w.out, y + oy * c.w.out * c.out_channels + first, c.out_channels);
        return;
    }
    const PoolShape& p = f.pool;
    float* const band = f.scratch;
    const std::int64_t lanes = t.columns;
    t.columns = width;  // the band holds whole vectors; packed zeros and bias make the rest harmless
    t.relu = false;
    const std::int64_t needed = min_of(c.w.out, p.w.begin(p.w.out - 1) + p.w.size);
    const bool plain = p.h.size == 2 && p.w.size == 2 && p.h.pad == 0 && p.w.pad == 0 && p.h.pad_end() == 0 &&
                       p.w.pad_end() == 0;
    const auto any_row = p.h.size == 3 && p.w.size == 3 ? pool_row<3> : pool_row<0>;
    std::int64_t next = strip.conv_first;
    for (std::int64_t py = strip.first; py < strip.last; ++py) {
        next = max_of(next, max_of(0, p.h.begin(py)));
        for (const std::int64_t end = min_of(c.h.out, p.h.begin(py) + p.h.size); next < end; ++next)
            convolve(next, needed, band + (next % p.h.size) * c.w.out * width, width);
        if (plain)
            pool_row_2x2(f, band, py, vecs, lanes, first, y, argmax_at);
        else
            any_row(f, band, py, vecs, lanes, first, y, argmax_at);
    }
}

// All output channels of a strip without borders and strides: `positions` rows of a matrix product.
FASTCNN_INLINE void pointwise_strip(const Conv2dForward& f, const float* x, std::int64_t positions,
                                    float* y) {
    const Conv2dShape& c = f.shape;
    const ForwardPack pack(c);
    const Tap tap{0, 0};
    Tile t;
    const std::int64_t copy_step = pointwise_copy_step(c.in_channels);
    t.a_step = copy_step ? copy_step : c.in_channels;
    t.depth = pack.group_in;
    t.relu = f.relu;
    t.stream = f.stream;
    t.taps = &tap;
    t.tap_count = 1;
    t.c_step = c.out_channels;
    const std::int64_t fit = pointwise_rows(c.out_channels, pack.group_in);
    for (std::int64_t p = 0; p < positions; p += fit) {
        const std::int64_t rows = min_of(fit, positions - p);
        const float* const a = pointwise_operand(x + p * c.in_channels, rows, c.in_channels, f.scratch);
        pack.for_each(f.weight_part, [&](std::int64_t group, std::int64_t block, std::int64_t at) {
            const std::int64_t first = pack.blocks.first(block);
            const std::int64_t channel = group * pack.group_out + first;
            t.a = a + group * pack.group_in;
            t.b = f.kernel + at;
            t.bias = f.bias ? f.bias + channel : nullptr;
            t.columns = pack.blocks.lanes(block);
            t.c = y + p * c.out_channels + channel;
            run_rows(t, rows, pack.blocks.vecs(block));
        });
    }
}

// All output channels of a strip of `samples` samples from `sample` on.
FASTCNN_INLINE void forward_strip(const Conv2dForward& f, const ForwardStrip& strip, std::int64_t sample,
                                  std::int64_t samples, const Source& source) {
    const Conv2dShape& c = f.shape;
    if (!f.pooled && is_pointwise(c)) {
        const std::int64_t first = strip.first * c.w.out;
        for (std::int64_t s = 0; s < samples; ++s)
            pointwise_strip(f, source.x + s * source.stride + first * c.in_channels,
                            (strip.last - strip.first) * c.w.out,
                            f.y + (sample + s) * f.y_stride + first * c.out_channels);
        return;
    }
    const ForwardPack pack(c);
    Tile t;
    t.a_step = c.w.stride * c.in_channels;
    t.depth = rows_are_runs(c) ? c.w.size * c.in_channels : pack.group_in;
    t.relu = f.relu;
    t.stream = f.stream && !f.pooled;
    pack.for_each(f.weight_part, [&](std::int64_t group, std::int64_t block, std::int64_t at) {
        const std::int64_t first = pack.blocks.first(block), channel = group * pack.group_out + first;
        t.b = f.kernel + at;
        t.columns = pack.blocks.lanes(block);
        // In the band the tile is as wide as the block: a bias row that ends early must not be read
        // beyond.
        alignas(64) float bias[kMostVecs * kWidth] = {};
        if (f.bias) std::memcpy(bias, f.bias + channel, static_cast<std::size_t>(t.columns) * sizeof(float));
        t.bias = f.bias ? bias : nullptr;
        for (std::int64_t s = 0; s < samples; ++s) {
            t.a = source.x + s * source.stride + group * pack.group_in;
            forward_block(f, strip, t, source, channel, pack.blocks.vecs(block),
                          f.y + (sample + s) * f.y_stride, (sample + s) * f.argmax_stride);
        }
    });
}

void forward_run_columns(const Conv2dForward& f) {
    const Conv2dShape& c = f.shape;
    const Padded padded(c, true);
    const StripSize size = forward_strip_size(f);
    const std::int64_t row = c.w.in * c.in_channels, height = f.pooled ? f.pool.h.out : c.h.out;
    float* const copy = f.scratch + band_floats(f);
    for (std::int64_t sample = 0; sample < f.batch; sample += size.samples)
        for (std::int64_t first = 0; first < height; first += size.rows) {
            const ForwardStrip strip(f, first, size.rows);
            const std::int64_t samples = min_of(size.samples, f.batch - sample);
            Source source{f.x + sample * f.x_stride, f.x_stride, row, 0};
            if (padded.needed(c)) {
                const std::int64_t top = min_of(c.h.in, max_of(0, c.h.begin(strip.conv_first)));
                const std::int64_t bottom =
                    max_of(top, min_of(c.h.in, c.h.begin(strip.conv_last - 1) + c.h.extent()));
                const std::int64_t left = padded.left * c.in_channels;
                source = {copy, (bottom - top) * padded.image.row(), padded.image.row(), top};
                for (std::int64_t s = 0; s < samples; ++s)
                    copy_rows(f.x + (sample + s) * f.x_stride + top * row, bottom - top, row, left,
                              source.row - row - left, copy + s * source.stride);
            }
            forward_strip(f, strip, sample, samples, source);
        }
}

void forward_run_samples(const Conv2dForward& f) {
    const Conv2dShape& c = f.shape;
    const ForwardPack pack(c);
    const std::int64_t row = c.w.in * c.in_channels;
    Tap taps[kMaxTaps];
    Tile t;
    t.a_step = f.x_stride;
    t.c_step = f.y_stride;
    t.relu = f.relu;
    t.taps = taps;
    pack.for_each(f.weight_part, [&](std::int64_t group, std::int64_t block, std::int64_t at) {
        const int vecs = pack.blocks.vecs(block);
        const std::int64_t width = vecs * kWidth, first = pack.blocks.first(block);
        const std::int64_t channel = group * pack.group_out + first;
        t.b = f.kernel + at;
        t.columns = pack.blocks.lanes(block);
        t.bias = f.bias ? f.bias + channel : nullptr;
        for (std::int64_t oy = 0; oy < c.h.out; ++oy)
            for (std::int64_t ox = 0; ox < c.w.out; ++ox) {
                const TapRange ys(c.h, oy), xs(c.w, ox);
                t.tap_count = 0;
                t.depth = rows_are_runs(c) ? xs.count() * c.in_channels : pack.group_in;
                for (std::int64_t ky = ys.first; ky < ys.last; ++ky)
                    for (std::int64_t kx = xs.first; kx < xs.last; ++kx) {
                        taps[t.tap_count++] = {(c.h.begin(oy) + ky * c.h.dilation) * row +
                                                   (c.w.begin(ox) + kx * c.w.dilation) * c.in_channels,
                                               (ky * c.w.size + kx) * pack.group_in * width};
                        if (rows_are_runs(c)) break;
                    }
                t.a = f.x + group * pack.group_in;
                t.c = f.y + (oy * c.w.out + ox) * c.out_channels + channel;
                run_rows(t, f.batch, vecs);
            }
    });
}

void forward_run(const Conv2dForward& f) {
    if (forward_by_samples(f))
        forward_run_samples(f);
    else
        forward_run_columns(f);
    if (f.stream) end_stream();
}

double forward_cost(const Conv2dForward& f) {
    const Conv2dShape& c = f.shape;
    const std::int64_t rows = f.pooled ? min_of(c.h.out, f.pool.h.out * f.pool.h.stride) : c.h.out;
    const std::int64_t columns = f.pooled ? min_of(c.w.out, f.pool.w.out * f.pool.w.stride) : c.w.out;
    return product_cycles(
        vector_products(c, f.batch * rows * columns, c.out_channels / c.groups, c.in_channels / c.groups),
        c.in_channels / c.groups >= 128 ? 0.88 : 0.82);
}

std::int64_t forward_weight_units(const Conv2dForward& f) {
    return ForwardPack(f.shape).blocks.count * f.shape.groups;
}

}  // namespace

const Kernel<Conv2dForward> conv2d_forward_direct = {
    forward_run,  forward_declines, forward_scratch, forward_packed, forward_pack,
    forward_cost, nullptr,          nullptr,         true,           forward_weight_units};

}  // namespace fastcnn::FASTCNN_ISA
