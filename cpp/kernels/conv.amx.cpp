// Convolution, bias, ReLU and max pooling with AMX tiles: 16 lines x 32 channels of the image times 32
// channels x 16 filters of the kernel. Two tiles of lines and two of filters are summed at once (four loads
// for four products). The sums of one run of pooling windows stay in L1 (8 KB for 2 x 2 windows), from where
// the epilogue takes them.
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

// From sums to results: maximum over the window's positions, bias, ReLU.
struct Epilogue {
    const AmxConv& a;
    std::int64_t window_step;                   // floats between windows
    std::int64_t column_step = 1;               // between the columns of windows
    std::int64_t position[kAmxPositions] = {};  // floats, of each position of a window
    std::int64_t place = 0;                     // of the pair's filters in a line
    std::int64_t filter = 0, valid = 0;         // the first one's number, and how many there are
    Vec bias[kFilters / kWidth] = {};

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

    // `windows` windows of row y from column x on.
    FASTCNN_INLINE void run(const float* sums, std::int64_t y, std::int64_t x, std::int64_t windows) const {
        if (a.y.data && place == 0 && x == 0) clear_borders(y);
        switch (a.pool.positions()) {
            case 1:
                return run_marked<1>(sums, y, x, windows);
            case 4:
                return run_marked<4>(sums, y, x, windows);
            default:
                return run_marked<0>(sums, y, x, windows);
        }
    }
    template <int kPositions>
    FASTCNN_INLINE void run_marked(const float* sums, std::int64_t y, std::int64_t x,
                                   std::int64_t windows) const {
        if (!a.y.data)
            a.argmax ? finish_all<kPositions, true, true>(sums, y, x, windows)
                     : finish_all<kPositions, false, true>(sums, y, x, windows);
        else
            a.argmax ? finish_all<kPositions, true, false>(sums, y, x, windows)
                     : finish_all<kPositions, false, false>(sums, y, x, windows);
    }

    // Everything is read before the first store: a store of bytes might change what is read after it, as far
    // as the compiler knows. Lines of neighbouring windows lie one after the other but in strided images and
    // where phases take turns.
    template <int kPositions, bool kMarks, bool kSamples>
    FASTCNN_INLINE void finish_all(const float* sums, std::int64_t y, std::int64_t x,
                                   std::int64_t windows) const {
        constexpr int kVecs = kFilters / kWidth;
        const std::int64_t line = a.filters.size(), samples = a.x.samples, step = window_step;
        const std::int64_t positions = kPositions ? kPositions : a.pool.positions();
        const std::int64_t values_step = a.y_stride, pixel = column_step * a.filters.count, count = a.count;
        const bool scattered = column_step != 1 || a.y.stride != 1;
        const std::int64_t existing = valid;
        std::int64_t at[kAmxPositions];
        for (std::int64_t p = 0; p < positions; ++p) at[p] = position[p];
        Vec added[kVecs];
        for (int v = 0; v < kVecs; ++v) added[v] = bias[v];
        const bool relu = a.relu;
        std::uint8_t* marks = kMarks ? a.argmax + (y * a.out_width + x) * samples * line + place : nullptr;
        Bfloat16* lines = kSamples ? nullptr : a.y.at(y, x) + place;
        float* values = kSamples ? a.y_values + (y * a.out_width + x) * a.filters.count + filter : nullptr;
        for (std::int64_t w = 0; w < windows; ++w, sums += step - samples * kFilters, values += pixel) {
            if (!kSamples && scattered) lines = a.y.at(y, x + w * column_step) + place;
            for (std::int64_t s = 0; s < samples; ++s, sums += kFilters) {
                Vec best[kVecs];
#pragma GCC unroll 4
                for (int v = 0; v < kVecs; ++v) {
                    IVec which;
                    best[v] =
                        add(largest<kPositions, kMarks>(sums + v * kWidth, at, positions, which), added[v]);
                    if (relu) {
                        best[v] = max(zero(), best[v]);
                        if constexpr (kMarks)
                            which = iselect(eq(best[v], zero()), iset1(kAmxNoPosition), which);
                    }
                    if constexpr (kMarks) istore_bytes_partial(marks + v * kWidth, which, kWidth);
                }
                if constexpr (kMarks) marks += line;
                if constexpr (kSamples) {
                    if (s >= count) continue;
                    for (int v = 0; v < kVecs; ++v)
                        if (v * kWidth < existing)
                            store_partial(values + s * values_step + v * kWidth, best[v],
                                          at_most(kWidth, existing - v * kWidth));
                } else {
                    for (int v = 0; v < kVecs; v += 2)
                        store_bfloat16(lines + v * kWidth, best[v], best[v + 1]);
                    lines += line;
                }
            }
        }
    }

