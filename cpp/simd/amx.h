// AMX tiles: eight registers of 16 rows of 64 bytes, and the product of tiles of bfloat16.
//
//   Tiles tiles;                   for as long as a function of this thread uses tiles
//   tiles.zero<t>()
//   tiles.load<t>(p, pitch)        16 rows of 64 bytes, `pitch` bytes apart
//   tiles.store<t>(p, pitch)
//   tiles.keep_storing()           in each step of a long sum: see below
//   tiles.dot<c, a, b>()           c[m][n] += sum over k < 16, i < 2 of a[m][2 k + i] * b[k][2 n + i]:
//                                  c 16 x 16 floats; a 16 x 32 bfloat16; b 16 x 16 pairs of bfloat16
//
// dot() sums the products with i = 0 and those with i = 1 apart, from zero, and adds the two and then c; it
// rounds to nearest even and takes denormal numbers for zero
// (https://www.intel.com/content/www/us/en/docs/intrinsics-guide/index.html#text=_tile_dpbf16ps).
//
// A row of a tile is also a vector:
//   merge_words(row, p, words)   `row` with those of 32 words at p; the others are not read
//   words_between(first, end)    which words
//   words_marked(marks, mark)    those whose byte is `mark`
//   store_row(p, row)
//   pair_lines(p, q)             16 words of each, as pairs: a row of 16 (word of q << 16 | word of p)
//   pair_marks(p, q)             as many bytes, in the order of the words
//   keep_marked(row, marks, m)   words whose byte is m; the others are zero
//   drop_marked(row, marks, m)   the others
//   RowSums                      16 float32 sums: add(row) adds both words of each pair; store(p)
//   transpose_tile(lines, to)    16 words of 32 lines -> 16 rows of 32 words
//
// With FASTCNN_EMULATE_TILES the tiles are memory and the same sums are made with vectors: slower than any
// float32 kernel, for tests where there is no AMX.
#pragma once

#include "simd/bfloat16.h"

namespace fastcnn::FASTCNN_ISA {

inline constexpr std::int64_t kTileLines = 16;          // rows of a tile
inline constexpr std::int64_t kTileDepth = 32;          // bfloat16 numbers in a row
inline constexpr std::int64_t kTileElements = 16 * 32;  // bfloat16 numbers in a tile

#ifdef FASTCNN_EMULATE_TILES

struct TileRow {
    Bfloat16 words[kTileDepth] = {};
};
using RowWords = std::uint32_t;

FASTCNN_INLINE TileRow merge_words(TileRow row, const Bfloat16* p, RowWords words) {
    for (std::int64_t i = 0; i < kTileDepth; ++i)
        if (words >> i & 1) row.words[i] = p[i];
    return row;
}
FASTCNN_INLINE void store_row(Bfloat16* p, const TileRow& row) {
    std::memcpy(p, row.words, sizeof row.words);
}

FASTCNN_INLINE RowWords words_marked(const std::uint8_t* marks, std::uint8_t mark) {
    RowWords words = 0;
    for (std::int64_t i = 0; i < kTileDepth; ++i)
        words |= static_cast<RowWords>(marks[i] == mark ? 1 : 0) << i;
    return words;
}
FASTCNN_INLINE TileRow pair_lines(const Bfloat16* p, const Bfloat16* q) {
    TileRow row;
    for (std::int64_t i = 0; i < kTileLines; ++i) {
        row.words[2 * i] = p[i];
        row.words[2 * i + 1] = q[i];
    }
    return row;
}
struct RowMarks {
    std::uint8_t bytes[kTileDepth];
};
FASTCNN_INLINE RowMarks pair_marks(const std::uint8_t* p, const std::uint8_t* q) {
    RowMarks marks;
    for (std::int64_t i = 0; i < kTileLines; ++i) {
        marks.bytes[2 * i] = p[i];
        marks.bytes[2 * i + 1] = q[i];
    }
    return marks;
}
FASTCNN_INLINE TileRow keep_marked(const TileRow& row, const RowMarks& marks, std::uint8_t mark) {
    return merge_words({}, row.words, words_marked(marks.bytes, mark));
}
FASTCNN_INLINE TileRow drop_marked(const TileRow& row, const RowMarks& marks, std::uint8_t mark) {
    return merge_words({}, row.words, ~words_marked(marks.bytes, mark));
}
class RowSums {
  public:
    FASTCNN_INLINE void add(const TileRow& row) {
        for (std::int64_t i = 0; i < kTileLines; ++i) {
            float pair[2];
            for (std::int64_t k = 0; k < 2; ++k) {
                const std::uint32_t bits = std::uint32_t{row.words[2 * i + k]} << 16;
                std::memcpy(pair + k, &bits, sizeof bits);
            }
            sums_[i] += pair[0] + pair[1];
        }
    }
    FASTCNN_INLINE void store(float* to) const { std::memcpy(to, sums_, sizeof sums_); }

