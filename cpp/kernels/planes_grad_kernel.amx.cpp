// Gradients of kernels from bfloat16 samples with AMX tiles: 16 filters x 32 lines of the output's gradient
// times 32 lines x 16 channels of the input, six columns at a time (seven loads for six products).
#include "kernels/lines.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

constexpr std::int64_t kPair = 32;  // words of a pair of lines
constexpr int kColumns = 6;         // computed together
alignas(64) constexpr Bfloat16 kZeros[16] = {};

// 16 channels, of which `channels` exist, of the same pixel of two samples as one line of pairs.
FASTCNN_INLINE void pair_pixels(const Bfloat16* first, const Bfloat16* second, std::int64_t channels,
                                std::int32_t* to) {
    Bfloat16* const words = reinterpret_cast<Bfloat16*>(to);
    if (channels >= 16) return store_row(words, pair_lines(first, second));
    alignas(64) Bfloat16 lines[2][16] = {};
    for (std::int64_t c = 0; c < channels; ++c) {
        lines[0][c] = first[c];
        lines[1][c] = second[c];
    }
    store_row(words, pair_lines(lines[0], lines[1]));
}

FASTCNN_INLINE void clear_pairs(std::int32_t* to, std::int64_t pairs) {
    std::memset(to, 0, static_cast<std::size_t>(pairs) * 64);
}

// One row of two samples, of which the second may be null.
FASTCNN_INLINE void read_x_row(const AmxPlanesGradKernel& a, const Bfloat16* first, const Bfloat16* second,
                               std::int64_t channels, std::int32_t* to) {
    const AmxPlanes& planes = a.planes;
    for (std::int64_t phase = 0; phase < planes.stride; ++phase) {
        std::int64_t x = phase - planes.left;
        for (std::int64_t i = 0; i < planes.run(); ++i, x += planes.stride, to += 16 * (planes.samples / 2)) {
            if (x < 0 || x >= a.w.in)
                clear_pairs(to, 1);
            else
                pair_pixels(first + x * a.x_pixel, second ? second + x * a.x_pixel : kZeros, channels, to);
        }
    }
}

void read_x(const AmxPlanesGradKernel& a) {
    const AmxPlanes& planes = a.planes;
    std::int32_t* const data = reinterpret_cast<std::int32_t*>(planes.data);
    const std::int64_t in_group = planes.channels.in_group(), tiles = a.channel_tiles();
    const std::int64_t first = planes.rows * a.part / a.parts, last = planes.rows * (a.part + 1) / a.parts;
    for (std::int64_t row = first; row < last; ++row) {
        const std::int64_t y = planes.top + row;
        for (std::int64_t c = 0; c < a.channels.groups * tiles; ++c) {
            std::int32_t* to = data + (c * a.plane() + row * a.row()) * 16;
            if (y < 0 || y >= a.h.in) {
                clear_pairs(to, a.row());
                continue;
            }
            const std::int64_t channel = c / tiles * in_group + c % tiles * 16;
            const Bfloat16* from = a.x + y * a.x_row + channel;
            if (a.count < planes.samples) clear_pairs(to, a.row());
            for (std::int64_t s = 0; s < a.count; s += 2, to += 16)
                read_x_row(a, from + s * a.x_stride, s + 1 < a.count ? from + (s + 1) * a.x_stride : nullptr,
                           in_group - c % tiles * 16, to);
        }
    }
    // Zeros of dy are multiplied by what is behind the last row.
    if (a.part + 1 == a.parts)
        for (std::int64_t c = 0; c < a.channels.groups * tiles; ++c) {
            const std::int64_t end = planes.rows * a.row();
            clear_pairs(data + (c * a.plane() + end) * 16, a.plane() - end);
        }
}

