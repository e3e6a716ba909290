// Lines of bfloat16 from and to samples, and the gradients of pooled outputs spread over their windows.
#include "kernels/lines.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

FASTCNN_INLINE void round_line(const float* from, std::int64_t channels, Bfloat16* to) {
    std::int64_t k = 0;
    for (; k + kWidth <= channels; k += kWidth) store_bfloat16(to + k, load(from + k));
    if (k < channels) store_bfloat16(to + k, load_partial(from + k, channels - k));
}

void read(const AmxRead& a) {
    const AmxImage& image = a.image;
    const std::int64_t line = image.line(), in_group = image.channels.in_group();
    const std::int64_t group_size = image.channels.group_size();
    for (std::int64_t y = 0; y < image.height; ++y) {
        if (image.stride == 1) {
            clear(image.data + y * image.row(), image.left * image.pixel());
            clear(image.at(y, image.width), image.right * image.pixel());
        } else {
            clear(image.data + y * image.row(), image.row());
        }
        for (std::int64_t x = 0; x < image.width; ++x)
            for (std::int64_t s = 0; s < image.samples; ++s) {
                Bfloat16* to = image.at(y, x) + s * line;
                if (s >= a.count) {
                    clear(to, line);
                    continue;
                }
                std::int64_t at = s * a.stride + (y * image.width + x) * image.channels.count;
                for (Bfloat16* end = to + line; to < end; to += group_size, at += in_group) {
                    round_line(a.values + at, in_group, to);
                    clear(to + in_group, group_size - in_group);
                }
            }
    }
}

// One position of the convolution's output: its lines of all samples.
FASTCNN_INLINE void spread_pixel(const AmxSpread& a, std::int64_t y, std::int64_t x, Bfloat16* to) {
    const std::int64_t pixel = a.dy.pixel(), from_y = y / a.pool.h, from_x = x / a.pool.w;
    if (from_y >= a.dy.height || from_x >= a.dy.width) return clear(to, pixel);
    const Bfloat16* from = a.dy.at(from_y, from_x);
    if (!a.argmax) {
        std::memcpy(to, from, static_cast<std::size_t>(pixel) * sizeof(Bfloat16));
        return;
    }
    const std::uint8_t* argmax = a.argmax + (from_y * a.dy.width + from_x) * pixel;
    const auto here = static_cast<std::uint8_t>(y % a.pool.h * a.pool.w + x % a.pool.w);
    for (std::int64_t k = 0; k < pixel; k += kTileDepth)
        store_row(to + k, merge_words({}, from + k, words_marked(argmax + k, here)));
}

// dbias += or = the sum of dy's lines where argmax names a position. kVecs vectors from channel c of a group
// on: several sums at once.
template <int kVecs>
FASTCNN_INLINE void sum_bias_vectors(const AmxImage& dy, const std::uint8_t* argmax, std::int64_t group,
                                     std::int64_t c, float* dbias, bool accumulate) {
    const std::int64_t in_group = dy.channels.in_group(), pitch = dy.line();
    const std::int64_t place = group * dy.channels.group_size() + c, lines = dy.width * dy.samples;
    Vec sums[kVecs];
    for (int v = 0; v < kVecs; ++v) sums[v] = zero();
    for (std::int64_t y = 0; y < dy.height; ++y) {
        const Bfloat16* line = dy.at(y, 0) + place;
        const std::uint8_t* marks = argmax ? argmax + y * lines * pitch + place : nullptr;
        for (std::int64_t l = 0; l < lines; ++l, line += pitch, marks += marks ? pitch : 0)
#pragma GCC unroll 4
            for (int v = 0; v < kVecs; ++v) {
                Vec value = load_bfloat16(line + v * kWidth);
                if (marks) {
                    const IVec at = iload_bytes_partial(marks + v * kWidth, kWidth);
                    value = select(ieq(at, iset1(kAmxNoPosition)), zero(), value);
                }
                sums[v] = add(sums[v], value);
            }
    }
    for (int v = 0; v < kVecs; ++v) {
        const std::int64_t n = at_most(kWidth, in_group - c - v * kWidth);
        if (n <= 0) return;
        float* to = dbias + group * in_group + c + v * kWidth;
        store_partial(to, accumulate ? add(sums[v], load_partial(to, n)) : sums[v], n);
    }
}

FASTCNN_INLINE void sum_bias(const AmxImage& dy, const std::uint8_t* argmax, float* dbias, bool accumulate) {
    constexpr int kVecs = 32 / kWidth;  // a group's channels in a line are a multiple
    for (std::int64_t group = 0; group < dy.channels.groups; ++group)
        for (std::int64_t c = 0; c < dy.channels.in_group(); c += 32)
            sum_bias_vectors<kVecs>(dy, argmax, group, c, dbias, accumulate);
}

std::int64_t spread_scratch(const AmxSpread& a) { return a.width * a.dy.pixel() / 2; }

void spread(const AmxSpread& a) {
    const std::int64_t pixel = a.dy.pixel(), line = a.dy.line(), lines = a.width * a.dy.samples;
    const std::int64_t chunks = tiles_of(lines, kTileDepth);
    const bool sums_only = !a.spread.data && !a.transposed;
    for (std::int64_t y = 0; y < a.height && !sums_only; ++y) {
        Bfloat16* row = a.spread.data ? a.spread.at(y, 0) : reinterpret_cast<Bfloat16*>(a.scratch);
        if (a.spread.data) {
            clear(a.spread.data + y * a.spread.row(), a.spread.left * pixel);
            clear(a.spread.at(y, a.width), a.spread.right * pixel);
        }
        for (std::int64_t x = 0; x < a.width; ++x) spread_pixel(a, y, x, row + x * pixel);
        if (!a.transposed) continue;
        const std::int64_t tiles = tiles_of(a.dy.channels.in_group(), 16);  // of a group
        for (std::int64_t f = 0; f < a.dy.channels.groups * tiles; ++f)
            for (std::int64_t k = 0; k < chunks; ++k)
                transpose_lines(
                    row + k * kTileDepth * line + f / tiles * a.dy.channels.group_size() + f % tiles * 16,
                    line, lines - k * kTileDepth,
                    reinterpret_cast<Bfloat16*>(a.transposed) +
                        ((f * a.height + y) * chunks + k) * kTileElements);
    }
    if (a.dbias) sum_bias(a.dy, a.argmax, a.dbias, a.accumulate);
}

}  // namespace

constinit const Kernel<AmxRead> amx_read = {.run = read};
constinit const Kernel<AmxSpread> amx_spread = {.run = spread, .scratch = spread_scratch};

}  // namespace fastcnn::FASTCNN_ISA
