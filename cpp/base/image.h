// (height, width, channels) of one sample, channels last: named here and nowhere else.
#pragma once

#include <cstdint>

#include "base/inline.h"

namespace fastcnn {

struct Image {
    std::int64_t height = 1, width = 1, channels = 1;
    FASTCNN_INLINE std::int64_t size() const { return height * width * channels; }
    FASTCNN_INLINE std::int64_t row() const { return width * channels; }
};

}  // namespace fastcnn
