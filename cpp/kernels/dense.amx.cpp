// Dense layers of many weights with AMX tiles, all samples of a batch at once. What bounds them is the way of
// the weights, four bytes each, from L3 or memory: rows of the matrix are rounded into tiles a few at a time
// while those after them are fetched.
#include "kernels/lines.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

constexpr std::int64_t kUnits = 32;   // computed together: two tiles
constexpr std::int64_t kRounded = 8;  // tiles of inputs that are rounded at once
constexpr std::int64_t kTileFloats = 16 * 16;
constexpr std::int64_t kLine = 16;  // floats of a cache line

// Two tiles of rows or of columns, and what follows them in the direction that is summed over.
struct Pair {
    const Bfloat16* first;
    std::int64_t second, step;  // elements
};

// Sums of 2 x 2 tiles, [row tile][column tile] in memory, over `depth` tiles; added to what is there where
// `accumulate`.
FASTCNN_INLINE void multiply(Tiles& tiles, Pair a, Pair b, std::int64_t depth, bool accumulate, float* sums) {
    if (accumulate) {
        tiles.load<0>(sums, 64);
        tiles.load<1>(sums + kTileFloats, 64);
        tiles.load<2>(sums + 2 * kTileFloats, 64);
        tiles.load<3>(sums + 3 * kTileFloats, 64);
    } else {
        tiles.zero<0>();
        tiles.zero<1>();
        tiles.zero<2>();
        tiles.zero<3>();
    }
    for (std::int64_t k = 0; k < depth; ++k, a.first += a.step, b.first += b.step) {
        tiles.load<4>(a.first, 64);
        tiles.load<6>(b.first, 64);
        tiles.dot<0, 4, 6>();
        tiles.load<7>(b.first + b.second, 64);
        tiles.dot<1, 4, 7>();
        tiles.load<5>(a.first + a.second, 64);
        tiles.dot<2, 5, 6>();
        tiles.dot<3, 5, 7>();
    }
    tiles.store<0>(sums, 64);
    tiles.store<1>(sums + kTileFloats, 64);
    tiles.store<2>(sums + 2 * kTileFloats, 64);
    tiles.store<3>(sums + 3 * kTileFloats, 64);
}

// Of a row that will be rounded soon.
FASTCNN_INLINE void fetch(const float* from, std::int64_t floats) {
    for (std::int64_t i = 0; i < floats; i += kLine) __builtin_prefetch(from + i, 0, 2);
}

FASTCNN_INLINE std::int64_t within(std::int64_t n, std::int64_t most) { return n < 0 ? 0 : at_most(n, most); }

// -------------------------------------------------------------------------------------------------------
// inputs

void read(const AmxDenseRead& a) {
    const std::int64_t line = a.image.line(), samples = a.count + a.zeros;
    const Bfloat16* pixel = a.image.data;
    Bfloat16* to = a.tiles + a.first * kTileDepth;
    for (std::int64_t p = 0; p < a.image.height * a.image.width; ++p, pixel += a.image.pixel())
        for (std::int64_t c = 0; c < line; c += kTileDepth, to += a.sample_tiles * kTileElements) {
            for (std::int64_t s = 0; s < a.count; ++s)
                std::memcpy(to + s * kTileDepth, pixel + s * line + c, kTileDepth * sizeof(Bfloat16));
            clear(to + a.count * kTileDepth, (samples - a.count) * kTileDepth);
        }
}

// ------------------------------------------------------------------------------------------------------
// outputs

// Two rows of the matrix, of 32 units from `unit` on, as a line of pairs in each of two tiles.
FASTCNN_INLINE void round_rows(const AmxDenseForward& a, std::int64_t input, std::int64_t unit,
                               Bfloat16* to) {
    const std::int64_t units = a.shape.units, left = a.last_unit - unit;
    const float* row = a.kernel + input * units + unit;
    const bool both = input + 1 < a.shape.inputs;
    for (std::int64_t u = 0; u < kUnits; u += kWidth) {
        const std::int64_t n = within(left - u, kWidth);
        const Vec first = load_partial(row + u, n), second = both ? load_partial(row + units + u, n) : zero();
        istore(reinterpret_cast<std::int32_t*>(to + u / 16 * kTileElements + u % 16 * 2),
               round_pairs(first, second));
    }
}

