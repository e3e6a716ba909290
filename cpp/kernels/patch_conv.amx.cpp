// Convolution of an image of few channels with AMX tiles, with bias, ReLU and max pooling: a line is all that
// a pooling window reads (AmxPatches), and each of the window's positions has a kernel of its own over it.
#include "kernels/epilogue.h"
#include "kernels/patches.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

FASTCNN_INLINE AmxPatches patches_of(const AmxConv& a) {
    return {a.h, a.w, a.channels.count, a.pool, a.out_height, a.out_width};
}

std::int64_t packed(const AmxPatchConv& args) {
    const AmxConv& a = args.conv;
    return pairs_of(a) * a.pool.positions() * (patches_of(a).line() / kTileDepth) * kKernelStep / 2;
}

void pack(const AmxPatchConv& args, const float* weights, float* to, int part, int parts) {
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

std::int64_t scratch(const AmxPatchConv& args) {
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
FASTCNN_INLINE void run_all(const AmxPatchConv& args, Tiles& tiles) {
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

void run(const AmxPatchConv& args) {
    Tiles tiles;
    by_kind(args.conv, [&](auto positions, auto marks) {
        run_all<decltype(positions)::value, decltype(marks)::value>(args, tiles);
    });
}

}  // namespace

constinit const Kernel<AmxPatchConv> amx_patch_conv = {
    .run = run, .scratch = scratch, .packed = packed, .pack = pack};

}  // namespace fastcnn::FASTCNN_ISA