    // kPositions: how many a window has, 0 where only the call knows. NaN wins.
    template <int kPositions, bool kMarks>
    FASTCNN_INLINE static Vec largest(const float* sums, const std::int64_t* at, std::int64_t positions,
                                      IVec& which) {
        Vec best = load(sums + at[0]);
        which = iset1(0);
        if constexpr (kPositions == 4) {
            const Vec b = load(sums + at[1]), c = load(sums + at[2]), d = load(sums + at[3]);
            const Mask nan = mask_or(unordered(best, b), unordered(c, d));
            const Mask right = gt(b, best), right_below = gt(d, c);
            const Vec above = max(best, b), below = max(c, d);
            const Mask is_below = gt(below, above);
            if constexpr (kMarks)
                which = iselect(is_below, iselect(right_below, iset1(3), iset1(2)),
                                iselect(right, iset1(1), which));
            return select(nan, add(add(best, b), add(c, d)), max(above, below));
        }
        for (std::int64_t p = 1; p < positions; ++p) {
            const Vec sum = load(sums + at[p]);
            const Mask better = mask_and(not_le(sum, best), mask_not(is_nan(best)));
            best = select(better, sum, best);
            which = iselect(better, iset1(static_cast<std::int32_t>(p)), which);
        }
        return best;
    }

    FASTCNN_INLINE void clear_borders(std::int64_t y) const {
        if (a.y.stride > 1) return clear(a.y.data + y * a.y.row(), a.y.row());
        clear(a.y.data + y * a.y.row(), a.y.left * a.y.pixel());
        clear(a.y.at(y, a.y.width), a.y.right * a.y.pixel());
    }
};

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

// `channels` x `filters` (at most 32 x 16) of them as a tile of pairs of channels.
FASTCNN_INLINE void pack_tile(const Matrix& m, std::int64_t channels, std::int64_t filters, Bfloat16* to) {
    alignas(64) Bfloat16 lines[kTileElements];
    clear(lines, kTileElements);
    if (m.filter_step == 1) {
        for (std::int64_t c = 0; c < channels; ++c)
            round_16(m.values + c * m.channel_step, filters, lines + c * 16);
        for (std::int64_t pair = 0; pair < 16; ++pair)
            pair_lines(lines + 32 * pair, lines + 32 * pair + 16,
                       reinterpret_cast<std::int32_t*>(to) + 16 * pair);
    } else {
        for (std::int64_t f = 0; f < filters; ++f)
            for (std::int64_t c = 0; c < channels; c += 16)
                round_16(m.values + f * m.filter_step + c, at_most(16, channels - c), lines + f * 32 + c);
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
FASTCNN_INLINE void run_part(const AmxConv& a, const Axis& h, const Axis& w, std::int64_t height,
                             std::int64_t width, Tiles& tiles, Epilogue& epilogue, std::int64_t pair) {
    const Run of = run_of(a);
    const std::int64_t lines_of_window = a.pool.w * a.x.samples;
    const std::int64_t channel = Pair(a, pair).group * a.channels.group_size();
    const Bfloat16* kernel =
        reinterpret_cast<const Bfloat16*>(a.kernel) + pair * taps_of(a) * depth_of(a) * kKernelStep;
    epilogue.column_step = w.step;
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
            epilogue.run(a.scratch, h.first + y * h.step, w.first + x * w.step, windows);
        }
}

void run(const AmxConv& a) {
    Tiles tiles;
    const Run of = run_of(a);
    Epilogue epilogue{.a = a, .window_step = a.pool.w * a.x.samples * kFilters};
    for (std::int64_t i = 0; i < a.pool.h; ++i)
        for (std::int64_t j = 0; j < a.pool.w; ++j)
            epilogue.position[i * a.pool.w + j] = i * of.floats() + j * a.x.samples * kFilters;
    for (std::int64_t pair = 0; pair < pairs_of(a); ++pair) {
        epilogue.begin(pair);
        if (!a.transposed) {
            run_part(a, Axis(a.h), Axis(a.w), a.out_height, a.out_width, tiles, epilogue, pair);
            continue;
        }
        for (std::int64_t i = 0; i < at_most(a.h.stride, a.h.in); ++i)
            for (std::int64_t j = 0; j < at_most(a.w.stride, a.w.in); ++j) {
                const AmxPhase h(a.h, i), w(a.w, j);
                run_part(a, Axis(h), Axis(w), h.window.out, w.window.out, tiles, epilogue, pair);
            }
    }
}

// --------------------------------------------------------------------------------- few channels: by patches

FASTCNN_INLINE AmxPatches patches_of(const AmxConv& a) {
    return {a.h, a.w, a.channels.count, a.pool, a.out_height, a.out_width};
}

template <int kTiles>
FASTCNN_INLINE void multiply(Tiles& tiles, const Bfloat16* lines, std::int64_t line, const Bfloat16* kernel,
                             std::int64_t depth, float* sums) {
    Products<kTiles> products{tiles, line};
    products.begin();
    products.add(lines, kernel, depth);
    products.end(sums);
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
            std::int32_t* words = reinterpret_cast<std::int32_t*>(to) + (pair * step + i) * kKernelStep / 2;
            for (std::int64_t tile = 0; tile < 2; ++tile)
                for (std::int64_t k = 0; k < kTileDepth; k += 2, words += 16)
                    pair_lines(lines + k * kFilters + tile * 16, lines + (k + 1) * kFilters + tile * 16,
                               words);
        }
}

