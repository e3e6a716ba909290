// Convolution of bfloat16 samples and its input's gradient with AMX tiles. Two tiles of lines and two of
// filters are summed at once (four loads for four products; four and one where one is enough) over the steps
// of a convolution: its taps and planes of 32 channels. A tile's lines, wherever they are, see a step at the
// same distance.
//
// The columns of a tap row follow one another, then its planes, then the next row: what one tap loads of a
// plane the next one finds in L1.
#include "kernels/filter_pairs.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

constexpr std::int64_t kLine = 32;  // channels

// Calls visit(h, w, first step of a pair) for the convolution, or for each phase of its gradient.
template <class Visit>
FASTCNN_INLINE void for_each_part(const AmxPlanesConv& a, const Visit& visit) {
    if (!a.transposed) return visit(Axis(a.h), Axis(a.w), std::int64_t{0});
    std::int64_t step = 0;
    for (std::int64_t i = 0; i < at_most(a.h.stride, a.h.in); ++i)
        for (std::int64_t j = 0; j < at_most(a.w.stride, a.w.in); ++j) {
            const Axis h(AmxPhase(a.h, i)), w(AmxPhase(a.w, j));
            visit(h, w, step);
            step += h.window.size * w.window.size * a.depth();
        }
}

// Calls visit(row of taps, plane, column of taps) for each step, in order.
template <class Visit>
FASTCNN_INLINE void for_each_step(const AmxPlanesConv& a, const Axis& h, const Axis& w, const Visit& visit) {
    for (std::int64_t i = 0; i < h.window.size; ++i)
        for (std::int64_t k = 0; k < a.depth(); ++k)
            for (std::int64_t j = 0; j < w.window.size; ++j) visit(i, k, j);
}

// ----------------------------------------------------------------------------------------------------
// packing

// 32 x 32 words of a matrix whose rows are `pitch` apart; zeros where it ends.
FASTCNN_INLINE const Bfloat16* whole_step(const Bfloat16* from, std::int64_t rows, std::int64_t columns,
                                          std::int64_t& pitch, Bfloat16* buffer) {
    if (rows >= kLine && columns >= kLine) return from;
    clear(buffer, kLine * kLine);
    for (std::int64_t r = 0; r < at_most(kLine, rows); ++r)
        for (std::int64_t c = 0; c < at_most(kLine, columns); ++c)
            buffer[r * kLine + c] = from[r * pitch + c];
    pitch = kLine;
    return buffer;
}

// Rows are channels, columns filters.
FASTCNN_INLINE void pack_rows(const Bfloat16* from, std::int64_t pitch, Bfloat16* to) {
    for (std::int64_t pair = 0; pair < 16; ++pair, from += 2 * pitch, to += kTileDepth) {
        store_row(to, pair_lines(from, from + pitch));
        store_row(to + kTileElements, pair_lines(from + 16, from + pitch + 16));
    }
}

// Rows are filters, columns channels.
FASTCNN_INLINE void pack_columns(const Bfloat16* from, std::int64_t pitch, Bfloat16* to) {
    alignas(64) std::int32_t words[256];
    for (std::int64_t tile = 0; tile < 2; ++tile, to += kTileElements) {
        for (std::int64_t f = 0; f < 16; ++f, from += pitch)
            std::memcpy(words + 16 * f, from, kLine * sizeof(Bfloat16));
        transpose_words(words, reinterpret_cast<std::int32_t*>(to));
    }
}

