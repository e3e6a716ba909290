// Gradients of kernels with AMX tiles: 16 filters x 32 lines of the output's gradient times 32 lines x 16
// channels of the input. What is summed over are lines, so the gradient is transposed (once, whatever the
// tap) and the input's lines are paired; a tap's shift is then a shift by whole lines of pairs.
#include "kernels/patches.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

// The first kCount tiles are read from, or written to, rows of 64 bytes.
template <int kCount>
FASTCNN_INLINE void zero_tiles(Tiles& t) {
    t.zero<0>();
    if constexpr (kCount > 1) t.zero<1>();
    if constexpr (kCount > 2) t.zero<2>();
    if constexpr (kCount > 3) t.zero<3>();
    if constexpr (kCount > 4) t.zero<4>();
    if constexpr (kCount > 5) t.zero<5>();
}
template <int kCount>
FASTCNN_INLINE void store_tiles(Tiles& t, float* to) {
    t.store<0>(to, 64);
    if constexpr (kCount > 1) t.store<1>(to + 256, 64);
    if constexpr (kCount > 2) t.store<2>(to + 512, 64);
    if constexpr (kCount > 3) t.store<3>(to + 768, 64);
    if constexpr (kCount > 4) t.store<4>(to + 1024, 64);
    if constexpr (kCount > 5) t.store<5>(to + 1280, 64);
}
template <int kCount>
FASTCNN_INLINE void load_tiles(Tiles& t, const float* from) {
    t.load<0>(from, 64);
    if constexpr (kCount > 1) t.load<1>(from + 256, 64);
    if constexpr (kCount > 2) t.load<2>(from + 512, 64);
    if constexpr (kCount > 3) t.load<3>(from + 768, 64);
    if constexpr (kCount > 4) t.load<4>(from + 1024, 64);
    if constexpr (kCount > 5) t.load<5>(from + 1280, 64);
}

// A 16 x 16 tile of sums into rows of `pitch` floats: `rows` rows, `columns` columns.
FASTCNN_INLINE void add_tile(const float* sums, std::int64_t rows, std::int64_t columns, float* to,
                             std::int64_t pitch, bool accumulate) {
    if (columns == 16) {
        for (std::int64_t m = 0; m < rows; ++m)
            for (std::int64_t n = 0; n < 16; n += kWidth) {
                const Vec v = load(sums + m * 16 + n);
                store(to + m * pitch + n, accumulate ? add(v, load(to + m * pitch + n)) : v);
            }
        return;
    }
    for (std::int64_t m = 0; m < rows; ++m)
        for (std::int64_t n = 0; n < columns; n += kWidth) {
            const std::int64_t count = at_most(kWidth, columns - n);
            Vec v = load(sums + m * 16 + n);
            if (accumulate) v = add(v, load_partial(to + m * pitch + n, count));
            store_partial(to + m * pitch + n, v, count);
        }
}

// ------------------------------------------------------------------------------------------- any convolution

// The image's lines in pairs, line 2 p + phase and the next: with an odd number of samples, a shift by one
// column changes which lines are pairs.
struct Pairs {
    std::int64_t lines, line, pairs, phases;  // line: words of a pair
    FASTCNN_INLINE explicit Pairs(const AmxImage& x) {
        line = x.line();
        lines = x.height * x.columns() * x.samples;
        pairs = (lines + 1) / 2 + kTileDepth / 2;  // a tile's depth may reach behind the last line
        phases = x.samples % 2 ? 2 : 1;
    }
    FASTCNN_INLINE std::int64_t floats() const { return phases * pairs * line; }
    FASTCNN_INLINE std::int32_t* at(float* memory, std::int64_t first_line) const {
        const std::int64_t phase = phases == 2 ? first_line & 1 : 0;
        return reinterpret_cast<std::int32_t*>(memory) + (phase * pairs + first_line / 2) * line;
    }
    FASTCNN_INLINE void write(const AmxImage& x, float* memory) const {
        alignas(64) static constexpr Bfloat16 kZeros[16] = {};
        for (std::int64_t phase = 0; phase < phases; ++phase)
            for (std::int64_t p = 0; p < pairs; ++p) {
                const std::int64_t first = 2 * p + phase;
                Bfloat16* to = reinterpret_cast<Bfloat16*>(memory) + 2 * (phase * pairs + p) * line;
                for (std::int64_t c = 0; c < line; c += 16)
                    pair_lines(first < lines ? x.data + first * line + c : kZeros,
                               first + 1 < lines ? x.data + (first + 1) * line + c : kZeros, to + 2 * c);
            }
    }
};

