// Gradients of a convolution of images with one to four channels: a network's first layer without a pool over
// it.
#include "kernels/few_channels.h"
#include "kernels/rows.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

// ----------------------------------------------------------------------------------------- kernel's gradient

// Rows of the output taken together: their gradients are to stay in L1 while all taps pass by, and are to be
// enough to pay for loading and storing the accumulators.
constexpr std::int64_t kBandFloats = 8 * 1024;

// Some taps of one block of output channels, summed over some rows of one sample's output.
struct TapTile {
    const float* x = nullptr;    // first tap of the first position
    std::int64_t line_step = 0;  // between the kernel's rows
    std::int64_t x_position = 0, x_row = 0;
    const float* dy = nullptr;
    std::int64_t channels = 0, lanes = 0;
    std::int64_t rows = 0, positions = 0;
    float* dkernel = nullptr;
    std::int64_t line_out = 0;
    float* dbias = nullptr;  // of a tile that sums dy as well
    // Part of the next rows, fetched into L2 meanwhile: of those that do not come from there, the first taps
    // would wait.
    const float* ahead = nullptr;
    std::int64_t ahead_step = 0;
};

template <int Lines, int Columns, int Vecs, bool Bias>
void sum_taps(const TapTile& t) {
    constexpr int last = (Vecs - 1) * kWidth;
    const std::int64_t lanes = t.lanes - last;
    Vec acc[Lines][Columns][Vecs], bias[Vecs];
#pragma GCC unroll 2
    for (int n = 0; n < Vecs; ++n) bias[n] = zero();
#pragma GCC unroll 4
    for (int l = 0; l < Lines; ++l) {
#pragma GCC unroll 16
        for (int i = 0; i < Columns; ++i) {
            const float* from = t.dkernel + l * t.line_out + i * t.channels;
            if (Vecs > 1) acc[l][i][0] = load(from);
            acc[l][i][Vecs - 1] = load_partial(from + last, lanes);
        }
    }
    const float* ahead = t.ahead;
    for (std::int64_t row = 0; row < t.rows; ++row) {
        const float* x = t.x + row * t.x_row;
        const float* dy = t.dy + row * t.positions * t.channels;
        for (std::int64_t p = 0; p < t.positions; ++p, x += t.x_position, dy += t.channels) {
            __builtin_prefetch(ahead, 0, 2);
            ahead += t.ahead_step;
            Vec g[Vecs];
            if (Vecs > 1) g[0] = load(dy);
            g[Vecs - 1] = load_partial(dy + last, lanes);
#pragma GCC unroll 2
            for (int n = 0; n < Vecs; ++n)
                if (Bias) bias[n] = add(bias[n], g[n]);
#pragma GCC unroll 4
            for (int l = 0; l < Lines; ++l) {
#pragma GCC unroll 16
                for (int i = 0; i < Columns; ++i) {
                    const Vec tap = in_register(set1(x[l * t.line_step + i]));
#pragma GCC unroll 2
                    for (int n = 0; n < Vecs; ++n) acc[l][i][n] = fma(tap, g[n], acc[l][i][n]);
                }
            }
        }
    }
#pragma GCC unroll 4
    for (int l = 0; l < Lines; ++l) {
#pragma GCC unroll 16
        for (int i = 0; i < Columns; ++i) {
            float* to = t.dkernel + l * t.line_out + i * t.channels;
            if (Vecs > 1) store(to, acc[l][i][0]);
            store_partial(to + last, acc[l][i][Vecs - 1], lanes);
        }
    }
    // What is there is added last: a long sum cut into parts rounds less than one run through all its terms.
    if (Bias && Vecs > 1) store(t.dbias, add(load(t.dbias), bias[0]));
    if (Bias) store_partial(t.dbias + last, add(load_partial(t.dbias + last, lanes), bias[Vecs - 1]), lanes);
}

using TapFunction = void (*)(const TapTile&);

// kPositions taps x 2 vectors are what the registers hold beside a position's gradient and one broadcast.
constexpr int kMaxLines = 3;

template <bool Bias, int Lines, int Columns = kPositions>
TapFunction columns_function(std::int64_t columns, int vecs) {
    if constexpr (Columns > 1)
        if (columns < Columns) return columns_function<Bias, Lines, Columns - 1>(columns, vecs);
    if constexpr (Lines * Columns <= kPositions)
        return vecs == 1 ? sum_taps<Lines, Columns, 1, Bias> : sum_taps<Lines, Columns, 2, Bias>;
    else
        return nullptr;  // taps_run() does not ask for it
}