// Tiles of pairs of inputs, two for each of `depth` tiles of inputs.
FASTCNN_INLINE void round_block(const AmxDenseForward& a, std::int64_t input, std::int64_t depth,
                                std::int64_t unit, Bfloat16* to) {
    const std::int64_t units = a.shape.units, ahead = kRounded * kTileDepth * units;
    const bool whole = a.last_unit - unit >= kUnits && input + depth * kTileDepth <= a.shape.inputs;
    const float* row = a.kernel + input * units + unit;
    for (std::int64_t k = 0; k < depth; ++k, to += 2 * kTileElements)
        for (std::int64_t i = 0; i < kTileDepth; i += 2, row += 2 * units) {
            if (!whole) {
                const std::int64_t at = input + k * kTileDepth + i;
                if (at < a.shape.inputs)
                    round_rows(a, at, unit, to + i * 16);
                else
                    for (std::int64_t t = 0; t < 2; ++t) clear(to + t * kTileElements + i * 16, kTileDepth);
                continue;
            }
            fetch(row + ahead, kUnits);
            fetch(row + ahead + units, kUnits);
            for (std::int64_t u = 0; u < kUnits; u += kWidth)
                istore(reinterpret_cast<std::int32_t*>(to + u / 16 * kTileElements + i * 16 + u % 16 * 2),
                       round_pairs(load(row + u), load(row + units + u)));
        }
}

// From sums [pair of tiles of samples][2][2] of 32 units to outputs.
FASTCNN_INLINE void finish(const AmxDenseForward& a, std::int64_t unit, const float* sums) {
    const std::int64_t left = a.last_unit - unit;
    for (std::int64_t u = 0; u < kUnits && u < left; u += kWidth) {
        const std::int64_t n = at_most(kWidth, left - u);
        const Vec bias = a.bias ? load_partial(a.bias + unit + u, n) : zero();
        for (std::int64_t s = 0; s < a.count; ++s) {
            const float* from = sums + (s / 16 * 2 + u / 16) * kTileFloats + s % 16 * 16 + u % 16;
            const Vec sum = add(load(from), bias);
            store_partial(a.y + s * a.y_stride + unit + u, a.relu ? max(zero(), sum) : sum, n);
        }
    }
}

std::int64_t forward_scratch(const AmxDenseForward& a) {
    const std::int64_t strips = tiles_of(a.last_unit - a.first_unit, kUnits);
    return kRounded * kTileElements + strips * a.sample_tiles * 2 * kTileFloats;
}

void forward(const AmxDenseForward& a) {
    Tiles tiles;
    Bfloat16* rounded = reinterpret_cast<Bfloat16*>(a.scratch);
    const std::int64_t inputs = a.shape.input_tiles(), x_step = a.sample_tiles * kTileElements;
    for (std::int64_t k = 0; k < inputs; k += kRounded) {
        const std::int64_t depth = at_most(kRounded, inputs - k);
        float* sums = a.scratch + kRounded * kTileElements;
        for (std::int64_t unit = a.first_unit; unit < a.last_unit; unit += kUnits) {
            round_block(a, k * kTileDepth, depth, unit, rounded);
            for (std::int64_t s = 0; s < a.sample_tiles; s += 2, sums += 4 * kTileFloats)
                multiply(tiles, {a.x + k * x_step + s * kTileElements, kTileElements, x_step},
                         {rounded, kTileElements, 2 * kTileElements}, depth, k > 0, sums);
        }
    }
    const float* sums = a.scratch + kRounded * kTileElements;
    for (std::int64_t unit = a.first_unit; unit < a.last_unit; unit += kUnits) {
        finish(a, unit, sums);
        sums += a.sample_tiles * 2 * kTileFloats;
    }
}

