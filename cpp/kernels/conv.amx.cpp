// Convolution, bias, ReLU and max pooling with AMX tiles: 16 lines x 32 channels of the image times 32
// channels x 16 filters of the kernel. Two tiles of lines and two of filters are summed at once (four loads
// for four products, three where a tap shares a tile of lines with the one before). The sums of one run of
// pooling windows stay in L1 (8 KB for 2 x 2 windows), from where the epilogue takes them.
#include "kernels/epilogue.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

constexpr std::int64_t kLinesWanted = 32;  // two tiles, where windows divide them so

// Pooling windows of one row that are computed together.
struct Run {
    std::int64_t windows, lines, tiles;  // lines and tiles: of one of the convolution's rows
    FASTCNN_INLINE Run(std::int64_t lines_of_window, std::int64_t width) {
        windows = kLinesWanted / lines_of_window;
        windows = windows < 1 ? 1 : at_most(windows, width);
        lines = windows * lines_of_window;
        tiles = tiles_of(lines, kTileLines);
    }
    FASTCNN_INLINE std::int64_t floats() const { return tiles * kTileLines * kFilters; }
};

FASTCNN_INLINE std::int64_t taps_of(const AmxConv& a) { return a.h.size * a.w.size; }

// Sums of kTiles x 2 tiles: begin() once, then what is to be added, end().
template <int kTiles>
struct Products {
    Tiles& tiles;
    std::int64_t line, second;  // elements: a line's size, and from the first tile's lines to the second's

    FASTCNN_INLINE void begin() {
        tiles.template zero<0>();
        tiles.template zero<1>();
        if constexpr (kTiles == 2) {
            tiles.template zero<2>();
            tiles.template zero<3>();
        }
    }
    // 32 channels through one tap.
    FASTCNN_INLINE void add(const Bfloat16* x, const Bfloat16* kernel) {
        tiles.template load<4>(x, 2 * line);
        tiles.template load<6>(kernel, 64);
        tiles.template dot<0, 4, 6>();
        tiles.template load<7>(kernel + kTileElements, 64);
        tiles.template dot<1, 4, 7>();
        if constexpr (kTiles == 2) {
            tiles.template load<5>(x + second, 2 * line);
            tiles.template dot<2, 5, 6>();
            tiles.template dot<3, 5, 7>();
        }
    }
    // Through `taps` taps, each of which has the first tile's lines where the one before has the second
    // tile's: these are loaded once.
    FASTCNN_INLINE void add_neighbours(const Bfloat16* x, const Bfloat16* kernel, std::int64_t kernel_step,
                                       std::int64_t taps) {
        tiles.template load<4>(x, 2 * line);
        for (; taps > 1; taps -= 2) {
            add_second<4, 5>(x += second, kernel);
            add_second<5, 4>(x += second, kernel + kernel_step);
            kernel += 2 * kernel_step;
        }
        if (taps > 0) add_second<4, 5>(x + second, kernel);
    }
    template <int kFirst, int kSecond>
    FASTCNN_INLINE void add_second(const Bfloat16* second_lines, const Bfloat16* kernel) {
        tiles.template load<6>(kernel, 64);
        tiles.template dot<0, kFirst, 6>();
        tiles.template load<7>(kernel + kTileElements, 64);
        tiles.template dot<1, kFirst, 7>();
        tiles.template load<kSecond>(second_lines, 2 * line);
        tiles.template dot<2, kSecond, 6>();
        tiles.template dot<3, kSecond, 7>();
    }
    FASTCNN_INLINE void end(float* sums, float* second_sums) {
        constexpr std::int64_t kPitch = 4 * kFilters;
        tiles.template store<0>(sums, kPitch);
        tiles.template store<1>(sums + 16, kPitch);
        if constexpr (kTiles == 2) {
            tiles.template store<2>(second_sums, kPitch);
            tiles.template store<3>(second_sums + 16, kPitch);
        }
    }
};

// One tap of a kernel as a matrix: element (channel, filter) at values + channel * channel_step + filter *
// filter_step, one of the steps 1.
struct Matrix {
    const float* values;
    std::int64_t channel_step, filter_step;
};

// `count` numbers, at most 32, and zeros, as bfloat16 words.
FASTCNN_INLINE void round_32(const float* from, std::int64_t count, Bfloat16* to) {
    if (count < 32) {
        round_16(from, at_most(16, count), to);
        if (count > 16) round_16(from + 16, count - 16, to + 16);
        return;
    }
    for (std::int64_t v = 0; v < 32; v += 2 * kWidth)
        store_bfloat16(to + v, load(from + v), load(from + v + kWidth));
}

