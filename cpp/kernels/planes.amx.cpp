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

void read(const AmxReadPlanes& a) {
    const AmxPlanes& planes = a.planes;
    const std::int64_t plane = planes.plane() * kLine, samples = planes.samples;
    const std::int64_t count = planes.channels.count, in_group = planes.channels.in_group();
    const auto clear_lines = [&](Bfloat16* to, std::int64_t lines) {
        for (std::int64_t p = 0; p < planes.planes(); ++p) clear(to + p * plane, lines * kLine);
    };
    for (std::int64_t row = a.first; row < a.last; ++row) {
        const std::int64_t y = planes.top + row;
        Bfloat16* const lines = planes.data + row * planes.row() * kLine;
        if (y < 0 || y >= a.height) {
            clear_lines(lines, planes.row());
            continue;
        }
        for (std::int64_t column = 0; column < planes.stride * planes.run(); ++column) {
            const std::int64_t x = column - planes.left;
            Bfloat16* to = lines + planes.column(column) * kLine;
            if (x < 0 || x >= a.width) {
                clear_lines(to, samples);
                continue;
            }
            for (std::int64_t s = 0; s < a.count; ++s, to += kLine) {
                const Bfloat16* from = a.words + s * a.stride + (y * a.width + x) * count;
                Bfloat16* part = to;
                for (std::int64_t g = 0; g < planes.channels.groups; ++g, from += in_group)
                    for (std::int64_t c = 0; c < in_group; c += kLine, part += plane)
                        copy_line(from + c, in_group - c, part);
            }
            clear_lines(to, samples - a.count);
        }
    }
}

}  // namespace

constinit const Kernel<AmxReadPlanes> amx_read_planes = {.run = read};

}  // namespace fastcnn::FASTCNN_ISA
