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

void pair_all_lines(const AmxPairLines& a) {
    alignas(64) static constexpr Bfloat16 kZeros[16] = {};
    const AmxPairs pairs(a.x);
    const std::int64_t line = pairs.line, lines = pairs.lines;
    Bfloat16* to = reinterpret_cast<Bfloat16*>(a.pairs);
    for (std::int64_t phase = 0; phase < pairs.phases; ++phase)
        for (std::int64_t p = 0; p < pairs.pairs; ++p, to += 2 * line) {
            const std::int64_t first = 2 * p + phase;
            for (std::int64_t c = 0; c < line; c += 16)
                store_row(to + 2 * c,
                          pair_lines(first < lines ? a.x.data + first * line + c : kZeros,
                                     first + 1 < lines ? a.x.data + (first + 1) * line + c : kZeros));
        }
}

std::int64_t scratch(const AmxGradKernel&) { return 6 * 256; }

// kTaps neighbouring taps of one kernel row x kTilesOfChannels tiles of channels, from channel c of a group
// on; `filter_tile`: of all groups.
template <int kTaps, int kTilesOfChannels>
FASTCNN_INLINE void sum_taps(const AmxGradKernel& a, Tiles& t, const AmxPairs& pairs,
                             std::int64_t filter_tile, std::int64_t i, std::int64_t j, std::int64_t c) {
    constexpr int kCount = kTaps * kTilesOfChannels;
    const std::int64_t tiles = tiles_of(a.filters.in_group(), 16), group = filter_tile / tiles;
    const std::int64_t place = group * a.channels.group_size() + c, first = filter_tile % tiles * 16;
    const std::int64_t chunks = tiles_of(a.w.out * a.x.samples, kTileDepth), pitch = 4 * pairs.line;
    const std::int64_t step = kTileDepth / 2 * pairs.line;
    zero_tiles<kCount>(t);
    for (std::int64_t block = 0; block < a.blocks; ++block) {
        const std::int32_t* x_pairs = reinterpret_cast<const std::int32_t*>(a.pairs + block * a.pairs_stride);
        const Bfloat16* dy_tiles =
            reinterpret_cast<const Bfloat16*>(a.transposed + block * a.transposed_stride);
        for (std::int64_t y = 0; y < a.h.out; ++y) {
            const std::int64_t from = a.h.begin(y) + i * a.h.dilation;
            if (from < 0 || from >= a.x.height) continue;
            const Bfloat16* dy = dy_tiles + (filter_tile * a.h.out + y) * chunks * kTileElements;
            const std::int32_t* lines[kTaps];
            for (int tap = 0; tap < kTaps; ++tap) {
                const std::int64_t column = a.w.begin(0) + (j + tap) * a.w.dilation;
                lines[tap] = x_pairs + pairs.at(a.x.index(from, column) * a.x.samples) + place;
            }
            for (std::int64_t k = 0; k < chunks; ++k) {
                const auto x = [&](int tap) { return lines[tap] + k * step; };
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
    }
    float* sums = a.scratch;
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
    const AmxPairs pairs(a.x);
    const std::int64_t channels = a.channels.in_group(), taps = a.w.size;
    for (std::int64_t f = 0; f < a.filters.groups * tiles_of(a.filters.in_group(), 16); ++f)
        for (std::int64_t i = 0; i < a.h.size; ++i)
            for (std::int64_t c = 0; c < channels; c += 32) {
                const bool two = channels - c > 16;
                // Taps of this kernel row whose channels from c on are asked for.
                std::int64_t j = ((a.first_row - c + channels - 1) / channels) - i * taps;
                std::int64_t end = ((a.last_row - c + channels - 1) / channels) - i * taps;
                j = j < 0 ? 0 : j;
                end = end > taps ? taps : end;
                for (; j + 3 <= end; j += 3)
                    two ? sum_taps<3, 2>(a, tiles, pairs, f, i, j, c)
                        : sum_taps<3, 1>(a, tiles, pairs, f, i, j, c);
                if (end - j == 2)
                    two ? sum_taps<2, 2>(a, tiles, pairs, f, i, j, c)
                        : sum_taps<2, 1>(a, tiles, pairs, f, i, j, c);
                if (end - j == 1)
                    two ? sum_taps<1, 2>(a, tiles, pairs, f, i, j, c)
                        : sum_taps<1, 1>(a, tiles, pairs, f, i, j, c);
            }
}

// --------------------------------------------------------------------------------- few channels: by patches

// A row of pooling windows at a time: 16 numbers of their patches x 32 lines times 32 lines x 16 filters of
// the gradients that belong to one position of the windows. Here the patches are transposed, once for all
// filters and positions, and the gradients are paired, which costs little for each position. The sums, of
// whole patches, wait in memory between rows.
//
// With 16 samples a tile's 32 lines are two neighbouring windows. The whole image is transposed then, each
// number beside the one that is as far from it as the windows are from each other, and a tile's rows are
// copied.
struct PatchRow {
    AmxPatches patches;
    std::int64_t lines, chunks, line, filter_tiles, patch_tiles, positions;
    bool sixteen;
    explicit FASTCNN_INLINE PatchRow(const AmxPatchGradKernel& a)
        : patches{a.h, a.w, a.channels, a.pool, a.dy.height, a.dy.width} {
        lines = a.dy.width * a.dy.samples;
        chunks = tiles_of(lines, kTileDepth);
        line = patches.line();
        filter_tiles = tiles_of(a.filters, 16);
        patch_tiles = tiles_of(patches.size(), 16);
        positions = a.pool.positions();
        sixteen = a.dy.samples == 16;
    }
    // Floats.
    FASTCNN_INLINE std::int64_t sums() const { return filter_tiles * positions * patch_tiles * 256; }
    FASTCNN_INLINE std::int64_t transposed() const { return patch_tiles * chunks * kTileElements / 2; }
    FASTCNN_INLINE std::int64_t gradients() const { return positions * chunks * kTileElements / 2; }
    // Numbers in a row of the transposed image, each with 32 words.
    FASTCNN_INLINE std::int64_t numbers() const {
        return tiles_of(patches.width() * patches.channels, 16) * 16;
    }
    // Of what patches are transposed from.
    FASTCNN_INLINE std::int64_t lines_floats() const {
        return (sixteen ? patches.height() * numbers() : line) * kTileDepth / 2 + kWidth;
    }
};

std::int64_t patch_scratch(const AmxPatchGradKernel& a) {
    const PatchRow row(a);
    return row.sums() + row.transposed() + row.gradients() + row.lines_floats();
}

// Up to 4 sums of one tile of filters: of each position, of each tile of patches.
template <int kCount>
FASTCNN_INLINE void sum_patches(Tiles& t, const PatchRow& row, const Bfloat16* patches, const Bfloat16* dy,
                                std::int64_t first, float* sums) {
    const std::int64_t step = row.chunks * kTileElements;
    const Bfloat16 *x[kCount], *y[kCount];
    for (int i = 0; i < kCount; ++i) {
        x[i] = patches + (first + i) % row.patch_tiles * step;
        y[i] = dy + (first + i) / row.patch_tiles * step;
    }
    load_tiles<kCount>(t, sums);
    for (std::int64_t k = 0; k < step; k += kTileElements) {
        t.load<6>(x[0] + k, 64);
        t.load<7>(y[0] + k, 64);
        t.dot<0, 6, 7>();
        if constexpr (kCount > 1) {
            t.load<4>(x[1] + k, 64);
            t.load<5>(y[1] + k, 64);
            t.dot<1, 4, 5>();
        }
        if constexpr (kCount > 2) {
            t.load<6>(x[2] + k, 64);
            t.load<7>(y[2] + k, 64);
            t.dot<2, 6, 7>();
        }
        if constexpr (kCount > 3) {
            t.load<4>(x[3] + k, 64);
            t.load<5>(y[3] + k, 64);
            t.dot<3, 4, 5>();
        }
    }
    store_tiles<kCount>(t, sums);
}

// Patches of row y as tiles [tile of 16 numbers][tile of 32 lines].
FASTCNN_INLINE void transpose_patches(const AmxPatchGradKernel& a, const PatchRow& row,
                                      const PatchLines& patch_lines, std::int64_t y, Bfloat16* lines,
                                      Bfloat16* tiles) {
    const Bfloat16* image = reinterpret_cast<const Bfloat16*>(a.image);
    for (std::int64_t k = 0; k < row.chunks; ++k) {
        const std::int64_t first = k * kTileDepth, count = at_most(kTileDepth, row.lines - first);
        patch_lines.copy(image, a.dy.samples, y, first, count, lines);
        for (std::int64_t n = 0; n < row.patch_tiles; ++n)
            transpose_lines(lines + n * 16, row.line, count, tiles + (n * row.chunks + k) * kTileElements);
    }
}

// The image of 16 samples: [row][number] of 32 words, the samples' numbers there and one window further.
FASTCNN_INLINE void transpose_image(const AmxPatchGradKernel& a, const PatchRow& row, Bfloat16* to) {
    const AmxPatches& p = row.patches;
    const std::int64_t width = p.width() * p.channels, further = p.column_step() * p.channels;
    for (std::int64_t y = 0; y < p.height(); ++y)
        for (std::int64_t n = 0; n < row.numbers(); n += 16, to += kTileElements) {
            const Bfloat16* from = reinterpret_cast<const Bfloat16*>(a.image) + y * width + n;
            const Bfloat16* lines[kTileDepth];
            for (std::int64_t s = 0; s < 16; ++s) {
                lines[s] = from + s * p.sample();
                lines[16 + s] = lines[s] + further;
            }
            transpose_tile(lines, to);
        }
}

// The same tiles as transpose_patches() makes, from the transposed image. Where the last window of a row has
// no other beside it, zeros are.
FASTCNN_INLINE void copy_patches(const PatchRow& row, std::int64_t y, const Bfloat16* image,
                                 Bfloat16* tiles) {
    const AmxPatches& p = row.patches;
    const std::int64_t n = p.columns() * p.channels, pitch = row.numbers() * kTileDepth, size = p.size();
    const std::int64_t step = 2 * p.column_step() * p.channels * kTileDepth;
    const Bfloat16* const first = image + y * p.row_step() * pitch;
    for (std::int64_t number = 0, i = 0, j = 0; number < row.patch_tiles * 16; ++number) {
        Bfloat16* to = tiles + number / 16 * row.chunks * kTileElements + number % 16 * kTileDepth;
        const Bfloat16* from = first + i * pitch + j * kTileDepth;
        for (std::int64_t k = 0; k < row.chunks; ++k, to += kTileElements, from += step) {
            const std::int64_t words = number < size ? at_most(kTileDepth, row.lines - k * kTileDepth) : 0;
            store_row(to, merge_words({}, from, words_between(0, words)));
        }
        if (++j == n) {
            j = 0;
            ++i;
        }
    }
}

// 16 filters of the gradients of row y as tiles [position][tile of 32 lines], in pairs of lines, and their
// sums.
FASTCNN_INLINE void pair_gradients(const AmxPatchGradKernel& a, const PatchRow& row, std::int64_t y,
                                   std::int64_t filter, Bfloat16* tiles, float* bias) {
    alignas(64) static constexpr Bfloat16 kNoWords[16] = {};
    alignas(64) static constexpr std::uint8_t kNoMarks[16] = {};
    const std::int64_t line = a.dy.line(), step = row.chunks * kTileElements;
    const Bfloat16* dy = a.dy.at(y, 0) + filter;
    const std::uint8_t* marks = a.argmax ? a.argmax + y * row.lines * line + filter : nullptr;
    RowSums sums;
    for (std::int64_t l = 0; l < row.chunks * kTileDepth; l += 2, dy += 2 * line, tiles += kTileDepth) {
        const bool is_first = l < row.lines, is_second = l + 1 < row.lines;
        const TileRow words = pair_lines(is_first ? dy : kNoWords, is_second ? dy + line : kNoWords);
        if (!marks) {
            store_row(tiles, words);
            sums.add(words);
            continue;
        }
        const std::uint8_t* at = marks + l * line;
        const RowMarks where = pair_marks(is_first ? at : kNoMarks, is_second ? at + line : kNoMarks);
        Bfloat16* to = tiles;
        for (std::int64_t p = 0; p < row.positions; ++p, to += step)
            store_row(to, keep_marked(words, where, static_cast<std::uint8_t>(p)));
        sums.add(drop_marked(words, where, kAmxNoPosition));
    }
    if (!bias) return;
    alignas(64) float added[16];
    sums.store(added);
    for (std::int64_t i = 0; i < at_most(16, a.filters - filter); ++i) bias[i] += added[i];
}

void run_patches(const AmxPatchGradKernel& a) {
    const PatchRow row(a);
    float* sums = a.scratch;
    Bfloat16* patches = reinterpret_cast<Bfloat16*>(sums + row.sums());
    Bfloat16* gradients = patches + 2 * row.transposed();
    Bfloat16* lines = gradients + 2 * row.gradients();
    std::memset(sums, 0, static_cast<std::size_t>(row.sums()) * sizeof(float));
    if (a.dbias && !a.accumulate)
        std::memset(a.dbias, 0, static_cast<std::size_t>(a.filters) * sizeof(float));
    const PatchLines patch_lines(row.patches);
    if (row.sixteen) transpose_image(a, row, lines);
    {
        Tiles tiles;
        for (std::int64_t y = 0; y < a.dy.height; ++y) {
            row.sixteen ? copy_patches(row, y, lines, patches)
                        : transpose_patches(a, row, patch_lines, y, lines, patches);
            float* to = sums;
            for (std::int64_t f = 0; f < row.filter_tiles; ++f) {
                pair_gradients(a, row, y, f * 16, gradients, a.dbias ? a.dbias + f * 16 : nullptr);
                const std::int64_t all = row.positions * row.patch_tiles;
                for (std::int64_t n = 0; n < all; n += 4) {
                    const std::int64_t count = at_most(4, all - n);
                    if (count == 1) sum_patches<1>(tiles, row, patches, gradients, n, to);
                    if (count == 2) sum_patches<2>(tiles, row, patches, gradients, n, to);
                    if (count == 3) sum_patches<3>(tiles, row, patches, gradients, n, to);
                    if (count == 4) sum_patches<4>(tiles, row, patches, gradients, n, to);
                    to += count * 256;
                }
            }
        }
    }
    const std::int64_t weights = a.h.size * a.w.size * a.channels;
    if (!a.accumulate)
        std::memset(a.dkernel, 0, static_cast<std::size_t>(a.filters * weights) * sizeof(float));
    for (std::int64_t p = 0; p < row.positions; ++p)
        for (std::int64_t k = 0; k < row.patches.size(); ++k) {
            const std::int64_t at = row.patches.weight(k, p);
            if (at < 0) continue;
            const float* from = sums + (p * row.patch_tiles + k / 16) * 256 + k % 16 * 16;
            for (std::int64_t f = 0; f < a.filters; f += 16, from += row.positions * row.patch_tiles * 256)
                add_tile(from, 1, at_most(16, a.filters - f), a.dkernel + at * a.filters + f, 0, true);
        }
}

}  // namespace

constinit const Kernel<AmxPairLines> amx_pair_lines = {.run = pair_all_lines};
constinit const Kernel<AmxGradKernel> amx_grad_kernel = {.run = run, .scratch = scratch};
constinit const Kernel<AmxPatchGradKernel> amx_patch_grad_kernel = {.run = run_patches,
                                                                    .scratch = patch_scratch};

}  // namespace fastcnn::FASTCNN_ISA
