// Mean and scatter of a convolution's input patches. The mean and variance of each output channel follow from
// them without computing an output (engine/folded_norm_step.cpp), which pays where a patch is small: of one
// channel and 3x3 taps 9 x 9 sums a position stand for 9 x 32 multiply-adds and for every pass over 32
// channels.
//
// Patches are written out, up to kRun at a time, less a pivot (else the sums would be large beside their
// scatter), and multiplied with themselves in register tiles; a column of ones gives their sums. float32
// within a run, double between.
#include "kernels/conv.h"
#include "kernels/rows.h"
#include "simd/lanes.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

constexpr std::int64_t kRun = 64;
// Rows of a tile that is one or two vectors wide.
constexpr int kRows1 = kManyRegisters ? 12 : 8;
constexpr int kRows2 = kManyRegisters ? 6 : 4;
constexpr int kMostRows = kRows1 > kRows2 ? kRows1 : kRows2;

// Scratch: patches (kRun rows of `width` floats: a patch, a one, zeros), pivot, sums, and a padded image.
struct Memory {
    std::int64_t taps, width, pivot, sums, image, size;

    FASTCNN_INLINE explicit Memory(const Conv2dShape& c)
        : taps(c.h.size * c.w.size * c.in_channels),
          width((taps + 1 + kWidth - 1) / kWidth * kWidth),
          pivot(kRun * width + kMostRows),  // a tile may read rows that do not exist
          sums((pivot + width + 15) / 16 * 16),
          image(sums + 2 * taps * width),
          size(image) {
        const Padded padded(c, false);
        if (padded.needed(c)) size += padded.image.size();
    }
};

const char* declines(const PatchMoments& a) {
    const Conv2dShape& c = a.shape;
    if (c.groups != 1) return "groups is not 1";
    return c.h.size * c.w.size * c.in_channels > kMomentTaps ? "a patch has more than 31 values" : nullptr;
}

std::int64_t scratch(const PatchMoments& a) { return Memory(a.shape).size; }

// sums[row][column] += sum of patch[row] * patch[column] over `count` patches, for rows [0, Rows) that exist.
template <int Rows, int Vecs>
void add_tile(const float* row, const float* column, std::int64_t width, std::int64_t count,
              std::int64_t rows, double* sums) {
    Vec acc[Rows][Vecs];
    for (auto& line : acc)
        for (Vec& v : line) v = zero();
    for (std::int64_t n = 0; n < count; ++n, row += width, column += width) {
        Vec b[Vecs];
#pragma GCC unroll 2
        for (int v = 0; v < Vecs; ++v) b[v] = load(column + v * kWidth);
#pragma GCC unroll 12
        for (int i = 0; i < Rows; ++i) {
            const Vec a = set1(row[i]);
#pragma GCC unroll 2
            for (int v = 0; v < Vecs; ++v) acc[i][v] = fma(a, b[v], acc[i][v]);
        }
    }
    alignas(64) float line[Vecs * kWidth];
    for (std::int64_t i = 0; i < rows && i < Rows; ++i) {
        for (int v = 0; v < Vecs; ++v) store(line + v * kWidth, acc[i][v]);
        for (int j = 0; j < Vecs * kWidth; ++j) sums[i * width + j] += static_cast<double>(line[j]);
    }
}

// Tiles on and right of the diagonal.
void add_run(const Memory& m, const float* patches, std::int64_t count, double* sums) {
    for (std::int64_t column = 0; column < m.width;) {
        const bool two = m.width - column >= 2 * kWidth;
        const std::int64_t rows = two ? kRows2 : kRows1, end = column + (two ? 2 : 1) * kWidth;
        for (std::int64_t row = 0; row < m.taps && row < end; row += rows)
            (two ? add_tile<kRows2, 2> : add_tile<kRows1, 1>)(patches + row, patches + column, m.width, count,
                                                              m.taps - row, sums + row * m.width + column);
        column = end;
    }
}

