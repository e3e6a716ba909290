// Shapes of one sample, channels last.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/image.h"

namespace fastcnn {

using Shape = std::vector<std::int64_t>;

inline std::int64_t size_of(const Shape& shape) {
    std::int64_t n = 1;
    for (std::int64_t d : shape) n *= d;
    return n;
}

// "(28, 28, 1)", as Python prints a tuple.
inline std::string to_string(const Shape& shape) {
    std::string text = "(";
    for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
    return text + (shape.size() == 1 ? ",)" : ")");
}

// The image that a shape of rank 3 stands for.
inline Image image_of(const Shape& shape) { return {shape[0], shape[1], shape[2]}; }

}  // namespace fastcnn
