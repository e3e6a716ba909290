// Gradient of a convolution's kernel by register tiles: any size, stride, dilation, groups and padding.
//
// For each tap, dkernel[tap] = X^T dY is a product of matrices that are long (all positions of all samples)
// and narrow (the channels). It is computed strip by strip: a strip is as many positions as let a block of
// dy's columns stay in L1 while the tiles of all taps and input channels pass over it. Both operands of a
// strip are copied into the order in which the tiles read them:
//
//   x:  [tile of input channels][row][column][sample][channels of the tile]
//   dy: [row][column][sample][columns of the block]
//
// With samples inside, a row of a small image is a run long enough for the innermost loop.
//
// The copies pay for themselves: with 64 or more channels the positions of an image are a power of two apart,
// share few sets of L1 and were read from L2 or memory for every tile (30 to 75 GFLOP/s instead of 130 to 190
// on images that do not fit L2). Nothing is padded: a tap skips the rows and columns at which it lies outside
// the image.
//
// The gradient itself must stay in L2, to which every strip returns: of a large one, a part (some tiles of
// input channels, all taps and output channels) is finished before the next is begun.
#include "kernels/ahead.h"
#include "kernels/conv.h"
#include "kernels/rows.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

// A block of dy and a tile's part of x leave some of L1 for what else passes by: of the usual 48 KB where
// there is AVX-512, of 32 KB elsewhere.
constexpr std::int64_t kStripBytes = (kWidth < 16 ? 27 : 40) * 1024;

// dy's rows of a strip and of the next one share L2 with the gradient: 512 KB, 1 MB or more where there is
// AVX-512.
constexpr std::int64_t kStripFloats = (kWidth < 16 ? 52 : 104) * 1024;

constexpr std::int64_t kPartFloats = 160 * 1024;

// One axis as the tiles see it. A window of one position skips stride - 1 of every `stride` inputs: those are
// not copied, and the axis is one of stride 1.
struct Axis {
    Window w;
    std::int64_t step;  // between the inputs that are copied
    FASTCNN_INLINE explicit Axis(const Window& window) : w(window), step(1) {
        if (w.size > 1) return;
        step = w.stride;
        w.stride = w.dilation = 1;
        w.in = w.out;
    }
};

// What follows from the shape alone.
struct Layout {
    Axis h, w;
    std::int64_t group_in, group_out;
    ColumnBlocks blocks;
    RowSplit tiles;              // of a group's input channels
    std::int64_t part_tiles;     // most tiles of a part
    std::int64_t rows, samples;  // of a strip: rows of one sample, or whole samples

    FASTCNN_INLINE explicit Layout(const Conv2dShape& c)
        : h(c.h),
          w(c.w),
          group_in(c.in_channels / c.groups),
          group_out(c.out_channels / c.groups),
          blocks(group_out, true),
          tiles(group_in, max_tile_rows(blocks.widest())),
          part_tiles(max_of(1, kPartFloats / (c.h.size * c.w.size * tiles.rows(0) * group_out))),
          rows(c.h.out),
          samples(max_of(1, most_positions(c) / (c.h.out * c.w.out))) {
        const std::int64_t most = max_of(1, most_positions(c) / c.w.out);
        if (most < rows) rows = ceil_div(rows, ceil_div(rows, most));
        if (part_tiles < tiles.tiles)
            part_tiles = ceil_div(tiles.tiles, ceil_div(tiles.tiles, part_tiles));
        else
            part_tiles = tiles.tiles;
    }
    FASTCNN_INLINE std::int64_t most_positions(const Conv2dShape& c) const {
        const std::int64_t position = blocks.widest() * kWidth + max_tile_rows(blocks.widest());  // floats
        return min_of(kStripBytes / static_cast<std::int64_t>(sizeof(float)) / position,
                      kStripFloats / c.out_channels);
    }
    // Most input rows that a strip reads.
    FASTCNN_INLINE std::int64_t input_rows() const {
        return min_of(h.w.in, (rows - 1) * h.w.stride + h.w.extent());
    }
    FASTCNN_INLINE std::int64_t block_floats(std::int64_t batch) const {
        return min_of(samples, batch) * rows * w.w.out * blocks.widest() * kWidth;
    }
};

// Tiles [first, last) of a group's input channels, from channel `channel` of the group on.
struct Part {
    std::int64_t group, first, last, channel;
};

// Output rows [first, last) of `samples` samples from `sample` on, and the input rows that they read.
struct Strip {
    std::int64_t sample, samples, first, last, input_first, input_last;
    FASTCNN_INLINE std::int64_t rows() const { return last - first; }
    FASTCNN_INLINE std::int64_t input_rows() const { return input_last - input_first; }
};

std::int64_t grad_kernel_scratch(const Conv2dGradKernel& g) {
    const Layout l(g.shape);
    const std::int64_t channels = l.part_tiles * l.tiles.rows(0);
    // The copy of x may be written past its last float by a vector.
    return l.block_floats(g.batch) + min_of(l.samples, g.batch) * l.input_rows() * l.w.w.in * channels +
           kWidth;
}