FASTCNN_INLINE Run patch_run_of(const AmxConv& a) { return Run(a.x.samples, a.out_width); }

std::int64_t patch_scratch(const AmxPatchConv& args) {
    const AmxConv& a = args.conv;
    const Run of = patch_run_of(a);
    return a.pool.positions() * of.floats() + of.tiles * kTileLines * patches_of(a).line() / 2 + kWidth;
}

void run_patches(const AmxPatchConv& args) {
    const AmxConv& a = args.conv;
    Tiles tiles;
    const AmxPatches patches = patches_of(a);
    Bfloat16* image = reinterpret_cast<Bfloat16*>(args.image);
    read_image(patches, args.x, args.x_stride, a.count, a.x.samples, image);
    const Run of = patch_run_of(a);
    const std::int64_t line = patches.line(), depth = line / kTileDepth, positions = a.pool.positions();
    Bfloat16* lines = reinterpret_cast<Bfloat16*>(a.scratch + positions * of.floats());
    Epilogue epilogue{.a = a, .window_step = a.x.samples * kFilters};
    for (std::int64_t p = 0; p < positions; ++p) epilogue.position[p] = p * of.floats();
    for (std::int64_t y = 0; y < a.out_height; ++y)
        for (std::int64_t x = 0; x < a.out_width; x += of.windows) {
            const std::int64_t windows = at_most(of.windows, a.out_width - x);
            const std::int64_t all = tiles_of(windows * a.x.samples, kTileLines);
            for (std::int64_t w = 0; w < windows; ++w)
                for (std::int64_t s = 0; s < a.x.samples; ++s)
                    copy_patch(patches, image, s, y, x + w, lines + (w * a.x.samples + s) * line);
            for (std::int64_t pair = 0; pair < pairs_of(a); ++pair) {
                epilogue.begin(pair);
                const Bfloat16* kernel =
                    reinterpret_cast<const Bfloat16*>(a.kernel) + pair * positions * depth * kKernelStep;
                for (std::int64_t p = 0; p < positions; ++p, kernel += depth * kKernelStep) {
                    float* sums = a.scratch + p * of.floats();
                    std::int64_t tile = 0;
                    for (; tile < all; tile += 2) {
                        const Bfloat16* from = lines + tile * kTileLines * line;
                        float* to = sums + tile * kTileLines * kFilters;
                        if (tile + 1 < all)
                            multiply<2>(tiles, from, line, kernel, depth, to);
                        else
                            multiply<1>(tiles, from, line, kernel, depth, to);
                    }
                }
                epilogue.run(a.scratch, y, x, windows);
            }
        }
}

}  // namespace

constinit const Kernel<AmxConv> amx_conv = {.run = run, .scratch = scratch, .packed = packed, .pack = pack};
constinit const Kernel<AmxPatchConv> amx_patch_conv = {
    .run = run_patches, .scratch = patch_scratch, .packed = packed_patches, .pack = pack_patches};

}  // namespace fastcnn::FASTCNN_ISA
