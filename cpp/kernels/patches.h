// Patches of a first layer (AmxPatches) from samples.
#pragma once

#include "kernels/lines.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

// The patch of window (y, x) of sample s. Up to a vector behind it is written too.
FASTCNN_INLINE void copy_patch(const AmxPatches& p, const Bfloat16* image, std::int64_t s, std::int64_t y,
                               std::int64_t x, Bfloat16* to) {
    const std::int64_t n = p.columns() * p.channels, pitch = p.width() * p.channels, rows = p.rows();
    const Bfloat16* from =
        image + s * p.sample() + (y * p.row_step() * p.width() + x * p.column_step()) * p.channels;
    Bfloat16* const end = to + p.line();
    for (std::int64_t i = 0; i < rows; ++i, from += pitch, to += n)
        for (std::int64_t k = 0; k < n; k += kWidth) istore_words(to + k, iload_words(from + k));
    for (; to < end; to += kWidth) istore_words(to, iset1(0));
}

// float32 samples -> what copy_patch() reads; samples from `count` on are zero.
FASTCNN_INLINE void read_image(const AmxPatches& p, const float* x, std::int64_t stride, std::int64_t count,
                               std::int64_t samples, Bfloat16* image) {
    clear(image, samples * p.sample());
    for (std::int64_t s = 0; s < count; ++s)
        for (std::int64_t y = 0; y < p.height(); ++y) {
            const std::int64_t from = y - p.h.pad;
            if (from < 0 || from >= p.h.in) continue;
            const std::int64_t n = at_most(p.w.in, p.width() - p.w.pad) * p.channels;
            const float* values = x + s * stride + from * p.w.in * p.channels;
            Bfloat16* to = image + s * p.sample() + (y * p.width() + p.w.pad) * p.channels;
            std::int64_t k = 0;
            for (; k + kWidth <= n; k += kWidth) store_bfloat16(to + k, load(values + k));
            for (; k < n; ++k) to[k] = to_bfloat16(values[k]);
        }
}

}  // namespace

}  // namespace fastcnn::FASTCNN_ISA