  private:
    float sums_[kTileLines] = {};
};
FASTCNN_INLINE void transpose_tile(const Bfloat16* const* lines, Bfloat16* to) {
    for (std::int64_t l = 0; l < kTileDepth; ++l)
        for (std::int64_t i = 0; i < kTileLines; ++i) to[i * kTileDepth + l] = lines[l][i];
}

class Tiles {
  public:
    template <int t>
    FASTCNN_INLINE void zero() {
        std::memset(tile_[t], 0, sizeof tile_[t]);
    }
    template <int t>
    FASTCNN_INLINE void load(const void* p, std::int64_t pitch) {
        for (int m = 0; m < 16; ++m)
            std::memcpy(tile_[t][m], static_cast<const unsigned char*>(p) + m * pitch, 64);
    }
    template <int t>
    FASTCNN_INLINE void store(void* p, std::int64_t pitch) const {
        for (int m = 0; m < 16; ++m) std::memcpy(static_cast<unsigned char*>(p) + m * pitch, tile_[t][m], 64);
    }
    FASTCNN_INLINE void keep_storing() {}
    template <int c, int a, int b>
    FASTCNN_INLINE void dot() {
        add_product(tile_[a], tile_[b], tile_[c]);
    }

  private:
    using Tile = std::uint32_t[16][16];
    FASTCNN_INLINE static IVec upper() { return iset1(static_cast<std::int32_t>(0xffff0000u)); }
    FASTCNN_NOINLINE static void add_product(const Tile& a, const Tile& b, Tile& c) {
        constexpr int kVecs = 16 / kWidth;
        for (int m = 0; m < 16; ++m) {
            Vec sums[2][kVecs];
            for (int v = 0; v < kVecs; ++v) sums[0][v] = sums[1][v] = FASTCNN_ISA::zero();
            for (int k = 0; k < 16; ++k) {
                const IVec pair = iset1(static_cast<std::int32_t>(a[m][k]));
                const Vec even = as_float(shift_left<16>(pair)), odd = as_float(iand(pair, upper()));
                for (int v = 0; v < kVecs; ++v) {
                    const IVec words = iload(reinterpret_cast<const std::int32_t*>(b[k]) + v * kWidth);
                    sums[0][v] = fma(even, as_float(shift_left<16>(words)), sums[0][v]);
                    sums[1][v] = fma(odd, as_float(iand(words, upper())), sums[1][v]);
                }
            }
            float* row = reinterpret_cast<float*>(c[m]);
            for (int v = 0; v < kVecs; ++v)
                FASTCNN_ISA::store(row + v * kWidth,
                                   add(add(sums[0][v], sums[1][v]), FASTCNN_ISA::load(row + v * kWidth)));
        }
    }
    alignas(64) Tile tile_[8];
};

#else

struct TileRow {
    __m512i words = _mm512_setzero_si512();
};
using RowWords = __mmask32;

FASTCNN_INLINE TileRow merge_words(TileRow row, const Bfloat16* p, RowWords words) {
    return {_mm512_mask_loadu_epi16(row.words, words, p)};
}
FASTCNN_INLINE void store_row(Bfloat16* p, const TileRow& row) { _mm512_storeu_si512(p, row.words); }
FASTCNN_INLINE RowWords words_marked(const std::uint8_t* marks, std::uint8_t mark) {
    return _mm256_cmpeq_epi8_mask(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(marks)),
                                  _mm256_set1_epi8(static_cast<char>(mark)));
}

// 16 words of each, one after the other.
FASTCNN_INLINE __m512i side_by_side(const Bfloat16* p, const Bfloat16* q) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))),
                              _mm256_loadu_si256(reinterpret_cast<const __m256i*>(q)), 1);
}
FASTCNN_INLINE TileRow pair_lines(const Bfloat16* p, const Bfloat16* q) {
    alignas(64) static constexpr std::uint16_t kPlaces[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                              21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                              11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return {_mm512_permutexvar_epi16(_mm512_load_si512(kPlaces), side_by_side(p, q))};
}
struct RowMarks {
    __m256i bytes;
};
FASTCNN_INLINE RowMarks pair_marks(const std::uint8_t* p, const std::uint8_t* q) {
    const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(q));
    return {
        _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_unpacklo_epi8(a, b)), _mm_unpackhi_epi8(a, b), 1)};
}
FASTCNN_INLINE TileRow keep_marked(const TileRow& row, const RowMarks& marks, std::uint8_t mark) {
    const __mmask32 words = _mm256_cmpeq_epi8_mask(marks.bytes, _mm256_set1_epi8(static_cast<char>(mark)));
    return {_mm512_maskz_mov_epi16(words, row.words)};
}
FASTCNN_INLINE TileRow drop_marked(const TileRow& row, const RowMarks& marks, std::uint8_t mark) {
    const __mmask32 words = _mm256_cmpneq_epi8_mask(marks.bytes, _mm256_set1_epi8(static_cast<char>(mark)));
    return {_mm512_maskz_mov_epi16(words, row.words)};
}
class RowSums {
  public:
    FASTCNN_INLINE void add(const TileRow& row) {
        const IVec upper = iset1(static_cast<std::int32_t>(0xffff0000u));
        sums_ = FASTCNN_ISA::add(
            sums_, FASTCNN_ISA::add(as_float(shift_left<16>(row.words)), as_float(iand(row.words, upper))));
    }
    FASTCNN_INLINE void store(float* to) const { FASTCNN_ISA::store(to, sums_); }