void pack(const AmxPackPlanes& p) {
    const AmxPlanesConv& a = p.conv;
    const std::int64_t in_group = a.channels.in_group();
    alignas(64) Bfloat16 buffer[kLine * kLine];
    for (std::int64_t i = a.first_pair; i < a.last_pair; ++i) {
        const FilterPair pair(a.filters, i);
        Bfloat16* to = p.packed + (i - a.first_pair) * a.steps() * kKernelStep;
        for_each_part(a, [&](const Axis& h, const Axis& w, std::int64_t) {
            for_each_step(a, h, w, [&](std::int64_t y, std::int64_t plane, std::int64_t x) {
                const std::int64_t tap = h.tap(y) * a.w.size + w.tap(x), channel = plane * kLine;
                const std::int64_t channels = in_group - channel;
                // (channels of a group, filters), or transposed (filters of a group, channels)
                std::int64_t pitch = a.transposed ? a.channels.count : a.filters.count;
                if (a.transposed) {
                    const Bfloat16* from = p.weights + (tap * a.filters.in_group() + pair.first) * pitch +
                                           pair.group * in_group + channel;
                    from = whole_step(from, pair.filters, channels, pitch, buffer);
                    pack_columns(from, pitch, to);
                } else {
                    const Bfloat16* from = p.weights + (tap * in_group + channel) * pitch + pair.filter;
                    from = whole_step(from, channels, pair.filters, pitch, buffer);
                    pack_rows(from, pitch, to);
                }
                to += kKernelStep;
            });
        });
    }
}

// ---------------------------------------------------------------------------------------------------
// products

// Sixteen lines: where they begin in a plane, and where their results go, in words: `step` apart from to[0]
// on, or, where step is 0, as listed; -1: nowhere.
struct LineTile {
    std::int64_t from, step;
    std::int64_t to[kTileLines];

    FASTCNN_INLINE std::int64_t result(std::int64_t line) const {
        return step ? to[0] + line * step : to[line];
    }
};

FASTCNN_INLINE std::int64_t pattern_rows(const AmxPlanesConv& a) {
    return a.over_rows ? a.last - a.first : 1;
}

// Tiles of one row of results, or, over rows, of all. At most.
FASTCNN_INLINE std::int64_t tiles_at_most(const AmxPlanesConv& a) {
    return tiles_of(pattern_rows(a) * a.x.row(), kTileLines);
}

constexpr std::int64_t kSums = 2 * kTileLines * kFilters;  // of a block: what is summed at once
constexpr std::int64_t kBlocks = 16;                       // whose sums wait for one another
constexpr std::int64_t kAtOnce = 18, kTurn = 12;           // steps: 36 KB of weights, 24 KB

std::int64_t scratch(const AmxPlanesConv& a) {
    const std::int64_t tile = sizeof(LineTile) / sizeof(float);
    return kBlocks * kSums + tiles_at_most(a) * tile + 2 * a.steps();
}

// One part of the convolution: its tiles and steps, in scratch.
struct Part {
    const AmxPlanesConv& a;
    const Axis &h, &w;
    LineTile* tiles;
    std::int64_t* steps;  // words from a tile's beginning
    std::int64_t tile_count = 0, step_count = 0, row_steps, out_width, first_step;

    FASTCNN_INLINE Part(const AmxPlanesConv& conv, const Axis& h_, const Axis& w_, std::int64_t first)
        : a(conv), h(h_), w(w_), first_step(first) {
        tiles = reinterpret_cast<LineTile*>(a.scratch + kBlocks * kSums);
        steps = reinterpret_cast<std::int64_t*>(tiles + tiles_at_most(a));
        out_width = a.transposed ? a.w.in : a.w.out;
        row_steps = w.window.size * a.depth();
        list_tiles();
        for_each_step(a, h, w, [&](std::int64_t i, std::int64_t plane, std::int64_t j) {
            const std::int64_t column = w.window.begin(0) + j * w.window.dilation + a.x.left;
            steps[step_count++] = plane * a.x.plane_step() +
                                  (i * h.window.dilation * a.x.row() + a.x.column(column)) * a.x.line_step();
        });
    }

    FASTCNN_INLINE void list_tiles() {
        const std::int64_t row = a.x.row(), samples = a.x.samples, width = w.window.out;
        if (width <= 0) return;
        const std::int64_t lines = (pattern_rows(a) - 1) * row + width * samples;
        const std::int64_t row_step = h.step * out_width * a.filters.count;
        for (std::int64_t first = 0; first < lines; first += kTileLines) {
            LineTile& tile = tiles[tile_count++];
            tile.from = first * a.x.line_step();
            list_results(first, row_step, tile);
        }
    }

