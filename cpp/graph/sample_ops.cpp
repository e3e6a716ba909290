#include "graph/sample_ops.h"

#include <algorithm>
#include <cmath>

namespace fastcnn {

void AxisMap::tap(std::int64_t index, double weight) {
    index_.push_back(static_cast<std::int32_t>(index));
    weight_.push_back(static_cast<float>(weight));
}

AxisMap AxisMap::padded(std::int64_t in, std::int64_t before, std::int64_t after) {
    AxisMap map(in);
    for (std::int64_t i = -before; i < in + after; ++i) {
        if (i >= 0 && i < in) map.tap(i, 1.0);
        map.end_output();
    }
    return map;
}

AxisMap AxisMap::repeated(std::int64_t in, std::int64_t times) {
    AxisMap map(in);
    for (std::int64_t i = 0; i < in * times; ++i) {
        map.tap(i / times, 1.0);
        map.end_output();
    }
    return map;
}

AxisMap AxisMap::interpolated(std::int64_t in, std::int64_t out) {
    AxisMap map(in);
    const double scale = static_cast<double>(in) / static_cast<double>(out);
    for (std::int64_t o = 0; o < out; ++o) {
        const double at =
            std::clamp((static_cast<double>(o) + 0.5) * scale - 0.5, 0.0, static_cast<double>(in - 1));
        const std::int64_t below = static_cast<std::int64_t>(std::floor(at));
        const double part = at - static_cast<double>(below);
        map.tap(below, 1.0 - part);
        if (part > 0.0) map.tap(below + 1, part);
        map.end_output();
    }
    return map;
}

AxisMap AxisMap::adaptive_mean(std::int64_t in, std::int64_t out) {
    AxisMap map(in);
    for (std::int64_t o = 0; o < out; ++o) {
        const std::int64_t first = o * in / out, last = ((o + 1) * in + out - 1) / out;
        for (std::int64_t i = first; i < last; ++i) map.tap(i, 1.0 / static_cast<double>(last - first));
        map.end_output();
    }
    return map;
}

AxisMap AxisMap::given(std::int64_t in, const std::vector<std::vector<std::int64_t>>& index,
                       const std::vector<std::vector<double>>& weight) {
    AxisMap map(in);
    for (std::size_t o = 0; o < index.size(); ++o) {
        for (std::size_t i = 0; i < index[o].size(); ++i)
            if (weight[o][i] != 0.0) map.tap(index[o][i], weight[o][i]);
        map.end_output();
    }
    return map;
}

AxisMap AxisMap::transposed() const {
    AxisMap map(out());
    for (std::int64_t i = 0; i < in_; ++i) {
        for (std::size_t o = 0; o + 1 < begin_.size(); ++o)
            for (std::int32_t t = begin_[o]; t < begin_[o + 1]; ++t)
                if (index_[static_cast<std::size_t>(t)] == i)
                    map.tap(static_cast<std::int64_t>(o),
                            static_cast<double>(weight_[static_cast<std::size_t>(t)]));
        map.end_output();
    }
    return map;
}

std::vector<int> inverse(const std::vector<int>& axes) {
    std::vector<int> back(axes.size());
    for (std::size_t i = 0; i < axes.size(); ++i)
        back[static_cast<std::size_t>(axes[i])] = static_cast<int>(i);
    return back;
}

Permute permute_args(const Shape& in, const std::vector<int>& axes) {
    Shape strides(in.size(), 1);
    for (std::size_t i = in.size() - 1; i-- > 0;) strides[i] = strides[i + 1] * in[i + 1];
    Permute a;
    a.rank = 0;
    for (const int axis : axes) {
        const std::int64_t size = in[static_cast<std::size_t>(axis)],
                           stride = strides[static_cast<std::size_t>(axis)];
        if (size == 1) continue;
        if (a.rank > 0 &&
            a.stride[a.rank - 1] == size * stride) {  // the axis before goes on where this one ends
            a.shape[a.rank - 1] *= size;
            a.stride[a.rank - 1] = stride;
            continue;
        }
        a.shape[a.rank] = size;
        a.stride[a.rank++] = stride;
    }
    if (a.rank == 0) a.shape[a.rank] = a.stride[a.rank] = 1, a.rank = 1;
    return a;
}

bool broadcast_args(const Shape& sample, const Shape& small, Broadcast& broadcast) {
    struct Axis {
        std::int64_t size;
        bool shared;
    };
    std::vector<Axis> axes;
    for (std::size_t i = 0; i < sample.size(); ++i) {
        if (sample[i] == 1) continue;
        const bool shared = small[i] == 1;
        if (!axes.empty() && axes.back().shared == shared)
            axes.back().size *= sample[i];
        else
            axes.push_back({sample[i], shared});
    }
    if (axes.size() > 4) return false;
    broadcast = Broadcast{};
    std::int64_t stride = 1;
    for (int at = 3; !axes.empty(); --at, axes.pop_back()) {
        broadcast.shape[at] = axes.back().size;
        if (axes.back().shared) continue;
        broadcast.stride[at] = stride;
        stride *= axes.back().size;
    }
    broadcast.size = stride;
    return true;
}

}  // namespace fastcnn
