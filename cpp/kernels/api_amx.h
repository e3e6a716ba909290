// Contracts of the kernels that compute with AMX tiles of bfloat16: convolution and dense layers for whole
// blocks of samples, in a layout of their own, with weights and sums in float32.
//
// A block of samples is one array of lines: [row][column][sample][channel], the channels of a sample at one
// position being a line. Sixteen lines, one after the other, are the rows of a tile: with 16 samples those of
// one position, with one sample 16 positions in a row. So no operand is gathered, and a convolution's tap is
// an address. A dense layer is a convolution whose kernel covers the whole image. Under a stride the columns
// that one tap reads are `stride` apart: they are kept together, so that again 16 of their lines are a tile's
// rows. Of a convolution in groups, each group's channels fill tile rows of their own.
#pragma once

#include <cstdint>

#include "base/geometry.h"
#include "base/inline.h"

namespace fastcnn {

// The channels of a line fill whole tile rows.
FASTCNN_INLINE constexpr std::int64_t amx_channels(std::int64_t channels) {
    return (channels + 31) / 32 * 32;
}

// The channels of a line, in `groups` equal parts, each of which fills whole tile rows.
struct AmxLine {
    std::int64_t count = 1, groups = 1;

    FASTCNN_INLINE std::int64_t in_group() const { return count / groups; }
    FASTCNN_INLINE std::int64_t group_size() const { return amx_channels(in_group()); }
    FASTCNN_INLINE std::int64_t size() const { return groups * group_size(); }
    // Whether channels are in the same places.
    FASTCNN_INLINE bool same_as(const AmxLine& other) const {
        const bool filled = in_group() % 32 == 0 && other.in_group() % 32 == 0;
        return count == other.count && (groups == other.groups || filled);
    }
};

// Whether tiles are for these channels and filters: groups of few leave them mostly empty. Float32 products
// are a sixteenth as many at best; the share of the tiles' products that has to count is an estimate.
FASTCNN_INLINE bool amx_fills(const AmxLine& channels, const AmxLine& filters) {
    constexpr std::int64_t kOneOf = 8;
    return channels.groups == 1 ||
           kOneOf * channels.in_group() * filters.in_group() >= channels.group_size() * filters.group_size();
}

// A block's activations or gradients, bfloat16. What fills up a group of channels and the columns left and
// right of the image are zeros; behind the last line there is room for a tile's rows and a tile's depth.
struct AmxImage {
    std::uint16_t* data = nullptr;
    std::int64_t height = 1, width = 1, left = 0, right = 0, samples = 1;
    AmxLine channels;
    std::int64_t stride = 1;  // a row holds its columns 0, stride, 2 stride, ..., then 1, stride + 1, ...

    FASTCNN_INLINE std::int64_t line() const { return channels.size(); }
    FASTCNN_INLINE std::int64_t pixel() const { return samples * line(); }
    FASTCNN_INLINE std::int64_t run() const { return (left + width + right + stride - 1) / stride; }
    FASTCNN_INLINE std::int64_t columns() const { return stride * run(); }
    FASTCNN_INLINE std::int64_t row() const { return columns() * pixel(); }
    // Room needed, in floats.
    FASTCNN_INLINE std::int64_t floats() const { return (height * row() + 48 * line()) / 2; }
    // Number of a pixel in memory.
    FASTCNN_INLINE std::int64_t index(std::int64_t y, std::int64_t x) const {
        const std::int64_t column = left + x;
        return y * columns() + (stride == 1 ? column : column % stride * run() + column / stride);
    }
    FASTCNN_INLINE std::uint16_t* at(std::int64_t y, std::int64_t x) const {
        return data + index(y, x) * pixel();
    }
};

// What a convolution of these windows reads: the columns it reaches beside the image are there.
FASTCNN_INLINE AmxImage amx_input(const Window& h, const Window& w, std::int64_t samples, AmxLine channels) {
    return {nullptr, h.in, w.in, w.pad > 0 ? w.pad : 0, w.pad_end(), samples, channels, w.stride};
}

// The gradients of a window's inputs phase, phase + stride, phase + 2 stride, ... come through the same taps:
// they are a convolution of the outputs' gradients with stride 1. Its output k is input phase + k * stride,
// its tap i the window's tap first_tap - i * tap_step.
struct AmxPhase {
    Window window;  // of size 0: no tap
    std::int64_t first_tap = 0, tap_step = 0, phase, stride;

