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
    std::int64_t line;  // elements

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
                tiles.template load<5>(x + kTileLines * line, 2 * line);
                tiles.template dot<2, 5, 6>();
                tiles.template dot<3, 5, 7>();
            }
        }
    }
    FASTCNN_INLINE void end(float* sums) {
        constexpr std::int64_t kPitch = 4 * kFilters, kTile = kTileLines * kFilters;
        tiles.template store<0>(sums, kPitch);
        tiles.template store<1>(sums + 16, kPitch);
        if constexpr (kTiles == 2) {
            tiles.template store<2>(sums + kTile, kPitch);
            tiles.template store<3>(sums + kTile + 16, kPitch);
        }
    }
};

// From sums to results, line by line: maximum over the window's positions, bias, ReLU.
struct Epilogue {
    const AmxConv& a;
    std::int64_t size;         // of a line
    bool apart;                // lines of neighbouring windows: in strided images, where phases take turns
    std::int64_t column_step;  // between the columns of windows
    std::int64_t position[kAmxPositions] = {};  // floats, of each position of a window
    std::int64_t place = 0;                     // of the pair's filters in a line
    std::int64_t filter = 0, valid = 0;         // the first one's number, and how many there are
    Vec bias[kFilters / kWidth] = {};
    // Where the next line goes.
    std::int64_t row = 0, column = 0, sample = 0;
    Bfloat16* line = nullptr;
    float* values = nullptr;
    std::uint8_t* marks = nullptr;

    FASTCNN_INLINE explicit Epilogue(const AmxConv& conv) : a(conv), size(conv.filters.size()) {
        set_column_step(1);
    }
    FASTCNN_INLINE void set_column_step(std::int64_t step) {
        column_step = step;
        apart = !a.y.data || step != 1 || a.y.stride != 1;
    }