// Row by row, which reads x in order: all rows of a tile at once, rows of 1024 channels, 4 KB apart, would
// share one set of L1 and need a page each.
FASTCNN_INLINE void copy_input(const Conv2dGradKernel& g, const Layout& l, const Part& part,
                               const Strip& strip, float* out) {
    const std::int64_t channels = g.shape.in_channels, step = l.w.step * channels;
    const std::int64_t row = l.w.w.in * strip.samples;  // positions
    const float* from = g.x + strip.sample * g.x_stride + part.group * l.group_in + part.channel;
    for (std::int64_t y = strip.input_first; y < strip.input_last; ++y) {
        const float* x = from + y * l.h.step * g.shape.w.in * channels;
        float* tile = out;
        for (std::int64_t t = part.first; t < part.last; ++t) {
            const std::int64_t width = l.tiles.rows(t);
            float* to = tile + (y - strip.input_first) * row * width;
            // Whole vectors: the next positions overwrite what is too much. The last ones have none behind
            // them.
            const std::int64_t vectors = ceil_div(width, kWidth) * kWidth;
            const std::int64_t whole = max_of(0, l.w.w.in - ceil_div(vectors, width) + 1);
            std::int64_t i = 0;
            for (; i < whole; ++i)
                for (std::int64_t s = 0; s < strip.samples; ++s, to += width)
                    for (std::int64_t v = 0; v < width; v += kWidth)
                        store(to + v, load(x + s * g.x_stride + i * step + v));
            for (; i < l.w.w.in; ++i)
                for (std::int64_t s = 0; s < strip.samples; ++s, to += width)
                    for (std::int64_t v = 0; v < width; v += kWidth)
                        store_partial(to + v, load_partial(x + s * g.x_stride + i * step + v, width - v),
                                      width - v);
            x += width;
            tile += strip.input_rows() * row * width;
        }
    }
}

// Columns [channel, channel + lanes) of the strip's dy. Their sums go to dbias, where it is not null.
template <int Vecs>
void copy_gradient(const Conv2dGradKernel& g, const Strip& strip, std::int64_t channel, std::int64_t lanes,
                   float* dbias, bool accumulate, float* out) {
    const std::int64_t channels = g.shape.out_channels, row = g.shape.w.out * channels;
    const float* from = g.dy + strip.sample * g.dy_stride + strip.first * row + channel;
    Vec sum[Vecs];
#pragma GCC unroll 4
    for (int v = 0; v < Vecs; ++v) sum[v] = zero();
    for (std::int64_t i = 0; i < strip.rows() * g.shape.w.out; ++i, from += channels) {
        const float* dy = from;
        for (std::int64_t s = 0; s < strip.samples; ++s, dy += g.dy_stride, out += Vecs * kWidth)
#pragma GCC unroll 4
            for (int v = 0; v < Vecs; ++v) {
                const Vec d = load_partial(dy + v * kWidth, lanes - v * kWidth);
                sum[v] = add(sum[v], d);
                store(out + v * kWidth, d);
            }
    }
    if (!dbias) return;
#pragma GCC unroll 4
    for (int v = 0; v < Vecs; ++v) {
        float* bias = dbias + channel + v * kWidth;
        const std::int64_t n = lanes - v * kWidth;
        store_partial(bias, accumulate ? add(load_partial(bias, n), sum[v]) : sum[v], n);
    }
}

template <int Vecs = kMostVecs>
FASTCNN_INLINE auto copy_function(int vecs) {
    if constexpr (Vecs > 1)
        if (vecs < Vecs) return copy_function<Vecs - 1>(vecs);
    return &copy_gradient<Vecs>;
}

// Splits the columns and samples of a row into lines and positions: one line where the columns that are read
// are neighbours, lines of samples otherwise.
FASTCNN_INLINE void set_row(OuterTile& t, std::int64_t columns, std::int64_t stride, std::int64_t samples,
                            std::int64_t a_width, std::int64_t b_width) {
    const bool merged = stride == 1 || samples == 1;
    t.lines = merged ? 1 : columns;
    t.positions = merged ? columns * samples : samples;
    t.a_line = stride * samples * a_width;
    t.b_line = samples * b_width;
    t.a_position = samples == 1 ? stride * a_width : a_width;
    t.b_position = b_width;
}

