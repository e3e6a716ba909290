// Convolution, bias, ReLU and max pooling with AMX tiles: 16 lines x 32 channels of the image times 32 channels x 16
// filters of the kernel. Two tiles of lines and two of filters are summed at once (four loads for four products).
// The sums of one run of pooling windows stay in L1 (8 KB for 2 x 2 windows), from where the epilogue takes them.
#include "kernels/patches.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

constexpr std::int64_t kFilters = 32;          // computed together: two tiles
constexpr std::int64_t kLinesWanted = 32;      // two tiles, where windows divide them so
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
FASTCNN_INLINE std::int64_t pairs_of(const AmxConv& a) { return amx_channels(a.filters) / kFilters; }

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
    std::int64_t first_filter;
    std::int64_t window_step;                 // floats between windows
    std::int64_t position[kAmxPositions];     // floats, of each position of a window
    Vec bias[kFilters / kWidth];

    FASTCNN_INLINE void begin(std::int64_t filters) {
        first_filter = filters;
        for (std::int64_t v = 0; v < kFilters / kWidth; ++v) {
            const std::int64_t c = filters + v * kWidth;
            bias[v] = a.bias && c < a.filters ? load_partial(a.bias + c, at_most(kWidth, a.filters - c)) : zero();
        }
    }

    // `windows` windows of row y from column x on.
    FASTCNN_INLINE void run(const float* sums, std::int64_t y, std::int64_t x, std::int64_t windows) const {
        if (a.y.data && first_filter == 0 && x == 0) clear_borders(y);
        for (std::int64_t w = 0; w < windows; ++w)
            for (std::int64_t s = 0; s < a.x.samples; ++s)
                for (std::int64_t v = 0; v < kFilters / kWidth; ++v)
                    finish(sums + w * window_step + s * kFilters + v * kWidth, y, x + w, s, v);
    }

    FASTCNN_INLINE void finish(const float* sums, std::int64_t y, std::int64_t x, std::int64_t s,
                               std::int64_t v) const {
        const std::int64_t positions = a.pool.positions(), c = first_filter + v * kWidth;
        Vec best = load(sums + position[0]);
        IVec which = iset1(0);
        for (std::int64_t p = 1; p < positions; ++p) {
            const Vec sum = load(sums + position[p]);
            // NaN wins, and the first of them.
            const Mask better = mask_and(not_le(sum, best), mask_not(is_nan(best)));
            best = select(better, sum, best);
            which = iselect(better, iset1(static_cast<std::int32_t>(p)), which);
        }
        best = add(best, bias[v]);
        if (a.relu) {
            best = max(zero(), best);
            which = iselect(eq(best, zero()), iset1(kAmxNoPosition), which);
        }
        const std::int64_t line = amx_channels(a.filters);
        if (a.argmax)
            istore_bytes_partial(a.argmax + ((y * a.out_width + x) * a.x.samples + s) * line + c, which, kWidth);
        if (a.y.data) {
            store_bfloat16(a.y.at(y, x) + s * line + c, best);
        } else if (s < a.count && c < a.filters) {
            float* to = a.y_values + s * a.y_stride + (y * a.out_width + x) * a.filters + c;
            store_partial(to, best, at_most(kWidth, a.filters - c));
        }
    }

    FASTCNN_INLINE void clear_borders(std::int64_t y) const {
        clear(a.y.data + y * a.y.row(), a.y.left * a.y.pixel());
        clear(a.y.at(y, a.y.width), a.y.right * a.y.pixel());
    }
};

// One kernel element as it was given: HWIO of the convolution whose gradient this is where `transposed`.
FASTCNN_INLINE float element(const AmxConv& a, const float* weights, std::int64_t tap, std::int64_t c,
                             std::int64_t f) {
    if (c >= a.channels || f >= a.filters) return 0.0f;
    if (a.transposed) return weights[((taps_of(a) - 1 - tap) * a.filters + f) * a.channels + c];
    return weights[(tap * a.channels + c) * a.filters + f];
}

// 32 channels x 32 filters, value(channel, filter), as two tiles of pairs.
template <class Value>
FASTCNN_INLINE void pack_step(Bfloat16* to, const Value& value) {
    for (std::int64_t tile = 0; tile < 2; ++tile)
        for (std::int64_t pair = 0; pair < 16; ++pair)
            for (std::int64_t f = 0; f < 16; ++f)
                for (std::int64_t i = 0; i < 2; ++i)
                    *to++ = to_bfloat16(value(2 * pair + i, tile * 16 + f));
}

// --------------------------------------------------------------------------------------------- any convolution

std::int64_t packed(const AmxConv& a) {
    return pairs_of(a) * taps_of(a) * (amx_channels(a.channels) / kTileDepth) * kKernelStep / 2;
}

void pack(const AmxConv& a, const float* weights, float* to, int part, int parts) {
    const std::int64_t depth = amx_channels(a.channels) / kTileDepth, step = taps_of(a) * depth;
    for (std::int64_t pair = part; pair < pairs_of(a); pair += parts)
        for (std::int64_t i = 0; i < step; ++i) {
            const std::int64_t tap = i / depth, c = i % depth * kTileDepth, f = pair * kFilters;
            pack_step(reinterpret_cast<Bfloat16*>(to) + (pair * step + i) * kKernelStep,
                      [&](std::int64_t dc, std::int64_t df) { return element(a, weights, tap, c + dc, f + df); });
        }
}