std::int64_t scratch(const AmxGradKernel& a) { return Pairs(a.x).floats() + 6 * 256; }

// kTaps neighbouring taps of one kernel row x kTilesOfChannels tiles of channels, from channel c of a group
// on; `filter_tile`: of all groups.
template <int kTaps, int kTilesOfChannels>
FASTCNN_INLINE void sum_taps(const AmxGradKernel& a, Tiles& t, const Pairs& pairs, std::int64_t filter_tile,
                             std::int64_t i, std::int64_t j, std::int64_t c) {
    constexpr int kCount = kTaps * kTilesOfChannels;
    const std::int64_t tiles = tiles_of(a.filters.in_group(), 16), group = filter_tile / tiles;
    const std::int64_t place = group * a.channels.group_size() + c, first = filter_tile % tiles * 16;
    const std::int64_t chunks = tiles_of(a.w.out * a.x.samples, kTileDepth), pitch = 4 * pairs.line;
    zero_tiles<kCount>(t);
    for (std::int64_t y = 0; y < a.h.out; ++y) {
        const std::int64_t from = a.h.begin(y) + i * a.h.dilation;
        if (from < 0 || from >= a.x.height) continue;
        const Bfloat16* dy = reinterpret_cast<const Bfloat16*>(a.transposed) +
                             (filter_tile * a.h.out + y) * chunks * kTileElements;
        std::int64_t line[kTaps];
        for (int tap = 0; tap < kTaps; ++tap)
            line[tap] = a.x.index(from, a.w.begin(0) + (j + tap) * a.w.dilation) * a.x.samples;
        for (std::int64_t k = 0; k < chunks; ++k) {
            const auto x = [&](int tap) { return pairs.at(a.scratch, line[tap] + k * kTileDepth) + place; };
            t.load<6>(dy + k * kTileElements, 64);
            t.load<7>(x(0), pitch);
            t.dot<0, 6, 7>();
            if constexpr (kTilesOfChannels == 2) {
                t.load<7>(x(0) + 16, pitch);
                t.dot<1, 6, 7>();
            }
            if constexpr (kTaps > 1) {
                t.load<7>(x(1), pitch);
                t.dot<kTilesOfChannels, 6, 7>();
                if constexpr (kTilesOfChannels == 2) {
                    t.load<7>(x(1) + 16, pitch);
                    t.dot<3, 6, 7>();
                }
            }
            if constexpr (kTaps > 2) {
                t.load<7>(x(2), pitch);
                t.dot<2 * kTilesOfChannels, 6, 7>();
                if constexpr (kTilesOfChannels == 2) {
                    t.load<7>(x(2) + 16, pitch);
                    t.dot<5, 6, 7>();
                }
            }
        }
    }
    float* sums = a.scratch + pairs.floats();
    store_tiles<kCount>(t, sums);
    const std::int64_t channels = a.channels.in_group(), filters = a.filters.count;
    float* dkernel = a.dkernel + group * a.filters.in_group() + first;
    for (int tap = 0; tap < kTaps; ++tap)
        for (int n = 0; n < kTilesOfChannels; ++n) {
            alignas(64) float by_channel[256];
            transpose_words(reinterpret_cast<const std::int32_t*>(sums + (tap * kTilesOfChannels + n) * 256),
                            reinterpret_cast<std::int32_t*>(by_channel));
            const std::int64_t row = (i * a.w.size + j + tap) * channels + c + n * 16;
            add_tile(by_channel, at_most(16, channels - c - n * 16),
                     at_most(16, a.filters.in_group() - first), dkernel + row * filters, filters,
                     a.accumulate);
        }
}