// `channels` x `filters` (at most 32 x 16) of them as a tile of pairs of channels.
FASTCNN_INLINE void pack_tile(const Matrix& m, std::int64_t channels, std::int64_t filters, Bfloat16* to) {
    if (m.filter_step == 1 && channels == kTileDepth && filters == 16) {
        const float* row = m.values;
        for (std::int64_t pair = 0; pair < 16; ++pair, row += 2 * m.channel_step, to += kTileDepth)
            for (std::int64_t v = 0; v < 16; v += kWidth)
                istore(reinterpret_cast<std::int32_t*>(to) + v,
                       round_pairs(load(row + v), load(row + m.channel_step + v)));
        return;
    }
    alignas(64) Bfloat16 lines[kTileElements];
    if (channels < kTileDepth || filters < 16) clear(lines, kTileElements);
    if (m.filter_step == 1) {
        for (std::int64_t c = 0; c < channels; ++c)
            round_16(m.values + c * m.channel_step, filters, lines + c * 16);
        for (std::int64_t pair = 0; pair < 16; ++pair)
            store_row(to + 32 * pair, pair_lines(lines + 32 * pair, lines + 32 * pair + 16));
    } else {
        for (std::int64_t f = 0; f < filters; ++f)
            round_32(m.values + f * m.filter_step, channels, lines + f * 32);
        transpose_words(reinterpret_cast<const std::int32_t*>(lines), reinterpret_cast<std::int32_t*>(to));
    }
}

// 32 channels x 32 filters from (channel, filter) of a group on.
FASTCNN_INLINE void pack_step(const AmxConv& a, Matrix m, std::int64_t channel, std::int64_t filter,
                              Bfloat16* to) {
    const std::int64_t channels = at_most(kTileDepth, a.channels.in_group() - channel);
    for (std::int64_t tile = 0; tile < 2; ++tile, filter += 16, to += kTileElements) {
        const std::int64_t filters = at_most(16, a.filters.in_group() - filter);
        if (filters <= 0) {
            clear(to, kTileElements);
            continue;
        }
        pack_tile(
            {m.values + channel * m.channel_step + filter * m.filter_step, m.channel_step, m.filter_step},
            channels, filters, to);
    }
}

// Of a group's channels, in tiles.
FASTCNN_INLINE std::int64_t depth_of(const AmxConv& a) { return a.channels.group_size() / kTileDepth; }

std::int64_t packed(const AmxConv& a) { return pairs_of(a) * taps_of(a) * depth_of(a) * kKernelStep / 2; }

// A tap's matrix of all groups is (channels of a group, filters); transposed, (filters of a group, channels).
FASTCNN_INLINE Matrix tap_of(const AmxConv& a, const float* weights, std::int64_t tap, std::int64_t group) {
    const float* matrix = weights + tap * a.channels.in_group() * a.filters.count;
    if (a.transposed) return {matrix + group * a.channels.in_group(), 1, a.channels.count};
    return {matrix + group * a.filters.in_group(), a.filters.count, 1};
}

void pack(const AmxConv& a, const float* weights, float* to, int part, int parts) {
    const std::int64_t depth = depth_of(a), step = taps_of(a) * depth;
    for (std::int64_t i = part; i < pairs_of(a); i += parts) {
        const FilterPair pair(a.filters, i);
        for (std::int64_t tap = 0; tap < taps_of(a); ++tap)
            for (std::int64_t k = 0; k < depth; ++k)
                pack_step(a, tap_of(a, weights, tap, pair.group), k * kTileDepth, pair.first,
                          reinterpret_cast<Bfloat16*>(to) + (i * step + tap * depth + k) * kKernelStep);
    }
}

FASTCNN_INLINE Run run_of(const AmxConv& a) { return Run(a.pool.w * a.x.samples, a.out_width); }

// Two runs' sums take turns.
std::int64_t scratch(const AmxConv& a) { return 2 * a.pool.h * run_of(a).floats(); }

// Where a tile of lines is: tile `tile` of a run of row `row`.
struct Place {
    std::int64_t row, tile;
    FASTCNN_INLINE Place(std::int64_t i, std::int64_t tiles_of_row)
        : row(i / tiles_of_row), tile(i % tiles_of_row) {}
};