FASTCNN_INLINE Run run_of(const AmxConv& a) { return Run(a.pool.w * a.x.samples, a.out_width); }

std::int64_t scratch(const AmxConv& a) { return a.pool.h * run_of(a).floats(); }

// The taps of one row of the convolution, for tiles of lines from (column, tile) on.
template <int kTiles>
FASTCNN_INLINE void convolve(const AmxConv& a, Tiles& tiles, const Bfloat16* kernel, std::int64_t y,
                             std::int64_t x, std::int64_t tile, float* sums) {
    const std::int64_t line = a.x.line(), depth = line / kTileDepth;
    Products<kTiles> products{tiles, line};
    products.begin();
    for (std::int64_t i = 0; i < a.h.size; ++i) {
        const std::int64_t from = a.h.begin(y) + i * a.h.dilation;
        if (from < 0 || from >= a.x.height) continue;
        const Bfloat16* row = a.x.at(from, a.w.begin(x)) + tile * kTileLines * line;
        for (std::int64_t j = 0; j < a.w.size; ++j)
            products.add(row + j * a.w.dilation * a.x.pixel(),
                         kernel + (i * a.w.size + j) * depth * kKernelStep, depth);
    }
    products.end(sums + tile * kTileLines * kFilters);
}

void run(const AmxConv& a) {
    Tiles tiles;
    const Run of = run_of(a);
    const std::int64_t step = taps_of(a) * (a.x.line() / kTileDepth) * kKernelStep;
    const std::int64_t lines_of_window = a.pool.w * a.x.samples;
    Epilogue epilogue{a, 0, lines_of_window * kFilters, {}, {}};
    for (std::int64_t i = 0; i < a.pool.h; ++i)
        for (std::int64_t j = 0; j < a.pool.w; ++j)
            epilogue.position[i * a.pool.w + j] = i * of.floats() + j * a.x.samples * kFilters;
    for (std::int64_t pair = 0; pair < pairs_of(a); ++pair) {
        const Bfloat16* kernel = reinterpret_cast<const Bfloat16*>(a.kernel) + pair * step;
        epilogue.begin(pair * kFilters);
        for (std::int64_t y = 0; y < a.out_height; ++y)
            for (std::int64_t x = 0; x < a.out_width; x += of.windows) {
                const std::int64_t windows = at_most(of.windows, a.out_width - x);
                const std::int64_t all = tiles_of(windows * lines_of_window, kTileLines);
                for (std::int64_t i = 0; i < a.pool.h; ++i) {
                    float* sums = a.scratch + i * of.floats();
                    std::int64_t tile = 0;
                    for (; tile + 2 <= all; tile += 2)
                        convolve<2>(a, tiles, kernel, y * a.pool.h + i, x * a.pool.w, tile, sums);
                    if (tile < all) convolve<1>(a, tiles, kernel, y * a.pool.h + i, x * a.pool.w, tile, sums);
                }
                epilogue.run(a.scratch, y, x, windows);
            }
    }
}

// ------------------------------------------------------------------------------------- few channels: by patches

FASTCNN_INLINE AmxPatches patches_of(const AmxConv& a) {
    return {a.h, a.w, a.channels, a.pool, a.out_height, a.out_width};
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
            pack_step(reinterpret_cast<Bfloat16*>(to) + (pair * step + i) * kKernelStep,
                      [&](std::int64_t k, std::int64_t df) {
                          const std::int64_t at = patches.weight(first + k, position);
                          return at < 0 || f + df >= a.filters ? 0.0f : weights[at * a.filters + f + df];
                      });
        }
}

FASTCNN_INLINE Run patch_run_of(const AmxConv& a) { return Run(a.x.samples, a.out_width); }

std::int64_t patch_scratch(const AmxPatchConv& args) {
    const AmxConv& a = args.conv;
    const Run of = patch_run_of(a);
    return a.pool.positions() * of.floats() + of.tiles * kTileLines * patches_of(a).line() / 2;
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
    Epilogue epilogue{a, 0, a.x.samples * kFilters, {}, {}};
    for (std::int64_t p = 0; p < positions; ++p) epilogue.position[p] = p * of.floats();
    for (std::int64_t y = 0; y < a.out_height; ++y)
        for (std::int64_t x = 0; x < a.out_width; x += of.windows) {
            const std::int64_t windows = at_most(of.windows, a.out_width - x);
            const std::int64_t all = tiles_of(windows * a.x.samples, kTileLines);
            for (std::int64_t w = 0; w < windows; ++w)
                for (std::int64_t s = 0; s < a.x.samples; ++s)
                    copy_patch(patches, image, s, y, x + w, lines + (w * a.x.samples + s) * line);
            for (std::int64_t pair = 0; pair < pairs_of(a); ++pair) {
                epilogue.begin(pair * kFilters);
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

constinit const Kernel<AmxConv> amx_conv = {
    .run = run, .scratch = scratch, .packed = packed, .pack = pack};
constinit const Kernel<AmxPatchConv> amx_patch_conv = {
    .run = run_patches, .scratch = patch_scratch, .packed = packed_patches, .pack = pack_patches};

}  // namespace fastcnn::FASTCNN_ISA
