// Dense layers of many weights with AMX tiles, all samples of a batch at once. What bounds them is the way of
// the weights, four bytes each, from L3 or memory: rows of the matrix are rounded into tiles a few at a time
// while those after them are fetched.
#include "kernels/lines.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

constexpr std::int64_t kUnits = 32;  // computed together: two tiles
constexpr std::int64_t kTileFloats = 16 * 16;

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

FASTCNN_INLINE std::int64_t within(std::int64_t n, std::int64_t most) { return n < 0 ? 0 : at_most(n, most); }

// ------------------------------------------------------------------------------------------------- inputs

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

// ------------------------------------------------------------------------------------------------ outputs

// Rows and columns of the matrix that are rounded at once: 128 KB of tiles, from rows of up to 2 KB, which
// the processor fetches ahead by itself.
constexpr std::int64_t kRoundedUnits = 512, kRoundedTiles = 128;
// Tiles of samples whose sums, of so many units, are half of L2.
constexpr std::int64_t kSummedTiles = 32;

FASTCNN_INLINE std::int64_t strips_of(std::int64_t units) { return tiles_of(units, kUnits); }

// Rows `input` and `input` + 1, of `width` units from `unit` on, as a line of pairs in each tile.
FASTCNN_INLINE void round_edge(const AmxDenseSums& a, std::int64_t input, std::int64_t unit,
                               std::int64_t width, Bfloat16* to, std::int64_t strip) {
    const float* row = a.kernel + input * a.shape.units + unit;
    const std::int64_t second = a.shape.units;
    for (std::int64_t u = 0; u < strips_of(width) * kUnits; u += kWidth) {
        const std::int64_t n = within(width - u, kWidth);
        const Vec v = input < a.shape.inputs ? load_partial(row + u, n) : zero();
        const Vec w = input + 1 < a.shape.inputs ? load_partial(row + second + u, n) : zero();
        istore(reinterpret_cast<std::int32_t*>(to + u / kUnits * strip + u % kUnits / 16 * kTileElements +
                                               u % 16 * 2),
               round_pairs(v, w));
    }
}

// Tiles of pairs of inputs: [strip of 32 units][tile of inputs][2].
FASTCNN_INLINE void round_block(const AmxDenseSums& a, std::int64_t input, std::int64_t depth,
                                std::int64_t unit, std::int64_t width, Bfloat16* to) {
    const std::int64_t units = a.shape.units, strip = depth * 2 * kTileElements;
    const bool whole = width % kUnits == 0 && input + depth * kTileDepth <= a.shape.inputs;
    const float* row = a.kernel + input * units + unit;
    for (std::int64_t i = 0; i < depth * kTileDepth; i += 2, row += 2 * units) {
        Bfloat16* line = to + i / kTileDepth * 2 * kTileElements + i % kTileDepth * 16;
        if (!whole) {
            round_edge(a, input + i, unit, width, line, strip);
            continue;
        }
        for (std::int64_t u = 0; u < width; u += kUnits, line += strip)
            for (std::int64_t v = 0; v < kUnits; v += kWidth)
                istore(reinterpret_cast<std::int32_t*>(line + v / 16 * kTileElements + v % 16 * 2),
                       round_pairs(load(row + u + v), load(row + units + u + v)));
    }
}

std::int64_t sums_scratch(const AmxDenseSums& a) {
    const std::int64_t strips = strips_of(at_most(a.shape.units, kRoundedUnits));
    return (kRoundedTiles / (2 * strips)) * 2 * strips * kTileElements / 2;
}

void sums(const AmxDenseSums& a) {
    Tiles tiles;
    Bfloat16* rounded = reinterpret_cast<Bfloat16*>(a.scratch);
    const std::int64_t x_step = a.sample_tiles * kTileElements;
    const std::int64_t strip_floats = a.sample_tiles * 2 * kTileFloats;
    for (std::int64_t unit = 0; unit < a.shape.units; unit += kRoundedUnits) {
        const std::int64_t width = at_most(kRoundedUnits, a.shape.units - unit), strips = strips_of(width);
        const std::int64_t most = kRoundedTiles / (2 * strips);
        float* const of_units = a.sums + unit / kUnits * strip_floats;
        for (std::int64_t first = 0; first < a.sample_tiles; first += kSummedTiles) {
            const std::int64_t last = at_most(first + kSummedTiles, a.sample_tiles);
            for (std::int64_t k = a.first_tile; k < a.last_tile; k += most) {
                const std::int64_t depth = at_most(most, a.last_tile - k),
                                   strip_size = depth * 2 * kTileElements;
                round_block(a, k * kTileDepth, depth, unit, width, rounded);
                for (std::int64_t strip = 0; strip < strips; ++strip)
                    for (std::int64_t s = first; s < last; s += 2)
                        multiply(tiles, {a.x + k * x_step + s * kTileElements, kTileElements, x_step},
                                 {rounded + strip * strip_size, kTileElements, 2 * kTileElements}, depth,
                                 k > a.first_tile, of_units + strip * strip_floats + s * 2 * kTileFloats);
            }
        }
    }
}

