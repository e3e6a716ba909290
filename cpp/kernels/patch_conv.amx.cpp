// Convolution of an image of few channels with AMX tiles, with bias, ReLU and max pooling: a line is all that
// a pooling window reads (AmxPatches), and each of the window's positions has a kernel of its own over it.
//
// The usual first layer has four positions and a line that is one or two rows of a tile (run_in_turns()):
// eight sums, and between them what finishes the lines before. All others, and blocks with numbers near
// infinity, take the sums in any number (run_any()).
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

// A tile of lines, from line `first` of row y on (x * samples + sample), and what it is multiplied by.
struct PatchTile {
    const Bfloat16 *lines, *kernel;
    std::int64_t pair, y, first, count;
};

// A block of samples: its image, and some lines of it at a time.
struct PatchBlock {
    const AmxConv& a;
    const AmxPatches patches = patches_of(a);
    const PatchLines patch_lines{patches};
    const PatchRoom room{a};
    const std::int64_t line = patches.line(), depth = line / kTileDepth;
    const std::int64_t kernel_size = a.pool.positions() * depth * kKernelStep;  // of a pair
    Bfloat16 *const image, *const lines = reinterpret_cast<Bfloat16*>(a.scratch + 2 * room.sums);

    FASTCNN_INLINE explicit PatchBlock(const AmxPatchConv& args)
        : a(args.conv), image(reinterpret_cast<Bfloat16*>(args.image)) {
        read_image(patches, args.x, args.x_stride, a.count, a.x.samples, image);
    }

    FASTCNN_INLINE const Bfloat16* kernel() const { return reinterpret_cast<const Bfloat16*>(a.kernel); }

    // Calls visit(PatchTile) for each tile of lines and pair of tiles of filters.
    template <class Visit>
    FASTCNN_INLINE void for_each_tile(Visit&& visit) const {
        const std::int64_t in_row = a.out_width * a.x.samples, pairs = pairs_of(a);
        for (std::int64_t y = 0; y < a.out_height; ++y)
            for (std::int64_t first = 0; first < in_row; first += kPatchTiles * kTileLines) {
                const std::int64_t count = at_most(kPatchTiles * kTileLines, in_row - first);
                patch_lines.copy(image, a.x.samples, y, first, count, lines);
                for (std::int64_t pair = 0; pair < pairs; ++pair)
                    for (std::int64_t l = 0; l < count; l += kTileLines)
                        visit(PatchTile{lines + l * line, kernel() + pair * kernel_size, pair, y, first + l,
                                        at_most(kTileLines, count - l)});
            }
    }
};

// ---------------------------------------------------------------------------------------------- any patches

// A tile of lines by a pair of tiles of filters, for one position of the windows: the sums kFirst and
// kFirst + 1.
template <int kFirst>
FASTCNN_INLINE void multiply(Tiles& tiles, const Bfloat16* lines, std::int64_t depth,
                             const Bfloat16* kernel) {
    tiles.zero<kFirst>();
    tiles.zero<kFirst + 1>();
#pragma GCC unroll 1
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

template <int kPositions, bool kMarks>
FASTCNN_NOINLINE void finish(Epilogue& epilogue, std::int64_t count) {
    epilogue.finish<kPositions, kMarks>(count);
}

// The products of all positions. Between them, lines of the tile before are finished: stores of tiles
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
        finish<kPositions, kMarks>(epilogue, at_once);
    }
    if (p > 0) store_pair<2>(tiles, sums + (p - 1) * kSums);
    if (p == positions) return;
    multiply<0>(tiles, lines, depth, kernel + p * step);
    finish<kPositions, kMarks>(epilogue, at_once);
    store_pair<0>(tiles, sums + p * kSums);
}

template <int kPositions, bool kMarks>
FASTCNN_INLINE void run_any(const PatchBlock& block, Tiles& tiles) {
    const AmxConv& a = block.a;
    const std::int64_t positions = a.pool.positions(), samples = a.x.samples;
    Epilogue epilogue(a);
    for (std::int64_t p = 0; p < positions; ++p) epilogue.position[p] = p * kTileLines * kFilters;
    block.for_each_tile([&](const PatchTile& t) {
        float* sums = epilogue.other_half(a.scratch, block.room.sums);
        multiply_and_finish<kPositions, kMarks>(tiles, t.lines, block.depth, t.kernel, positions, sums,
                                                epilogue);
        epilogue.begin(t.pair, 1);
        epilogue.start(sums, t.count, t.y, t.first / samples, t.first % samples);
    });
    finish<kPositions, kMarks>(epilogue, epilogue.waiting);
}

// ------------------------------------------------------------ four positions, lines of one or two tile rows