template <bool Bias>
TapFunction tap_function(std::int64_t lines, std::int64_t columns, int vecs) {
    return lines == 1   ? columns_function<Bias, 1>(columns, vecs)
           : lines == 2 ? columns_function<Bias, 2>(columns, vecs)
                        : columns_function<Bias, 3>(columns, vecs);
}

const char* taps_declines(const Conv2dGradKernel& g) { return not_few_channels(g.shape); }

std::int64_t taps_scratch(const Conv2dGradKernel& g) {
    const Padded padded(g.shape, false);
    return padded.needed(g.shape) ? padded.image.size() : 0;
}

// All taps and channels of some rows.
FASTCNN_INLINE void add_taps(const Conv2dGradKernel& g, TapTile t) {
    const Conv2dShape& c = g.shape;
    const std::int64_t run = c.w.size * c.in_channels, parts = (run + kPositions - 1) / kPositions;
    const float *x = t.x, *dy = t.dy;
    const std::int64_t lines_at_once = min_of(kMaxLines, kPositions / ((run + parts - 1) / parts));
    const std::int64_t calls =
        pair_count(c.out_channels) * parts * ((c.h.size + lines_at_once - 1) / lines_at_once);
    t.ahead = dy + t.rows * t.positions * t.channels;
    t.ahead_step = (c.out_channels + calls - 1) / calls;
    for (std::int64_t block = 0; block < pair_count(c.out_channels); ++block) {
        const int vecs = pair_vecs(c.out_channels, block);
        const std::int64_t channel = block * kPairWidth;
        t.lanes = min_of(c.out_channels - channel, vecs * kWidth);
        t.dy = dy + channel;
        for (std::int64_t part = 0; part < parts; ++part) {
            const std::int64_t first = run * part / parts, columns = run * (part + 1) / parts - first;
            for (std::int64_t line = 0; line < c.h.size;) {
                const std::int64_t lines = min_of(min_of(kMaxLines, kPositions / columns), c.h.size - line);
                t.x = x + line * t.line_step + first;
                t.dkernel = g.dkernel + (line * run + first) * c.out_channels + channel;
                line += lines;
                // The last tile, which tends to be the smallest, sums dy as well.
                const bool sums = g.dbias && part + 1 == parts && line == c.h.size;
                if (sums) t.dbias = g.dbias + channel;
                (sums ? tap_function<true> : tap_function<false>)(lines, columns, vecs)(t);
                t.ahead += t.rows * t.positions * t.ahead_step;
            }
        }
    }
}

void taps_run(const Conv2dGradKernel& g) {
    const Conv2dShape& c = g.shape;
    const Padded padded(c, false);
    const std::int64_t row = padded.image.row(), out_row = c.w.out * c.out_channels;
    TapTile t;
    t.line_step = c.h.dilation * row;
    t.x_position = c.w.stride * c.in_channels;
    t.x_row = c.h.stride * row;
    t.channels = c.out_channels;
    t.positions = c.w.out;
    t.line_out = c.w.size * c.in_channels * c.out_channels;
    if (!g.accumulate) {
        std::memset(g.dkernel, 0, static_cast<std::size_t>(c.h.size * t.line_out) * sizeof(float));
        if (g.dbias) std::memset(g.dbias, 0, static_cast<std::size_t>(c.out_channels) * sizeof(float));
    }
    const std::int64_t band = max_of(1, kBandFloats / out_row);
    for (std::int64_t s = 0; s < g.batch; ++s) {
        const float* x = g.x + s * g.x_stride;
        if (padded.needed(c)) {
            copy_padded(x, 0, 1, c.h.in, c.w.in, padded, g.scratch);
            x = g.scratch;
        }
        for (std::int64_t oy = 0; oy < c.h.out; oy += band) {
            t.rows = min_of(band, c.h.out - oy);
            t.x = x + oy * t.x_row;
            t.dy = g.dy + s * g.dy_stride + oy * out_row;
            add_taps(g, t);
        }
    }
}

// ------------------------------------------------------------------------------------------ input's gradient

