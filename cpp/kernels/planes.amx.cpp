// Samples into planes (AmxPlanes).
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

}  // namespace

constinit const Kernel<AmxReadPlanes> amx_read_planes = {.run = read};

}  // namespace fastcnn::FASTCNN_ISA