// All taps of one block of columns over one strip. t: b, columns, accumulate and c_step are set.
FASTCNN_INLINE void add_taps(const Layout& l, const Part& part, const Strip& strip, OuterTile t, int vecs,
                             const float* x, float* dkernel, Ahead& ahead) {
    const std::int64_t row = l.w.w.in, width = vecs * kWidth;
    const float* const block = t.b;
    t.b_plane = l.w.w.out * strip.samples * width;
    for (std::int64_t ky = 0; ky < l.h.w.size; ++ky) {
        const OutputRange all(l.h.w, ky);
        const std::int64_t first = max_of(all.first, strip.first), last = min_of(all.last, strip.last);
        t.planes = max_of(0, last - first);
        const std::int64_t y = l.h.w.begin(first) + ky * l.h.w.dilation - strip.input_first;
        for (std::int64_t kx = 0; kx < l.w.w.size; ++kx) {
            const OutputRange columns(l.w.w, kx);
            const std::int64_t at = y * row + l.w.w.begin(columns.first) + kx * l.w.w.dilation;
            t.b = block + (first - strip.first) * t.b_plane + columns.first * strip.samples * width;
            t.c = dkernel + ((ky * l.w.w.size + kx) * l.group_in + part.channel) * t.c_step;
            const float* tile = x;
            for (std::int64_t i = part.first; i < part.last; ++i) {
                const int m = l.tiles.rows(i);
                t.a = tile + at * strip.samples * m;
                t.a_plane = l.h.w.stride * row * strip.samples * m;
                set_row(t, columns.count(), l.w.w.stride, strip.samples, m, width);
                ahead.fetch();
                function_of<OuterFunctions<true>>(m, vecs)(t);
                tile += strip.input_rows() * row * strip.samples * m;
                t.c += m * t.c_step;
            }
        }
    }
}

FASTCNN_INLINE void add_strip(const Conv2dGradKernel& g, const Layout& l, const Part& part,
                              const Strip& strip, const Strip& next, bool accumulate) {
    float* const gradient = g.scratch;
    float* const x = g.scratch + l.block_floats(g.batch);
    copy_input(g, l, part, strip, x);
    OuterTile t;
    t.accumulate = accumulate;
    t.c_step = g.shape.out_channels;
    t.b = gradient;
    Ahead ahead(l.blocks.count * l.h.w.size * l.w.w.size * (part.last - part.first));
    if (next.samples) {
        const std::int64_t row = l.w.w.out * g.shape.out_channels;
        const float* dy = g.dy + next.sample * g.dy_stride;
        ahead.add(dy + next.first * row, dy + (next.samples - 1) * g.dy_stride + next.last * row);
        const std::int64_t input_row = l.h.step * g.shape.w.in * g.shape.in_channels;
        const float* input = g.x + next.sample * g.x_stride;
        ahead.add(input + next.input_first * input_row,
                  input + (next.samples - 1) * g.x_stride + next.input_last * input_row);
    }
    float* const dbias = part.first == 0 ? g.dbias : nullptr;  // once for all parts
    for (std::int64_t block = 0; block < l.blocks.count; ++block) {
        const std::int64_t channel = part.group * l.group_out + l.blocks.first(block);
        const int vecs = l.blocks.vecs(block);
        t.columns = l.blocks.lanes(block);
        copy_function(vecs)(g, strip, channel, t.columns, dbias, accumulate, gradient);
        add_taps(l, part, strip, t, vecs, x, g.dkernel + channel, ahead);
    }
}

// The strip that begins at row `first` of `sample`; of no samples where there is none.
FASTCNN_INLINE Strip strip_at(const Conv2dGradKernel& g, const Layout& l, std::int64_t sample,
                              std::int64_t first) {
    const Window& h = l.h.w;
    const std::int64_t last = min_of(h.out, first + l.rows);
    const std::int64_t input_first = min_of(h.in, max_of(0, h.begin(first)));
    const std::int64_t input_last = max_of(input_first, min_of(h.in, h.begin(last - 1) + h.extent()));
    return {sample, min_of(l.samples, g.batch - sample), first, last, input_first, input_last};
}

FASTCNN_INLINE Strip strip_after(const Conv2dGradKernel& g, const Layout& l, const Strip& s) {
    return s.last < l.h.w.out ? strip_at(g, l, s.sample, s.last) : strip_at(g, l, s.sample + s.samples, 0);
}

FASTCNN_INLINE void add_part(const Conv2dGradKernel& g, const Layout& l, const Part& part) {
    bool accumulate = g.accumulate;
    for (Strip strip = strip_at(g, l, 0, 0); strip.samples > 0;) {
        const Strip next = strip_after(g, l, strip);
        add_strip(g, l, part, strip, next, accumulate);
        strip = next;
        accumulate = true;
    }
}

void grad_kernel_run(const Conv2dGradKernel& g) {
    const Layout l(g.shape);
    for (std::int64_t group = 0; group < g.shape.groups; ++group) {
        Part part{group, 0, 0, 0};
        for (; part.first < l.tiles.tiles; part.first = part.last) {
            part.last = min_of(l.tiles.tiles, part.first + l.part_tiles);
            add_part(g, l, part);
            for (std::int64_t i = part.first; i < part.last; ++i) part.channel += l.tiles.rows(i);
        }
    }
}

double grad_kernel_cost(const Conv2dGradKernel& g) {
    const Conv2dShape& c = g.shape;
    return product_cycles(
        vector_products(c, g.batch * c.h.out * c.w.out, c.out_channels / c.groups, c.in_channels / c.groups),
        0.78);
}

}  // namespace

const Kernel<Conv2dGradKernel> conv2d_grad_kernel_direct = {grad_kernel_run, nullptr, grad_kernel_scratch,
                                                            nullptr,         nullptr, grad_kernel_cost};

}  // namespace fastcnn::FASTCNN_ISA
