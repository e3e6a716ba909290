// Contracts of the kernels over AMX tiles for dense layers of many weights, which all samples of a batch go
// through at once: each weight is read from memory once for all of them, float32 and in its own order, and
// rounded on the way to the tiles. There is no packed copy to write and to read.
//
// The samples lie in two forms. Inputs are tiles [32 inputs][16 samples], a sample a row: what the forward
// pass multiplies with. Gradients of the outputs are lines of bfloat16, a sample a line, zeros behind the
// units. Both have an even number of tiles of samples; those that do not exist are zeros.
#pragma once

#include "kernels/api_amx.h"

namespace fastcnn {

struct AmxDenseShape {
    std::int64_t inputs = 1, units = 1;

    FASTCNN_INLINE std::int64_t input_tiles() const { return (inputs + 31) / 32; }
    FASTCNN_INLINE std::int64_t line() const { return amx_channels(units); }
};

// Tiles of samples, and the floats that the forms above take.
FASTCNN_INLINE constexpr std::int64_t amx_sample_tiles(std::int64_t samples) {
    return (samples + 31) / 32 * 2;
}
FASTCNN_INLINE std::int64_t amx_dense_floats(const AmxDenseShape& shape, std::int64_t sample_tiles) {
    return shape.input_tiles() * sample_tiles * 256;
}
FASTCNN_INLINE std::int64_t amx_dense_line_floats(const AmxDenseShape& shape, std::int64_t sample_tiles) {
    return sample_tiles * 16 * shape.line() / 2;
}

// Of AmxDensePairs's tiles, which are read by four.
FASTCNN_INLINE std::int64_t amx_dense_pairs_floats(const AmxDenseShape& shape, std::int64_t sample_tiles) {
    return (shape.units + 63) / 64 * sample_tiles / 2 * 4 * 256;
}

// The first `count` samples of an image of one group of channels, without columns beside it, whose channels
// fill whole tile rows -> samples first, first + 1, ... of the tiles; the `zeros` samples behind them are
// zeros.
struct AmxDenseRead {
    AmxImage image;
    std::int64_t count = 0, zeros = 0, first = 0, sample_tiles = 2;
    std::uint16_t* tiles = nullptr;
};

// Sums over inputs [32 first_tile, 32 last_tile) of x kernel, all units, as tiles [strip of 32 units][pair of
// tiles of samples][tile of samples][tile of units]. Each sum is in the order of its inputs.
struct AmxDenseSums {
    AmxDenseShape shape;
    std::int64_t first_tile = 0, last_tile = 0, sample_tiles = 2;
    const std::uint16_t* x = nullptr;  // tiles
    const float* kernel = nullptr;     // (inputs, units)
    float* sums = nullptr;
    float* scratch = nullptr;
};
FASTCNN_INLINE std::int64_t amx_dense_sums_floats(const AmxDenseShape& shape, std::int64_t sample_tiles) {
    return shape.line() * sample_tiles * 16;
}

// y = act(bias + the sum of `parts` such sums, `part` floats apart), of samples first, first + 1, ... of
// them. act is ReLU or the identity.
struct AmxDenseFinish {
    AmxDenseShape shape;
    bool relu = false;
    std::int64_t parts = 1, part = 0, sample_tiles = 2, first = 0, count = 0;
    const float* sums = nullptr;
    const float* bias = nullptr;
    float* y = nullptr;
    std::int64_t y_stride = 0;
};

// dx = dy kernel^T, of inputs [first_input, last_input); first_input is a multiple of 32. dx are float32
// samples of which `count` exist, or the images of blocks (`blocks` of them, image_stride numbers apart) of
// one group of channels that fill whole tile rows, all samples of them.
struct AmxDenseGradInput {
    AmxDenseShape shape;
    std::int64_t first_input = 0, last_input = 0;
    std::int64_t sample_tiles = 2, count = 0;
    const std::uint16_t* dy = nullptr;  // lines
    const float* kernel = nullptr;
    AmxImage image = {};  // the first block's
    std::int64_t blocks = 0, image_stride = 0;
    float* dx = nullptr;  // where image.data is null
    std::int64_t dx_stride = 0;
    float* scratch = nullptr;
};

// Lines -> tiles of 16 units, as AmxDenseGradKernel multiplies with them: tiles [16 units][32 samples] of
// pairs of samples; those of units [16 first_tile, 16 last_tile).
struct AmxDensePairs {
    AmxDenseShape shape;
    std::int64_t first_tile = 0, last_tile = 0, sample_tiles = 2;
    const std::uint16_t* dy = nullptr;
    std::uint16_t* pairs = nullptr;
};

// dkernel = rows [first_input, last_input) of x^T dy; first_input is a multiple of 16.
struct AmxDenseGradKernel {
    AmxDenseShape shape;
    std::int64_t first_input = 0, last_input = 0, sample_tiles = 2;
    const std::uint16_t* x = nullptr;      // tiles
    const std::uint16_t* pairs = nullptr;  // AmxDensePairs's
    float* dkernel = nullptr;
    float* scratch = nullptr;
};

}  // namespace fastcnn
