// A graph over parameters, and inference with it. Immutable; every method may be called from several threads.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <mutex>

#include "engine/plan.h"
#include "graph/graph.h"

namespace fastcnn {

// Where the time of a plan's runs goes.
struct Profile {
    std::shared_ptr<const Plan> plan;
    std::vector<double> seconds;  // of all threads together, by Plan's places
    double elapsed = 0;
    std::int64_t runs = 0, samples = 0;  // samples of a run

    // Runs `once` until `limit` seconds are over.
    template <class Once>
    void measure(Context& context, double limit, const Once& once) {
        once();  // memory is touched, threads are awake
        context.time_actions(*plan);
        const auto start = std::chrono::steady_clock::now();
        while (elapsed < limit) {
            once();
            ++runs;
            elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        }
        seconds = context.take_times();
    }
};

class Network {
  public:
    // Throws Error where a parameter's shape is not the one its node needs.
    Network(Graph graph, std::vector<ParameterRef> parameters);

    const Graph& graph() const { return graph_; }
    const std::vector<ParameterRef>& parameters() const { return parameters_; }
    const ParameterSet& owners() const { return owners_; }

    // Outputs of samples [begin, end), in inference mode.
    void predict(const InputArray& x, std::int64_t begin, std::int64_t end, float* out) const;
    // Outputs of all samples as one training batch; moving statistics are updated.
    void forward_training(const InputArray& x, std::uint32_t step, float* out) const;

    // Predicts again and again for `seconds`.
    Profile profile(const InputArray& x, double seconds) const;

    // Whether a layer outside of the engine failed in a run since; throws its error, once.
    bool host_failed() const;
    void rethrow_host_error() const;
    // Samples of a batch at most: `usual`, less where layers outside of the engine take it whole.
    std::int64_t batch_limit(std::int64_t usual) const;

    std::unique_ptr<Plan> make_plan(PlanOptions options) const;
    std::shared_ptr<const Plan> inference_plan(std::int64_t samples) const;

  private:
    // With plans_mutex_ held.
    std::shared_ptr<const Plan> inference_plan_of(std::int64_t limit, int split) const;

    Graph graph_;
    std::vector<ParameterRef> parameters_;
    ParameterSet owners_;
    std::vector<HostFunction*> hosts_;
    mutable std::mutex plans_mutex_;
    mutable std::map<std::int64_t, std::shared_ptr<const Plan>>
        plans_;  // by block limit, or minus the threads of one sample
};

// A plan's context, given back at the end of the scope.
class BorrowedContext {
  public:
    BorrowedContext(const Plan& plan, int threads) : plan_(plan), context_(plan.acquire(threads)) {}
    ~BorrowedContext() { plan_.release(std::move(context_)); }
    BorrowedContext(const BorrowedContext&) = delete;
    BorrowedContext& operator=(const BorrowedContext&) = delete;
    Context& operator*() const { return *context_; }

  private:
    const Plan& plan_;
    std::unique_ptr<Context> context_;
};

// Packs the plan's weights where they are stale. The caller holds the parameters' lock, shared or not.
void refresh_packed(const Plan& plan, const ParameterSet& owners, int threads);

}  // namespace fastcnn
