// Convolution, bias, ReLU and max pooling with AMX tiles: 16 lines x 32 channels of the image times 32
// channels x 16 filters of the kernel. Two tiles of lines and two of filters are summed at once (four loads
// for four products). The sums of one run of pooling windows stay in L1 (8 KB for 2 x 2 windows), from where
// the epilogue takes them.
#include <type_traits>

#include "kernels/patches.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

constexpr std::int64_t kFilters = 32;                    // computed together: two tiles
constexpr std::int64_t kLinesWanted = 32;                // two tiles, where windows divide them so
constexpr std::int64_t kKernelStep = 2 * kTileElements;  // packed kernel of 32 channels and 32 filters

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
FASTCNN_INLINE std::int64_t pairs_of(const AmxConv& a) { return a.filters.size() / kFilters; }

// A pair of tiles of filters, and the channels that they sum over.
struct Pair {
    std::int64_t group, first, filters;  // the first of its filters in its group; how many exist
    FASTCNN_INLINE Pair(const AmxConv& a, std::int64_t pair) {
        const std::int64_t of_group = a.filters.group_size() / kFilters;
        group = pair / of_group;
        first = pair % of_group * kFilters;
        filters = at_most(kFilters, a.filters.in_group() - first);
    }
    // Of all filters.
    FASTCNN_INLINE std::int64_t filter(const AmxConv& a) const {
        return group * a.filters.in_group() + first;
    }
};

