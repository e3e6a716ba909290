// Convolution by register tiles, forward and both gradients: any size, stride, dilation, groups and padding.
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
constexpr std::int64_t kSamplesInCache = 128 * 1024;

// ------------------------------------------------------------------------------------------------- forward

// Packed kernel: [group][block of output channels][kernel row][kernel column][input channel][columns of the
// block].
struct ForwardPack {
    std::int64_t group_in, group_out, taps, group_size;
    FASTCNN_INLINE explicit ForwardPack(const Conv2dShape& c)
        : group_in(c.in_channels / c.groups),
          group_out(c.out_channels / c.groups),
          taps(c.h.size * c.w.size),
          group_size(packed_columns(c.out_channels / c.groups) * c.h.size * c.w.size *
                     (c.in_channels / c.groups)) {}
};

std::int64_t forward_packed(const Conv2dForward& f) {
    return ForwardPack(f.shape).group_size * f.shape.groups;
}

void forward_pack(const Conv2dForward& f, const float* weights, float* packed, int part, int parts) {
    const Conv2dShape& c = f.shape;
    const ForwardPack p(c);
    const std::int64_t blocks = block_count(p.group_out), all = blocks * c.groups, rows = p.taps * p.group_in;
    for (std::int64_t i = all * part / parts; i < all * (part + 1) / parts; ++i) {
        const std::int64_t group = i / blocks, block = i % blocks;
        const std::int64_t width = block_vecs(p.group_out, block) * kWidth, first = block * kBlockWidth;
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
    return f.pooled ? f.pool.h.size * f.shape.w.out * kBlockWidth : 0;
}

// A smaller last block may run by columns where a full one runs by samples: padding is booked for either.
std::int64_t forward_scratch(const Conv2dForward& f) {
    const Padded padded(f.shape, true);
    return band_floats(f) + (padded.needed(f.shape) ? f.batch * padded.image.size() : 0);
}

// Taps of output row `oy`, an unbroken kernel row each where rows are runs. Returns their number.
FASTCNN_INLINE std::int64_t row_taps(const Conv2dShape& c, std::int64_t image_row, std::int64_t oy,
                                     std::int64_t width, Tap* taps) {
    const std::int64_t group_in = c.in_channels / c.groups;
    const TapRange rows(c.h, oy);
    std::int64_t n = 0;
    for (std::int64_t ky = rows.first; ky < rows.last; ++ky) {
        const std::int64_t a = (c.h.begin(oy) + ky * c.h.dilation) * image_row;
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
FASTCNN_INLINE void forward_block(const Conv2dForward& f, Tile t, const float* x, std::int64_t image_row,
                                  std::int64_t first, int vecs, float* band, float* y,
                                  std::int64_t argmax_at) {
    const Conv2dShape& c = f.shape;
    const std::int64_t width = vecs * kWidth;
    Tap taps[kMaxTaps];
    t.taps = taps;
    const auto convolve = [&](std::int64_t oy, std::int64_t columns, float* out, std::int64_t step) {
        t.tap_count = row_taps(c, image_row, oy, width, taps);
        t.a = x;
        t.c = out;
        t.c_step = step;
        run_rows(t, columns, vecs);
    };
    if (!f.pooled) {
        for (std::int64_t oy = 0; oy < c.h.out; ++oy)
            convolve(oy, c.w.out, y + oy * c.w.out * c.out_channels + first, c.out_channels);
        return;
    }
    const PoolShape& p = f.pool;
    const std::int64_t lanes = t.columns;
    t.columns = width;  // the band holds whole vectors; packed zeros and bias make the rest harmless
    t.relu = false;
    const std::int64_t needed = min_of(c.w.out, p.w.begin(p.w.out - 1) + p.w.size);
    const bool plain = p.h.size == 2 && p.w.size == 2 && p.h.pad == 0 && p.w.pad == 0 && p.h.pad_end() == 0 &&
                       p.w.pad_end() == 0;
    std::int64_t next = 0;
    for (std::int64_t py = 0; py < p.h.out; ++py) {
        next = max_of(next, max_of(0, p.h.begin(py)));
        for (const std::int64_t end = min_of(c.h.out, p.h.begin(py) + p.h.size); next < end; ++next)
            convolve(next, needed, band + (next % p.h.size) * c.w.out * width, width);
        if (plain)
            pool_row_2x2(f, band, py, vecs, lanes, first, y, argmax_at);
        else
            pool_row<0, 0>(f, band, py, vecs, lanes, first, y, argmax_at);
    }
}

void forward_run_columns(const Conv2dForward& f) {
    const Conv2dShape& c = f.shape;
    const ForwardPack pack(c);
    const Padded padded(c, true);
    const float* x = f.x;
    std::int64_t x_stride = f.x_stride;
    if (padded.needed(c)) {
        float* copy = f.scratch + band_floats(f);
        copy_padded(f.x, f.x_stride, f.batch, c.h.in, c.w.in, padded, copy);
        x = copy;
        x_stride = padded.image.size();
    }
    Tile t;
    t.a_step = c.w.stride * c.in_channels;
    t.depth = rows_are_runs(c) ? c.w.size * c.in_channels : pack.group_in;
    t.relu = f.relu;
    // A block of weights (3x3x32x32 floats: 36 KB) stays in L1 while all samples pass by.
    for (std::int64_t group = 0; group < c.groups; ++group)
        for (std::int64_t block = 0; block < block_count(pack.group_out); ++block) {
            const int vecs = block_vecs(pack.group_out, block);
            const std::int64_t first = block * kBlockWidth, left = pack.group_out - first;
            const std::int64_t channel = group * pack.group_out + first;
            t.b = f.kernel + group * pack.group_size + first * pack.taps * pack.group_in;
            t.columns = min_of(left, vecs * kWidth);
            // In the band the tile is as wide as the block: a bias row that ends early must not be read
            // beyond.
            alignas(64) float bias[kBlockWidth] = {};
            if (f.bias)
                std::memcpy(bias, f.bias + channel, static_cast<std::size_t>(t.columns) * sizeof(float));
            t.bias = f.bias ? bias : nullptr;
            for (std::int64_t s = 0; s < f.batch; ++s)
                forward_block(f, t, x + s * x_stride + group * pack.group_in, padded.image.row(), channel,
                              vecs, f.scratch, f.y + s * f.y_stride, s * f.argmax_stride);
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
        for (std::int64_t block = 0; block < block_count(pack.group_out); ++block) {
            const int vecs = block_vecs(pack.group_out, block);
            const std::int64_t width = vecs * kWidth, first = block * kBlockWidth;
            const std::int64_t channel = group * pack.group_out + first;
            t.b = f.kernel + group * pack.group_size + first * pack.taps * pack.group_in;
            t.columns = min_of(pack.group_out - first, width);
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
    FASTCNN_INLINE explicit GradInputPack(const Conv2dShape& c)
        : group_in(c.in_channels / c.groups),
          group_out(c.out_channels / c.groups),
          taps(c.h.size * c.w.size),
          group_size(packed_columns(c.in_channels / c.groups) * c.h.size * c.w.size *
                     (c.out_channels / c.groups)) {}
};

std::int64_t grad_input_packed(const Conv2dGradInput& g) {
    return GradInputPack(g.shape).group_size * g.shape.groups;
}

void grad_input_pack(const Conv2dGradInput& g, const float* weights, float* packed, int part, int parts) {
    const Conv2dShape& c = g.shape;
    const GradInputPack p(c);
    const std::int64_t blocks = block_count(p.group_in), all = blocks * c.groups;
    for (std::int64_t i = all * part / parts; i < all * (part + 1) / parts; ++i) {
        const std::int64_t group = i / blocks, block = i % blocks;
        const std::int64_t width = block_vecs(p.group_in, block) * kWidth, first = block * kBlockWidth;
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

FASTCNN_INLINE bool grad_input_by_samples(const Conv2dGradInput& g) {
    return g.shape.w.in < kTileRows && g.batch > g.shape.w.in / g.shape.w.stride &&
           g.shape.h.out * g.shape.w.out * g.shape.out_channels * g.batch <= kSamplesInCache;
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

std::int64_t grad_input_scratch(const Conv2dGradInput& g) {
    const PaddedOutput padded(g.shape);
    return padded.needed() ? g.batch * padded.image.size() : 0;
}

const char* grad_input_declines(const Conv2dGradInput& g) {
    return g.shape.h.size * g.shape.w.size > kMaxTaps ? "kernel has more than 1024 taps" : nullptr;
}

// Calls visit(t, channel, vecs) for each block of input channels, with the tile's weights set.
template <class Visit>
FASTCNN_INLINE void for_each_input_block(const Conv2dGradInput& g, Tile& t, const Visit& visit) {
    const GradInputPack pack(g.shape);
    t.depth = pack.group_out;
    for (std::int64_t group = 0; group < g.shape.groups; ++group)
        for (std::int64_t block = 0; block < block_count(pack.group_in); ++block) {
            const int vecs = block_vecs(pack.group_in, block);
            const std::int64_t first = block * kBlockWidth;
            t.b = g.kernel + group * pack.group_size + first * pack.taps * pack.group_out;
            t.columns = min_of(pack.group_in - first, vecs * kWidth);
            visit(group, group * pack.group_in + first, vecs);
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

// Input columns of equal remainder modulo the stride are read by the same taps: each phase is a stride-1
// convolution.
void grad_input_run_columns(const Conv2dGradInput& g) {
    const Conv2dShape& c = g.shape;
    const GradInputPack pack(c);
    const PaddedOutput padded(c);
    const float* dy = g.dy;
    std::int64_t dy_stride = g.dy_stride;
    if (padded.needed()) {
        Padded to(c, true);
        to.image = padded.image;
        to.left = padded.left;
        copy_padded(g.dy, g.dy_stride, g.batch, c.h.out, c.w.out, to, g.scratch);
        dy = g.scratch;
        dy_stride = padded.image.size();
    }
    Tap taps[kMaxTaps];
    Tile t;
    t.a_step = c.out_channels;
    t.c_step = c.w.stride * c.in_channels;
    t.taps = taps;
    for_each_input_block(g, t, [&](std::int64_t group, std::int64_t channel, int vecs) {
        const std::int64_t tap_size = pack.group_out * vecs * kWidth;
        for (std::int64_t s = 0; s < g.batch; ++s)
            for (std::int64_t iy = 0; iy < c.h.in; ++iy)
                for (std::int64_t phase = 0; phase < min_of(c.w.stride, c.w.in); ++phase) {
                    t.tap_count = 0;
                    for (std::int64_t ky = 0; ky < c.h.size; ++ky) {
                        const std::int64_t oy = output_reading(c.h, iy, ky);
                        if (oy < 0) continue;
                        for (std::int64_t kx = 0; kx < c.w.size; ++kx) {
                            const std::int64_t shifted = phase + c.w.pad - kx * c.w.dilation;
                            if (shifted % c.w.stride != 0) continue;
                            taps[t.tap_count++] = {
                                (oy * padded.image.width + shifted / c.w.stride + padded.left) *
                                    c.out_channels,
                                (ky * c.w.size + kx) * tap_size};
                        }
                    }
                    t.a = dy + s * dy_stride + group * pack.group_out;
                    t.c = g.dx + s * g.dx_stride + (iy * c.w.in + phase) * c.in_channels + channel;
                    run_rows(t, (c.w.in - phase + c.w.stride - 1) / c.w.stride, vecs);
                }
    });
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