// The pooling windows of one pair of tiles of filters, or a phase's share of them.
template <int kPositions, bool kMarks>
struct Part {
    const AmxConv& a;
    const Axis &h, &w;
    std::int64_t pair;
    Tiles& tiles;
    Epilogue& epilogue;
    // What the loops need, once: the compiler takes memory for changed after each use of tiles.
    const Run of = run_of(a);
    const std::int64_t line = a.x.line(), depth = depth_of(a), pixel = a.x.pixel(), row = a.x.row();
    const std::int64_t stride = a.x.stride, height = a.x.height;
    const std::int64_t taps_h = h.window.size, taps_w = w.window.size, kernel_width = a.w.size;
    const bool beside = w.window.pad > 0 || w.window.pad_end() > 0;  // whether windows reach over the image
    const Bfloat16* const image = a.x.data + FilterPair(a.filters, pair).group * a.channels.group_size();
    const Bfloat16* const kernel =
        reinterpret_cast<const Bfloat16*>(a.kernel) + pair * taps_of(a) * depth * kKernelStep;

    // What tap j reads for output 0, in a row. Outputs follow one another there in strided images too.
    FASTCNN_INLINE std::int64_t offset(std::int64_t j) const {
        const std::int64_t column = a.x.left + w.input(0, j);
        return stride == 1 ? column * pixel : a.x.index(0, column - a.x.left) * pixel;
    }

    // Those of a row of taps that reach the image from these tiles of the run from column x on: what lies
    // beside it is zeros.
    struct Taps {
        std::int64_t begin, end;
    };
    FASTCNN_INLINE Taps taps_inside(std::int64_t x, std::int64_t first_tile, std::int64_t last_tile) const {
        Taps taps{0, taps_w};
        if (!beside) return taps;
        const std::int64_t first = x + first_tile * kTileLines / a.x.samples;
        const std::int64_t last = x + ((last_tile + 1) * kTileLines - 1) / a.x.samples;
        while (taps.begin < taps_w && w.input(last, taps.begin) < 0) ++taps.begin;
        while (taps.end > taps.begin && w.input(first, taps.end - 1) >= a.x.width) --taps.end;
        return taps;
    }

    // Row i of the taps. The order of a sum's terms depends on the convolution alone: a sample's results are
    // the same in any block.
    template <int kTiles>
    FASTCNN_INLINE void add_row(Products<kTiles>& products, const Bfloat16* lines, std::int64_t i,
                                Taps taps) const {
        const std::int64_t count = taps.end - taps.begin, tap_step = w.tap_step * depth * kKernelStep;
        const Bfloat16* tap = kernel + (h.tap(i) * kernel_width + w.tap(taps.begin)) * depth * kKernelStep;
        if (count <= 0) return;
        if (stride > 1) {
            for (std::int64_t j = taps.begin; j < taps.end; ++j, tap += tap_step)
                for (std::int64_t k = 0; k < depth; ++k)
                    products.add(lines + offset(j) + k * kTileDepth, tap + k * kKernelStep);
            return;
        }
        const std::int64_t to_next = w.window.dilation * pixel;
        const Bfloat16* x = lines + offset(taps.begin);
        for (std::int64_t k = 0; k < depth; ++k, x += kTileDepth, tap += kKernelStep) {
            if (kTiles == 2 && products.second == to_next)
                products.add_neighbours(x, tap, tap_step, count);
            else
                for (std::int64_t j = 0; j < count; ++j) products.add(x + j * to_next, tap + j * tap_step);
        }
    }

    // kTiles tiles of the run from column x on, the first one at `place` in row y + place.row, the second
    // one's lines `second` elements behind, through these taps of each row. After each row of taps, `count`
    // lines of the run before are finished.
    template <int kTiles>
    FASTCNN_INLINE void sum(std::int64_t y, std::int64_t x, Place place, std::int64_t second, Taps taps,
                            std::int64_t count, float* to, float* second_to) const {
        Products<kTiles> products{tiles, line, second};
        products.begin();
        const Bfloat16* const lines = image + x * pixel + place.tile * kTileLines * line;
        for (std::int64_t i = 0; i < taps_h; ++i) {
            const std::int64_t from = h.input(y + place.row, i);
            if (from < 0 || from >= height) continue;
            add_row(products, lines + from * row, i, taps);
            epilogue.finish<kPositions, kMarks>(count);
        }
        products.end(to, second_to);
    }