// Sums of kTiles x 2 tiles: begin() once, add() for each tap, end().
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
    FASTCNN_INLINE void add(const Bfloat16* x, const Bfloat16* kernel, std::int64_t depth) {
        for (std::int64_t k = 0; k < depth; ++k, x += kTileDepth, kernel += kKernelStep) {
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

// From sums to results, line by line: maximum over the window's positions, bias, ReLU.
struct Epilogue {
    const AmxConv& a;
    std::int64_t size;   // of a line
    bool apart = false;  // lines of neighbouring windows: in strided images, where phases take turns
    std::int64_t column_step = 1;               // between the columns of windows
    std::int64_t half = 0;                      // of the room for sums: the one that was given last
    std::int64_t position[kAmxPositions] = {};  // floats, of each position of a window
    std::int64_t place = -1;                    // of the pair's filters in a line
    std::int64_t filter = 0, valid = 0;         // the first one's number, and how many there are
    Vec bias[kFilters / kWidth] = {};
    std::int64_t gap = 0;  // floats of sums between the lines of neighbouring windows
    // The lines that wait to be finished: their sums, how many, and where the next one goes.
    const float* sums = nullptr;
    std::int64_t waiting = 0;
    std::int64_t row = 0, column = 0, sample = 0;
    Bfloat16* line = nullptr;
    float* values = nullptr;
    std::uint8_t* marks = nullptr;

    FASTCNN_INLINE explicit Epilogue(const AmxConv& conv) : a(conv), size(conv.filters.size()) {}

    // The next lines are of this pair of tiles of filters, their windows `step` columns apart.
    FASTCNN_INLINE void begin(std::int64_t pair, std::int64_t step) {
        column_step = step;
        apart = !a.y.data || step != 1 || a.y.stride != 1;
        if (place == pair * kFilters) return;
        const Pair of(a, pair);
        place = pair * kFilters;
        filter = of.filter(a);
        valid = of.filters;
        for (std::int64_t v = 0; v < kFilters / kWidth; ++v) {
            const std::int64_t left = valid - v * kWidth;
            bias[v] = a.bias && left > 0 ? load_partial(a.bias + filter + v * kWidth, at_most(kWidth, left))
                                         : zero();
        }
    }

    // Where new sums have room, beside those that wait.
    FASTCNN_INLINE float* other_half(float* memory, std::int64_t half_floats) {
        half = 1 - half;
        return memory + half * half_floats;
    }

    // `lines` lines wait, from line x * samples + sample of row y on, and of windows x, x + column_step, ...
    FASTCNN_INLINE void start(const float* made, std::int64_t lines, std::int64_t y, std::int64_t x,
                              std::int64_t first_sample = 0) {
        if (a.y.data && place == 0 && x == 0 && first_sample == 0) clear_borders(y);
        sums = made;
        waiting = lines;
        row = y;
        column = x;
        sample = first_sample;
        if (a.argmax) marks = a.argmax + ((y * a.out_width + x) * a.x.samples + sample) * size + place;
        find_window();
    }
    FASTCNN_INLINE void find_window() {
        if (a.y.data)
            line = a.y.at(row, column) + sample * size + place;
        else
            values =
                a.y_values + sample * a.y_stride + (row * a.out_width + column) * a.filters.count + filter;
    }

    // Finishes `count` of them, or as many as wait. kPositions: how many a window has, 0 where only the call
    // knows. Everything is read before the first store: a store of bytes might change what is read after it,
    // as far as the compiler knows.
    template <int kPositions, bool kMarks>
    FASTCNN_INLINE void finish(std::int64_t count) {
        constexpr int kVecs = kFilters / kWidth;
        const std::int64_t n = at_most(count, waiting), samples = a.x.samples;
        const std::int64_t positions = kPositions ? kPositions : a.pool.positions();
        const std::int64_t line_step = size, values_step = a.y_stride, existing = valid, between = gap;
        const std::int64_t existing_samples = a.count;
        const bool relu = a.relu, is_apart = apart;
        std::int64_t at[kAmxPositions];
        for (std::int64_t p = 0; p < positions; ++p) at[p] = position[p];
        Vec added[kVecs];
        for (int v = 0; v < kVecs; ++v) added[v] = bias[v];
        const float* from = sums;
        std::int64_t s = sample;
        Bfloat16* to_line = line;
        float* to_values = values;
        std::uint8_t* to_marks = marks;
        for (std::int64_t l = 0; l < n; ++l) {
            Vec best[kVecs];
            IVec which[kVecs];
            if (largest<kPositions, kVecs>(from, at, positions, best, which)) [[unlikely]]
                largest<0, kVecs>(from, at, positions, best, which);
            from += kFilters;
#pragma GCC unroll 4
            for (int v = 0; v < kVecs; ++v) {
                best[v] = add(best[v], added[v]);
                if (relu) {
                    best[v] = max(zero(), best[v]);
                    if constexpr (kMarks)
                        which[v] = iselect(eq(best[v], zero()), iset1(kAmxNoPosition), which[v]);
                }
                if constexpr (kMarks) istore_bytes_partial(to_marks + v * kWidth, which[v], kWidth);
            }
            if constexpr (kMarks) to_marks += line_step;
            if (to_line) {
                for (int v = 0; v < kVecs; v += 2) store_bfloat16(to_line + v * kWidth, best[v], best[v + 1]);
                to_line += line_step;
            } else if (s < existing_samples) {
                for (int v = 0; v < kVecs; ++v)
                    if (v * kWidth < existing)
                        store_partial(to_values + v * kWidth, best[v],
                                      at_most(kWidth, existing - v * kWidth));
                to_values += values_step;
            }
            if (++s < samples) continue;
            s = 0;
            from += between;
            if (!is_apart) continue;
            sample = 0;
            column += column_step;
            find_window();
            to_line = line;
            to_values = values;
        }
        sums = from;
        waiting -= n;
        sample = s;
        line = to_line;
        values = to_values;
        marks = to_marks;
    }

    // Of all vectors of a line. Whether there was a NaN that the results may have missed.
    template <int kPositions, int kVecs>
    FASTCNN_INLINE static bool largest(const float* sums, const std::int64_t* at, std::int64_t positions,
                                       Vec* best, IVec* which) {
        if constexpr (kPositions == 4) {
            Mask numbers = first_lanes(kWidth);
#pragma GCC unroll 4
            for (int v = 0; v < kVecs; ++v, sums += kWidth) {
                const Vec a = load(sums + at[0]), b = load(sums + at[1]), c = load(sums + at[2]),
                          d = load(sums + at[3]);
                numbers = ordered(ordered(numbers, a, b), c, d);
                const Vec above = max(a, b), below = max(c, d);
                const IVec first = iselect(gt(b, a), iset1(1), iset1(0));
                const IVec second = iselect(gt(d, c), iset1(3), iset1(2));
                which[v] = iselect(gt(below, above), second, first);
                best[v] = max(above, below);
            }
            return bits(mask_not(numbers)) != 0;
        }
        for (int v = 0; v < kVecs; ++v, sums += kWidth) {
            best[v] = load(sums + at[0]);
            which[v] = iset1(0);
            for (std::int64_t p = 1; p < positions; ++p) {
                const Vec sum = load(sums + at[p]);
                const Mask better = mask_and(not_le(sum, best[v]), mask_not(is_nan(best[v])));
                best[v] = select(better, sum, best[v]);
                which[v] = iselect(better, iset1(static_cast<std::int32_t>(p)), which[v]);
            }
        }
        return false;
    }

    FASTCNN_INLINE void clear_borders(std::int64_t y) const {
        if (a.y.stride > 1) return clear(a.y.data + y * a.y.row(), a.y.row());
        clear(a.y.data + y * a.y.row(), a.y.left * a.y.pixel());
        clear(a.y.at(y, a.y.width), a.y.right * a.y.pixel());
    }
};

// Calls run(positions, marks), integral constants, by what the convolution asks for.
template <class Run>
FASTCNN_INLINE void by_kind(const AmxConv& a, const Run& run) {
    const auto by_marks = [&](auto positions) {
        a.argmax ? run(positions, std::true_type{}) : run(positions, std::false_type{});
    };
    switch (a.pool.positions()) {
        case 1:
            return by_marks(std::integral_constant<int, 1>{});
        case 4:
            return by_marks(std::integral_constant<int, 4>{});
        default:
            return by_marks(std::integral_constant<int, 0>{});
    }
}

// One tap of a kernel as a matrix: element (channel, filter) at values + channel * channel_step + filter *
// filter_step, one of the steps 1.
struct Matrix {
    const float* values;
    std::int64_t channel_step, filter_step;
};

// `count` numbers, at most 16, and zeros, as bfloat16 words.
FASTCNN_INLINE void round_16(const float* from, std::int64_t count, Bfloat16* to) {
    for (std::int64_t v = 0; v < 16; v += kWidth)
        store_bfloat16(to + v, v < count ? load_partial(from + v, at_most(kWidth, count - v)) : zero());
}

// The same of at most 32.
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

// ------------------------------------------------------------------------------------------ any convolution

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
        const Pair pair(a, i);
        for (std::int64_t tap = 0; tap < taps_of(a); ++tap)
            for (std::int64_t k = 0; k < depth; ++k)
                pack_step(a, tap_of(a, weights, tap, pair.group), k * kTileDepth, pair.first,
                          reinterpret_cast<Bfloat16*>(to) + (i * step + tap * depth + k) * kKernelStep);
    }
}

