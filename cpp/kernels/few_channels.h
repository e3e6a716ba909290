// What the kernels for a network's first layer share.
#pragma once

#include "kernels/conv.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

// Output channels come in pairs of vectors: most first layers have no more than 32. A tile is kPositions
// positions or taps of a pair.
inline constexpr int kPositions = max_tile_rows(kPairVecs);

FASTCNN_INLINE const char* not_few_channels(const Conv2dShape& c) {
    if (c.groups != 1) return "groups is not 1";
    if (c.in_channels > 4) return "more than 4 input channels";
    if (c.w.dilation != 1) return "kernel is dilated";
    return nullptr;
}

FASTCNN_INLINE const char* not_2x2(const PoolShape& p) {
    if (p.h.size != 2 || p.w.size != 2) return "pooling window is not 2x2";
    if (p.h.pad || p.w.pad || p.h.pad_end() || p.w.pad_end()) return "pooling pads";
    return nullptr;
}

// The maxima of 2x2 windows.
struct Maximum {
    Vec value;
    IVec slot;
};

// Of four numbers; the first wins ties.
struct FirstMaximum {
    FASTCNN_INLINE Maximum operator()(Vec a, Vec b, Vec c, Vec d) const {
        const Vec top = max(b, a), bottom = max(d, c);  // max(new, old) is old unless new > old
        const IVec top_slot = iselect(gt(b, a), iset1(1), iset1(0));
        const IVec bottom_slot = iselect(gt(d, c), iset1(3), iset1(2));
        return {max(bottom, top), iselect(gt(bottom, top), bottom_slot, top_slot)};
    }
};

// The same where NaN may be among them: the first NaN wins.
struct FirstMaximumOrNan {
    FASTCNN_INLINE Maximum operator()(Vec a, Vec b, Vec c, Vec d) const {
        const Vec all[4] = {a, b, c, d};
        Maximum best{a, iset1(0)};
#pragma GCC unroll 3
        for (int k = 1; k < 4; ++k) {
            const Mask better = mask_and(mask_not(is_nan(best.value)), not_le(all[k], best.value));
            best.value = select(better, all[k], best.value);
            best.slot = iselect(better, iset1(k), best.slot);
        }
        return best;
    }
};

// Where the maxima of neighbouring windows go. By value: see Written.
struct WrittenMaxima {
    bool relu;
    std::int64_t lanes, channels;
    float* y;
    std::uint8_t* argmax;
};

template <int Windows, int Vecs, bool Argmax, class MaximumOf>
FASTCNN_INLINE void write_maxima(const Vec (&acc)[2][2 * Windows][Vecs], MaximumOf maximum_of,
                                 const WrittenMaxima to) {
#pragma GCC unroll 4
    for (int i = 0; i < Windows; ++i) {
#pragma GCC unroll 4
        for (int n = 0; n < Vecs; ++n) {
            Maximum best =
                maximum_of(acc[0][2 * i][n], acc[0][2 * i + 1][n], acc[1][2 * i][n], acc[1][2 * i + 1][n]);
            if (to.relu) best.value = max(zero(), best.value);
            const std::int64_t at = i * to.channels + n * kWidth, lanes = to.lanes - n * kWidth;
            store_partial(to.y + at, best.value, lanes);
            if (Argmax && to.argmax) istore_bytes_partial(to.argmax + at, best.slot, lanes);
        }
    }
}

}  // namespace

}  // namespace fastcnn::FASTCNN_ISA
