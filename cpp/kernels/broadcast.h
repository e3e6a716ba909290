// Loops over a sample and the smaller array that is broadcast to it.
#pragma once

#include "kernels/api.h"
#include "simd/lanes.h"

namespace fastcnn::FASTCNN_ISA {

// body(offset in the sample, offset in the smaller array) for each row, that is the last axis.
template <class Body>
FASTCNN_INLINE void for_each_row(const Broadcast& b, const Body& body) {
    std::int64_t at = 0;
    for (std::int64_t i = 0; i < b.shape[0]; ++i)
        for (std::int64_t j = 0; j < b.shape[1]; ++j)
            for (std::int64_t k = 0; k < b.shape[2]; ++k, at += b.shape[3])
                body(at, i * b.stride[0] + j * b.stride[1] + k * b.stride[2]);
}

// The smaller array's values for a vector of a row: one for all, or neighbours.
template <class Lanes>
FASTCNN_INLINE Vec load_broadcast(const Broadcast& b, const float* p, std::int64_t i, const Lanes& lanes) {
    return b.stride[3] == 0 ? set1(*p) : lanes.load(p + i);
}

}  // namespace fastcnn::FASTCNN_ISA
