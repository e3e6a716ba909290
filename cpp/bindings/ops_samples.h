// Kernels that work on one sample after the other, called from Python.
#pragma once

#include "bindings/ops_call.h"

namespace fastcnn::bindings {

// The array as samples: its first axis, or one sample where it has none.
struct Samples {
    explicit Samples(const Operand& x) : batch(x.shape().empty() ? 1 : x[0]), size(x.size() / batch) {}
    std::int64_t batch, size;
};

// Runs an element-wise kernel on the team, divided by samples; advance(args, n) skips n of them.
template <class Args, class Advance>
void run_samples(const Call& call, const Args& args, std::int64_t floats, const Advance& advance) {
    const int threads = threads_for(floats, kLeastFloats);
    const std::int64_t items = items_for(threads, args.batch);
    call.run_divided(call.choice(args), args, nullptr, {threads, items, 0, floats < kBriefFloats},
                     [&](Args& copy, std::int64_t item, const auto& go) {
                         const Share share(args.batch, item, items);
                         copy.batch = share.end - share.begin;
                         advance(copy, share.begin);
                         go(copy);
                     });
}

// Runs a kernel of `size` elements on the team; advance(args, n) skips n of them.
template <class Args, class Advance>
void run_elements(const Call& call, const Args& args, const Advance& advance) {
    constexpr std::int64_t kUnit = 64;  // a cache line of what is smallest
    const int threads = threads_for(args.size, kLeastFloats);
    const std::int64_t units = (args.size + kUnit - 1) / kUnit, items = items_for(threads, units);
    call.run_divided(call.choice(args), args, nullptr, {threads, items, 0, args.size < kBriefFloats},
                     [&](Args& copy, std::int64_t item, const auto& go) {
                         const Share share(units, item, items);
                         const std::int64_t first = share.begin * kUnit;
                         copy.size = std::min(share.end * kUnit, args.size) - first;
                         advance(copy, first);
                         go(copy);
                     });
}

}  // namespace fastcnn::bindings