FASTCNN_INLINE Run run_of(const AmxConv& a) { return Run(a.pool.w * a.x.samples, a.out_width); }

// Two runs' sums take turns.
std::int64_t scratch(const AmxConv& a) { return 2 * a.pool.h * run_of(a).floats(); }

// One axis of what is computed together: a window over x, the taps of the kernel that are its own, and where
// its outputs go.
struct Axis {
    Window window;
    std::int64_t first_tap = 0, tap_step = 1, first = 0, step = 1;
    FASTCNN_INLINE explicit Axis(const Window& forward) : window(forward) {}
    FASTCNN_INLINE explicit Axis(const AmxPhase& p)
        : window(p.window), first_tap(p.first_tap), tap_step(-p.tap_step), first(p.phase), step(p.stride) {}
    FASTCNN_INLINE std::int64_t tap(std::int64_t i) const { return first_tap + i * tap_step; }
    FASTCNN_INLINE std::int64_t input(std::int64_t output, std::int64_t i) const {
        return window.begin(output) + i * window.dilation;
    }
};

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
    const Bfloat16* const image = a.x.data + Pair(a, pair).group * a.channels.group_size();
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
            const Bfloat16* tap =
                kernel + (h.tap(i) * kernel_width + w.tap(taps.begin)) * depth * kKernelStep;
            for (std::int64_t j = taps.begin; j < taps.end; ++j, tap += w.tap_step * depth * kKernelStep)
                products.add(lines + from * row + offset(j), tap, depth);
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