// ------------------------------------------------------------------------------------------- gradient of
// inputs

// 32 rows of the matrix as tiles [16 rows][32 units], two for each tile of units.
FASTCNN_INLINE void round_inputs(const AmxDenseGradInput& a, std::int64_t input, Bfloat16* to) {
    const std::int64_t units = a.shape.units, line = a.shape.line();
    const std::int64_t ahead = kTileDepth * units;
    const float* row = a.kernel + input * units;
    for (std::int64_t i = 0; i < kTileDepth; ++i, row += units) {
        Bfloat16* out = to + i / 16 * 16 * line + i % 16 * kTileDepth;
        if (input + i >= a.shape.inputs) {
            for (std::int64_t u = 0; u < line; u += kTileDepth) clear(out + u * 16, kTileDepth);
            continue;
        }
        fetch(row + ahead, units);
        for (std::int64_t u = 0; u < line; u += kTileDepth)
            for (std::int64_t v = 0; v < kTileDepth; v += 2 * kWidth) {
                const std::int64_t left = units - u - v;
                if (left >= 2 * kWidth)
                    store_bfloat16(out + u * 16 + v, load(row + u + v), load(row + u + v + kWidth));
                else
                    store_bfloat16(out + u * 16 + v, load_partial(row + u + v, within(left, kWidth)),
                                   load_partial(row + u + v + kWidth, within(left - kWidth, kWidth)));
            }
    }
}

// dx of sample s, of 32 inputs.
FASTCNN_INLINE void write_inputs(const AmxDenseGradInput& a, std::int64_t input, std::int64_t s,
                                 const float* from, const float* from_16) {
    if (a.image.data) {
        const std::int64_t samples = a.image.samples, line = a.image.line();
        if (s >= a.blocks * samples) return;
        Bfloat16* to = a.image.data + s / samples * a.image_stride +
                       (input / line * samples + s % samples) * line + input % line;
        for (std::int64_t v = 0; v < 16; v += kWidth) {
            store_bfloat16(to + v, load(from + v));
            store_bfloat16(to + 16 + v, load(from_16 + v));
        }
        return;
    }
    if (s >= a.count) return;
    float* to = a.dx + s * a.dx_stride + input;
    const std::int64_t left = a.shape.inputs - input;
    for (std::int64_t v = 0; v < 16; v += kWidth) {
        store_partial(to + v, load(from + v), within(left - v, kWidth));
        if (left > 16 + v) store_partial(to + 16 + v, load(from_16 + v), within(left - 16 - v, kWidth));
    }
}

std::int64_t grad_input_scratch(const AmxDenseGradInput& a) {
    return (a.sample_tiles + 2) * 16 * a.shape.line() / 2;
}

void grad_input(const AmxDenseGradInput& a) {
    Tiles tiles;
    const std::int64_t line = a.shape.line(), depth = line / kTileDepth;
    Bfloat16* columns = reinterpret_cast<Bfloat16*>(a.scratch);  // [tile of samples][tile of units]
    Bfloat16* rounded = columns + a.sample_tiles * 16 * line;
    for (std::int64_t s = 0; s < a.sample_tiles; ++s)
        for (std::int64_t k = 0; k < depth; ++k)
            transpose_words(reinterpret_cast<const std::int32_t*>(a.dy + s * 16 * line + k * kTileDepth),
                            reinterpret_cast<std::int32_t*>(columns + (s * depth + k) * kTileElements),
                            line / 2);
    alignas(64) float sums[4 * kTileFloats], turned[4 * kTileFloats];
    for (std::int64_t input = a.first_input; input < a.last_input; input += kTileDepth) {
        round_inputs(a, input, rounded);
        for (std::int64_t s = 0; s < a.sample_tiles; s += 2) {
            multiply(tiles, {rounded, depth * kTileElements, kTileElements},
                     {columns + s * depth * kTileElements, depth * kTileElements, kTileElements}, depth,
                     false, sums);
            for (std::int64_t t = 0; t < 4; ++t)
                transpose_words(reinterpret_cast<const std::int32_t*>(sums + t * kTileFloats),
                                reinterpret_cast<std::int32_t*>(turned + t * kTileFloats));
            for (std::int64_t i = 0; i < 32; ++i) {
                const float* from = turned + i / 16 * kTileFloats + i % 16 * 16;
                write_inputs(a, input, s * 16 + i, from, from + 2 * kTileFloats);
            }
        }
    }
}

