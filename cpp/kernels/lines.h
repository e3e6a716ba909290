// What the kernels over AMX tiles share: pairs of lines, and their transposition.
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

// 16 channels of two lines as 16 words (second << 16 | first): how a tile holds what is summed over.
FASTCNN_INLINE void pair_lines(const Bfloat16* first, const Bfloat16* second, std::int32_t* words) {
    for (int v = 0; v < 16; v += kWidth)
        istore(words + v, pair_words(iload_words(first + v), iload_words(second + v)));
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
FASTCNN_INLINE void transpose_lines(const Bfloat16* lines, std::int64_t pitch, std::int64_t count,
                                    Bfloat16* tile) {
    alignas(64) std::int32_t words[256];
    alignas(64) static constexpr Bfloat16 kZeros[16] = {};
    for (std::int64_t p = 0; p < 16; ++p) {
        const Bfloat16* first = 2 * p < count ? lines + 2 * p * pitch : kZeros;
        const Bfloat16* second = 2 * p + 1 < count ? lines + (2 * p + 1) * pitch : kZeros;
        pair_lines(first, second, words + p * 16);
    }
    transpose_words(words, reinterpret_cast<std::int32_t*>(tile));
}

// dbias += or = the sum of dy's lines where argmax names a position.
FASTCNN_INLINE void sum_bias(const AmxImage& dy, const std::uint8_t* argmax, float* dbias, bool accumulate) {
    const std::int64_t in_group = dy.channels.in_group(), vecs = tiles_of(in_group, kWidth);
    for (std::int64_t i = 0; i < dy.channels.groups * vecs; ++i) {
        const std::int64_t group = i / vecs, c = i % vecs * kWidth;
        const std::int64_t place = group * dy.channels.group_size() + c, channel = group * in_group + c;
        Vec sum = zero();
        for (std::int64_t y = 0; y < dy.height; ++y) {
            const Bfloat16* line = dy.at(y, 0) + place;
            const std::int64_t lines = dy.width * dy.samples;
            const std::uint8_t* position = argmax ? argmax + y * lines * dy.line() + place : nullptr;
            for (std::int64_t l = 0; l < lines; ++l) {
                Vec v = load_bfloat16(line + l * dy.line());
                if (position) {
                    const IVec at = iload_bytes_partial(position + l * dy.line(), kWidth);
                    v = select(ieq(at, iset1(kAmxNoPosition)), zero(), v);
                }
                sum = add(sum, v);
            }
        }
        const std::int64_t n = at_most(kWidth, in_group - c);
        if (accumulate) sum = add(sum, load_partial(dbias + channel, n));
        store_partial(dbias + channel, sum, n);
    }
}

}  // namespace

}  // namespace fastcnn::FASTCNN_ISA