// With channels in the lanes one to four lanes would work. So dy is transposed, a band of rows at a time,
// into a plane for each output channel, with zeros where the window reaches over the output's edge; a plane
// is one line of numbers, and with pixels in the lanes
//   dx[c][e] = sum over output channels o and taps of plane[o][e + offset of the tap] * kernel[tap][c][o]
// for runs of pixels e that do not care where a row ends (what they compute between rows is dropped).
//
// Where the stride is not 1, input pixels fall into stride x stride phases, (row + pad) mod stride and the
// same of columns, each read by its own taps: phase f of a kernel of `size` by taps f, f + stride, ..., tap f
// + j * stride of the pixel numbered v in its phase by output v - j.
struct PhaseAxis {
    std::int64_t reach = 0;             // outputs beside the first that read a pixel, at most
    std::int64_t first = 0, count = 0;  // pixels' numbers v, of all phases together

    FASTCNN_INLINE explicit PhaseAxis(const Window& w)
        : reach((w.size - 1) / w.stride),
          first(w.pad / w.stride),
          count((w.in - 1 + w.pad) / w.stride + 1 - w.pad / w.stride) {}
    FASTCNN_INLINE static std::int64_t taps(const Window& w, std::int64_t phase) {
        return phase < w.size ? (w.size - 1 - phase) / w.stride + 1 : 0;
    }
    // The input pixel numbered v of a phase; outside of the image for some v at its edges.
    FASTCNN_INLINE static std::int64_t pixel(const Window& w, std::int64_t phase, std::int64_t v) {
        return v * w.stride + phase - w.pad;
    }
};

// Vectors of pixels of one tile: with `Channels` accumulators each, and that many weights, they fill the
// registers.
template <int Channels>
constexpr int kTilePixels = kPositions * kPairVecs / (Channels + 1);

struct PlaneBand {
    PhaseAxis h, w;
    std::int64_t pitch = 0;   // of a plane's rows
    std::int64_t rows = 0;    // of pixels in a band
    std::int64_t stride = 0;  // between planes
    // Planes of a band stay in L2.
    static constexpr std::int64_t kFloats = 64 * 1024;
    static constexpr std::int64_t kSlack = (kTilePixels<1> + 1) * kWidth;

    FASTCNN_INLINE explicit PlaneBand(const Conv2dShape& c) : h(c.h), w(c.w) {
        pitch = w.count + w.reach;
        rows = min_of(h.count, max_of(1, kFloats / (c.out_channels * pitch) - h.reach));
        // An odd number of cache lines: planes must not meet in one set of L1.
        stride = ((rows + h.reach) * pitch + w.reach + kSlack + 31) / 32 * 32 + 16;
    }
    // One channel's sums before they are put into dx.
    FASTCNN_INLINE std::int64_t sums() const { return rows * pitch + kSlack; }
};

std::int64_t planes_scratch(const Conv2dGradInput& g) {
    const PlaneBand band(g.shape);
    return g.shape.out_channels * band.stride + g.shape.in_channels * band.sums();
}

const char* planes_declines(const Conv2dGradInput& g) {
    if (g.shape.h.dilation != 1) return "kernel is dilated";
    if (g.shape.h.size * g.shape.w.size > kMaxTaps) return "kernel has more than 1024 taps";
    return not_few_channels(g.shape);
}

std::int64_t planes_packed(const Conv2dGradInput& g) {
    return g.shape.h.size * g.shape.w.size * g.shape.in_channels * g.shape.out_channels;
}

// Calls visit(row's phase, column's phase, taps) for each phase.
template <class Visit>
FASTCNN_INLINE void for_each_phase(const Conv2dShape& c, const Visit& visit) {
    for (std::int64_t fy = 0; fy < c.h.stride; ++fy)
        for (std::int64_t fx = 0; fx < c.w.stride; ++fx)
            visit(fy, fx, PhaseAxis::taps(c.h, fy) * PhaseAxis::taps(c.w, fx));
}

// Packed kernel: [phase][output channel][tap of the phase][input channel].
void planes_pack(const Conv2dGradInput& g, const float* weights, float* packed, int part, int parts) {
    const Conv2dShape& c = g.shape;
    const std::int64_t first = c.out_channels * part / parts, last = c.out_channels * (part + 1) / parts;
    for_each_phase(c, [&](std::int64_t fy, std::int64_t fx, std::int64_t taps) {
        for (std::int64_t o = first; o < last; ++o) {
            float* to = packed + o * taps * c.in_channels;
            for (std::int64_t ky = fy; ky < c.h.size; ky += c.h.stride)
                for (std::int64_t kx = fx; kx < c.w.size; kx += c.w.stride)
                    for (std::int64_t i = 0; i < c.in_channels; ++i)
                        *to++ = weights[((ky * c.w.size + kx) * c.in_channels + i) * c.out_channels + o];
        }
        packed += c.out_channels * taps * c.in_channels;
    });
}

