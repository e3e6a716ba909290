// Gradient of a convolution's input by the register tiles of the forward pass: any size, stride, dilation,
// groups and padding. A tile's rows are columns of dx or samples, as there.
#include "kernels/conv.h"
#include "kernels/rows.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

// Fewer samples than this make tiles that wait for their weights.
constexpr std::int64_t kFewSamples = kMostRows / 2;

// Depth: [kernel row][kernel column][output channel].
struct GradInputPack : PackedBlocks {
    std::int64_t group_in, group_out, taps;
    FASTCNN_INLINE explicit GradInputPack(const Conv2dShape& c)
        : PackedBlocks(c.in_channels / c.groups, c.h.size * c.w.size * c.out_channels / c.groups, c.groups),
          group_in(columns),
          group_out(c.out_channels / c.groups),
          taps(c.h.size * c.w.size) {}
};

std::int64_t grad_input_packed(const Conv2dGradInput& g) {
    return GradInputPack(g.shape).floats(g.weight_part);
}

void grad_input_pack(const Conv2dGradInput& g, const float* weights, float* packed, int part, int parts) {
    const std::int64_t channels = g.shape.out_channels;
    const GradInputPack p(g.shape);
    p.for_each(
        {part, parts, g.weight_part.alone}, [&](std::int64_t group, std::int64_t block, std::int64_t at) {
            const std::int64_t width = p.blocks.width(block), first = p.blocks.first(block);
            float* to = packed + at;
            for (std::int64_t tap = 0; tap < p.taps; ++tap, to += p.group_out * width) {
                const float* from = weights + (tap * p.group_in + first) * channels + group * p.group_out;
                for (std::int64_t v = 0; v < width; v += kWidth) {
                    const std::int64_t lanes = p.group_in - first - v;
                    std::int64_t o = 0;
                    if (lanes >= kWidth)
                        for (; o + kWidth <= p.group_out; o += kWidth)
                            transpose(from + v * channels + o, channels, to + o * width + v, width);
                    for (; o < p.group_out; ++o)
                        for (std::int64_t lane = 0; lane < kWidth; ++lane)
                            to[o * width + v + lane] = lane < lanes ? from[(v + lane) * channels + o] : 0.0f;
                }
            }
        });
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
    const bool narrow = c.w.in < kMostRows && g.batch > c.w.in / c.w.stride;
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
    const Conv2dShape& c = g.shape;
    if (is_pointwise(c) && c.h.in == c.h.out)
        return pointwise_rows(c.in_channels, c.out_channels / c.groups) * pointwise_copy_step(c.out_channels);
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
    pack.for_each(g.weight_part, [&](std::int64_t group, std::int64_t block, std::int64_t at) {
        const std::int64_t first = pack.blocks.first(block);
        t.b = g.kernel + at;
        t.columns = pack.blocks.lanes(block);
        visit(group, group * pack.group_in + first, pack.blocks.vecs(block));
    });
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

// Pixels [first, last) of one sample's dx of a pointwise convolution.
FASTCNN_INLINE void grad_input_pointwise(const Conv2dGradInput& g, std::int64_t sample, std::int64_t first,
                                         std::int64_t last) {
    const Conv2dShape& c = g.shape;
    const GradInputPack pack(c);
    const Tap tap{0, 0};
    Tile t;
    const std::int64_t copy_step = pointwise_copy_step(c.out_channels);
    t.a_step = copy_step ? copy_step : c.out_channels;
    t.c_step = c.in_channels;
    t.taps = &tap;
    t.tap_count = 1;
    const std::int64_t fit = pointwise_rows(c.in_channels, pack.group_out);
    for (std::int64_t p = first; p < last; p += fit) {
        const std::int64_t rows = min_of(fit, last - p);
        const float* const a = pointwise_operand(g.dy + sample * g.dy_stride + p * c.out_channels, rows,
                                                 c.out_channels, g.scratch);
        const RowSplit split(rows, max_tile_rows(pack.blocks.widest()));
        Ahead ahead(max_of(1, split.tiles * pack.blocks.count * c.groups / g.weight_part.parts));
        const float* const next = g.dy + sample * g.dy_stride + (p + rows) * c.out_channels;
        ahead.add(next, next + min_of(fit, last - p - rows) * c.out_channels);
        for_each_input_block(g, t, [&](std::int64_t group, std::int64_t channel, int vecs) {
            t.a = a + group * pack.group_out;
            t.c = g.dx + sample * g.dx_stride + p * c.in_channels + channel;
            run_rows(t, rows, vecs, &ahead);
        });
    }
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
    for_each_input_block(g, t, [&](std::int64_t group, std::int64_t channel, int vecs) {
        const std::int64_t tap_size = pack.group_out * vecs * kWidth;
        for (std::int64_t s = 0; s < samples; ++s)
            for (std::int64_t iy = first; iy < last; ++iy)
                for (std::int64_t phase = 0; phase < min_of(c.w.stride, c.w.in); ++phase) {
                    t.tap_count = phase_taps(c, source, left, iy, phase, tap_size, taps);
                    t.a = source.x + s * source.stride + group * pack.group_out;
                    t.c = g.dx + (sample + s) * g.dx_stride + (iy * c.w.in + phase) * c.in_channels + channel;
                    run_rows(t, ceil_div(c.w.in - phase, c.w.stride), vecs);
                }
    });
}

void grad_input_run_columns(const Conv2dGradInput& g) {
    const Conv2dShape& c = g.shape;
    if (is_pointwise(c) && c.h.in == c.h.out) {
        for (std::int64_t s = 0; s < g.batch; ++s) grad_input_pointwise(g, s, 0, c.h.in * c.w.in);
        return;
    }
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

double grad_input_cost(const Conv2dGradInput& g) {
    const Conv2dShape& c = g.shape;
    return product_cycles(
        vector_products(c, g.batch * c.h.out * c.w.out, c.in_channels / c.groups, c.out_channels / c.groups),
        c.out_channels / c.groups >= 128 ? 0.88 : 0.82);
}

}  // namespace

const Kernel<Conv2dGradInput> conv2d_grad_input_direct = {grad_input_run,
                                                          grad_input_declines,
                                                          grad_input_scratch,
                                                          grad_input_packed,
                                                          grad_input_pack,
                                                          grad_input_cost,
                                                          nullptr,
                                                          nullptr,
                                                          true};

}  // namespace fastcnn::FASTCNN_ISA
