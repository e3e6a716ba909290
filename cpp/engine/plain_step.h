// A step of one operation, with nothing fused.
#pragma once

#include "engine/steps.h"

namespace fastcnn {

class PlainStep : public Step {
  public:
    explicit PlainStep(const StepInput& in) : slots_(in.slots) {
        info_.layers = in.op.layers;
        info_.output_shape = in.op.out;
        info_.flops = size_of(in.op.out);
        info_.activation_floats = in.slots.y.stride;
    }
    StepInfo info() const override { return info_; }

  protected:
    template <class Args>
    void chosen(const std::string& operation, const Choice<Args>& choice) {
        info_.operation = operation;
        info_.kernel = choice.row->algorithm;
        info_.isa = choice.row->isa;
        info_.declined = choice.declined();
    }

    StepSlots slots_;
    StepInfo info_;
};

}  // namespace fastcnn