// `width` pixels of one row of dy -> a row of each plane.
FASTCNN_INLINE void transpose_row(const float* dy, std::int64_t width, std::int64_t channels, float* planes,
                                  std::int64_t stride) {
    for (std::int64_t o = 0; o < channels; o += kWidth)
        for (std::int64_t x = 0; x < width; x += kWidth) {
            const std::int64_t lanes = min_of(kWidth, channels - o), count = min_of(kWidth, width - x);
            const float* from = dy + x * channels + o;
            float* to = planes + o * stride + x;
            if (lanes == kWidth && count == kWidth) {
                transpose(from, channels, to, stride);
                continue;
            }
            alignas(64) float part[kWidth * kWidth], part_t[kWidth * kWidth];
            for (std::int64_t i = 0; i < kWidth; ++i)
                store(part + i * kWidth, i < count ? load_partial(from + i * channels, lanes) : zero());
            transpose(part, kWidth, part_t, kWidth);
            for (std::int64_t i = 0; i < lanes; ++i)
                store_partial(to + i * stride, load(part_t + i * kWidth), count);
        }
}

// Planes for pixels' rows [first, first + rows): outputs' rows from first - reach on. Their margins left and
// right are zero already.
FASTCNN_INLINE void fill_planes(const Conv2dShape& c, const PlaneBand& band, const float* dy,
                                std::int64_t first, std::int64_t rows, float* planes) {
    const std::int64_t left = band.w.reach - band.w.first;
    for (std::int64_t r = 0; r < rows + band.h.reach; ++r) {
        const std::int64_t oy = first - band.h.reach + r;
        float* to = planes + r * band.pitch;
        if (oy >= 0 && oy < c.h.out) {
            transpose_row(dy + oy * c.w.out * c.out_channels, c.w.out, c.out_channels, to + left,
                          band.stride);
            continue;
        }
        for (std::int64_t o = 0; o < c.out_channels; ++o)
            std::memset(to + o * band.stride, 0, static_cast<std::size_t>(band.pitch) * sizeof(float));
    }
}

struct PixelTile {
    const float* planes = nullptr;  // at the first pixel
    std::int64_t stride = 0, outputs = 0;
    const std::int64_t* offset = nullptr;
    std::int64_t taps = 0;
    const float* kernel = nullptr;
    float* sums = nullptr;
    std::int64_t sums_stride = 0;
};

template <int Channels, int Pixels>
void sum_planes(const PixelTile& t) {
    Vec acc[Pixels][Channels];
#pragma GCC unroll 16
    for (int p = 0; p < Pixels; ++p) {
#pragma GCC unroll 4
        for (int c = 0; c < Channels; ++c) acc[p][c] = zero();
    }
    const float* kernel = t.kernel;
    for (std::int64_t o = 0; o < t.outputs; ++o) {
        const float* plane = t.planes + o * t.stride;
        for (std::int64_t tap = 0; tap < t.taps; ++tap, kernel += Channels) {
            const float* from = plane + t.offset[tap];
            Vec weight[Channels];
#pragma GCC unroll 4
            for (int c = 0; c < Channels; ++c) weight[c] = set1(kernel[c]);
#pragma GCC unroll 16
            for (int p = 0; p < Pixels; ++p) {
                const Vec dy = in_register(load(from + p * kWidth));
#pragma GCC unroll 4
                for (int c = 0; c < Channels; ++c) acc[p][c] = fma(dy, weight[c], acc[p][c]);
            }
        }
    }
#pragma GCC unroll 16
    for (int p = 0; p < Pixels; ++p) {
#pragma GCC unroll 4
        for (int c = 0; c < Channels; ++c) store(t.sums + c * t.sums_stride + p * kWidth, acc[p][c]);
    }
}

using PixelFunction = void (*)(const PixelTile&);

template <int Channels, int Pixels = kTilePixels<Channels>>
PixelFunction pixel_function(std::int64_t pixels) {
    if constexpr (Pixels > 1)
        if (pixels < Pixels) return pixel_function<Channels, Pixels - 1>(pixels);
    return sum_planes<Channels, Pixels>;
}