// Tile `tile` of lines, of all filters.
FASTCNN_INLINE void read_dy_tile(const AmxPlanesGradKernel& a, std::int64_t tile_row, std::int64_t tile,
                                 std::int64_t tiles) {
    const std::int64_t pairs = a.planes.samples / 2, columns = a.row() / pairs;
    const Bfloat16 *first[16], *second[16];
    std::int64_t y = a.first + tile_row, x = tile * 16 / pairs, s = tile * 16 % pairs;
    if (a.over_rows) {
        y += x / columns;
        x %= columns;
    }
    // Lines that are none are read from zeros, at a step of nothing.
    std::int64_t first_step[16], second_step[16];
    for (int p = 0; p < 16; ++p) {
        const bool is = y < a.last && x < a.w.out, is_first = is && 2 * s < a.count;
        const bool is_second = is && 2 * s + 1 < a.count;
        const Bfloat16* from = a.dy + (y * a.w.out + x) * a.filters.count + 2 * s * a.dy_stride;
        first[p] = is_first ? from : kZeros;
        second[p] = is_second ? from + a.dy_stride : kZeros;
        first_step[p] = is_first ? -1 : 0;
        second_step[p] = is_second ? -1 : 0;
        if (++s < pairs) continue;
        s = 0;
        if (++x < columns || !a.over_rows) continue;
        x = 0;
        ++y;
    }
    const std::int64_t in_group = a.filters.in_group(), of_group = a.group_filter_tiles();
    for (std::int64_t f = 0; f < a.filter_tiles(); ++f) {
        const std::int64_t in = f % of_group * 16, filter = f / of_group * in_group + in;
        alignas(64) std::int32_t words[256];
        for (int p = 0; p < 16; ++p)
            pair_pixels(first[p] + (filter & first_step[p]), second[p] + (filter & second_step[p]),
                        in_group - in, words + 16 * p);
        transpose_words(words, reinterpret_cast<std::int32_t*>(a.tiles) +
                                   (f * tiles + tile_row * a.row_tiles() + tile) * 256);
    }
}

void read_dy(const AmxPlanesGradKernel& a) {
    const std::int64_t row_tiles = a.row_tiles(), tiles = a.tile_rows() * row_tiles;
    for (std::int64_t t = tiles * a.part / a.parts; t < tiles * (a.part + 1) / a.parts; ++t)
        read_dy_tile(a, t / row_tiles, t % row_tiles, tiles);
}

// ------------------------------------------------------------------------------------------------- products

template <int kCount, class Visit>
FASTCNN_INLINE void each(const Visit& visit) {
    if constexpr (kCount > 0) visit(std::integral_constant<int, 0>());
    if constexpr (kCount > 1) visit(std::integral_constant<int, 1>());
    if constexpr (kCount > 2) visit(std::integral_constant<int, 2>());
    if constexpr (kCount > 3) visit(std::integral_constant<int, 3>());
    if constexpr (kCount > 4) visit(std::integral_constant<int, 4>());
    if constexpr (kCount > 5) visit(std::integral_constant<int, 5>());
}

// Columns of x: where they begin, and whether they go on from line to line (a mask).
struct Columns {
    const Bfloat16* from[kColumns];
    std::int64_t moves[kColumns];
};

template <int kCount>
FASTCNN_INLINE void sum_columns(const AmxPlanesGradKernel& a, Tiles& tiles, const Bfloat16* dy,
                                const Columns& columns, float* sums) {
    each<kCount>([&](auto n) {
        if (a.accumulate)
            tiles.template load<n>(sums + n * 256, 64);
        else
            tiles.template zero<n>();
    });
    const std::int64_t row_tiles = a.row_tiles(), row_step = a.h.stride * a.row() * kPair;
    for (std::int64_t y = 0; y < a.tile_rows(); ++y)
        for (std::int64_t k = 0; k < row_tiles; ++k, dy += kTileElements) {
            const std::int64_t at = y * row_step + k * kTileElements;
            tiles.template load<6>(dy, 64);
            each<kCount>([&](auto n) {
                tiles.template load<7>(columns.from[n] + (at & columns.moves[n]), 64);
                tiles.template dot<n, 6, 7>();
            });
            tiles.keep_storing();
        }
    each<kCount>([&](auto n) { tiles.template store<n>(sums + n * 256, 64); });
}

