// Patches of a first layer (AmxPatches) from samples.
#pragma once

#include "kernels/lines.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

// Copies the patches of windows into lines: rows of the image, put side by side in registers.
class PatchLines {
  public:
    FASTCNN_INLINE explicit PatchLines(const AmxPatches& p) : patches_(p), vectors_(p.line() / kTileDepth) {
        const std::int64_t n = p.columns() * p.channels, pitch = p.width() * p.channels;
        for (std::int64_t v = 0; v < vectors_; ++v) {
            const std::int64_t begin = v * kTileDepth, end = begin + kTileDepth;
            ends_[v] = count_;
            for (std::int64_t i = begin / n; i < p.rows() && i * n < end; ++i) {
                const std::int64_t first = i * n < begin ? begin : i * n;
                parts_[count_++] = {i * (pitch - n) + begin,
                                    words_between(first - begin, at_most((i + 1) * n, end) - begin)};
            }
            while (count_ < ends_[v] + kOften) parts_[count_++] = {0, words_between(0, 0)};
            if (count_ > ends_[v] + kOften) often_ = false;
            ends_[v] = count_;
        }
    }
    // `count` lines from line `first` of row y on, x * samples + sample being the number of a line.
    FASTCNN_NOINLINE void copy(const Bfloat16* image, std::int64_t samples, std::int64_t y,
                               std::int64_t first, std::int64_t count, Bfloat16* to) const {
        if (often_ && vectors_ == 1)
            copy_as<1>(image, samples, y, first, count, to);
        else if (often_ && vectors_ == 2)
            copy_as<2>(image, samples, y, first, count, to);
        else
            copy_as<0>(image, samples, y, first, count, to);
    }

  private:
    // Words of a row that are in this place of the line already, relative to the window's first.
    struct Part {
        std::int64_t from;
        RowWords words;
    };
    static constexpr std::int64_t kOften = 4;  // parts of a vector, as of 3x3 kernels under 2x2 pooling
    static constexpr std::int64_t kVectors = amx_channels(kAmxPatchNumbers) / kTileDepth;

    // kOftenVectors: how many, of kOften parts each, or 0.
    template <int kOftenVectors>
    FASTCNN_INLINE void copy_as(const Bfloat16* image, std::int64_t samples, std::int64_t y,
                                std::int64_t first, std::int64_t count, Bfloat16* to) const {
        const std::int64_t sample = patches_.sample(), column = patches_.column_step() * patches_.channels;
        std::int64_t x = first / samples, s = first % samples;
        const Bfloat16* from = patches_.window(image, s, y, x);
        // In registers: a store might change what is in memory, as far as the compiler knows.
        Part parts[kOftenVectors * kOften + 1];  // none is not allowed
        for (int i = 0; i < kOftenVectors * kOften; ++i) parts[i] = parts_[i];
        for (std::int64_t l = 0; l < count; ++l) {
            if constexpr (kOftenVectors) {
#pragma GCC unroll 2
                for (int v = 0; v < kOftenVectors; ++v, to += kTileDepth) {
                    TileRow row;
#pragma GCC unroll 4
                    for (int i = 0; i < kOften; ++i)
                        row =
                            merge_words(row, from + parts[v * kOften + i].from, parts[v * kOften + i].words);
                    store_row(to, row);
                }
            } else {
                for (std::int64_t v = 0, i = 0; v < vectors_; ++v, to += kTileDepth) {
                    TileRow row;
                    for (; i < ends_[v]; ++i) row = merge_words(row, from + parts_[i].from, parts_[i].words);
                    store_row(to, row);
                }
            }
            from += sample;
            if (++s == samples) {
                s = 0;
                from += column - samples * sample;
            }
        }
    }

    AmxPatches patches_;
    std::int64_t vectors_, count_ = 0, ends_[kVectors];
    bool often_ = true;
    Part parts_[kAmxPatchNumbers + kOften * kVectors];
};

// float32 samples -> what PatchLines::copy() reads; samples from `count` on are zero.
FASTCNN_INLINE void read_image(const AmxPatches& p, const float* x, std::int64_t stride, std::int64_t count,
                               std::int64_t samples, Bfloat16* image) {
    clear(image, samples * p.sample());
    const std::int64_t first = p.h.pad > 0 ? p.h.pad : 0, end = at_most(p.height(), p.h.pad + p.h.in);
    const std::int64_t in_row = p.w.in * p.channels;
    std::int64_t n = at_most(p.w.in, p.width() - p.w.pad) * p.channels, rows = end - first;
    if (p.w.pad == 0 && p.width() == p.w.in) {  // nothing is between the rows
        n *= rows;
        rows = 1;
    }
    for (std::int64_t s = 0; s < count; ++s)
        for (std::int64_t y = first; y < first + rows; ++y) {
            const float* values = x + s * stride + (y - p.h.pad) * in_row;
            Bfloat16* to = image + s * p.sample() + (y * p.width() + p.w.pad) * p.channels;
            std::int64_t k = 0;
            for (; k + 2 * kWidth <= n; k += 2 * kWidth)
                store_bfloat16(to + k, load(values + k), load(values + k + kWidth));
            // Zeros behind it are where padding, the next row or room for a vector is.
            for (; k < n; k += kWidth)
                store_bfloat16(to + k, load_partial(values + k, at_most(kWidth, n - k)));
        }
}

}  // namespace

}  // namespace fastcnn::FASTCNN_ISA
