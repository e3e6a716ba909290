#include "engine/constraint.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace fastcnn {

Constraint::Constraint(ConstraintSpec spec, const Shape& shape)
    : spec_(std::move(spec)), size_(size_of(shape)) {
    if (spec_.kind != ConstraintSpec::Kind::norm) return;
    std::vector<bool> summed(shape.size(), false);
    for (const int axis : spec_.axes) {
        require(axis >= 0 && static_cast<std::size_t>(axis) < shape.size(),
                "Constraint: axis: expected one of ", shape.size(), " axes, received ", axis);
        summed[static_cast<std::size_t>(axis)] = true;
    }
    std::int64_t stride = 1, norms = 1;
    bool last = false;
    for (std::size_t i = shape.size(); i-- > 0;) {
        if (!axes_.empty() && last == summed[i])
            axes_.back().size *= shape[i];
        else
            axes_.push_back({shape[i], stride, summed[i] ? 0 : norms});
        last = summed[i];
        stride *= shape[i];
        if (!summed[i]) norms *= shape[i];
    }
    std::reverse(axes_.begin(), axes_.end());
    norms_.resize(static_cast<std::size_t>(norms));
}

template <class Inner>
void Constraint::walk(std::size_t axis, float* values, double* norms, const Inner& inner) const {
    const Axis& a = axes_[axis];
    if (axis + 1 == axes_.size()) return inner(values, norms, a.size, a.norm_stride);
    for (std::int64_t i = 0; i < a.size; ++i)
        walk(axis + 1, values + i * a.stride, norms + i * a.norm_stride, inner);
}

void Constraint::apply(float* values) {
    switch (spec_.kind) {
        case ConstraintSpec::Kind::none:
            return;
        case ConstraintSpec::Kind::host:
            return spec_.host->constrain(values);
        case ConstraintSpec::Kind::non_negative:
            for (std::int64_t i = 0; i < size_; ++i) values[i] = values[i] < 0.0f ? 0.0f : values[i];
            return;
        case ConstraintSpec::Kind::norm:
            break;
    }
    if (axes_.empty() || size_ == 0) return;
    std::fill(norms_.begin(), norms_.end(), 0.0);
    walk(0, values, norms_.data(), [](const float* w, double* norm, std::int64_t size, std::int64_t stride) {
        if (stride == 0) {
            double sum = 0;
            for (std::int64_t i = 0; i < size; ++i) sum += static_cast<double>(w[i]) * w[i];
            *norm += sum;
        } else {
            for (std::int64_t i = 0; i < size; ++i) norm[i] += static_cast<double>(w[i]) * w[i];
        }
    });
    for (double& norm : norms_) {
        const double length = std::sqrt(norm);
        const double wanted = std::min(std::max(length, spec_.minimum), spec_.maximum);
        norm = (spec_.rate * wanted + (1.0 - spec_.rate) * length) / (length + spec_.epsilon);
    }
    walk(0, values, norms_.data(), [](float* w, const double* scale, std::int64_t size, std::int64_t stride) {
        if (stride == 0) {
            const float s = static_cast<float>(*scale);
            for (std::int64_t i = 0; i < size; ++i) w[i] *= s;
        } else {
            for (std::int64_t i = 0; i < size; ++i) w[i] *= static_cast<float>(scale[i]);
        }
    });
}

}  // namespace fastcnn