template <int kDepth, bool kMarks>
class Turns {
  public:
    FASTCNN_INLINE Turns(const PatchBlock& block, Tiles& tiles)
        : a_(block.a),
          results_(a_),
          tiles_(tiles),
          size_(results_.size),
          sums_(a_.scratch),
          sums_before_(a_.scratch + block.room.sums) {}

    // The products of a tile of lines, and what finishes the lines before.
    FASTCNN_INLINE void operator()(const PatchTile& t) {
        if (t.pair == 0 && t.first == 0) results_.clear_borders(t.y);
        tiles_.load<kLines>(t.lines, 2 * kDepth * kTileDepth);
        if constexpr (kDepth == 2) tiles_.load<kLines + 1>(t.lines + kTileDepth, 2 * kDepth * kTileDepth);
        take<0>(t.kernel);
        take<1>(t.kernel);
        take<2>(t.kernel);
        take<3>(t.kernel);
        take<4>(t.kernel);
        take<5>(t.kernel);
        take<6>(t.kernel);
        take<7>(t.kernel);
        const std::int64_t place = t.first * size_ + t.pair * kFilters;
        waiting_ = t.count;
        to_ = a_.y.at(t.y, 0) + place;
        if constexpr (kMarks) marks_ = a_.argmax + t.y * a_.out_width * a_.x.samples * size_ + place;
        results_.begin(t.pair, 1);
        float* const free = sums_before_;
        sums_before_ = sums_;
        sums_ = free;
    }

    FASTCNN_INLINE void end() {
        store<kProducts - 3>(sums_before_);
        store<kProducts - 2>(sums_before_);
        store<kProducts - 1>(sums_before_);
        finish_all();
    }

  private:
    static constexpr int kProducts = 8;                    // four positions, two tiles of filters
    static constexpr std::int64_t kSum = 16 * kTileLines;  // floats of a product: [line][filter]
    static constexpr int kLines = 4;  // register; kDepth of lines, then filters; before it four products
    static constexpr int kLag = 3;    // a product is stored after so many others
    static constexpr int kTurns = kProducts - kLag;  // after which lines are finished
    static constexpr int kVecs = kFilters / kWidth;

    // Product kProduct of a tile of lines, then the store of an earlier one, then lines of the tile before:
    // what multiplies, what stores and vectors overlap where they are close together.
    template <int kProduct>
    FASTCNN_INLINE void take(const Bfloat16* kernel) {
        constexpr int kPosition = kProduct / 2, kOfPair = kProduct % 2;
        kernel += kPosition * kDepth * kKernelStep + kOfPair * kTileElements;
        tiles_.zero<kProduct % 4>();
        multiply<kProduct, 0>(kernel);
        if constexpr (kDepth == 2) multiply<kProduct, 1>(kernel + kKernelStep);
        if constexpr (kProduct < kLag)
            store<kProduct + kTurns>(sums_before_);
        else
            store<kProduct - kLag>(sums_);
        if constexpr (kProduct >= kLag) {
            constexpr std::int64_t kTurn = kProduct - kLag;
            if (waiting_ == kTileLines)
                finish<kTurn * kTileLines / kTurns, (kTurn + 1) * kTileLines / kTurns>();
            else if (kTurn == 0)
                finish_all();
        }
    }
    template <int kProduct, int k>
    FASTCNN_INLINE void multiply(const Bfloat16* kernel) {
        constexpr int kFilterTile = kLines + kDepth + (kProduct * kDepth + k) % (4 - kDepth);
        tiles_.load<kFilterTile>(kernel, 64);
        tiles_.dot<kProduct % 4, kLines + k, kFilterTile>();
    }
    template <int kProduct>
    FASTCNN_INLINE void store(float* sums) const {
        tiles_.store<kProduct % 4>(sums + kProduct * kSum, 64);
    }

    template <std::int64_t kFirst, std::int64_t kEnd>
    FASTCNN_INLINE void finish() const {
#pragma GCC unroll 4
        for (std::int64_t l = kFirst; l < kEnd; ++l)
            finish_line(sums_before_ + l * 16, to_ + l * size_, kMarks ? marks_ + l * size_ : nullptr);
    }
    FASTCNN_INLINE void finish_all() const {
        const float* sums = sums_before_;
        Bfloat16* to = to_;
        std::uint8_t* marks = marks_;
#pragma GCC unroll 1
        for (std::int64_t l = 0; l < waiting_; ++l, sums += 16, to += size_) {
            finish_line(sums, to, marks);
            if constexpr (kMarks) marks += size_;
        }
    }
    // The sums are numbers. The same bits as Epilogue::finish_line() makes: a sample's results do not depend
    // on its block.
    FASTCNN_INLINE void finish_line(const float* sums, Bfloat16* to, std::uint8_t* marks) const {
        Vec best[kVecs];
#pragma GCC unroll 4
        for (int v = 0; v < kVecs; ++v) {
            const float* from = sums + v * kWidth / 16 * kSum + v * kWidth % 16;
            const Vec p = load(from), q = load(from + 2 * kSum), r = load(from + 4 * kSum),
                      s = load(from + 6 * kSum);
            const Vec above = max(p, q), below = max(r, s);
            best[v] = max(results_.least, add(max(above, below), results_.bias[v]));
            if constexpr (kMarks) {
                const IVec of_above = iselect(gt(q, p), iset1(1), iset1(0));
                const IVec of_below = iselect(gt(s, r), iset1(3), iset1(2));
                const IVec which = iselect(gt(below, above), of_below, of_above);
                istore_bytes_partial(marks + v * kWidth,
                                     iselect(eq(best[v], results_.closed), iset1(kAmxNoPosition), which),
                                     kWidth);
            }
        }
        for (int v = 0; v < kVecs; v += 2) store_bfloat16(to + v * kWidth, best[v], best[v + 1]);
    }

