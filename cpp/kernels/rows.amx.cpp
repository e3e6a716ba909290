#include "kernels/rows_amx.h"
#include "simd/amx.h"

namespace fastcnn::FASTCNN_ISA {

// Constant data: reading it runs no instruction of this level.
constinit const AmxRows amx_rows = {
#define FASTCNN_AMX_KERNEL(Args, operation) &operation,
#include "kernels/amx.inc"
#undef FASTCNN_AMX_KERNEL
    tiles_work};

// Small whole numbers, whose sums are exact in any order.
bool tiles_work() {
    alignas(64) Bfloat16 a[kTileElements], b[kTileElements];
    alignas(64) float c[256];
    const auto number = [](std::int64_t i) { return static_cast<float>((i * 7 + i / 32) % 13 - 6); };
    for (std::int64_t i = 0; i < kTileElements; ++i) {
        a[i] = to_bfloat16(number(i));
        b[i] = to_bfloat16(number(i + 5));
    }
    for (std::int64_t i = 0; i < 256; ++i) c[i] = number(i + 11);
    {
        Tiles tiles;
        tiles.load<0>(c, 64);
        tiles.load<1>(a, 64);
        tiles.load<2>(b, 64);
        tiles.dot<0, 1, 2>();
        tiles.store<0>(c, 64);
    }
    for (std::int64_t m = 0; m < 16; ++m)
        for (std::int64_t n = 0; n < 16; ++n) {
            float sum = number(m * 16 + n + 11);
            for (std::int64_t k = 0; k < 32; ++k)
                sum += number(m * 32 + k) * number(k / 2 * 32 + 2 * n + k % 2 + 5);
            if (!(c[m * 16 + n] == sum)) return false;
        }
    return true;
}

}  // namespace fastcnn::FASTCNN_ISA
