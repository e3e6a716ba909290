// Kernels that work on one sample, or one element, after the other, called from Python.
#pragma once

#include "bindings/ops_call.h"

namespace fastcnn::bindings {

// The array as samples: its first axis, or one sample where it has none.
struct Samples {
    explicit Samples(const Operand& x) : batch(x.shape().empty() ? 1 : x[0]), size(x.size() / batch) {}
    std::int64_t batch, size;
};

// Divides `count` things of a kernel that works on `floats` between the team's threads: set(args, share)
// makes a copy of `args` do its share.
template <class Args, class Set>
void run_shares(const Call& call, const Args& args, std::int64_t floats, std::int64_t count, const Set& set) {
    const int threads = threads_for(floats, kLeastFloats);
    const std::int64_t items = items_for(threads, count);
    call.run_divided(call.choice(args), args, nullptr, {threads, items, 0, floats < kBriefFloats},
                     [&](Args& copy, std::int64_t item, const auto& go) {
                         set(copy, Share(count, item, items));
                         go(copy);
                     });
}

// By samples; advance(args, n) skips n of them.
template <class Args, class Advance>
void run_samples(const Call& call, const Args& args, std::int64_t floats, const Advance& advance) {
    run_shares(call, args, floats, args.batch, [&](Args& copy, const Share& share) {
        copy.batch = share.end - share.begin;
        advance(copy, share.begin);
    });
}

// By elements, args.size of them; advance(args, n) skips n of them.
template <class Args, class Advance>
void run_elements(const Call& call, const Args& args, const Advance& advance) {
    constexpr std::int64_t kUnit = 64;  // a cache line of bytes
    run_shares(call, args, args.size, (args.size + kUnit - 1) / kUnit, [&](Args& copy, const Share& share) {
        const std::int64_t first = share.begin * kUnit;
        copy.size = std::min(share.end * kUnit, args.size) - first;
        advance(copy, first);
    });
}

}  // namespace fastcnn::bindings
