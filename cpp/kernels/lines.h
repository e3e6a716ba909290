// What the kernels over AMX tiles share: numbers of tiles, and transposition.
#pragma once

#include "kernels/rows_amx.h"
#include "simd/amx.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

FASTCNN_INLINE std::int64_t tiles_of(std::int64_t lines, std::int64_t size) {
    return (lines + size - 1) / size;
}
FASTCNN_INLINE std::int64_t at_most(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

FASTCNN_INLINE void clear(Bfloat16* p, std::int64_t n) {
    std::memset(p, 0, static_cast<std::size_t>(n) * sizeof(Bfloat16));
}

// `count` numbers, at most 16, and zeros, as bfloat16 words.
FASTCNN_INLINE void round_16(const float* from, std::int64_t count, Bfloat16* to) {
    for (std::int64_t v = 0; v < 16; v += kWidth)
        store_bfloat16(to + v, v < count ? load_partial(from + v, at_most(kWidth, count - v)) : zero());
}

// 16 x 16 words, whose rows are `pitch` words apart.
FASTCNN_INLINE void transpose_words(const std::int32_t* from, std::int32_t* to, std::int64_t pitch = 16) {
    for (int i = 0; i < 16; i += kWidth)
        for (int j = 0; j < 16; j += kWidth)
            transpose(reinterpret_cast<const float*>(from) + i * pitch + j, pitch,
                      reinterpret_cast<float*>(to) + j * 16 + i, 16);
}

// 16 channels of `count` <= 32 lines, `pitch` elements apart, as a tile of 16 channels x 32 lines; lines from
// `count` on are zero.
FASTCNN_INLINE void transpose_lines(const Bfloat16* first, std::int64_t pitch, std::int64_t count,
                                    Bfloat16* tile) {
    alignas(64) static constexpr Bfloat16 kZeros[16] = {};
    const Bfloat16* lines[kTileDepth];
    for (std::int64_t l = 0; l < kTileDepth; ++l) lines[l] = l < count ? first + l * pitch : kZeros;
    transpose_tile(lines, tile);
}

}  // namespace

}  // namespace fastcnn::FASTCNN_ISA