// --------------------------------------------------------------------------------- few channels: by patches

FASTCNN_INLINE AmxPatches patches_of(const AmxConv& a) {
    return {a.h, a.w, a.channels.count, a.pool, a.out_height, a.out_width};
}

std::int64_t packed_patches(const AmxPatchConv& args) {
    const AmxConv& a = args.conv;
    return pairs_of(a) * a.pool.positions() * (patches_of(a).line() / kTileDepth) * kKernelStep / 2;
}

void pack_patches(const AmxPatchConv& args, const float* weights, float* to, int part, int parts) {
    const AmxConv& a = args.conv;
    const AmxPatches patches = patches_of(a);
    const std::int64_t depth = patches.line() / kTileDepth, step = a.pool.positions() * depth;
    for (std::int64_t pair = part; pair < pairs_of(a); pair += parts)
        for (std::int64_t i = 0; i < step; ++i) {
            const std::int64_t position = i / depth, first = i % depth * kTileDepth, f = pair * kFilters;
            // One line a number of the patch.
            alignas(64) Bfloat16 lines[kTileDepth * kFilters];
            clear(lines, kTileDepth * kFilters);
            for (std::int64_t k = 0; k < kTileDepth; ++k) {
                const std::int64_t at = patches.weight(first + k, position);
                if (at < 0) continue;
                for (std::int64_t df = 0; df < kFilters && f + df < a.filters.count; df += 16)
                    round_16(weights + at * a.filters.count + f + df, at_most(16, a.filters.count - f - df),
                             lines + k * kFilters + df);
            }
            Bfloat16* row = reinterpret_cast<Bfloat16*>(to) + (pair * step + i) * kKernelStep;
            for (std::int64_t tile = 0; tile < 2; ++tile)
                for (std::int64_t k = 0; k < kTileDepth; k += 2, row += kTileDepth)
                    store_row(row, pair_lines(lines + k * kFilters + tile * 16,
                                              lines + (k + 1) * kFilters + tile * 16));
        }
}

// Lines that are made and multiplied together: of one row of windows.
constexpr std::int64_t kPatchTiles = 8;

// The room for these lines, two tiles of sums in each position, taking turns.
struct PatchRoom {
    std::int64_t sums, lines;  // floats
    FASTCNN_INLINE explicit PatchRoom(const AmxConv& a) {
        sums = a.pool.positions() * kTileLines * kFilters;
        lines = kPatchTiles * kTileLines * patches_of(a).line() / 2;
    }
};

std::int64_t patch_scratch(const AmxPatchConv& args) {
    const PatchRoom room(args.conv);
    return 2 * room.sums + room.lines;
}

// A tile of lines by a pair of tiles of filters, for one position of the windows: the sums kFirst and
// kFirst + 1.
template <int kFirst>
FASTCNN_INLINE void multiply(Tiles& tiles, const Bfloat16* lines, std::int64_t depth,
                             const Bfloat16* kernel) {
    tiles.zero<kFirst>();
    tiles.zero<kFirst + 1>();
    for (std::int64_t k = 0; k < depth; ++k, kernel += kKernelStep) {
        tiles.load<4>(lines + k * kTileDepth, 2 * depth * kTileDepth);
        tiles.load<6>(kernel, 64);
        tiles.dot<kFirst, 4, 6>();
        tiles.load<7>(kernel + kTileElements, 64);
        tiles.dot<kFirst + 1, 4, 7>();
    }
}
template <int kFirst>
FASTCNN_INLINE void store_pair(const Tiles& tiles, float* sums) {
    tiles.store<kFirst>(sums, 4 * kFilters);
    tiles.store<kFirst + 1>(sums + 16, 4 * kFilters);
}

