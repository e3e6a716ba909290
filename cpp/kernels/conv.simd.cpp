// Convolution by register tiles, forward and the input's gradient: any size, stride, dilation, groups and
// padding.
//
// A tile's rows are either neighbouring output columns of one sample ("columns") or the same output position
// of several samples ("samples"). Columns serve wide images; on a map narrower than a tile the weights would
// be streamed from L2 for a handful of positions, and samples as rows are better: 3x3 outputs of 8 samples
// fill 8-row tiles. Rows of samples also need no padding: each position lists just the taps inside the image.
#include "kernels/conv.h"
#include "kernels/rows.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

constexpr std::int64_t kMaxTaps = 1024;  // taps of one window listed on the stack
// A block of samples whose inputs exceed this (floats) falls out of L2 between positions.
constexpr std::int64_t kSamplesInCache = 256 * 1024;
// Fewer samples than this make tiles that wait for their weights.
constexpr std::int64_t kFewSamples = kTileRows / 2;

// Outputs read the input at their own position only, and neighbours there are neighbours here.
FASTCNN_INLINE bool is_pointwise(const Conv2dShape& c) {
    return c.h.size == 1 && c.w.size == 1 && c.h.stride == 1 && c.w.stride == 1;
}

// ------------------------------------------------------------------------------------------------- forward

// Packed kernel: [group][block of output channels][kernel row][kernel column][input channel][columns of the
// block].
struct ForwardPack {
    std::int64_t group_in, group_out, taps, group_size;
    ColumnBlocks blocks;
    FASTCNN_INLINE explicit ForwardPack(const Conv2dShape& c)
        : group_in(c.in_channels / c.groups),
          group_out(c.out_channels / c.groups),
          taps(c.h.size * c.w.size),
          group_size(packed_columns(group_out) * taps * group_in),
          blocks(group_out) {}
};

std::int64_t forward_packed(const Conv2dForward& f) {
    return ForwardPack(f.shape).group_size * f.shape.groups;
}

void forward_pack(const Conv2dForward& f, const float* weights, float* packed, int part, int parts) {
    const Conv2dShape& c = f.shape;
    const ForwardPack p(c);
    const std::int64_t all = p.blocks.count * c.groups, rows = p.taps * p.group_in;
    for (std::int64_t i = all * part / parts; i < all * (part + 1) / parts; ++i) {
        const std::int64_t group = i / p.blocks.count, block = i % p.blocks.count;
        const std::int64_t width = p.blocks.vecs(block) * kWidth, first = block * kBlockWidth;
        const float* from = weights + group * p.group_out + first;
        float* to = packed + group * p.group_size + first * rows;
        for (std::int64_t r = 0; r < rows; ++r, from += c.out_channels, to += width)
            for (std::int64_t v = 0; v < width; v += kWidth)
                store(to + v, load_partial(from + v, p.group_out - first - v));
    }
}

FASTCNN_INLINE bool forward_by_samples(const Conv2dForward& f) {
    return !f.pooled && f.shape.w.out < kTileRows && f.batch > f.shape.w.out &&
           f.shape.h.size * f.shape.w.size <= kMaxTaps &&
           f.shape.h.in * f.shape.w.in * f.shape.in_channels * f.batch <= kSamplesInCache;
}

const char* forward_declines(const Conv2dForward& f) {
    if (f.shape.h.size * f.shape.w.size > kMaxTaps) return "kernel has more than 1024 taps";
    if (f.pooled && f.pool.h.size * f.pool.w.size > 256) return "pooling window has more than 256 positions";
    return nullptr;
}

// Ring of the convolution's output rows that the current row of pooling windows needs, one block of channels
// wide.
FASTCNN_INLINE std::int64_t band_floats(const Conv2dForward& f) {
    return f.pooled ? f.pool.h.size * f.shape.w.out * kWideVecs * kWidth : 0;
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
    const Padded padded(f.shape, true);
    if (!padded.needed(f.shape)) return band_floats(f);
    const StripSize strip = forward_strip_size(f);
    const std::int64_t rows = f.pooled ? (strip.rows - 1) * f.pool.h.stride + f.pool.h.size : strip.rows;
    const std::int64_t input_rows = min_of(f.shape.h.in, (rows - 1) * f.shape.h.stride + f.shape.h.extent());
    return band_floats(f) + strip.samples * input_rows * padded.image.row();
}

