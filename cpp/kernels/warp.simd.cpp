// Images shifted, mirrored, turned, stretched and sheared: an affine map from the positions of the result to
// those of the image.
//
// A row of the result at a time: first where each of its positions reads and with what weights, many at once;
// then the pixels themselves, one after the other, since vectors cannot read from anywhere at once.
#include "kernels/rows.h"
#include "simd/lanes.h"
#include "simd/vec.h"

namespace fastcnn::FASTCNN_ISA {
namespace {

// The largest integer not above v; |v| < 2^23.
FASTCNN_INLINE Vec floor_of(Vec v) {
    const Vec rounded = to_float(to_int(v));
    return select(gt(rounded, v), sub(rounded, set1(1.0f)), rounded);
}

// i modulo n for whole numbers: the quotient is exact where i is a multiple of n.
FASTCNN_INLINE Vec modulo(Vec i, Vec n) { return sub(i, mul(n, floor_of(div(i, n)))); }

// One axis: positions of the image (whole numbers) that stand for `i`, which may lie outside.
FASTCNN_INLINE Vec inside(FillMode fill, Vec i, float size) {
    if (fill == FillMode::wrap) return modulo(i, set1(size));
    if (fill == FillMode::reflect) {
        const Vec m = modulo(i, set1(2.0f * size));
        return min(m, sub(set1(2.0f * size - 1.0f), m));
    }
    return min(max(i, zero()), set1(size - 1.0f));
}

FASTCNN_INLINE Mask valid(Vec i, float size) { return mask_and(ge(i, zero()), gt(set1(size), i)); }

// Where the positions of a row of the result read: as many corners as `bilinear` asks for, each an array of
// offsets (in pixels, as integers' bits) and one of weights, and what positions outside add.
struct Corners {
    float* offset[4];
    float* weight[4];
    float* outside;

