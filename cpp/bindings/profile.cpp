// Times of a plan's steps, and the peak they are compared with.
#include <chrono>

#include "bindings/engine.h"
#include "bindings/ops_call.h"
#include "engine/network.h"

namespace fastcnn {

namespace {

using Clock = std::chrono::steady_clock;

// (mean of the lanes, operations)
py::tuple fma_loop(std::int64_t rounds, float start, float a, float b, const std::string& isa,
                   const std::string& algorithm) {
    const bindings::Call call("fma_loop", isa, algorithm);
    float value = start;
    std::int64_t flops = 0;
    if (call.reference())
        for (std::int64_t i = 0; i < rounds; ++i) value = a * value + b;
    else
        call.run(FmaLoop{rounds, start, a, b, &value, &flops});
    return py::make_tuple(value, flops);
}

// 10^9 operations a second of one thread at the level in use: the best of 20 runs of a quarter of a
// millisecond, for the first ones wake the processor up. Measured once.
double peak_gflops() {
    static const double peak = [] {
        const Choice<FmaLoop> loop = choose(FmaLoop{});
        double best = 0;
        for (int i = 0; i < 20; ++i) {
            float value = 0;
            std::int64_t flops = 0;
            const auto start = Clock::now();
            loop({40'000, 1.0f, 0.5f, 0.5f, &value, &flops});
            const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
            best = std::max(best, 1e-9 * static_cast<double>(flops) / seconds);
        }
        return best;
    }();
    return peak;
}

}  // namespace

py::list profile_as_list(const Profile& profile) {
    py::list list = plan_as_list(*profile.plan);
    const double runs = static_cast<double>(profile.runs);
    for (std::size_t i = 0; i + 1 < list.size(); ++i) {
        py::dict step = list[i];
        step["forward_seconds"] = profile.seconds[Plan::forward_place(i)] / runs;
        step["backward_seconds"] = profile.seconds[Plan::backward_place(i)] / runs;
        step["backward_flops"] = profile.plan->backward_flops(i);
    }
    py::dict total = list[list.size() - 1];
    total["samples"] = profile.samples;
    total["runs"] = profile.runs;
    total["elapsed_seconds"] = profile.elapsed / runs;
    total["other_seconds"] = profile.seconds[0] / runs;
    total["threads"] = profile.plan->threads_wanted(profile.samples);
    return list;
}

void bind_profile(py::module_& module) {
    module.def("fma_loop", fma_loop, py::arg("rounds"), py::arg("start"), py::arg("a"), py::arg("b"),
               py::arg("isa") = "", py::arg("algorithm") = "");
    module.def("peak_gflops", peak_gflops, py::call_guard<py::gil_scoped_release>());
}

}  // namespace fastcnn