    FASTCNN_INLINE AmxPhase(const Window& w, std::int64_t phase_) : phase(phase_), stride(w.stride) {
        std::int64_t tap = 0;
        for (tap_step = 1; tap_step * w.dilation % w.stride;) ++tap_step;
        const std::int64_t dilation = tap_step * w.dilation / w.stride;
        while (tap < w.size && (phase + w.pad - tap * w.dilation) % w.stride) ++tap;
        const std::int64_t size = tap < w.size ? (w.size - 1 - tap) / tap_step + 1 : 0;
        const std::int64_t reach = (size - 1) * dilation;
        // Through `tap` the first of these inputs belongs to this output.
        const std::int64_t output = (phase + w.pad - tap * w.dilation) / w.stride;
        window = {size, 1, dilation, w.out, (w.in - phase + w.stride - 1) / w.stride, reach - output};
        first_tap = tap + (size - 1) * tap_step;
    }
};

// What the phases of a convolution's inputs read.
FASTCNN_INLINE AmxImage amx_gradient(const Window& h, const Window& w, std::int64_t samples,
                                     AmxLine filters) {
    AmxImage image{nullptr, h.out, w.out, 0, 0, samples, filters};
    for (std::int64_t p = 0; p < w.stride && p < w.in; ++p) {
        const Window of = AmxPhase(w, p).window;
        if (of.size == 0) continue;
        if (of.pad > image.left) image.left = of.pad;
        if (of.pad_end() > image.right) image.right = of.pad_end();
    }
    return image;
}

// Pooling windows that neither overlap nor pad.
struct AmxPool {
    std::int64_t h = 1, w = 1;
    FASTCNN_INLINE std::int64_t positions() const { return h * w; }
};

// Numbers of a patch (AmxPatches) at most.
inline constexpr std::int64_t kAmxPatchNumbers = 256;

// First layers of few channels: the footprint of a pooling window in the padded image as one line.
struct AmxPatches {
    Window h, w;
    std::int64_t channels = 1;
    AmxPool pool;
    std::int64_t out_height = 1, out_width = 1;  // after pooling

    FASTCNN_INLINE std::int64_t rows() const { return (pool.h - 1) * h.stride + h.extent(); }
    FASTCNN_INLINE std::int64_t columns() const { return (pool.w - 1) * w.stride + w.extent(); }
    // Between neighbouring windows.
    FASTCNN_INLINE std::int64_t row_step() const { return pool.h * h.stride; }
    FASTCNN_INLINE std::int64_t column_step() const { return pool.w * w.stride; }
    FASTCNN_INLINE std::int64_t size() const { return rows() * columns() * channels; }
    FASTCNN_INLINE std::int64_t line() const { return amx_channels(size()); }

    // The image as far as windows reach, padding written out; behind each sample room for the
    // next window's numbers and a vector. Bfloat16
    // numbers.
    FASTCNN_INLINE std::int64_t height() const { return (out_height - 1) * row_step() + rows(); }
    FASTCNN_INLINE std::int64_t width() const { return (out_width - 1) * column_step() + columns(); }
    FASTCNN_INLINE std::int64_t sample() const {
        return ((height() * width() + column_step()) * channels + 63) / 32 * 32;
    }

    // A window's first number.
    FASTCNN_INLINE const std::uint16_t* window(const std::uint16_t* image, std::int64_t s, std::int64_t y,
                                               std::int64_t x) const {
        return image + s * sample() + (y * row_step() * width() + x * column_step()) * channels;
    }

    // Whether each number counts for some position. One that does not would be multiplied by zeros, and a NaN
    // there come through where no window reads it.
    FASTCNN_INLINE bool all_count() const { return axis_counts(h, pool.h) && axis_counts(w, pool.w); }

    // Number of the weight (of one filter, in the kernel's order) by which element k of a patch counts for
    // position `position` of its window, or -1.
    FASTCNN_INLINE std::int64_t weight(std::int64_t k, std::int64_t position) const {
        if (k >= size()) return -1;
        const std::int64_t y = k / channels / columns() - position / pool.w * h.stride;
        const std::int64_t x = k / channels % columns() - position % pool.w * w.stride;
        if (y < 0 || x < 0 || y % h.dilation || x % w.dilation) return -1;
        const std::int64_t i = y / h.dilation, j = x / w.dilation;
        return i < h.size && j < w.size ? (i * w.size + j) * channels + k % channels : -1;
    }

