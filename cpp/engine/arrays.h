// The user's arrays as the engine reads them: in place, any element type, any strides.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/shape.h"
#include "kernels/dispatch.h"

namespace fastcnn {

// n samples; sample i starts at data + i * sample_stride bytes.
struct InputArray {
    const char* data = nullptr;
    DType dtype = DType::f32;
    std::int64_t item = 4;  // bytes of an element
    std::int64_t samples = 0;
    std::int64_t sample_stride = 0;
    std::int64_t size = 0;            // elements of a sample
    bool contiguous = true;           // elements of a sample lie side by side
    std::vector<std::int64_t> shape;  // of a sample, where not contiguous
    std::vector<std::int64_t> strides;

    const char* sample(std::int64_t i) const { return data + i * sample_stride; }
};

// Converts one sample to float32.
void read_sample(const InputArray& x, std::int64_t index, float* out, const Choice<ReadSamples>& kernel);

// Targets: float rows (rows * classes a sample; of any shape where the loss is computed outside of the
// engine), or class numbers (rows a sample).
struct TargetArray {
    const float* values = nullptr;
    const std::int32_t* classes = nullptr;
    std::int64_t size = 0;               // elements of a sample
    std::shared_ptr<const Shape> shape;  // of a sample, for a loss computed outside of the engine
};

}  // namespace fastcnn
