// Samples into planes (AmxPlanes), or patches of them into lines.
#include "kernels/lines.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

constexpr std::int64_t kLine = 32;  // channels

FASTCNN_INLINE void copy_line(const Bfloat16* from, std::int64_t channels, Bfloat16* to) {
    if (channels >= kLine) {
        std::memcpy(to, from, kLine * sizeof(Bfloat16));
        return;
    }
    for (std::int64_t c = 0; c < channels; ++c) to[c] = from[c];
    clear(to + channels, kLine - channels);
}

// One sample's row of the image, and zeros beside it.
FASTCNN_INLINE void read_row(const AmxPlanes& planes, const Bfloat16* from, std::int64_t width,
                             Bfloat16* to) {
    const std::int64_t plane = planes.plane() * kLine, step = planes.samples * kLine;
    const std::int64_t count = planes.channels.count, in_group = planes.channels.in_group();
    const std::int64_t pieces = planes.planes();
    for (std::int64_t phase = 0; phase < planes.stride; ++phase) {
        std::int64_t x = phase - planes.left;
        for (std::int64_t i = 0; i < planes.run(); ++i, x += planes.stride, to += step) {
            Bfloat16* piece = to;
            if (x < 0 || x >= width) {
                for (std::int64_t p = 0; p < pieces; ++p, piece += plane) clear(piece, kLine);
                continue;
            }
            const Bfloat16* pixel = from + x * count;
            if (in_group % kLine == 0) {
                for (std::int64_t p = 0; p < pieces; ++p, piece += plane, pixel += kLine)
                    std::memcpy(piece, pixel, kLine * sizeof(Bfloat16));
                continue;
            }
            for (std::int64_t g = 0; g < planes.channels.groups; ++g, pixel += in_group)
                for (std::int64_t c = 0; c < in_group; c += kLine, piece += plane)
                    copy_line(pixel + c, in_group - c, piece);
        }
    }
}

void read(const AmxReadPlanes& a) {
    const AmxPlanes& planes = a.planes;
    const std::int64_t plane = planes.plane() * kLine;
    for (std::int64_t row = a.first; row < a.last; ++row) {
        const std::int64_t y = planes.top + row;
        Bfloat16* const lines = planes.data + row * planes.row() * kLine;
        const bool outside = y < 0 || y >= a.height;
        if (outside || a.count < planes.samples)
            for (std::int64_t p = 0; p < planes.planes(); ++p) clear(lines + p * plane, planes.row() * kLine);
        if (outside) continue;
        for (std::int64_t s = 0; s < a.count; ++s)
            read_row(planes, a.words + s * a.stride + y * a.width * planes.channels.count, a.width,
                     lines + s * kLine);
    }
}

// ----------------------------------------------------------------------------------------------------
// patches

constexpr std::int64_t kSpare = 32;  // words that copies may reach behind what they are asked for

// The rows of one sample that patches read.
FASTCNN_INLINE void pad_rows(const AmxReadPatches& a, const Bfloat16* sample, Bfloat16* to) {
    const std::int64_t left = a.w.pad * a.channels, row = a.row();
    const std::int64_t copied = at_most(a.w.in * a.channels, row - left);
    for (std::int64_t r = 0; r < a.rows(); ++r, to += row) {
        const std::int64_t y = a.h.begin(a.first) + r;
        const bool inside = y >= 0 && y < a.h.in;
        clear(to, inside ? left : row);
        if (!inside) continue;
        std::memcpy(to + left, sample + y * a.w.in * a.channels,
                    static_cast<std::size_t>(copied) * sizeof(Bfloat16));
        clear(to + left + copied, row - left - copied);
    }
}

// Floats of a sample's rows.
FASTCNN_INLINE std::int64_t padded(const AmxReadPatches& a) { return (a.rows() * a.row() + kSpare) / 2 + 1; }

std::int64_t patch_scratch(const AmxReadPatches& a) { return a.lines.samples * padded(a); }

// One patch, its rows `piece` numbers each, copied kWords at a time; kRows: how many rows, of at most kWords
// each, or 0: any. In the order of memory: what is copied beyond a line is the next one's, which is written
// later.
template <int kWords, int kRows>
FASTCNN_INLINE void copy_patch(const AmxReadPatches& a, const Bfloat16* from, std::int64_t row,
                               std::int64_t piece, Bfloat16* to, Bfloat16* end) {
    const std::int64_t rows = kRows ? kRows : a.h.size;
#pragma GCC unroll 8
    for (std::int64_t i = 0; i < rows; ++i, from += row, to += piece) {
        std::memcpy(to, from, kWords * sizeof(Bfloat16));
        if constexpr (kRows == 0)
            for (std::int64_t k = kWords; k < piece; k += kWords)
                std::memcpy(to + k, from + k, kWords * sizeof(Bfloat16));
    }
    for (; to < end; to += 16) clear(to, 16);
}

template <int kWords, int kRows>
FASTCNN_INLINE void copy_patches(const AmxReadPatches& a, const Bfloat16* image) {
    const std::int64_t line = a.lines.line_step(), piece = a.w.size * a.channels, row = a.row();
    const std::int64_t step = a.w.stride * a.channels, sample = 2 * padded(a);
    const std::int64_t samples = a.lines.samples, count = a.count, columns = a.w.out;
    Bfloat16* to = a.lines.data;
    for (std::int64_t y = 0; y < a.last - a.first; ++y) {
        const Bfloat16* from = image + y * a.h.stride * row;
        for (std::int64_t x = 0; x < columns; ++x, from += step)
            for (std::int64_t s = 0; s < samples; ++s, to += line) {
                if (s < count)
                    copy_patch<kWords, kRows>(a, from + s * sample, row, piece, to, to + line);
                else
                    clear(to, line);
            }
    }
}
template <int kWords>
FASTCNN_INLINE void copy_patches(const AmxReadPatches& a, const Bfloat16* image) {
    const std::int64_t rows = a.w.size * a.channels <= kWords ? a.h.size : 0;
    rows == 3   ? copy_patches<kWords, 3>(a, image)
    : rows == 5 ? copy_patches<kWords, 5>(a, image)
    : rows == 7 ? copy_patches<kWords, 7>(a, image)
                : copy_patches<kWords, 0>(a, image);
}

void read_patches(const AmxReadPatches& a) {
    Bfloat16* const image = reinterpret_cast<Bfloat16*>(a.scratch);
    for (std::int64_t s = 0; s < a.count; ++s) pad_rows(a, a.words + s * a.stride, image + s * 2 * padded(a));
    a.w.size* a.channels <= 16 ? copy_patches<16>(a, image) : copy_patches<32>(a, image);
}

}  // namespace

constinit const Kernel<AmxReadPatches> amx_read_patches = {.run = read_patches, .scratch = patch_scratch};
constinit const Kernel<AmxReadPlanes> amx_read_planes = {.run = read};

}  // namespace fastcnn::FASTCNN_ISA
