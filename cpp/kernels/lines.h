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

// dbias += or = the sum of dy's lines where argmax names a position. kVecs vectors from channel c of a group
// on: several sums at once.
template <int kVecs>
FASTCNN_INLINE void sum_bias_vectors(const AmxImage& dy, const std::uint8_t* argmax, std::int64_t group,
                                     std::int64_t c, float* dbias, bool accumulate) {
    const std::int64_t in_group = dy.channels.in_group(), pitch = dy.line();
    const std::int64_t place = group * dy.channels.group_size() + c, lines = dy.width * dy.samples;
    Vec sums[kVecs];
    for (int v = 0; v < kVecs; ++v) sums[v] = zero();
    for (std::int64_t y = 0; y < dy.height; ++y) {
        const Bfloat16* line = dy.at(y, 0) + place;
        const std::uint8_t* marks = argmax ? argmax + y * lines * pitch + place : nullptr;
        for (std::int64_t l = 0; l < lines; ++l, line += pitch, marks += marks ? pitch : 0)
#pragma GCC unroll 4
            for (int v = 0; v < kVecs; ++v) {
                Vec value = load_bfloat16(line + v * kWidth);
                if (marks) {
                    const IVec at = iload_bytes_partial(marks + v * kWidth, kWidth);
                    value = select(ieq(at, iset1(kAmxNoPosition)), zero(), value);
                }
                sums[v] = add(sums[v], value);
            }
    }
    for (int v = 0; v < kVecs; ++v) {
        const std::int64_t n = at_most(kWidth, in_group - c - v * kWidth);
        if (n <= 0) return;
        float* to = dbias + group * in_group + c + v * kWidth;
        store_partial(to, accumulate ? add(sums[v], load_partial(to, n)) : sums[v], n);
    }
}

FASTCNN_INLINE void sum_bias(const AmxImage& dy, const std::uint8_t* argmax, float* dbias, bool accumulate) {
    constexpr int kVecs = 32 / kWidth;  // a group's channels in a line are a multiple
    for (std::int64_t group = 0; group < dy.channels.groups; ++group)
        for (std::int64_t c = 0; c < dy.channels.in_group(); c += 32)
            sum_bias_vectors<kVecs>(dy, argmax, group, c, dbias, accumulate);
}

}  // namespace

}  // namespace fastcnn::FASTCNN_ISA