FASTCNN_INLINE void sum_block(const AmxPlanesGradKernel& a, Tiles& tiles, const Bfloat16* ones,
                              std::int64_t block) {
    const std::int64_t f = block / a.column_blocks(), number = block % a.column_blocks();
    const std::int64_t first = a.columns() * number / a.column_blocks();
    const std::int64_t last = a.columns() * (number + 1) / a.column_blocks();
    Columns columns{};
    for (std::int64_t n = first; n < last; ++n) {
        const std::int64_t tap = n % (a.h.size * a.w.size), i = tap / a.w.size, j = tap % a.w.size;
        const std::int64_t c = f / a.group_filter_tiles() * a.channel_tiles() + n / (a.h.size * a.w.size);
        const std::int64_t column = a.w.begin(0) + a.planes.left + j * a.w.dilation;
        const std::int64_t line = i * a.h.dilation * a.row() + a.planes.column(column) / 2;
        const bool bias = n + 1 == a.columns();
        columns.from[n - first] = bias ? ones : a.planes.data + (c * a.plane() + line) * kPair;
        columns.moves[n - first] = bias ? 0 : -1;
    }
    const Bfloat16* dy = a.tiles + f * a.tile_rows() * a.row_tiles() * kTileElements;
    float* sums = a.sums + (f * a.columns() + first) * 256;
    switch (last - first) {
        case 6:
            return sum_columns<6>(a, tiles, dy, columns, sums);
        case 5:
            return sum_columns<5>(a, tiles, dy, columns, sums);
        case 4:
            return sum_columns<4>(a, tiles, dy, columns, sums);
        case 3:
            return sum_columns<3>(a, tiles, dy, columns, sums);
        default:
            return sum_columns<2>(a, tiles, dy, columns, sums);
    }
}

void sum(const AmxPlanesGradKernel& a) {
    Tiles tiles;
    alignas(64) Bfloat16 ones[kTileElements];
    for (Bfloat16& one : ones) one = 0x3f80;
    for (std::int64_t block = a.first_block; block < a.last_block; ++block) sum_block(a, tiles, ones, block);
}

// ----------------------------------------------------------------------------------------------------
// results

// The sum of all lanes' tiles, transposed: 16 channels x 16 filters.
FASTCNN_INLINE void add_lanes(const AmxPlanesGradKernel& a, const float* sums, float* to) {
    alignas(64) float tile[256];
    for (int i = 0; i < 256; i += kWidth) {
        Vec total = load(sums + i);
        for (std::int64_t l = 1; l < a.lanes; ++l) total = add(total, load(sums + l * a.lane + i));
        store(tile + i, total);
    }
    transpose_words(reinterpret_cast<const std::int32_t*>(tile), reinterpret_cast<std::int32_t*>(to));
}

FASTCNN_INLINE void round_filters(const float* from, std::int64_t filters, Bfloat16* to) {
    if (filters >= 16) {
        for (int v = 0; v < 16; v += kWidth) store_bfloat16(to + v, load(from + v));
        return;
    }
    alignas(64) Bfloat16 words[16];
    for (int v = 0; v < 16; v += kWidth) store_bfloat16(words + v, load(from + v));
    for (std::int64_t f = 0; f < filters; ++f) to[f] = words[f];
}

// Results of the filters of blocks [first_block, last_block).
void finish(const AmxPlanesGradKernel& a) {
    const std::int64_t taps = a.h.size * a.w.size, channels = a.channels.in_group();
    for (std::int64_t block = a.first_block; block < a.last_block; ++block) {
        const std::int64_t f = block / a.column_blocks(), number = block % a.column_blocks();
        const std::int64_t in = f % a.group_filter_tiles() * 16, filters = a.filters.in_group() - in;
        const std::int64_t filter = f / a.group_filter_tiles() * a.filters.in_group() + in;
        for (std::int64_t n = a.columns() * number / a.column_blocks();
             n < a.columns() * (number + 1) / a.column_blocks(); ++n) {
            alignas(64) float tile[256];
            add_lanes(a, a.sums + (f * a.columns() + n) * 256, tile);
            if (n + 1 == a.columns()) {
                round_filters(tile, filters, a.dbias + filter);
                continue;
            }
            const std::int64_t c = n / taps * 16;
            Bfloat16* to = a.dkernel + (n % taps * channels + c) * a.filters.count + filter;
            for (std::int64_t row = 0; row < at_most(16, channels - c); ++row, to += a.filters.count)
                round_filters(tile + row * 16, filters, to);
        }
    }
}

}  // namespace

constinit const Kernel<AmxPlanesGradKernel> amx_grad_kernel_x = {.run = read_x};
constinit const Kernel<AmxPlanesGradKernel> amx_grad_kernel_dy = {.run = read_dy};
constinit const Kernel<AmxPlanesGradKernel> amx_grad_kernel_sums = {.run = sum};
constinit const Kernel<AmxPlanesGradKernel> amx_grad_kernel_results = {.run = finish};

}  // namespace fastcnn::FASTCNN_ISA