    // The sums of `windows` windows of row y from column x on. Tiles of two rows are summed together where
    // the kernel is inside of the image for both.
    FASTCNN_INLINE void sum_run(std::int64_t y, std::int64_t x, std::int64_t windows, float* sums) const {
        const std::int64_t tiles_of_row = tiles_of(windows * a.pool.w * a.x.samples, kTileLines);
        const std::int64_t all = a.pool.h * tiles_of_row, steps = (all + 1) / 2 * h.window.size;
        const std::int64_t count = steps > 0 ? tiles_of(epilogue.waiting, steps) : 0;
        const bool inside =
            h.input(y * a.pool.h, 0) >= 0 && h.input((y + 1) * a.pool.h - 1, h.window.size - 1) < a.x.height;
        const auto sums_at = [&](Place at) {
            return sums + at.row * of.floats() + at.tile * kTileLines * kFilters;
        };
        const std::int64_t column = x * a.pool.w;
        for (std::int64_t i = 0; i < all;) {
            const Place place(i, tiles_of_row), next(i + 1, tiles_of_row);
            const std::int64_t rows = next.row - place.row;
            if (i + 1 < all && (rows == 0 || inside)) {
                const std::int64_t second = (rows * h.window.stride * a.x.columns() * a.x.samples +
                                             (next.tile - place.tile) * kTileLines) *
                                            line;
                const Taps taps = taps_inside(column, at_most(place.tile, next.tile),
                                              place.tile > next.tile ? place.tile : next.tile);
                sum<2>(y * a.pool.h, column, place, second, taps, count, sums_at(place), sums_at(next));
                i += 2;
            } else {
                const Taps taps = taps_inside(column, place.tile, place.tile);
                sum<1>(y * a.pool.h, column, place, 0, taps, count, sums_at(place), nullptr);
                i += 1;
            }
        }
    }

    // `height` rows of `width` windows.
    FASTCNN_INLINE void run(std::int64_t height, std::int64_t width) const {
        for (std::int64_t y = 0; y < height; ++y)
            for (std::int64_t x = 0; x < width; x += of.windows) {
                const std::int64_t windows = at_most(of.windows, width - x);
                float* sums = epilogue.other_half(a.scratch, a.pool.h * of.floats());
                sum_run(y, x, windows, sums);
                epilogue.finish<kPositions, kMarks>(epilogue.waiting);
                epilogue.begin(pair, w.step);
                epilogue.start(sums, windows * a.x.samples, h.first + y * h.step, w.first + x * w.step);
            }
    }
};

template <int kPositions, bool kMarks>
FASTCNN_INLINE void run_all(const AmxConv& a) {
    Tiles tiles;
    const Run of = run_of(a);
    Epilogue epilogue(a);
    epilogue.gap = (a.pool.w - 1) * a.x.samples * kFilters;
    for (std::int64_t i = 0; i < a.pool.h; ++i)
        for (std::int64_t j = 0; j < a.pool.w; ++j)
            epilogue.position[i * a.pool.w + j] = i * of.floats() + j * a.x.samples * kFilters;
    const auto run_part = [&](const Axis& h, const Axis& w, std::int64_t pair, std::int64_t height,
                              std::int64_t width) {
        Part<kPositions, kMarks>{a, h, w, pair, tiles, epilogue}.run(height, width);
    };
    for (std::int64_t pair = 0; pair < pairs_of(a); ++pair) {
        if (!a.transposed) {
            run_part(Axis(a.h), Axis(a.w), pair, a.out_height, a.out_width);
            continue;
        }
        for (std::int64_t i = 0; i < at_most(a.h.stride, a.h.in); ++i)
            for (std::int64_t j = 0; j < at_most(a.w.stride, a.w.in); ++j) {
                const AmxPhase h(a.h, i), w(a.w, j);
                run_part(Axis(h), Axis(w), pair, h.window.out, w.window.out);
            }
    }
    epilogue.finish<kPositions, kMarks>(epilogue.waiting);
}

void run(const AmxConv& a) {
    by_kind(a, [&](auto positions, auto marks) {
        run_all<decltype(positions)::value, decltype(marks)::value>(a);
    });
}

}  // namespace

constinit const Kernel<AmxConv> amx_conv = {.run = run, .scratch = scratch, .packed = packed, .pack = pack};

}  // namespace fastcnn::FASTCNN_ISA