  private:
    Vec sums_ = zero();
};

// Shuffles within 128 bits put four lines' words together, then eight pairs of them; one permutation of two
// vectors makes a row.
FASTCNN_INLINE void transpose_tile(const Bfloat16* const* lines, Bfloat16* to) {
    // Quarters (16 bytes) of pairs[h][q]: words 4 h.. and 8 + 4 h.. of lines 4 q and 4 q + 1, then of the
    // next two.
    __m512i pairs[2][8];
#pragma GCC unroll 8
    for (int q = 0; q < 8; ++q) {
        const __m512i a = side_by_side(lines[4 * q], lines[4 * q + 2]);
        const __m512i b = side_by_side(lines[4 * q + 1], lines[4 * q + 3]);
        pairs[0][q] = _mm512_unpacklo_epi16(a, b);
        pairs[1][q] = _mm512_unpackhi_epi16(a, b);
    }
    const __m512i low = _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 16, 24, 17, 25, 18, 26, 19, 27);
    const __m512i high = _mm512_setr_epi32(4, 12, 5, 13, 6, 14, 7, 15, 20, 28, 21, 29, 22, 30, 23, 31);
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
        // Quarters of words[g][r]: word 4 h + r, then 8 + 4 h + r, of the even pairs of half g; then of the
        // odd ones.
        __m512i words[2][4];
#pragma GCC unroll 2
        for (int g = 0; g < 2; ++g) {
            const __m512i* p = pairs[h] + 4 * g;
            const __m512i a = _mm512_unpacklo_epi32(p[0], p[1]), b = _mm512_unpackhi_epi32(p[0], p[1]);
            const __m512i c = _mm512_unpacklo_epi32(p[2], p[3]), d = _mm512_unpackhi_epi32(p[2], p[3]);
            words[g][0] = _mm512_unpacklo_epi64(a, c);
            words[g][1] = _mm512_unpackhi_epi64(a, c);
            words[g][2] = _mm512_unpacklo_epi64(b, d);
            words[g][3] = _mm512_unpackhi_epi64(b, d);
        }
#pragma GCC unroll 4
        for (int r = 0; r < 4; ++r) {
            const __m512i a = words[0][r], b = words[1][r];
            _mm512_storeu_si512(to + (4 * h + r) * kTileDepth, _mm512_permutex2var_epi32(a, low, b));
            _mm512_storeu_si512(to + (8 + 4 * h + r) * kTileDepth, _mm512_permutex2var_epi32(a, high, b));
        }
    }
}

class Tiles {
  public:
    FASTCNN_INLINE Tiles() {
        struct alignas(64) {
            std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
            std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
            std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
        } const configuration;
        asm volatile("ldtilecfg %0" ::"m"(configuration));
    }
    // The registers are given back: nothing has to be saved when threads change.
    FASTCNN_INLINE ~Tiles() { asm volatile("tilerelease"); }
    Tiles(const Tiles&) = delete;
    Tiles& operator=(const Tiles&) = delete;

    template <int t>
    FASTCNN_INLINE void zero() {
        asm volatile("tilezero %%tmm%c0" ::"i"(t));
    }
    template <int t>
    FASTCNN_INLINE void load(const void* p, std::int64_t pitch) {
        asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(pitch), "i"(t) : "memory");
    }
    template <int t>
    FASTCNN_INLINE void store(void* p, std::int64_t pitch) const {
        asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(p), "r"(pitch), "i"(t) : "memory");
    }
    // On Sapphire Rapids the first store after about 130 tile loads without one costs 260 ns, and nothing
    // where some store, of whatever size, is among every hundred of them: a sum of 36 steps of four
    // products took 28 ns a step, with these 20.
    FASTCNN_INLINE void keep_storing() { asm volatile("movb $0, %0" : "=m"(stored_)); }
    template <int c, int a, int b>
    FASTCNN_INLINE void dot() {
        asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(c), "i"(a), "i"(b));
    }

  private:
    std::uint8_t stored_;
};

#endif

FASTCNN_INLINE RowWords words_between(std::int64_t first, std::int64_t end) {
    return static_cast<RowWords>(((std::uint64_t{1} << end) - 1) & ~((std::uint64_t{1} << first) - 1));
}

}  // namespace fastcnn::FASTCNN_ISA