    FASTCNN_INLINE void list_results(std::int64_t first, std::int64_t row_step, LineTile& tile) const {
        const std::int64_t row = a.x.row(), samples = a.x.samples, width = w.window.out;
        const std::int64_t column_step = w.step * a.filters.count;
        std::int64_t y = first / row, x = first % row / samples, s = first % samples;  // of the line
        tile.to[0] = y * row_step + w.first * a.filters.count + x * column_step;
        tile.step = column_step;
        const bool follow = row == width && row_step == width * column_step;  // also from row to row
        if (samples == 1 &&
            (x + kTileLines <= width || (follow && first + kTileLines <= pattern_rows(a) * row)))
            return;
        tile.step = 0;
        for (std::int64_t& to : tile.to) {
            to = y < pattern_rows(a) && x < width && s < a.count
                     ? s * a.y_stride + y * row_step + w.first * a.filters.count + x * column_step
                     : -1;
            if (++s < samples) continue;
            s = 0;
            if (++x < row / samples) continue;
            x = 0;
            ++y;
        }
    }

    // Rows of tiles.
    FASTCNN_INLINE std::int64_t rows() const {
        const std::int64_t last = at_most(a.last, h.window.out);
        return last <= a.first ? 0 : a.over_rows ? 1 : last - a.first;
    }
};

// A tile in its row of results.
struct Place {
    const LineTile* tile;
    const Bfloat16* x;
    Bfloat16* y;
    std::int64_t first_step, last_step;  // those of its rows that are in the image

    // Asks for the memory of a line's results before they are stored: stores that wait for it would hold up
    // the tiles'.
    FASTCNN_INLINE void claim(std::int64_t line, std::int64_t filter) const {
        __builtin_prefetch(y + tile->result(line) + filter, 1, 3);
    }

    Place() = default;
    FASTCNN_INLINE Place(const Part& part, std::int64_t number) {
        const AmxPlanesConv& a = part.a;
        const std::int64_t row = a.first + number / part.tile_count;
        const Window& h = part.h.window;
        tile = part.tiles + number % part.tile_count;
        x = a.x.data + (h.begin(row) - a.x.top) * a.x.row() * a.x.line_step() + tile->from;
        y = a.y + (part.h.first + row * part.h.step) * part.out_width * a.filters.count;
        first_step = 0;
        last_step = part.step_count;
        if (a.over_rows) return;
        const std::int64_t height = a.transposed ? a.h.out : a.h.in;
        std::int64_t begin = 0, end = h.size;
        while (begin < end && h.begin(row) + begin * h.dilation < 0) ++begin;
        while (begin < end && h.begin(row) + (end - 1) * h.dilation >= height) --end;
        first_step = begin * part.row_steps;
        last_step = end * part.row_steps;
    }
};

// Two tiles of lines by two of filters, or, kTiles = 4, four by one: steps [begin, end), added to the sums of
// earlier ones where begin > 0.
template <int kTiles>
FASTCNN_INLINE void multiply(const Part& part, Tiles& t, const Place* places, std::int64_t group,
                             const Bfloat16* kernel, std::int64_t begin, std::int64_t end,
                             std::int64_t filter, float* sums) {
    constexpr std::int64_t kPitch = kTiles == 2 ? kFilters : kFilters / 2, kTile = kTileLines * kPitch;
    constexpr std::int64_t kSecond = kTiles == 2 ? 16 : kTile, kThird = kTiles == 2 ? kTile : 2 * kTile;
    const std::int64_t line = 2 * part.a.x.line_step();
    std::int64_t first = places[0].first_step, last = places[0].last_step;
    for (int i = 1; i < kTiles; ++i) {
        first = at_most(first, places[i].first_step);
        if (places[i].last_step > last) last = places[i].last_step;
    }
    if (begin > first) first = begin;
    last = at_most(last, end);
    if (begin == 0) {
        t.zero<0>();
        t.zero<1>();
        t.zero<2>();
        t.zero<3>();
    } else {
        if (first >= last) return;
        t.load<0>(sums, 4 * kPitch);
        t.load<1>(sums + kSecond, 4 * kPitch);
        t.load<2>(sums + kThird, 4 * kPitch);
        t.load<3>(sums + kThird + kSecond, 4 * kPitch);
    }
    kernel += first * kKernelStep;
    const bool claims = kTiles == 2 && !part.a.stream;  // lines of few filters share cache lines
    for (std::int64_t k = first; k < last; ++k, kernel += kKernelStep) {
        const std::int64_t at = group + part.steps[k];
        t.load<4>(places[0].x + at, line);
        t.load<6>(kernel, 64);
        t.dot<0, 4, 6>();
        if constexpr (kTiles == 2) {
            t.load<7>(kernel + kTileElements, 64);
            t.dot<1, 4, 7>();
            t.load<5>(places[1].x + at, line);
            t.dot<2, 5, 6>();
            t.dot<3, 5, 7>();
        } else {
            t.load<5>(places[1].x + at, line);
            t.dot<1, 5, 6>();
            t.load<4>(places[2].x + at, line);
            t.dot<2, 4, 6>();
            t.load<5>(places[3].x + at, line);
            t.dot<3, 5, 6>();
        }
        if (claims)
            for (int i = 0; i < kTiles; ++i) places[i].claim(k % kTileLines, filter);
    }
    t.store<0>(sums, 4 * kPitch);
    t.store<1>(sums + kSecond, 4 * kPitch);
    t.store<2>(sums + kThird, 4 * kPitch);
    t.store<3>(sums + kThird + kSecond, 4 * kPitch);
}