  private:
    FASTCNN_INLINE static bool axis_counts(const Window& window, std::int64_t positions) {
        for (std::int64_t i = 0; i < (positions - 1) * window.stride + window.extent(); ++i) {
            bool counts = false;
            for (std::int64_t p = 0; p < positions && !counts; ++p) {
                const std::int64_t tap = i - p * window.stride;
                counts = tap >= 0 && tap < window.extent() && tap % window.dilation == 0;
            }
            if (!counts) return false;
        }
        return true;
    }
};

// Positions of a pooling window at most.
inline constexpr std::int64_t kAmxPositions = 16;

// Argmax of an output whose ReLU is zero: no position has its gradient.
inline constexpr std::uint8_t kAmxNoPosition = 255;

// samples: float32 (count, height, width, channels), `stride` numbers apart -> lines; samples from `count` on
// are zero.
struct AmxRead {
    const float* values = nullptr;
    std::int64_t stride = 0, count = 0;
    AmxImage image;
};

// y = max over pool of act(bias + sum_taps sum_c x[o * stride - pad + tap * dilation][c] * kernel[tap][c]);
// x and kernel rounded to bfloat16, sums in float32, y rounded to bfloat16 or, where y.data is null, written
// as float32 samples (y_values). act is ReLU or the identity.
//
// With `transposed`, the input's gradient of a convolution with these windows, whose outputs are x
// (`channels`) and whose inputs are y (`filters`). In groups (as many of filters as of channels) each filter
// sums over its group's channels.
struct AmxConv {
    Window h, w;
    AmxLine channels, filters;
    bool relu = false, transposed = false;
    AmxPool pool;
    std::int64_t out_height = 1, out_width = 1;  // after pooling
    AmxImage x;
    const float* kernel = nullptr;  // packed
    const float* bias = nullptr;
    AmxImage y;
    float* y_values = nullptr;
    std::int64_t y_stride = 0, count = 0;
    std::uint8_t* argmax = nullptr;  // [row][column][sample][filters.size()], or null
    float* scratch = nullptr;
};

// The same for the first layer of a network, of so few channels that a pooling window's whole footprint is
// one line: (rows x columns x channels) of it, against which each position of the window has its own kernel.
// x are float32 samples; `image` keeps what is read of them, bfloat16 with the padding written out, for
// AmxPatchGradKernel. One group.
struct AmxPatchConv {
    AmxConv conv;  // x unused
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    float* image = nullptr;
};

// From the gradient of a pooled output to that of the convolution's: at the position that argmax names, or
// everywhere where argmax is null.
struct AmxSpread {
    AmxImage dy;                           // after pooling
    const std::uint8_t* argmax = nullptr;  // or null
    AmxPool pool;
    std::int64_t height = 1, width = 1;  // of the convolution's output
    AmxImage spread;                     // or data null
    // For AmxGradKernel: tiles [group][tile of 16 channels][row][tile of 32 lines] of 16 channels x 32
    // lines. Or null.
    float* transposed = nullptr;
    float* dbias = nullptr;  // of dy's channels, or null
    bool accumulate = false;
    float* scratch = nullptr;
};

// Floats of AmxSpread's `transposed`.
FASTCNN_INLINE std::int64_t amx_transposed_floats(const Window& h, const Window& w, std::int64_t samples,
                                                  const AmxLine& filters) {
    return filters.groups * ((filters.in_group() + 15) / 16) * h.out * ((w.out * samples + 31) / 32) * 256;
}

// An image's lines in pairs, line 2 p + phase and the next: with an odd number of samples, a shift by one
// column changes which lines are pairs.
struct AmxPairs {
    std::int64_t lines, line, pairs, phases;  // line: words of a pair
    FASTCNN_INLINE explicit AmxPairs(const AmxImage& x) {
        line = x.line();
        lines = x.height * x.columns() * x.samples;
        pairs = (lines + 1) / 2 + 16;  // a tile's depth may reach behind the last line
        phases = x.samples % 2 ? 2 : 1;
    }
    FASTCNN_INLINE std::int64_t floats() const { return phases * pairs * line; }
    // From line `first_line` on, in floats.
    FASTCNN_INLINE std::int64_t at(std::int64_t first_line) const {
        const std::int64_t phase = phases == 2 ? first_line & 1 : 0;
        return (phase * pairs + first_line / 2) * line;
    }
};

struct AmxPairLines {
    AmxImage x;
    float* pairs = nullptr;
};

// dkernel, in its own order (taps * channels of a group, filters), = sum over samples and outputs of dy * x;
// added to what is there where `accumulate`.
struct AmxGradKernel {
    Window h, w;
    AmxLine channels, filters;
    AmxImage x;  // its shape
    // What AmxPairLines and AmxSpread have made of each of `blocks` blocks, so many floats apart.
    std::int64_t blocks = 1, pairs_stride = 0, transposed_stride = 0;
    const float* pairs = nullptr;
    const float* transposed = nullptr;
    // These rows of dkernel only: multiples of row_unit().
    std::int64_t first_row = 0, last_row = 0;
    float* dkernel = nullptr;
    bool accumulate = false;
    float* scratch = nullptr;

    FASTCNN_INLINE std::int64_t rows() const { return h.size * w.size * channels.in_group(); }
    // Channels of a tap whose sums need no others: of a single tap the last ones may be fewer.
    FASTCNN_INLINE std::int64_t row_unit() const {
        return h.size * w.size > 1 && channels.in_group() % 32 ? channels.in_group() : 32;
    }
};

// The same for a first layer, and dbias. One group.
struct AmxPatchGradKernel {
    Window h, w;
    std::int64_t channels = 1, filters = 1;
    AmxPool pool;
    const float* image = nullptr;  // AmxPatchConv's
    AmxImage dy;                   // after pooling
    const std::uint8_t* argmax = nullptr;
    float* dkernel = nullptr;
    float* dbias = nullptr;
    bool accumulate = false;
    float* scratch = nullptr;
};

}  // namespace fastcnn