void run(const AmxGradKernel& a) {
    Tiles tiles;
    const Pairs pairs(a.x);
    pairs.write(a.x, a.scratch);
    const std::int64_t channels = a.channels.in_group();
    for (std::int64_t f = 0; f < a.filters.groups * tiles_of(a.filters.in_group(), 16); ++f)
        for (std::int64_t i = 0; i < a.h.size; ++i)
            for (std::int64_t c = 0; c < channels; c += 32) {
                const bool two = channels - c > 16;
                std::int64_t j = 0;
                for (; j + 3 <= a.w.size; j += 3)
                    two ? sum_taps<3, 2>(a, tiles, pairs, f, i, j, c)
                        : sum_taps<3, 1>(a, tiles, pairs, f, i, j, c);
                if (a.w.size - j == 2)
                    two ? sum_taps<2, 2>(a, tiles, pairs, f, i, j, c)
                        : sum_taps<2, 1>(a, tiles, pairs, f, i, j, c);
                if (a.w.size - j == 1)
                    two ? sum_taps<1, 2>(a, tiles, pairs, f, i, j, c)
                        : sum_taps<1, 1>(a, tiles, pairs, f, i, j, c);
            }
}

// --------------------------------------------------------------------------------- few channels: by patches

// A row of pooling windows at a time: 16 numbers of their patches x 32 lines times 32 lines x 16 filters of
// the gradients that belong to one position of the windows. Here the patches are transposed, once for all
// filters and positions, and the gradients are paired, which costs little for each position. The sums, of
// whole patches, wait in memory between rows.
struct PatchRow {
    AmxPatches patches;
    std::int64_t lines, chunks, line, filter_tiles, patch_tiles, positions;
    explicit FASTCNN_INLINE PatchRow(const AmxPatchGradKernel& a)
        : patches{a.h, a.w, a.channels, a.pool, a.dy.height, a.dy.width} {
        lines = a.dy.width * a.dy.samples;
        chunks = tiles_of(lines, kTileDepth);
        line = patches.line();
        filter_tiles = tiles_of(a.filters, 16);
        patch_tiles = tiles_of(patches.size(), 16);
        positions = a.pool.positions();
    }
    // Floats.
    FASTCNN_INLINE std::int64_t sums() const { return filter_tiles * positions * patch_tiles * 256; }
    FASTCNN_INLINE std::int64_t transposed() const { return patch_tiles * chunks * kTileElements / 2; }
    FASTCNN_INLINE std::int64_t gradients() const { return positions * chunks * kTileElements / 2; }
};

std::int64_t patch_scratch(const AmxPatchGradKernel& a) {
    const PatchRow row(a);
    return row.sums() + row.transposed() + row.gradients() + kTileDepth * row.line / 2 + kWidth;
}

// kCount tiles of patches, one of gradients.
template <int kCount>
FASTCNN_INLINE void sum_patches(Tiles& t, const Bfloat16* patches, const Bfloat16* dy, std::int64_t chunks,
                                float* sums) {
    const std::int64_t step = chunks * kTileElements;
    load_tiles<kCount>(t, sums);
    for (std::int64_t k = 0; k < chunks; ++k, dy += kTileElements, patches += kTileElements) {
        t.load<7>(dy, 64);
        t.load<6>(patches, 64);
        t.dot<0, 6, 7>();
        if constexpr (kCount > 1) {
            t.load<6>(patches + step, 64);
            t.dot<1, 6, 7>();
        }
        if constexpr (kCount > 2) {
            t.load<6>(patches + 2 * step, 64);
            t.dot<2, 6, 7>();
        }
        if constexpr (kCount > 3) {
            t.load<6>(patches + 3 * step, 64);
            t.dot<3, 6, 7>();
        }
    }
    store_tiles<kCount>(t, sums);
}

// Patches of row y as tiles [tile of 16 numbers][tile of 32 lines].
FASTCNN_INLINE void transpose_patches(const AmxPatchGradKernel& a, const PatchRow& row, std::int64_t y,
                                      Bfloat16* lines, Bfloat16* tiles) {
    const PatchLines patch_lines(row.patches);
    const Bfloat16* image = reinterpret_cast<const Bfloat16*>(a.image);
    for (std::int64_t k = 0; k < row.chunks; ++k) {
        const std::int64_t first = k * kTileDepth, count = at_most(kTileDepth, row.lines - first);
        patch_lines.copy(image, a.dy.samples, y, first, count, lines);
        for (std::int64_t n = 0; n < row.patch_tiles; ++n)
            transpose_lines(lines + n * 16, row.line, count, tiles + (n * row.chunks + k) * kTileElements);
    }
}