    FASTCNN_INLINE void begin(std::int64_t pair) {
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

    // The next lines are those of the windows (y, x), (y, x + column_step), ...
    FASTCNN_INLINE void start(std::int64_t y, std::int64_t x) { start_line(y, x * a.x.samples); }
    // The same from a line on: of x * samples + sample.
    FASTCNN_INLINE void start_line(std::int64_t y, std::int64_t l) {
        if (a.y.data && place == 0 && l == 0) clear_borders(y);
        row = y;
        column = l / a.x.samples;
        sample = l % a.x.samples;
        marks = a.argmax ? a.argmax + (y * a.out_width * a.x.samples + l) * size + place : nullptr;
        find_window();
    }
    FASTCNN_INLINE void find_window() {
        if (a.y.data)
            line = a.y.at(row, column) + sample * size + place;
        else
            values =
                a.y_values + sample * a.y_stride + (row * a.out_width + column) * a.filters.count + filter;
    }

    // `count` lines. kPositions: how many a window has, 0 where only the call knows.
    template <int kPositions, bool kMarks>
    FASTCNN_INLINE void finish(const float* sums, std::int64_t count) {
        while (count > 0) {
            const std::int64_t n = apart ? at_most(count, a.x.samples - sample) : count;
            finish_run<kPositions, kMarks>(sums, n);
            sums += n * kFilters;
            count -= n;
            sample += n;
            if (apart && sample == a.x.samples) {
                sample = 0;
                column += column_step;
                find_window();
            }
        }
    }

    // Everything is read before the first store: a store of bytes might change what is read after it, as far
    // as the compiler knows.
    template <int kPositions, bool kMarks>
    FASTCNN_INLINE void finish_run(const float* sums, std::int64_t n) {
        constexpr int kVecs = kFilters / kWidth;
        const std::int64_t positions = kPositions ? kPositions : a.pool.positions();
        const std::int64_t line_step = size, values_step = a.y_stride, existing = valid;
        const std::int64_t existing_samples = a.count - sample;
        const bool relu = a.relu;
        std::int64_t at[kAmxPositions];
        for (std::int64_t p = 0; p < positions; ++p) at[p] = position[p];
        Vec added[kVecs];
        for (int v = 0; v < kVecs; ++v) added[v] = bias[v];
        Bfloat16* to_line = line;
        float* to_values = values;
        std::uint8_t* to_marks = marks;
        for (std::int64_t s = 0; s < n; ++s, sums += kFilters) {
            Vec best[kVecs];
            IVec which[kVecs];
            if (largest<kPositions, kVecs>(sums, at, positions, best, which)) [[unlikely]]
                largest<0, kVecs>(sums, at, positions, best, which);
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
        }
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
            pair_lines(lines + 32 * pair, lines + 32 * pair + 16, to + 32 * pair);
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

std::int64_t scratch(const AmxConv& a) { return a.pool.h * run_of(a).floats(); }

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

// The taps of one row of the convolution, for tiles of lines from (column, tile) on and channels from
// `channel` of a line on.
template <int kTiles>
FASTCNN_INLINE void convolve(const AmxConv& a, const Axis& h, const Axis& w, Tiles& tiles,
                             const Bfloat16* kernel, std::int64_t channel, std::int64_t y, std::int64_t x,
                             std::int64_t tile, float* sums) {
    const std::int64_t line = a.x.line(), depth = depth_of(a);
    Products<kTiles> products{tiles, line};
    products.begin();
    for (std::int64_t i = 0; i < h.window.size; ++i) {
        const std::int64_t from = h.input(y, i);
        if (from < 0 || from >= a.x.height) continue;
        for (std::int64_t j = 0; j < w.window.size; ++j)
            products.add(a.x.at(from, w.input(x, j)) + tile * kTileLines * line + channel,
                         kernel + (h.tap(i) * a.w.size + w.tap(j)) * depth * kKernelStep, depth);
    }
    products.end(sums + tile * kTileLines * kFilters);
}

// Pooling windows of `height` rows and `width` columns, by one pair of tiles of filters.
template <int kPositions, bool kMarks>
FASTCNN_INLINE void run_part(const AmxConv& a, const Axis& h, const Axis& w, std::int64_t height,
                             std::int64_t width, Tiles& tiles, Epilogue& epilogue, std::int64_t pair) {
    const Run of = run_of(a);
    const std::int64_t lines_of_window = a.pool.w * a.x.samples;
    const std::int64_t channel = Pair(a, pair).group * a.channels.group_size();
    const Bfloat16* kernel =
        reinterpret_cast<const Bfloat16*>(a.kernel) + pair * taps_of(a) * depth_of(a) * kKernelStep;
    epilogue.set_column_step(w.step);
    for (std::int64_t y = 0; y < height; ++y)
        for (std::int64_t x = 0; x < width; x += of.windows) {
            const std::int64_t windows = at_most(of.windows, width - x);
            const std::int64_t all = tiles_of(windows * lines_of_window, kTileLines);
            for (std::int64_t i = 0; i < a.pool.h; ++i) {
                const std::int64_t row = y * a.pool.h + i, column = x * a.pool.w;
                float* sums = a.scratch + i * of.floats();
                std::int64_t tile = 0;
                for (; tile + 2 <= all; tile += 2)
                    convolve<2>(a, h, w, tiles, kernel, channel, row, column, tile, sums);
                if (tile < all) convolve<1>(a, h, w, tiles, kernel, channel, row, column, tile, sums);
            }
            epilogue.start(h.first + y * h.step, w.first + x * w.step);
            for (std::int64_t i = 0; i < windows; ++i)
                epilogue.finish<kPositions, kMarks>(a.scratch + i * lines_of_window * kFilters, a.x.samples);
        }
}

template <int kPositions, bool kMarks>
FASTCNN_INLINE void run_all(const AmxConv& a) {
    Tiles tiles;
    const Run of = run_of(a);
    Epilogue epilogue(a);
    for (std::int64_t i = 0; i < a.pool.h; ++i)
        for (std::int64_t j = 0; j < a.pool.w; ++j)
            epilogue.position[i * a.pool.w + j] = i * of.floats() + j * a.x.samples * kFilters;
    for (std::int64_t pair = 0; pair < pairs_of(a); ++pair) {
        epilogue.begin(pair);
        if (!a.transposed) {
            run_part<kPositions, kMarks>(a, Axis(a.h), Axis(a.w), a.out_height, a.out_width, tiles, epilogue,
                                         pair);
            continue;
        }
        for (std::int64_t i = 0; i < at_most(a.h.stride, a.h.in); ++i)
            for (std::int64_t j = 0; j < at_most(a.w.stride, a.w.in); ++j) {
                const AmxPhase h(a.h, i), w(a.w, j);
                run_part<kPositions, kMarks>(a, Axis(h), Axis(w), h.window.out, w.window.out, tiles, epilogue,
                                             pair);
            }
    }
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
                    pair_lines(lines + k * kFilters + tile * 16, lines + (k + 1) * kFilters + tile * 16, row);
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

// The same for all positions. Between the products, `count` lines of the tile before are finished: stores of
// tiles and products do not overlap, but vectors do with both.
template <int kPositions, bool kMarks>
FASTCNN_INLINE void multiply_and_finish(Tiles& tiles, const Bfloat16* lines, std::int64_t depth,
                                        const Bfloat16* kernel, std::int64_t positions_, float* sums,
                                        Epilogue& epilogue, const float* before, std::int64_t count) {
    constexpr std::int64_t kSums = kTileLines * kFilters;
    const std::int64_t positions = kPositions ? kPositions : positions_, step = depth * kKernelStep;
    std::int64_t p = 0, finished = 0;
    for (; p + 1 < positions; p += 2) {
        multiply<0>(tiles, lines, depth, kernel + p * step);
        if (p > 0) store_pair<2>(tiles, sums + (p - 1) * kSums);
        multiply<2>(tiles, lines, depth, kernel + (p + 1) * step);
        store_pair<0>(tiles, sums + p * kSums);
        const std::int64_t n = (p + 2) * count / positions - finished;
        epilogue.finish<kPositions, kMarks>(before + finished * kFilters, n);
        finished += n;
    }
    if (p > 0) store_pair<2>(tiles, sums + (p - 1) * kSums);
    if (p == positions) return;
    multiply<0>(tiles, lines, depth, kernel + p * step);
    epilogue.finish<kPositions, kMarks>(before + finished * kFilters, count - finished);
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
    float *sums = a.scratch, *before = sums + room.sums;
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
                epilogue.begin(pair);
                epilogue.start_line(y, first);
                std::int64_t waiting = 0;
                for (std::int64_t l = 0; l < count; l += kTileLines) {
                    multiply_and_finish<kPositions, kMarks>(tiles, lines + l * line, depth, kernel, positions,
                                                            sums, epilogue, before, waiting);
                    waiting = at_most(kTileLines, count - l);
                    float* const made = sums;
                    sums = before;
                    before = made;
                }
                epilogue.finish<kPositions, kMarks>(before, waiting);
            }
        }
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