    Corners(float* scratch, std::int64_t stride) {
        for (int k = 0; k < 4; ++k) {
            offset[k] = scratch + 2 * k * stride;
            weight[k] = scratch + (2 * k + 1) * stride;
        }
        outside = scratch + 8 * stride;
    }
    FASTCNN_INLINE std::int64_t at(int k, std::int64_t j) const {
        std::int32_t i;
        std::memcpy(&i, offset[k] + j, sizeof i);
        return i;
    }
};

std::int64_t row_floats(const WarpShape& n) { return (n.out_width + kWidth - 1) / kWidth * kWidth; }
std::int64_t scratch_floats(const WarpShape& n) { return 9 * row_floats(n); }

struct Axis {
    Vec index[2], weight[2];
    Mask valid[2];
};

// Coordinates far away are all outside alike; whole numbers up to 2^22 and their neighbours are exact. NaN
// becomes the lower limit.
FASTCNN_INLINE Axis axis_of(const WarpShape& n, Vec at, float size) {
    at = min(max(at, set1(-4194304.0f)), set1(4194304.0f));
    Axis axis;
    const Vec lower = n.bilinear ? floor_of(at) : to_float(to_int(at));
    axis.weight[1] = sub(at, lower);
    axis.weight[0] = sub(set1(1.0f), axis.weight[1]);
    for (int k = 0; k < 2; ++k) {
        const Vec i = k ? add(lower, set1(1.0f)) : lower;
        axis.index[k] = inside(n.fill, i, size);
        axis.valid[k] = valid(i, size);
    }
    return axis;
}

void find_corners(const WarpShape& n, const float* t, std::int64_t i, const Corners& out) {
    const float height = static_cast<float>(n.in_height), width = static_cast<float>(n.in_width);
    const Vec row_start = set1(t[4] * static_cast<float>(i) + t[5]);
    const Vec column_start = set1(t[1] * static_cast<float>(i) + t[2]);
    const int count = n.bilinear ? 2 : 1;
    for (std::int64_t j = 0; j < n.out_width; j += kWidth) {
        const Vec position = to_float(iadd(iset1(static_cast<std::int32_t>(j)), iota()));
        const Axis rows = axis_of(n, fma(set1(t[3]), position, row_start), height);
        const Axis columns = axis_of(n, fma(set1(t[0]), position, column_start), width);
        Vec outside = zero();
        for (int r = 0; r < count; ++r) {
            IVec unused, row;
            multiply_wide(to_int(rows.index[r]), iset1(static_cast<std::int32_t>(n.in_width)), unused, row);
            for (int c = 0; c < count; ++c) {
                const int k = 2 * r + c;
                store(out.offset[k] + j, as_float(iadd(row, to_int(columns.index[c]))));
                Vec weight = n.bilinear ? mul(rows.weight[r], columns.weight[c]) : set1(1.0f);
                if (n.fill == FillMode::constant) {
                    const Mask in = mask_and(rows.valid[r], columns.valid[c]);
                    outside = select(in, outside, fma(weight, set1(n.fill_value), outside));
                    weight = select(in, weight, zero());
                }
                store(out.weight[k] + j, weight);
            }
        }
        store(out.outside + j, outside);
    }
}

// The first pixel and the steps from row to row and column to column of a transform that only copies pixels,
// as shifts and mirror images do.
struct CopyMap {
    bool copies = false;
    std::int64_t start = 0, row_step = 0, column_step = 0;
};

CopyMap copy_map(const WarpShape& n, const float* t) {
    const auto whole = [](float v) {
        return v >= -4194304.0f && v <= 4194304.0f && static_cast<float>(static_cast<std::int32_t>(v)) == v;
    };
    CopyMap map;
    const bool axes =
        (t[0] == 1.0f || t[0] == -1.0f) && (t[4] == 1.0f || t[4] == -1.0f) && t[1] == 0.0f && t[3] == 0.0f;
    if (!axes || !whole(t[2]) || !whole(t[5])) return map;
    const std::int64_t row = static_cast<std::int64_t>(t[5]), column = static_cast<std::int64_t>(t[2]);
    const std::int64_t down = static_cast<std::int64_t>(t[4]), right = static_cast<std::int64_t>(t[0]);
    const std::int64_t last_row = row + down * (n.out_height - 1),
                       last_column = column + right * (n.out_width - 1);
    const auto within = [](std::int64_t v, std::int64_t size) { return v >= 0 && v < size; };
    map.copies = within(row, n.in_height) && within(last_row, n.in_height) && within(column, n.in_width) &&
                 within(last_column, n.in_width);
    map.start = row * n.in_width + column;
    map.row_step = down * n.in_width;
    map.column_step = right;
    return map;
}

void mix(const WarpShape& n, const Corners& corners, const float* x, float* y) {
    const std::int64_t channels = n.channels;
    for (std::int64_t j = 0; j < n.out_width; ++j, y += channels) {
        const float outside = corners.outside[j];
        if (!n.bilinear) {
            const float* from = x + corners.at(0, j) * channels;
            if (corners.weight[0][j] == 0.0f)
                for (std::int64_t c = 0; c < channels; ++c) y[c] = outside;
            else
                for (std::int64_t c = 0; c < channels; ++c) y[c] = from[c];
            continue;
        }
        const float* from[4];
        float weight[4];
        for (int k = 0; k < 4; ++k) {
            from[k] = x + corners.at(k, j) * channels;
            weight[k] = corners.weight[k][j];
        }
        if (channels < kWidth) {
            for (std::int64_t c = 0; c < channels; ++c)
                y[c] = weight[0] * from[0][c] + weight[1] * from[1][c] +
                       (weight[2] * from[2][c] + weight[3] * from[3][c]) + outside;
            continue;
        }
        for_each_vector(channels, [&](std::int64_t c, auto lanes) {
            Vec sum = set1(outside);
            for (int k = 0; k < 4; ++k) sum = fma(set1(weight[k]), lanes.load(from[k] + c), sum);
            lanes.store(y + c, sum);
        });
    }
}

void warp_forward(const WarpForward& a) {
    const WarpShape& n = a.shape;
    const Corners corners(a.scratch, row_floats(n));
    const std::int64_t row = n.out_width * n.channels;
    for (std::int64_t s = 0; s < a.batch; ++s) {
        const float* x = a.x + s * a.x_stride;
        float* y = a.y + s * a.y_stride;
        const float* t = a.parameters + s * kTransform;
        const CopyMap map = copy_map(n, t);
        for (std::int64_t i = 0; i < n.out_height; ++i, y += row) {
            if (!map.copies) {
                find_corners(n, t, i, corners);
                mix(n, corners, x, y);
                continue;
            }
            const float* from = x + (map.start + i * map.row_step) * n.channels;
            if (map.column_step == 1) {
                std::memcpy(y, from, static_cast<std::size_t>(row) * sizeof(float));
            } else {
                for (std::int64_t j = 0; j < n.out_width; ++j)
                    for (std::int64_t c = 0; c < n.channels; ++c)
                        y[j * n.channels + c] = from[c - j * n.channels];
            }
        }
    }
}

void spread(const WarpShape& n, const Corners& corners, const float* dy, float* dx) {
    const std::int64_t channels = n.channels;
    const int count = n.bilinear ? 4 : 1;
    for (std::int64_t j = 0; j < n.out_width; ++j, dy += channels)
        for (int k = 0; k < count; ++k) {
            const float weight = corners.weight[k][j];
            if (weight == 0.0f) continue;
            float* to = dx + corners.at(k, j) * channels;
            for (std::int64_t c = 0; c < channels; ++c) to[c] += weight * dy[c];
        }
}

void warp_backward(const WarpBackward& a) {
    const WarpShape& n = a.shape;
    const Corners corners(a.scratch, row_floats(n));
    const std::int64_t row = n.out_width * n.channels;
    for (std::int64_t s = 0; s < a.batch; ++s) {
        const float* dy = a.dy + s * a.dy_stride;
        float* dx = a.dx + s * a.dx_stride;
        std::memset(dx, 0, static_cast<std::size_t>(n.in_height * n.in_width * n.channels) * sizeof(float));
        const float* t = a.parameters + s * kTransform;
        const CopyMap map = copy_map(n, t);
        for (std::int64_t i = 0; i < n.out_height; ++i, dy += row) {
            if (!map.copies) {
                find_corners(n, t, i, corners);
                spread(n, corners, dy, dx);
                continue;
            }
            float* to = dx + (map.start + i * map.row_step) * n.channels;
            for (std::int64_t j = 0; j < n.out_width; ++j)
                for (std::int64_t c = 0; c < n.channels; ++c)
                    to[j * map.column_step * n.channels + c] = dy[j * n.channels + c];
        }
    }
}

std::int64_t forward_scratch(const WarpForward& a) { return scratch_floats(a.shape); }
std::int64_t backward_scratch(const WarpBackward& a) { return scratch_floats(a.shape); }

}  // namespace

const Kernel<WarpForward> warp_forward_direct = {warp_forward, nullptr, forward_scratch};
const Kernel<WarpBackward> warp_backward_direct = {warp_backward, nullptr, backward_scratch};

}  // namespace fastcnn::FASTCNN_ISA