// 16 filters of the gradients of row y as tiles [position][tile of 32 lines], in pairs of lines.
FASTCNN_INLINE void pair_gradients(const AmxPatchGradKernel& a, const PatchRow& row, std::int64_t y,
                                   std::int64_t filter, Bfloat16* tiles) {
    const std::int64_t line = a.dy.line();
    const Bfloat16* dy = a.dy.at(y, 0) + filter;
    const std::uint8_t* argmax = a.argmax ? a.argmax + y * row.lines * line + filter : nullptr;
    for (std::int64_t l = 0; l < row.chunks * kTileDepth; l += 2)
        for (std::int64_t v = 0; v < 16; v += kWidth) {
            const std::int64_t at = l * line + v;
            const bool is_first = l < row.lines, is_second = l + 1 < row.lines;
            const IVec words = pair_words(is_first ? iload_words(dy + at) : iset1(0),
                                          is_second ? iload_words(dy + at + line) : iset1(0));
            Bfloat16* to = tiles + l * 16 + 2 * v;
            if (!argmax) {
                istore(reinterpret_cast<std::int32_t*>(to), words);
                continue;
            }
            const IVec where =
                pair_words(is_first ? iload_bytes_partial(argmax + at, kWidth) : iset1(0),
                           is_second ? iload_bytes_partial(argmax + at + line, kWidth) : iset1(0));
            for (std::int64_t p = 0; p < row.positions; ++p, to += row.chunks * kTileElements) {
                const IVec here = iset1(static_cast<std::int32_t>(p << 16 | p));
                istore(reinterpret_cast<std::int32_t*>(to), keep_equal_words(where, here, words));
            }
        }
}

void run_patches(const AmxPatchGradKernel& a) {
    const PatchRow row(a);
    float* sums = a.scratch;
    Bfloat16* patches = reinterpret_cast<Bfloat16*>(sums + row.sums());
    Bfloat16* gradients = patches + 2 * row.transposed();
    Bfloat16* lines = gradients + 2 * row.gradients();
    const std::int64_t step = row.chunks * kTileElements;
    std::memset(sums, 0, static_cast<std::size_t>(row.sums()) * sizeof(float));
    {
        Tiles tiles;
        for (std::int64_t y = 0; y < a.dy.height; ++y) {
            transpose_patches(a, row, y, lines, patches);
            float* to = sums;
            for (std::int64_t f = 0; f < row.filter_tiles; ++f) {
                pair_gradients(a, row, y, f * 16, gradients);
                for (std::int64_t p = 0; p < row.positions; ++p)
                    for (std::int64_t n = 0; n < row.patch_tiles; n += 4) {
                        const Bfloat16 *x = patches + n * step, *dy = gradients + p * step;
                        const std::int64_t count = at_most(4, row.patch_tiles - n);
                        if (count == 1) sum_patches<1>(tiles, x, dy, row.chunks, to);
                        if (count == 2) sum_patches<2>(tiles, x, dy, row.chunks, to);
                        if (count == 3) sum_patches<3>(tiles, x, dy, row.chunks, to);
                        if (count == 4) sum_patches<4>(tiles, x, dy, row.chunks, to);
                        to += count * 256;
                    }
            }
        }
    }
    const std::int64_t weights = a.h.size * a.w.size * a.channels;
    if (!a.accumulate)
        std::memset(a.dkernel, 0, static_cast<std::size_t>(a.filters * weights) * sizeof(float));
    for (std::int64_t f = 0; f < row.filter_tiles; ++f)
        for (std::int64_t p = 0; p < row.positions; ++p)
            for (std::int64_t k = 0; k < row.patches.size(); ++k) {
                const std::int64_t at = row.patches.weight(k, p);
                if (at < 0) continue;
                const std::int64_t tile = (f * row.positions + p) * row.patch_tiles + k / 16;
                add_tile(sums + tile * 256 + k % 16 * 16, 1, at_most(16, a.filters - f * 16),
                         a.dkernel + at * a.filters + f * 16, 0, true);
            }
    if (a.dbias) sum_bias(a.dy, a.argmax, a.dbias, a.accumulate);
}

}  // namespace

constinit const Kernel<AmxGradKernel> amx_grad_kernel = {.run = run, .scratch = scratch};
constinit const Kernel<AmxPatchGradKernel> amx_patch_grad_kernel = {.run = run_patches,
                                                                    .scratch = patch_scratch};

}  // namespace fastcnn::FASTCNN_ISA