// A strip's input: `row` floats from row to row, the first of them is row `first_row` of the image.
struct Source {
    const float* x;
    std::int64_t stride, row, first_row;
};

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

// Max over one row of windows from the band; columns [first, first + width) of the output channels.
template <int Rows, int Columns>
FASTCNN_INLINE void pool_row(const Conv2dForward& f, const float* band, std::int64_t py, int vecs,
                             std::int64_t lanes, std::int64_t first, float* y, std::int64_t argmax_at) {
    const PoolShape& p = f.pool;
    const std::int64_t width = vecs * kWidth, channels = p.channels;
    const std::int64_t rows = Rows ? Rows : p.h.size, columns = Columns ? Columns : p.w.size;
    const std::int64_t y0 = p.h.begin(py);
    for (std::int64_t px = 0; px < p.w.out; ++px) {
        const std::int64_t x0 = p.w.begin(px);
        for (int n = 0; n < vecs; ++n) {
            Vec best = zero();
            IVec slot = iset1(0);
            bool any = false;
            for (std::int64_t r = 0; r < rows; ++r) {
                if (y0 + r < 0 || y0 + r >= p.h.in) continue;
                const float* line = band + ((y0 + r) % p.h.size) * p.w.in * width + n * kWidth;
                for (std::int64_t c = 0; c < columns; ++c) {
                    if (x0 + c < 0 || x0 + c >= p.w.in) continue;
                    const Vec v = load(line + (x0 + c) * width);
                    const IVec here = iset1(static_cast<std::int32_t>(r * columns + c));
                    if (!any) {
                        best = v;
                        slot = here;
                        any = true;
                        continue;
                    }
                    const Mask better = mask_or(gt(v, best), is_nan(v));
                    best = select(better, v, best);
                    slot = iselect(better, here, slot);
                }
            }
            if (f.relu) best = max(zero(), best);
            const std::int64_t at = (py * p.w.out + px) * channels + first + n * kWidth;
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
        // Without borders and strides the strip is one long row.
        const std::int64_t rows = is_pointwise(c) ? strip.last - strip.first : 1;
        for (std::int64_t oy = strip.first; oy < strip.last; oy += rows)
            convolve(oy, rows * c.w.out, y + oy * c.w.out * c.out_channels + first, c.out_channels);
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
    std::int64_t next = strip.conv_first;
    for (std::int64_t py = strip.first; py < strip.last; ++py) {
        next = max_of(next, max_of(0, p.h.begin(py)));
        for (const std::int64_t end = min_of(c.h.out, p.h.begin(py) + p.h.size); next < end; ++next)
            convolve(next, needed, band + (next % p.h.size) * c.w.out * width, width);
        if (plain)
            pool_row_2x2(f, band, py, vecs, lanes, first, y, argmax_at);
        else
            pool_row<0, 0>(f, band, py, vecs, lanes, first, y, argmax_at);
    }
}

// All output channels of a strip of `samples` samples from `sample` on.
FASTCNN_INLINE void forward_strip(const Conv2dForward& f, const ForwardStrip& strip, std::int64_t sample,
                                  std::int64_t samples, const Source& source) {
    const Conv2dShape& c = f.shape;
    const ForwardPack pack(c);
    Tile t;
    t.a_step = c.w.stride * c.in_channels;
    t.depth = rows_are_runs(c) ? c.w.size * c.in_channels : pack.group_in;
    t.relu = f.relu;
    for (std::int64_t group = 0; group < c.groups; ++group)
        for (std::int64_t block = 0; block < pack.blocks.count; ++block) {
            const std::int64_t first = block * kBlockWidth, channel = group * pack.group_out + first;
            t.b = f.kernel + group * pack.group_size + first * pack.taps * pack.group_in;
            t.columns = pack.blocks.lanes(block);
            // In the band the tile is as wide as the block: a bias row that ends early must not be read
            // beyond.
            alignas(64) float bias[kWideVecs * kWidth] = {};
            if (f.bias)
                std::memcpy(bias, f.bias + channel, static_cast<std::size_t>(t.columns) * sizeof(float));
            t.bias = f.bias ? bias : nullptr;
            for (std::int64_t s = 0; s < samples; ++s) {
                t.a = source.x + s * source.stride + group * pack.group_in;
                forward_block(f, strip, t, source, channel, pack.blocks.vecs(block),
                              f.y + (sample + s) * f.y_stride, (sample + s) * f.argmax_stride);
            }
        }
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
    for (std::int64_t group = 0; group < c.groups; ++group)
        for (std::int64_t block = 0; block < pack.blocks.count; ++block) {
            const int vecs = pack.blocks.vecs(block);
            const std::int64_t width = vecs * kWidth, first = block * kBlockWidth;
            const std::int64_t channel = group * pack.group_out + first;
            t.b = f.kernel + group * pack.group_size + first * pack.taps * pack.group_in;
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
        }
}

void forward_run(const Conv2dForward& f) {
    if (forward_by_samples(f))
        forward_run_samples(f);
    else
        forward_run_columns(f);
}

// ------------------------------------------------------------------------------------------ input's gradient

// Packed kernel: [group][block of input channels][kernel row][kernel column][output channel][columns of the
// block].
struct GradInputPack {
    std::int64_t group_in, group_out, taps, group_size;
    ColumnBlocks blocks;
    FASTCNN_INLINE explicit GradInputPack(const Conv2dShape& c)
        : group_in(c.in_channels / c.groups),
          group_out(c.out_channels / c.groups),
          taps(c.h.size * c.w.size),
          group_size(packed_columns(group_in) * taps * group_out),
          blocks(group_in) {}
};

std::int64_t grad_input_packed(const Conv2dGradInput& g) {
    return GradInputPack(g.shape).group_size * g.shape.groups;
}

void grad_input_pack(const Conv2dGradInput& g, const float* weights, float* packed, int part, int parts) {
    const Conv2dShape& c = g.shape;
    const GradInputPack p(c);
    const std::int64_t all = p.blocks.count * c.groups;
    for (std::int64_t i = all * part / parts; i < all * (part + 1) / parts; ++i) {
        const std::int64_t group = i / p.blocks.count, block = i % p.blocks.count;
        const std::int64_t width = p.blocks.vecs(block) * kWidth, first = block * kBlockWidth;
        float* to = packed + group * p.group_size + first * p.taps * p.group_out;
        for (std::int64_t tap = 0; tap < p.taps; ++tap, to += p.group_out * width) {
            const float* from = weights + (tap * p.group_in + first) * c.out_channels + group * p.group_out;
            for (std::int64_t v = 0; v < width; v += kWidth) {
                const std::int64_t lanes = p.group_in - first - v;
                std::int64_t o = 0;
                if (lanes >= kWidth)
                    for (; o + kWidth <= p.group_out; o += kWidth)
                        transpose(from + v * c.out_channels + o, c.out_channels, to + o * width + v, width);
                for (; o < p.group_out; ++o)
                    for (std::int64_t lane = 0; lane < kWidth; ++lane)
                        to[o * width + v + lane] =
                            lane < lanes ? from[(v + lane) * c.out_channels + o] : 0.0f;
            }
        }
    }
}

// Columns compute each tap for each input column, also where it reads none of the outputs: on 13 columns
// below 11 that is one product in six, and rows of samples gain as much (126 -> 160 GFLOP/s).
FASTCNN_INLINE bool columns_waste(const Window& w) {
    std::int64_t read = 0;
    for (std::int64_t k = 0; k < w.size; ++k) read += OutputRange(w, k).count();
    return 10 * read * w.stride < 9 * w.in * w.size;
}

FASTCNN_INLINE bool grad_input_by_samples(const Conv2dGradInput& g) {
    const Conv2dShape& c = g.shape;
    const bool narrow = c.w.in < kTileRows && g.batch > c.w.in / c.w.stride;
    return (narrow || (g.batch >= kFewSamples && columns_waste(c.w))) &&
           c.h.out * c.w.out * c.out_channels * g.batch <= kSamplesInCache;
}

// dy with zeros left and right, so that every tap of every input column reads something.
struct PaddedOutput {
    Image image;
    std::int64_t left, right;
    FASTCNN_INLINE explicit PaddedOutput(const Conv2dShape& c) : image{c.h.out, 0, c.out_channels} {
        // Input column i reads outputs (i + pad - k * dilation) / stride.
        left = max_of(0, ceil_div((c.w.size - 1) * c.w.dilation - c.w.pad, c.w.stride));
        right = max_of(0, (c.w.in - 1 + c.w.pad) / c.w.stride - (c.w.out - 1));
        image.width = left + c.w.out + right;
    }
    FASTCNN_INLINE bool needed() const { return left || right; }
};

FASTCNN_INLINE StripSize grad_input_strip_size(const Conv2dGradInput& g) {
    const Conv2dShape& c = g.shape;
    return {c.h.in, c.w.in * c.in_channels + c.w.out * c.out_channels / c.h.stride,
            c.h.size * c.w.size * c.in_channels / c.groups * c.out_channels, g.batch};
}

std::int64_t grad_input_scratch(const Conv2dGradInput& g) {
    const PaddedOutput padded(g.shape);
    if (!padded.needed()) return 0;
    const StripSize strip = grad_input_strip_size(g);
    // Outputs that read one of `rows` neighbouring inputs.
    const std::int64_t rows =
        min_of(g.shape.h.out, (strip.rows + g.shape.h.extent() - 2) / g.shape.h.stride + 1);
    return strip.samples * rows * padded.image.row();
}

const char* grad_input_declines(const Conv2dGradInput& g) {
    return g.shape.h.size * g.shape.w.size > kMaxTaps ? "kernel has more than 1024 taps" : nullptr;
}

// Calls visit(group, channel, vecs) for each block of input channels, with the tile's weights set.
template <class Visit>
FASTCNN_INLINE void for_each_input_block(const Conv2dGradInput& g, Tile& t, const Visit& visit) {
    const GradInputPack pack(g.shape);
    t.depth = pack.group_out;
    for (std::int64_t group = 0; group < g.shape.groups; ++group)
        for (std::int64_t block = 0; block < pack.blocks.count; ++block) {
            const std::int64_t first = block * kBlockWidth;
            t.b = g.kernel + group * pack.group_size + first * pack.taps * pack.group_out;
            t.columns = pack.blocks.lanes(block);
            visit(group, group * pack.group_in + first, pack.blocks.vecs(block));
        }
}

void grad_input_run_samples(const Conv2dGradInput& g) {
    const Conv2dShape& c = g.shape;
    const GradInputPack pack(c);
    Tap taps[kMaxTaps];
    Tile t;
    t.a_step = g.dy_stride;
    t.c_step = g.dx_stride;
    t.taps = taps;
    for_each_input_block(g, t, [&](std::int64_t group, std::int64_t channel, int vecs) {
        const std::int64_t tap_size = pack.group_out * vecs * kWidth;
        for (std::int64_t iy = 0; iy < c.h.in; ++iy)
            for (std::int64_t ix = 0; ix < c.w.in; ++ix) {
                t.tap_count = 0;
                for (std::int64_t ky = 0; ky < c.h.size; ++ky) {
                    const std::int64_t oy = output_reading(c.h, iy, ky);
                    if (oy < 0) continue;
                    for (std::int64_t kx = 0; kx < c.w.size; ++kx) {
                        const std::int64_t ox = output_reading(c.w, ix, kx);
                        if (ox >= 0)
                            taps[t.tap_count++] = {(oy * c.w.out + ox) * c.out_channels,
                                                   (ky * c.w.size + kx) * tap_size};
                    }
                }
                t.a = g.dy + group * pack.group_out;
                t.c = g.dx + (iy * c.w.in + ix) * c.in_channels + channel;
                run_rows(t, g.batch, vecs);
            }
    });
}

// Taps through which the input columns phase, phase + stride, ... of row `iy` are read. Returns their number.
FASTCNN_INLINE std::int64_t phase_taps(const Conv2dShape& c, const Source& source, std::int64_t left,
                                       std::int64_t iy, std::int64_t phase, std::int64_t tap_size,
                                       Tap* taps) {
    std::int64_t n = 0;
    for (std::int64_t ky = 0; ky < c.h.size; ++ky) {
        const std::int64_t oy = output_reading(c.h, iy, ky);
        if (oy < 0) continue;
        for (std::int64_t kx = 0; kx < c.w.size; ++kx) {
            const std::int64_t shifted = phase + c.w.pad - kx * c.w.dilation;
            if (shifted % c.w.stride != 0) continue;
            taps[n++] = {
                (oy - source.first_row) * source.row + (shifted / c.w.stride + left) * c.out_channels,
                (ky * c.w.size + kx) * tap_size};
        }
    }
    return n;
}

// Rows [first, last) of dx of `samples` samples. Input columns of equal remainder modulo the stride are read
// by the same taps: each phase is a stride-1 convolution.
FASTCNN_INLINE void grad_input_strip(const Conv2dGradInput& g, std::int64_t first, std::int64_t last,
                                     std::int64_t sample, std::int64_t samples, const Source& source,
                                     std::int64_t left) {
    const Conv2dShape& c = g.shape;
    const GradInputPack pack(c);
    Tap taps[kMaxTaps];
    Tile t;
    t.a_step = c.out_channels;
    t.c_step = c.w.stride * c.in_channels;
    t.taps = taps;
    const std::int64_t rows = is_pointwise(c) ? last - first : 1;  // one long row
    for_each_input_block(g, t, [&](std::int64_t group, std::int64_t channel, int vecs) {
        const std::int64_t tap_size = pack.group_out * vecs * kWidth;
        for (std::int64_t s = 0; s < samples; ++s)
            for (std::int64_t iy = first; iy < last; iy += rows)
                for (std::int64_t phase = 0; phase < min_of(c.w.stride, c.w.in); ++phase) {
                    t.tap_count = phase_taps(c, source, left, iy, phase, tap_size, taps);
                    t.a = source.x + s * source.stride + group * pack.group_out;
                    t.c = g.dx + (sample + s) * g.dx_stride + (iy * c.w.in + phase) * c.in_channels + channel;
                    run_rows(t, rows * ceil_div(c.w.in - phase, c.w.stride), vecs);
                }
    });
}

void grad_input_run_columns(const Conv2dGradInput& g) {
    const Conv2dShape& c = g.shape;
    const PaddedOutput padded(c);
    const StripSize size = grad_input_strip_size(g);
    const std::int64_t row = c.w.out * c.out_channels;
    for (std::int64_t sample = 0; sample < g.batch; sample += size.samples)
        for (std::int64_t first = 0; first < c.h.in; first += size.rows) {
            const std::int64_t last = min_of(c.h.in, first + size.rows);
            const std::int64_t samples = min_of(size.samples, g.batch - sample);
            Source source{g.dy + sample * g.dy_stride, g.dy_stride, row, 0};
            if (padded.needed()) {
                const std::int64_t top =
                    min_of(c.h.out, max_of(0, ceil_div(first + c.h.pad - c.h.extent() + 1, c.h.stride)));
                const std::int64_t bottom =
                    max_of(top, min_of(c.h.out, (last - 1 + c.h.pad) / c.h.stride + 1));
                source = {g.scratch, (bottom - top) * padded.image.row(), padded.image.row(), top};
                for (std::int64_t s = 0; s < samples; ++s)
                    copy_rows(g.dy + (sample + s) * g.dy_stride + top * row, bottom - top, row,
                              padded.left * c.out_channels, padded.right * c.out_channels,
                              g.scratch + s * source.stride);
            }
            grad_input_strip(g, first, last, sample, samples, source, padded.left);
        }
}

void grad_input_run(const Conv2dGradInput& g) {
    if (grad_input_by_samples(g))
        grad_input_run_samples(g);
    else
        grad_input_run_columns(g);
}

}  // namespace

const Kernel<Conv2dForward> conv2d_forward_direct = {forward_run, forward_declines, forward_scratch,
                                                     forward_packed, forward_pack};
const Kernel<Conv2dGradInput> conv2d_grad_input_direct = {
    grad_input_run, grad_input_declines, grad_input_scratch, grad_input_packed, grad_input_pack};

}  // namespace fastcnn::FASTCNN_ISA
