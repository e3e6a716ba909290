// The end of a convolution with AMX tiles: from the sums of runs of pooling windows, which wait in L1, to the
// lines or samples of the result.
#pragma once

#include <type_traits>

#include "kernels/filter_pairs.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

FASTCNN_INLINE std::int64_t pairs_of(const AmxConv& a) { return a.filters.size() / kFilters; }

// From sums to results, line by line: maximum over the window's positions, bias, ReLU.
struct Epilogue {
    static constexpr int kVecs = kFilters / kWidth;  // of a line

    const AmxConv& a;
    std::int64_t size;   // of a line
    bool apart = false;  // lines of neighbouring windows: in strided images, where phases take turns
    std::int64_t column_step = 1;               // between the columns of windows
    std::int64_t half = 0;                      // of the room for sums: the one that was given last
    std::int64_t position[kAmxPositions] = {};  // floats, of each position of a window
    std::int64_t place = -1;                    // of the pair's filters in a line
    std::int64_t filter = 0, valid = 0;         // the first one's number, and how many there are
    Vec bias[kVecs] = {};
    Vec least = zero();    // of a result
    Vec closed = zero();   // results that belong to no position: 0 under ReLU, else none
    std::int64_t gap = 0;  // floats of sums between the lines of neighbouring windows
    // The lines that wait to be finished: their sums, how many, and where the next one goes. `in_row`: sums
    // and lines follow one another.
    const float* sums = nullptr;
    std::int64_t waiting = 0;
    bool in_row = false;
    std::int64_t row = 0, column = 0, sample = 0;
    Bfloat16* line = nullptr;
    float* values = nullptr;
    std::uint8_t* marks = nullptr;

    FASTCNN_INLINE explicit Epilogue(const AmxConv& conv) : a(conv), size(conv.filters.size()) {
        if (a.relu) return;
        least = set1(-__builtin_inff());
        closed = set1(__builtin_nanf(""));
    }

    // The next lines are of this pair of tiles of filters, their windows `step` columns apart.
    FASTCNN_INLINE void begin(std::int64_t pair, std::int64_t step) {
        column_step = step;
        apart = !a.y.data || step != 1 || a.y.stride != 1;
        if (place == pair * kFilters) return;
        const FilterPair of(a.filters, pair);
        place = pair * kFilters;
        filter = of.filter;
        valid = of.filters;
        for (int v = 0; v < kVecs; ++v) {
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
        in_row = !apart && (gap == 0 || first_sample + lines <= a.x.samples);
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
    // knows.
    template <int kPositions, bool kMarks>
    FASTCNN_INLINE void finish(std::int64_t count) {
        const std::int64_t n = at_most(count, waiting);
        if constexpr (kPositions > 0)
            if (in_row) return finish_in_row<kPositions, kMarks>(n);
        finish_any<kPositions, kMarks>(n);
    }

    // Between products, a few lines a call: as little as possible besides. Everything is read before the
    // first store: a store of bytes might change what is read after it, as far as the compiler knows.
    template <int kPositions, bool kMarks>
    FASTCNN_INLINE void finish_in_row(std::int64_t n) {
        const std::int64_t step = size;
        const Vec smallest = least, without_position = closed;
        std::int64_t at[kPositions];
        for (int p = 0; p < kPositions; ++p) at[p] = position[p];
        Vec added[kVecs];
        for (int v = 0; v < kVecs; ++v) added[v] = bias[v];
        const float* from = sums;
        Bfloat16* to = line;
        std::uint8_t* to_marks = marks;
        waiting -= n;
        sums = from + n * kFilters;
        line = to + n * step;
        if constexpr (kMarks) marks = to_marks + n * step;
        for (std::int64_t l = 0; l < n; ++l, from += kFilters, to += step) {
            Vec best[kVecs];
            finish_line<kPositions, kMarks>(from, at, kPositions, added, smallest, without_position, best,
                                            to_marks);
            for (int v = 0; v < kVecs; v += 2) store_bfloat16(to + v * kWidth, best[v], best[v + 1]);
            if constexpr (kMarks) to_marks += step;
        }
    }

    template <int kPositions, bool kMarks>
    FASTCNN_NOINLINE void finish_any(std::int64_t n) {
        const std::int64_t samples = a.x.samples;
        const std::int64_t positions = kPositions ? kPositions : a.pool.positions();
        const std::int64_t line_step = size, values_step = a.y_stride, existing = valid, between = gap;
        const std::int64_t existing_samples = a.count;
        const bool is_apart = apart;
        const Vec smallest = least, without_position = closed;
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
            finish_line<kPositions, kMarks>(from, at, positions, added, smallest, without_position, best,
                                            to_marks);
            from += kFilters;
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

    // Of all vectors of a line: the maximum over `positions`, `added`, not below `smallest`; and its marks.
    template <int kPositions, bool kMarks>
    FASTCNN_INLINE static void finish_line(const float* from, const std::int64_t* at, std::int64_t positions,
                                           const Vec* added, Vec smallest, Vec without_position, Vec* best,
                                           std::uint8_t* to_marks) {
        IVec which[kVecs];
        if (largest<kPositions>(from, at, positions, best, which)) [[unlikely]]
            largest<0>(from, at, positions, best, which);
#pragma GCC unroll 4
        for (int v = 0; v < kVecs; ++v) {
            best[v] = max(smallest, add(best[v], added[v]));
            if constexpr (kMarks)
                istore_bytes_partial(to_marks + v * kWidth,
                                     iselect(eq(best[v], without_position), iset1(kAmxNoPosition), which[v]),
                                     kWidth);
        }
    }

    // Of all vectors of a line. Whether there was a NaN that the results may have missed.
    template <int kPositions>
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

}  // namespace

}  // namespace fastcnn::FASTCNN_ISA
