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
// With FASTCNN_EMULATE_TILES the tiles are memory and the same sums are made with vectors: slower than any
// float32 kernel, for tests where there is no AMX.
#pragma once

#include "simd/bfloat16.h"

namespace fastcnn::FASTCNN_ISA {

inline constexpr std::int64_t kTileLines = 16;          // rows of a tile
inline constexpr std::int64_t kTileDepth = 32;          // bfloat16 numbers in a row
inline constexpr std::int64_t kTileElements = 16 * 32;  // bfloat16 numbers in a tile

#ifdef FASTCNN_EMULATE_TILES

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
        constexpr int kVecs = 16 / kWidth;
        for (int m = 0; m < 16; ++m) {
            Vec sums[2][kVecs];
            for (int v = 0; v < kVecs; ++v) sums[0][v] = sums[1][v] = FASTCNN_ISA::zero();
            for (int k = 0; k < 16; ++k) {
                const IVec pair = iset1(static_cast<std::int32_t>(tile_[a][m][k]));
                const Vec even = as_float(shift_left<16>(pair)), odd = as_float(iand(pair, upper()));
                for (int v = 0; v < kVecs; ++v) {
                    const IVec words = iload(reinterpret_cast<const std::int32_t*>(tile_[b][k]) + v * kWidth);
                    sums[0][v] = fma(even, as_float(shift_left<16>(words)), sums[0][v]);
                    sums[1][v] = fma(odd, as_float(iand(words, upper())), sums[1][v]);
                }
            }
            float* row = reinterpret_cast<float*>(tile_[c][m]);
            for (int v = 0; v < kVecs; ++v)
                FASTCNN_ISA::store(row + v * kWidth,
                                   add(add(sums[0][v], sums[1][v]), FASTCNN_ISA::load(row + v * kWidth)));
        }
    }

  private:
    FASTCNN_INLINE static IVec upper() { return iset1(static_cast<std::int32_t>(0xffff0000u)); }
    alignas(64) std::uint32_t tile_[8][16][16];
};

#else

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

}  // namespace fastcnn::FASTCNN_ISA