// The same for all positions. Between the products, lines of the tile before are finished: stores of tiles
// and products do not overlap, but vectors do with both.
template <int kPositions, bool kMarks>
FASTCNN_INLINE void multiply_and_finish(Tiles& tiles, const Bfloat16* lines, std::int64_t depth,
                                        const Bfloat16* kernel, std::int64_t positions_, float* sums,
                                        Epilogue& epilogue) {
    constexpr std::int64_t kSums = kTileLines * kFilters;
    const std::int64_t positions = kPositions ? kPositions : positions_, step = depth * kKernelStep;
    const std::int64_t at_once = tiles_of(epilogue.waiting, (positions + 1) / 2);
    std::int64_t p = 0;
    for (; p + 1 < positions; p += 2) {
        multiply<0>(tiles, lines, depth, kernel + p * step);
        if (p > 0) store_pair<2>(tiles, sums + (p - 1) * kSums);
        multiply<2>(tiles, lines, depth, kernel + (p + 1) * step);
        store_pair<0>(tiles, sums + p * kSums);
        epilogue.finish<kPositions, kMarks>(at_once);
    }
    if (p > 0) store_pair<2>(tiles, sums + (p - 1) * kSums);
    if (p == positions) return;
    multiply<0>(tiles, lines, depth, kernel + p * step);
    epilogue.finish<kPositions, kMarks>(at_once);
    store_pair<0>(tiles, sums + p * kSums);
}

template <int kPositions, bool kMarks>
FASTCNN_INLINE void run_patches(const AmxPatchConv& args, Tiles& tiles) {
    const AmxConv& a = args.conv;
    const AmxPatches patches = patches_of(a);
    const PatchLines patch_lines(patches);
    const PatchRoom room(a);
    Bfloat16* image = reinterpret_cast<Bfloat16*>(args.image);
    read_image(patches, args.x, args.x_stride, a.count, a.x.samples, image);
    Bfloat16* lines = reinterpret_cast<Bfloat16*>(a.scratch + 2 * room.sums);
    const std::int64_t line = patches.line(), depth = line / kTileDepth, positions = a.pool.positions();
    const std::int64_t in_row = a.out_width * a.x.samples;
    Epilogue epilogue(a);
    for (std::int64_t p = 0; p < positions; ++p) epilogue.position[p] = p * kTileLines * kFilters;
    for (std::int64_t y = 0; y < a.out_height; ++y)
        for (std::int64_t first = 0; first < in_row; first += kPatchTiles * kTileLines) {
            const std::int64_t count = at_most(kPatchTiles * kTileLines, in_row - first);
            patch_lines.copy(image, a.x.samples, y, first, count, lines);
            for (std::int64_t pair = 0; pair < pairs_of(a); ++pair) {
                const Bfloat16* kernel =
                    reinterpret_cast<const Bfloat16*>(a.kernel) + pair * positions * depth * kKernelStep;
                for (std::int64_t l = 0; l < count; l += kTileLines) {
                    float* sums = epilogue.other_half(a.scratch, room.sums);
                    multiply_and_finish<kPositions, kMarks>(tiles, lines + l * line, depth, kernel, positions,
                                                            sums, epilogue);
                    epilogue.begin(pair, 1);
                    epilogue.start(sums, at_most(kTileLines, count - l), y, (first + l) / a.x.samples,
                                   (first + l) % a.x.samples);
                }
            }
        }
    epilogue.finish<kPositions, kMarks>(epilogue.waiting);
}

void run_patches(const AmxPatchConv& args) {
    Tiles tiles;
    by_kind(args.conv, [&](auto positions, auto marks) {
        run_patches<decltype(positions)::value, decltype(marks)::value>(args, tiles);
    });
}

}  // namespace

constinit const Kernel<AmxConv> amx_conv = {.run = run, .scratch = scratch, .packed = packed, .pack = pack};
constinit const Kernel<AmxPatchConv> amx_patch_conv = {
    .run = run_patches, .scratch = patch_scratch, .packed = packed_patches, .pack = pack_patches};

}  // namespace fastcnn::FASTCNN_ISA