void finish(const AmxDenseFinish& a) {
    for (std::int64_t u = 0; u < a.shape.units; u += kWidth) {
        const std::int64_t n = at_most(kWidth, a.shape.units - u);
        const Vec bias = a.bias ? load_partial(a.bias + u, n) : zero();
        const float* strip = a.sums + u / kUnits * a.sample_tiles * 2 * kTileFloats;
        for (std::int64_t i = 0; i < a.count; ++i) {
            const std::int64_t s = a.first + i;
            const float* from = strip + (s / 16 * 2 + u % kUnits / 16) * kTileFloats + s % 16 * 16 + u % 16;
            Vec sum = load(from);
            for (std::int64_t part = 1; part < a.parts; ++part) sum = add(sum, load(from + part * a.part));
            sum = add(sum, bias);
            store_partial(a.y + i * a.y_stride + u, a.relu ? max(zero(), sum) : sum, n);
        }
    }
}

// ------------------------------------------------------------------------------------- gradient of inputs

// 32 rows of the matrix as tiles [16 rows][32 units], two for each tile of units.
FASTCNN_INLINE void round_inputs(const AmxDenseGradInput& a, std::int64_t input, Bfloat16* to) {
    const std::int64_t units = a.shape.units, line = a.shape.line();
    const float* row = a.kernel + input * units;
    for (std::int64_t i = 0; i < kTileDepth; ++i, row += units) {
        Bfloat16* out = to + i / 16 * 16 * line + i % 16 * kTileDepth;
        if (input + i >= a.shape.inputs) {
            for (std::int64_t u = 0; u < line; u += kTileDepth) clear(out + u * 16, kTileDepth);
            continue;
        }
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

// dx of 32 inputs of the 16 samples of tile `tile`: [16 samples][16 inputs] of the first 16 and the others.
FASTCNN_INLINE void write_inputs(const AmxDenseGradInput& a, std::int64_t input, std::int64_t tile,
                                 const float* from, const float* others) {
    if (a.image.data) {
        const std::int64_t samples = a.image.samples, line = a.image.line();
        std::int64_t block = tile * 16 / samples, s = tile * 16 % samples;
        Bfloat16* to = a.image.data + block * a.image_stride + input / line * samples * line + input % line;
        for (std::int64_t i = 0; i < 16 && block < a.blocks; ++i, from += 16, others += 16) {
            for (std::int64_t v = 0; v < 16; v += kWidth) {
                store_bfloat16(to + s * line + v, load(from + v));
                store_bfloat16(to + s * line + 16 + v, load(others + v));
            }
            if (++s < samples) continue;
            s = 0;
            ++block;
            to += a.image_stride;
        }
        return;
    }
    const std::int64_t left = a.shape.inputs - input;
    float* to = a.dx + tile * 16 * a.dx_stride + input;
    for (std::int64_t i = 0; i < at_most(16, a.count - tile * 16); ++i, from += 16, others += 16) {
        for (std::int64_t v = 0; v < 16; v += kWidth) {
            store_partial(to + v, load(from + v), within(left - v, kWidth));
            if (left > 16 + v) store_partial(to + 16 + v, load(others + v), within(left - 16 - v, kWidth));
        }
        to += a.dx_stride;
    }
}

// Sums of 32 inputs, as tiles [16 inputs][16 samples].
FASTCNN_INLINE void turn_inputs(const AmxDenseGradInput& a, std::int64_t input, std::int64_t tile,
                                const float* sums) {
    alignas(64) float turned[2 * kTileFloats];
    for (std::int64_t half = 0; half < 2; ++half)
        transpose_words(reinterpret_cast<const std::int32_t*>(sums + 2 * half * kTileFloats),
                        reinterpret_cast<std::int32_t*>(turned + half * kTileFloats));
    write_inputs(a, input, tile, turned, turned + kTileFloats);
}

// dy^T of all samples, 32 rows rounded, the next 32, and the sums.
std::int64_t grad_input_scratch(const AmxDenseGradInput& a) {
    return (a.sample_tiles + 4) * 16 * a.shape.line() / 2 + a.sample_tiles * 2 * kTileFloats;
}

void grad_input(const AmxDenseGradInput& a) {
    Tiles tiles;
    const std::int64_t line = a.shape.line(), depth = line / kTileDepth, size = 32 * line;
    Bfloat16* columns = reinterpret_cast<Bfloat16*>(a.scratch);  // [tile of samples][tile of units]
    Bfloat16 *rounded = columns + a.sample_tiles * 16 * line, *next = rounded + size;
    float* sums = reinterpret_cast<float*>(next + size);
    for (std::int64_t s = 0; s < a.sample_tiles; ++s)
        for (std::int64_t k = 0; k < depth; ++k)
            transpose_words(reinterpret_cast<const std::int32_t*>(a.dy + s * 16 * line + k * kTileDepth),
                            reinterpret_cast<std::int32_t*>(columns + (s * depth + k) * kTileElements),
                            line / 2);
    round_inputs(a, a.first_input, rounded);
    for (std::int64_t input = a.first_input; input < a.last_input; input += kTileDepth) {
        for (std::int64_t s = 0; s < a.sample_tiles; s += 2)
            multiply(tiles, {rounded, depth * kTileElements, kTileElements},
                     {columns + s * depth * kTileElements, depth * kTileElements, kTileElements}, depth,
                     false, sums + s * 2 * kTileFloats);
        // While the products are computed.
        if (input + kTileDepth < a.last_input) round_inputs(a, input + kTileDepth, next);
        for (std::int64_t s = 0; s < a.sample_tiles; ++s)
            turn_inputs(a, input, s, sums + (s / 2 * 4 + s % 2) * kTileFloats);
        Bfloat16* const used = rounded;
        rounded = next;
        next = used;
    }
}

// ------------------------------------------------------------------------------------ gradient of weights

void pairs(const AmxDensePairs& a) {
    const std::int64_t line = a.shape.line(), depth = a.sample_tiles / 2;
    Bfloat16* to = reinterpret_cast<Bfloat16*>(a.pairs) + a.first_tile * depth * kTileElements;
    for (std::int64_t t = a.first_tile; t < a.last_tile; ++t)
        for (std::int64_t p = 0; p < depth * 16; ++p, to += kTileDepth)
            store_row(to, pair_lines(a.dy + 2 * p * line + t * 16, a.dy + (2 * p + 1) * line + t * 16));
}

// 16 rows of the gradient, of 16 units, from tile t.
template <int t>
FASTCNN_INLINE void write_gradient(const AmxDenseGradKernel& a, Tiles& tiles, std::int64_t input,
                                   std::int64_t unit) {
    const std::int64_t units = a.shape.units, rows = a.last_input - input, width = units - unit;
    float* to = a.dkernel + (input - a.first_input) * units + unit;
    if (rows >= 16 && width >= 16) return tiles.store<t>(to, 4 * units);
    if (width <= 0) return;
    alignas(64) float sums[kTileFloats];
    tiles.store<t>(sums, 64);
    for (std::int64_t i = 0; i < at_most(16, rows); ++i)
        for (std::int64_t u = 0; u < 16 && u < width; u += kWidth)
            store_partial(to + i * units + u, load(sums + i * 16 + u), at_most(kWidth, width - u));
}

std::int64_t grad_kernel_scratch(const AmxDenseGradKernel& a) {
    return a.sample_tiles / 2 * kTileElements / 2;
}

// Four tiles of units at a time: a store waits for its product.
void grad_kernel(const AmxDenseGradKernel& a) {
    Tiles tiles;
    const std::int64_t depth = a.sample_tiles / 2, size = depth * kTileElements;
    Bfloat16* turned = reinterpret_cast<Bfloat16*>(a.scratch);
    for (std::int64_t input = a.first_input; input < a.last_input; input += 16) {
        const Bfloat16* x = a.x + input / kTileDepth * a.sample_tiles * kTileElements + input % kTileDepth;
        for (std::int64_t k = 0; k < depth; ++k)
            transpose_lines(x + k * 2 * kTileElements, kTileDepth, 32, turned + k * kTileElements);
        for (std::int64_t unit = 0; unit < a.shape.units; unit += 64) {
            const Bfloat16* b = a.pairs + unit / 16 * size;
            tiles.zero<0>();
            tiles.zero<1>();
            tiles.zero<2>();
            tiles.zero<3>();
            for (std::int64_t k = 0; k < depth; ++k, b += kTileElements) {
                tiles.load<4>(turned + k * kTileElements, 64);
                tiles.load<5>(b, 64);
                tiles.dot<0, 4, 5>();
                tiles.load<6>(b + size, 64);
                tiles.dot<1, 4, 6>();
                tiles.load<7>(b + 2 * size, 64);
                tiles.dot<2, 4, 7>();
                tiles.load<5>(b + 3 * size, 64);
                tiles.dot<3, 4, 5>();
            }
            write_gradient<0>(a, tiles, input, unit);
            write_gradient<1>(a, tiles, input, unit + 16);
            write_gradient<2>(a, tiles, input, unit + 32);
            write_gradient<3>(a, tiles, input, unit + 48);
        }
    }
}

}  // namespace

constinit const Kernel<AmxDenseRead> amx_dense_read = {.run = read};
constinit const Kernel<AmxDenseSums> amx_dense_sums = {.run = sums, .scratch = sums_scratch};
constinit const Kernel<AmxDenseFinish> amx_dense_finish = {.run = finish};
constinit const Kernel<AmxDenseGradInput> amx_dense_grad_input = {.run = grad_input,
                                                                  .scratch = grad_input_scratch};
constinit const Kernel<AmxDensePairs> amx_dense_pairs = {.run = pairs};
constinit const Kernel<AmxDenseGradKernel> amx_dense_grad_kernel = {.run = grad_kernel,
                                                                    .scratch = grad_kernel_scratch};

}  // namespace fastcnn::FASTCNN_ISA
