#include "engine/arrays.h"

namespace fastcnn {

namespace {

// Elements are taken one run at a time: the last axis where its elements are neighbours, else single
// elements.
void read_strided(const InputArray& x, const char* p, std::size_t axis, float*& out,
                  const Choice<ReadSamples>& kernel) {
    const std::int64_t n = x.shape[axis], step = x.strides[axis];
    const bool last = axis + 1 == x.shape.size();
    if (last && step == x.item) {
        kernel({x.dtype, n, p, out});
        out += n;
        return;
    }
    for (std::int64_t i = 0; i < n; ++i, p += step) {
        if (last)
            kernel({x.dtype, 1, p, out++});
        else
            read_strided(x, p, axis + 1, out, kernel);
    }
}

}  // namespace

void read_sample(const InputArray& x, std::int64_t index, float* out, const Choice<ReadSamples>& kernel) {
    if (x.contiguous)
        kernel({x.dtype, x.size, x.sample(index), out});
    else
        read_strided(x, x.sample(index), 0, out, kernel);
}

}  // namespace fastcnn