// From sums to results: bias, ReLU, rounding.
struct Epilogue {
    static constexpr int kVecs = kFilters / kWidth;
    std::int64_t filter, valid;
    bool relu, stream;
    Vec bias[kVecs];

    FASTCNN_INLINE Epilogue(const AmxPlanesConv& a, std::int64_t number) : relu(a.relu), stream(a.stream) {
        const FilterPair pair(a.filters, number);
        filter = pair.filter;
        valid = pair.filters;
        for (int v = 0; v < kVecs; ++v) {
            const std::int64_t left = valid - v * kWidth;
            bias[v] = a.bias && left > 0 ? load_partial(a.bias + filter + v * kWidth, at_most(kWidth, left))
                                         : zero();
        }
    }
    // One tile of filters is enough.
    FASTCNN_INLINE bool narrow() const { return valid <= kFilters / 2; }

    FASTCNN_INLINE void run(const float* sums, const Place& place) const {
        const std::int64_t step = place.tile->step;
        if (narrow() && step != valid) return run_some<kVecs / 2>(sums, place);
        if (!narrow() && (!step || valid < kFilters)) return run_some<kVecs>(sums, place);
        Bfloat16* y = place.y + place.tile->to[0] + filter;
        if (narrow()) return run_narrow(sums, y);
        for (std::int64_t l = 0; l < kTileLines; ++l, sums += kFilters, y += step) write_whole(sums, y);
    }

  private:
    // All filters of a pair.
    FASTCNN_INLINE void write_whole(const float* sums, Bfloat16* y) const {
        if (!stream) return round<kVecs>(sums, y);
        for (int v = 0; v < kVecs; v += 2)
            stream_bfloat16(y + v * kWidth, value(sums, v), value(sums, v + 1));
    }
    // Lines that follow one another without a gap: there are no other filters. In `words`, what is written
    // beyond a line is the next one's.
    FASTCNN_INLINE void run_narrow(const float* sums, Bfloat16* y) const {
        constexpr int kCount = kVecs / 2, kSums = kCount * kWidth;
        alignas(64) Bfloat16 words[kTileLines * kSums];
        for (std::int64_t l = 0; l < kTileLines; ++l, sums += kSums) round<kCount>(sums, words + l * valid);
        std::memcpy(y, words, static_cast<std::size_t>(kTileLines * valid) * sizeof(Bfloat16));
    }
    template <int kCount>
    FASTCNN_INLINE void run_some(const float* sums, const Place& place) const {
        for (std::int64_t l = 0; l < kTileLines; ++l, sums += kCount * kWidth) {
            const std::int64_t to = place.tile->result(l);
            if (to < 0) continue;
            Bfloat16* const y = place.y + to + filter;
            if (valid == kCount * kWidth) {
                if constexpr (kCount == kVecs)
                    write_whole(sums, y);
                else
                    round<kCount>(sums, y);
                continue;
            }
            alignas(64) Bfloat16 words[kFilters];
            round<kCount>(sums, words);
            for (std::int64_t f = 0; f < valid; ++f) y[f] = words[f];
        }
    }
    template <int kCount>
    FASTCNN_INLINE void round(const float* sums, Bfloat16* to) const {
        if constexpr (kCount == 1) return store_bfloat16(to, value(sums, 0));
        for (int v = 0; v + 1 < kCount; v += 2)
            store_bfloat16(to + v * kWidth, value(sums, v), value(sums, v + 1));
    }
    FASTCNN_INLINE Vec value(const float* sums, int v) const {
        const Vec sum = add(load(sums + v * kWidth), bias[v]);
        return relu ? max(zero(), sum) : sum;
    }
};

