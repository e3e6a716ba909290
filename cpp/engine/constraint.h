// What a trained parameter is made to be after each step.
#pragma once

#include <memory>
#include <vector>

#include "base/shape.h"
#include "graph/host_function.h"

namespace fastcnn {

struct ConstraintSpec {
    enum class Kind { none, norm, non_negative, host } kind = Kind::none;
    // norm: w *= (rate clip(n, minimum, maximum) + (1 - rate) n) / (n + epsilon), n the L2 norm over `axes`.
    double minimum = 0, maximum = 0, rate = 1, epsilon = 1e-7;
    std::vector<int> axes;  // of the parameter, each once
    std::shared_ptr<HostWeights> host;
};

// A constraint on arrays of one shape. Runs in one thread and allocates nothing.
class Constraint {
  public:
    Constraint(ConstraintSpec spec, const Shape& shape);

    void apply(float* values);
    const std::shared_ptr<HostWeights>& host() const { return spec_.host; }

  private:
    // Neighbouring axes that are both summed over, or both not, are one.
    struct Axis {
        std::int64_t size, stride, norm_stride;  // norm_stride: 0 where it is summed over
    };
    template <class Inner>
    void walk(std::size_t axis, float* values, double* norms, const Inner& inner) const;

    ConstraintSpec spec_;
    std::int64_t size_;
    std::vector<Axis> axes_;
    std::vector<double> norms_;
};

}  // namespace fastcnn
