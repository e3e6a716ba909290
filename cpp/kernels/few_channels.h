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

}  // namespace

}  // namespace fastcnn::FASTCNN_ISA