// Tiles [first, last) of lines, at most kBlocks blocks of them, by one pair of filters. Many steps are taken
// in turns of so few that their weights stay in L1, while the sums wait: from L2, weights and lines together
// would come no faster than half of the products need them.
template <int kTiles>
FASTCNN_INLINE void compute(const Part& part, Tiles& tiles, const Epilogue& epilogue, std::int64_t pair,
                            std::int64_t first, std::int64_t last) {
    const AmxPlanesConv& a = part.a;
    const Bfloat16* kernel = a.kernel + ((pair - a.first_pair) * a.steps() + part.first_step) * kKernelStep;
    const std::int64_t group = FilterPair(a.filters, pair).group * a.depth() * a.x.plane_step();
    const std::int64_t blocks = tiles_of(last - first, kTiles), steps = part.step_count;
    Place places[kBlocks * kTiles];  // behind the last tile: that one once more
    for (std::int64_t i = 0; i < blocks * kTiles; ++i) places[i] = Place(part, at_most(first + i, last - 1));
    const std::int64_t turns = steps <= kAtOnce ? 1 : tiles_of(steps, kTurn);
    for (std::int64_t turn = 0; turn < turns; ++turn)
        for (std::int64_t block = 0; block < blocks; ++block) {
            const Place* of = places + block * kTiles;
            float* const sums = a.scratch + block * kSums;
            multiply<kTiles>(part, tiles, of, group, kernel, steps * turn / turns, steps * (turn + 1) / turns,
                             epilogue.filter, sums);
            if (turn + 1 < turns) continue;
            for (std::int64_t i = 0; i < at_most(kTiles, last - first - block * kTiles); ++i)
                epilogue.run(sums + i * (kSums / kTiles), of[i]);
        }
}

FASTCNN_INLINE void run_part(const Part& part, Tiles& tiles) {
    const AmxPlanesConv& a = part.a;
    const std::int64_t all = part.rows() * part.tile_count;
    const auto compute_tiles = [&](std::int64_t pair, std::int64_t first, std::int64_t last) {
        const Epilogue epilogue(a, pair);
        const std::int64_t step = kBlocks * (epilogue.narrow() ? 4 : 2);
        for (std::int64_t t = first; t < last; t += step)
            if (epilogue.narrow())
                compute<4>(part, tiles, epilogue, pair, t, at_most(t + step, last));
            else
                compute<2>(part, tiles, epilogue, pair, t, at_most(t + step, last));
    };
    // Weights that stay in L1 are passed over for each four tiles of lines, so that results are written line
    // by line.
    constexpr std::int64_t kInL1 = 8 * 1024, kTogether = 4;  // floats; tiles
    if ((a.last_pair - a.first_pair) * a.packed() <= kInL1)
        for (std::int64_t t = 0; t < all; t += kTogether)
            for (std::int64_t pair = a.first_pair; pair < a.last_pair; ++pair)
                compute_tiles(pair, t, at_most(t + kTogether, all));
    else
        for (std::int64_t pair = a.first_pair; pair < a.last_pair; ++pair) compute_tiles(pair, 0, all);
}

void run(const AmxPlanesConv& a) {
    Tiles tiles;
    for_each_part(a, [&](const Axis& h, const Axis& w, std::int64_t first_step) {
        run_part(Part(a, h, w, first_step), tiles);
    });
    if (a.stream) end_stream();
}

}  // namespace

constinit const Kernel<AmxPackPlanes> amx_pack_planes = {.run = pack};
constinit const Kernel<AmxPlanesConv> amx_planes_conv = {.run = run, .scratch = scratch};

}  // namespace fastcnn::FASTCNN_ISA