// Patches of `count` neighbouring outputs from (y, x) on, less the pivot: `image` is padded. One run of taps
// of all outputs after the other, so that its mask and pivot stay in registers.
FASTCNN_INLINE void write_patches(const Conv2dShape& c, const float* image, std::int64_t image_row,
                                  std::int64_t y, std::int64_t x, std::int64_t count, const float* pivot,
                                  std::int64_t width, float* patches) {
    const bool joined = c.w.dilation == 1;  // the taps of a kernel row are one run
    const std::int64_t runs = joined ? 1 : c.w.size,
                       length = joined ? c.w.size * c.in_channels : c.in_channels;
    const std::int64_t step = c.w.stride * c.in_channels;
    std::int64_t at = 0;
    for (std::int64_t i = 0; i < c.h.size; ++i)
        for (std::int64_t j = 0; j < runs; ++j, at += length) {
            const float* from = image + (y * c.h.stride + i * c.h.dilation) * image_row + x * step +
                                j * c.w.dilation * c.in_channels;
            for_each_vector(length, [&](std::int64_t l, auto lanes) {
                const Vec shift = lanes.load(pivot + at + l);
                for (std::int64_t n = 0; n < count; ++n)
                    lanes.store(patches + n * width + at + l, sub(lanes.load(from + n * step + l), shift));
            });
        }
}

void finish(const PatchMoments& a, const Memory& m, const float* pivot, const double* sums) {
    const double n = static_cast<double>(a.batch * a.shape.h.out * a.shape.w.out);
    for (std::int64_t i = 0; i < m.taps; ++i) {
        const double sum = sums[i * m.width + m.taps];
        a.mean[i] = static_cast<double>(pivot[i]) + sum / n;
        for (std::int64_t j = i; j < m.taps; ++j) {
            const double product = sum * sums[j * m.width + m.taps] / n;
            a.scatter[i * m.taps + j] = a.scatter[j * m.taps + i] = sums[i * m.width + j] - product;
        }
    }
}

void run(const PatchMoments& a) {
    const Conv2dShape& c = a.shape;
    const Memory m(c);
    const Padded padded(c, false);
    float* patches = a.scratch;
    float* pivot = a.scratch + m.pivot;
    double* sums = reinterpret_cast<double*>(a.scratch + m.sums);
    for (std::int64_t i = 0; i < m.taps * m.width; ++i) sums[i] = 0.0;
    for (std::int64_t n = 0; n < kRun; ++n)
        for (std::int64_t i = m.taps; i < m.width; ++i) patches[n * m.width + i] = i == m.taps ? 1.0f : 0.0f;
    // Any value among the data will do: the pixel in the middle.
    const float* middle = a.x + (c.h.in / 2 * c.w.in + c.w.in / 2) * c.in_channels;
    for (std::int64_t i = 0; i < m.taps; ++i) pivot[i] = middle[i % c.in_channels];

    std::int64_t count = 0;
    for (std::int64_t s = 0; s < a.batch; ++s) {
        const float* image = a.x + s * a.x_stride;
        if (padded.needed(c)) {
            copy_padded(image, 0, 1, c.h.in, c.w.in, padded, a.scratch + m.image);
            image = a.scratch + m.image;
        }
        for (std::int64_t y = 0; y < c.h.out; ++y)
            for (std::int64_t x = 0; x < c.w.out;) {
                const std::int64_t wanted = min_of(c.w.out - x, kRun - count);
                write_patches(c, image, padded.image.row(), y, x, wanted, pivot, m.width,
                              patches + count * m.width);
                x += wanted;
                count += wanted;
                if (count < kRun) continue;
                add_run(m, patches, count, sums);
                count = 0;
            }
    }
    add_run(m, patches, count, sums);
    finish(a, m, pivot, sums);
}

}  // namespace

const Kernel<PatchMoments> patch_moments_tiles = {run, declines, scratch};

}  // namespace fastcnn::FASTCNN_ISA