// ------------------------------------------------------------------------------------------ gradient of
// weights

void pairs(const AmxDensePairs& a) {
    const std::int64_t line = a.shape.line(), depth = a.sample_tiles / 2;
    std::int32_t* to = reinterpret_cast<std::int32_t*>(a.pairs) + a.first_tile * depth * 256;
    for (std::int64_t t = a.first_tile; t < a.last_tile; ++t)
        for (std::int64_t p = 0; p < depth * 16; ++p, to += 16)
            pair_lines(a.dy + 2 * p * line + t * 16, a.dy + (2 * p + 1) * line + t * 16, to);
}

// 16 rows of the gradient of 16 units are in tile 0.
FASTCNN_INLINE void write_gradient(const AmxDenseGradKernel& a, Tiles& tiles, std::int64_t input,
                                   std::int64_t unit) {
    const std::int64_t units = a.shape.units, rows = a.last_input - input, width = units - unit;
    float* to = a.dkernel + (input - a.first_input) * units + unit;
    if (rows >= 16 && width >= 16) return tiles.store<0>(to, 4 * units);
    alignas(64) float sums[kTileFloats];
    tiles.store<0>(sums, 64);
    for (std::int64_t i = 0; i < at_most(16, rows); ++i)
        for (std::int64_t u = 0; u < 16 && u < width; u += kWidth)
            store_partial(to + i * units + u, load(sums + i * 16 + u), at_most(kWidth, width - u));
}

std::int64_t grad_kernel_scratch(const AmxDenseGradKernel& a) {
    return a.sample_tiles / 2 * kTileElements / 2;
}

void grad_kernel(const AmxDenseGradKernel& a) {
    Tiles tiles;
    const std::int64_t depth = a.sample_tiles / 2, unit_tiles = tiles_of(a.shape.units, 16);
    Bfloat16* turned = reinterpret_cast<Bfloat16*>(a.scratch);
    for (std::int64_t input = a.first_input; input < a.last_input; input += 16) {
        const Bfloat16* x = a.x + input / kTileDepth * a.sample_tiles * kTileElements + input % kTileDepth;
        for (std::int64_t k = 0; k < depth; ++k)
            transpose_lines(x + k * 2 * kTileElements, kTileDepth, 32, turned + k * kTileElements);
        const Bfloat16* b = a.pairs;
        for (std::int64_t t = 0; t < unit_tiles; ++t) {
            tiles.zero<0>();
            for (std::int64_t k = 0; k < depth; ++k, b += kTileElements) {
                tiles.load<1>(turned + k * kTileElements, 64);
                tiles.load<2>(b, 64);
                tiles.dot<0, 1, 2>();
            }
            write_gradient(a, tiles, input, t * 16);
        }
    }
}

}  // namespace

constinit const Kernel<AmxDenseRead> amx_dense_read = {.run = read};
constinit const Kernel<AmxDenseForward> amx_dense = {.run = forward, .scratch = forward_scratch};
constinit const Kernel<AmxDenseGradInput> amx_dense_grad_input = {.run = grad_input,
                                                                  .scratch = grad_input_scratch};
constinit const Kernel<AmxDensePairs> amx_dense_pairs = {.run = pairs};
constinit const Kernel<AmxDenseGradKernel> amx_dense_grad_kernel = {.run = grad_kernel,
                                                                    .scratch = grad_kernel_scratch};

}  // namespace fastcnn::FASTCNN_ISA