    const AmxConv& a_;
    Epilogue results_;  // for the bias, the least result and the borders: the lines are finished here
    Tiles& tiles_;
    const std::int64_t size_;  // of a line of the result
    float* sums_;              // where those of the present tile go
    // The lines that wait: their sums, how many, and where they go.
    float* sums_before_;
    std::int64_t waiting_ = 0;
    Bfloat16* to_ = nullptr;
    std::uint8_t* marks_ = nullptr;
};

// Of 2 * kWidth numbers, in pairs.
FASTCNN_INLINE Vec magnitudes(const Bfloat16* p) {
    const IVec pairs = iload(reinterpret_cast<const std::int32_t*>(p));
    const IVec upper = iset1(static_cast<std::int32_t>(0xffff0000u));
    return add(abs(as_float(shift_left<16>(pairs))), abs(as_float(iand(pairs, upper))));
}
// Of n numbers, a multiple of 2 * kWidth; not a number where one of them is none.
FASTCNN_INLINE float sum_of_magnitudes(const Bfloat16* p, std::int64_t n) {
    constexpr int kChains = 4;  // or each addition would wait for the one before
    Vec sums[kChains];
    for (Vec& sum : sums) sum = zero();
    std::int64_t i = 0;
    for (; i + 2 * kChains * kWidth <= n; i += 2 * kChains * kWidth)
        for (int k = 0; k < kChains; ++k) sums[k] = add(sums[k], magnitudes(p + i + 2 * k * kWidth));
    for (; i < n; i += 2 * kWidth) sums[0] = add(sums[0], magnitudes(p + i));
    return reduce_add(add(add(sums[0], sums[1]), add(sums[2], sums[3])));
}
// Whether no sum of products of these can be or meet an infinite number: the windows' maxima are those of
// numbers then. No sum is larger than the product of the sums of all magnitudes, and what rounding takes from
// those is far less than a factor of 34.
FASTCNN_INLINE bool sums_are_numbers(const PatchBlock& block) {
    constexpr float kFarFromInfinity = 1e37f;
    return sum_of_magnitudes(block.image, block.a.x.samples * block.patches.sample()) *
               sum_of_magnitudes(block.kernel(), pairs_of(block.a) * block.kernel_size) <
           kFarFromInfinity;
}

// Whether run_in_turns() can: what it does without is a test for NaN, and any other layout of results.
FASTCNN_INLINE bool in_turns(const PatchBlock& block) {
    return block.a.pool.positions() == 4 && block.depth <= 2 && block.a.y.data && block.a.y.stride == 1 &&
           sums_are_numbers(block);
}

template <int kDepth, bool kMarks>
FASTCNN_INLINE void run_in_turns(const PatchBlock& block, Tiles& tiles) {
    Turns<kDepth, kMarks> turns(block, tiles);
    block.for_each_tile(turns);
    turns.end();
}
template <int kDepth>
FASTCNN_INLINE void run_in_turns(const PatchBlock& block, Tiles& tiles) {
    block.a.argmax ? run_in_turns<kDepth, true>(block, tiles) : run_in_turns<kDepth, false>(block, tiles);
}

void run(const AmxPatchConv& args) {
    Tiles tiles;
    const PatchBlock block(args);
    if (in_turns(block))
        return block.depth == 1 ? run_in_turns<1>(block, tiles) : run_in_turns<2>(block, tiles);
    by_kind(args.conv, [&](auto positions, auto marks) {
        run_any<decltype(positions)::value, decltype(marks)::value>(block, tiles);
    });
}

}  // namespace

constinit const Kernel<AmxPatchConv> amx_patch_conv = {
    .run = run, .scratch = scratch, .packed = packed, .pack = pack};

}  // namespace fastcnn::FASTCNN_ISA
