#include "graph/image_ops.h"

#include <algorithm>
#include <cmath>

#include "base/random.h"

namespace fastcnn {

namespace {

// The random numbers of a sample, from the end of the counter: its elements' count from the beginning.
class Uniform {
  public:
    Uniform(std::uint64_t seed, const Draw& of) : seed_(seed), of_(of) {}

    // In [0, 1).
    float next() {
        if (used_ == 4) {
            words_[0] = block_--;
            words_[1] = static_cast<std::uint32_t>(of_.sample);
            words_[2] = of_.step;
            words_[3] = of_.layer;
            philox4x32_10(seed_, words_);
            used_ = 0;
        }
        return uniform(words_[used_++]);
    }
    float next(float low, float high) { return low + (high - low) * next(); }

  private:
    std::uint64_t seed_;
    Draw of_;
    std::uint32_t block_ = 0xffffffffu, words_[4] = {};
    int used_ = 4;
};

}  // namespace

void WarpOp::draw(const Draw& of, float* numbers) const {
    Draw key = of;
    if (kind == WarpKind::crop) key.sample = 0;
    Uniform random(seed, key);
    double a0 = 1.0, a1 = 0.0, a2 = 0.0, b0 = 0.0, b1 = 1.0, b2 = 0.0;
    const double height = static_cast<double>(shape.in_height), width = static_cast<double>(shape.in_width);
    switch (kind) {
        case WarpKind::flip: {
            if (random.next() > 0.5f) break;
            if (high.x != 0.0f) a0 = -1.0, a2 = width - 1.0;
            if (high.y != 0.0f) b1 = -1.0, b2 = height - 1.0;
            break;
        }
        case WarpKind::rotation: {
            const double angle =
                2.0 * 3.14159265358979323846 * static_cast<double>(random.next(low.x, high.x));
            const double middle_x = (width - 1.0) / 2.0, middle_y = (height - 1.0) / 2.0;
            a0 = b1 = std::cos(angle);
            b0 = std::sin(angle);
            a1 = -b0;
            a2 = middle_x - middle_x * a0 - middle_y * a1;
            b2 = middle_y - middle_x * b0 - middle_y * b1;
            break;
        }
        case WarpKind::translation: {
            b2 = -height * static_cast<double>(random.next(low.y, high.y));
            a2 = -width * static_cast<double>(random.next(low.x, high.x));
            break;
        }
        case WarpKind::zoom: {
            b1 = static_cast<double>(1.0f + random.next(low.y, high.y));
            a0 = tied ? b1 : static_cast<double>(1.0f + random.next(low.x, high.x));
            a2 = (width - 1.0) / 2.0 * (1.0 - a0);
            b2 = (height - 1.0) / 2.0 * (1.0 - b1);
            break;
        }
        case WarpKind::shear: {
            const double sign = random.next() > 0.5f ? -1.0 : 1.0;
            b0 = sign * static_cast<double>(random.next(low.y, high.y));
            a1 = sign * static_cast<double>(random.next(low.x, high.x));
            break;
        }
        case WarpKind::crop: {
            const auto place = [&](std::int64_t in, std::int64_t out) {
                const double room = static_cast<double>(in - out);
                return std::min(std::floor(static_cast<double>(random.next()) * (room + 1.0)), room);
            };
            b2 = place(shape.in_height, shape.out_height);
            a2 = place(shape.in_width, shape.out_width);
            break;
        }
    }
    const double all[] = {a0, a1, a2, b0, b1, b2};
    for (int i = 0; i < kTransform; ++i) numbers[i] = static_cast<float>(all[i]);
}

void RecolorOp::draw(const Draw& of, float* numbers) const {
    Uniform random(seed, of);
    numbers[0] = random.next(low, high);
    // The number is a probability.
    if (shape.kind == RecolorKind::grayscale || shape.kind == RecolorKind::invert)
        numbers[0] = random.next() < numbers[0] ? 1.0f : 0.0f;
    numbers[1] = random.next(second_low, second_high);
}

void EraseOp::draw(const Draw& of, float* numbers) const {
    Uniform random(seed, of);
    const float sides[] = {random.next(area_low, area_high), random.next(area_low, area_high)};
    const std::int64_t sizes[] = {shape.width, shape.height};
    float* const places[] = {numbers + 2, numbers};
    for (int axis = 0; axis < 2; ++axis) {
        const float size = static_cast<float>(sizes[axis]), length = std::sqrt(sides[axis]) * size;
        const float begin = random.next() * (size - length);
        // Positions begin <= i < begin + length.
        places[axis][0] = std::min(std::ceil(begin), size);
        places[axis][1] = std::min(std::ceil(begin + length), size);
    }
    const float rate = random.next(rate_low, rate_high);
    if (random.next() >= rate) std::fill(numbers, numbers + kBox, 0.0f);
}

}  // namespace fastcnn