// `pixels` neighbouring pixels, in tiles as even as possible; up to a vector more is computed.
template <int Channels>
FASTCNN_INLINE void sum_pixels(PixelTile t, std::int64_t pixels) {
    const std::int64_t vectors = (pixels + kWidth - 1) / kWidth;
    const std::int64_t tiles = (vectors + kTilePixels<Channels> - 1) / kTilePixels<Channels>;
    for (std::int64_t i = 0; i < tiles; ++i) {
        const std::int64_t count = vectors * (i + 1) / tiles - vectors * i / tiles;
        pixel_function<Channels>(count)(t);
        t.planes += count * kWidth;
        t.sums += count * kWidth;
    }
}

// One row of a phase's pixels, from a plane of sums each channel.
template <int Channels>
FASTCNN_INLINE void write_pixels(const Window& w, std::int64_t phase, const PhaseAxis& axis,
                                 const float* sums, std::int64_t sums_stride, float* dx) {
    // Pixels inside the image: all but at most one at each edge.
    std::int64_t first = axis.first, last = axis.first + axis.count;
    while (first < last && PhaseAxis::pixel(w, phase, first) < 0) ++first;
    while (first < last && PhaseAxis::pixel(w, phase, last - 1) >= w.in) --last;
    const float* from = sums + first - axis.first;
    float* to = dx + PhaseAxis::pixel(w, phase, first) * Channels;
    const std::int64_t step = w.stride * Channels, count = last - first;
    if (Channels == 1 && step == 1) {
        std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float));
        return;
    }
    for (std::int64_t v = 0; v < count; ++v, to += step)
        for (int c = 0; c < Channels; ++c) to[c] = from[c * sums_stride + v];
}

template <int Channels>
FASTCNN_INLINE void planes_run_channels(const Conv2dGradInput& g) {
    const Conv2dShape& c = g.shape;
    const PlaneBand band(c);
    float* planes = g.scratch;
    float* sums = planes + c.out_channels * band.stride;
    std::memset(planes, 0, static_cast<std::size_t>(c.out_channels * band.stride) * sizeof(float));
    std::int64_t offset[kMaxTaps];
    PixelTile t;
    t.planes = planes;
    t.stride = band.stride;
    t.outputs = c.out_channels;
    t.offset = offset;
    t.sums = sums;
    t.sums_stride = band.sums();
    for (std::int64_t s = 0; s < g.batch; ++s)
        for (std::int64_t row = 0; row < band.h.count; row += band.rows) {
            const std::int64_t first = band.h.first + row, rows = min_of(band.rows, band.h.count - row);
            fill_planes(c, band, g.dy + s * g.dy_stride, first, rows, planes);
            t.kernel = g.kernel;
            for_each_phase(c, [&](std::int64_t fy, std::int64_t fx, std::int64_t taps) {
                t.taps = 0;
                for (std::int64_t j = 0; j < PhaseAxis::taps(c.h, fy); ++j)
                    for (std::int64_t i = 0; i < PhaseAxis::taps(c.w, fx); ++i)
                        offset[t.taps++] = (band.h.reach - j) * band.pitch + band.w.reach - i;
                sum_pixels<Channels>(t, rows * band.pitch);
                t.kernel += c.out_channels * taps * Channels;
                for (std::int64_t r = 0; r < rows; ++r) {
                    const std::int64_t iy = PhaseAxis::pixel(c.h, fy, first + r);
                    if (iy < 0 || iy >= c.h.in) continue;
                    write_pixels<Channels>(c.w, fx, band.w, sums + r * band.pitch, t.sums_stride,
                                           g.dx + s * g.dx_stride + iy * c.w.in * Channels);
                }
            });
        }
}

void planes_run(const Conv2dGradInput& g) {
    switch (g.shape.in_channels) {
        case 1:
            return planes_run_channels<1>(g);
        case 2:
            return planes_run_channels<2>(g);
        case 3:
            return planes_run_channels<3>(g);
        default:
            return planes_run_channels<4>(g);
    }
}

}  // namespace

const Kernel<Conv2dGradKernel> conv2d_grad_kernel_taps = {taps_run, taps_declines, taps_scratch};
const Kernel<Conv2dGradInput> conv2d_grad_input_planes = {planes_run, planes_declines, planes_scratch,
                                                          planes_packed, planes_pack};

}  // namespace fastcnn::FASTCNN_ISA
