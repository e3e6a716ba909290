// How a step that is a function of one sample fills in its kernels' arguments.
#pragma once

#include "engine/step.h"
#include "graph/image_ops.h"

namespace fastcnn {

// `args` with what lies where in this run's memory: whichever of the fields it has.
template <class Args>
Args placed(Args args, const BlockRun& run, const StepSlots& slots) {
    args.batch = run.count;
    args.x = run.at(slots.x);
    args.x_stride = slots.x.stride;
    if constexpr (requires { args.y; }) {
        args.y = run.at(slots.y);
        args.y_stride = slots.y.stride;
    }
    if constexpr (requires { args.dy; }) {
        args.dy = run.at(slots.dy);
        args.dy_stride = slots.dy.stride;
        args.dx = slots.dx.booked() ? run.at(slots.dx) : nullptr;
        args.dx_stride = slots.dx.stride;
    }
    if constexpr (requires { args.accumulate; }) args.accumulate = run.accumulate;
    if constexpr (requires { args.scratch; }) args.scratch = run.scratch;
    if constexpr (requires { args.first_sample; }) {
        args.first_sample = run.first;
        args.step = run.step;
    }
    return args;
}

// The kernel's arguments, with the numbers that lie elsewhere.
inline Scale scale_args(const ScaleOp& op, const float* a, const float* b) {
    Scale args;
    args.kind = op.kind;
    args.broadcast = op.broadcast;
    args.epsilon = op.epsilon;
    args.a = a;
    args.b = b;
    return args;
}

}  // namespace fastcnn
