// What the kernels for a network's first layer share.
#pragma once

#include "kernels/conv.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

// Output channels come in blocks of two vectors, a last one of one or two: most first layers have no more
// than 32. A tile is kPositions positions or taps of such a block.
inline constexpr int kPairVecs = 2, kPositions = max_tile_rows(kPairVecs);
inline constexpr std::int64_t kPairWidth = kPairVecs * kWidth;

FASTCNN_INLINE std::int64_t pair_count(std::int64_t columns) {
    return (columns + kPairWidth - 1) / kPairWidth;
}
FASTCNN_INLINE int pair_vecs(std::int64_t columns, std::int64_t pair) {
    return columns - pair * kPairWidth > kWidth ? kPairVecs : 1;
}

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

}  // namespace

}  // namespace fastcnn::FASTCNN_ISA
