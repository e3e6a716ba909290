// What an optimizer does to a list of parameters: its rule, the arrays that it keeps beside each of them, and
// the count of its steps. The trainer calls it piece by piece; Python calls it for arrays of its own.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include "base/memory.h"
#include "base/shape.h"
#include "kernels/api.h"
#include "kernels/dispatch.h"

namespace fastcnn {

// Rules that need a whole parameter at once, beside those that go element by element.
enum class WholeRule : int { none, lamb, adafactor, muon };

struct OptimizerSpec {
    OptimizerUpdate
        rule;  // kind and hyper-parameters; pointers and the step's rates are filled in at run time
    WholeRule whole = WholeRule::none;
    float clip_norm = 0, global_clip_norm = 0;
    std::vector<float> weight_decay;  // of each parameter
    std::int64_t accumulation = 1;    // steps whose mean gradient makes one update
    bool averages = false;            // whether a moving average of the parameters is kept
    double average_momentum = 0;
    std::int64_t average_overwrite =
        0;                        // every so many updates the parameters become their average; 0: never
    float first_accumulator = 0;  // what adagrad's and ftrl's v starts from
    double warmup_steps = 0;      // of schedule_free_adamw
    double ftrl_beta = 0;

    // adafactor
    double beta_2_decay = -0.8, epsilon_1 = 1e-30, epsilon_2 = 1e-3, clip_threshold = 1;

    // muon: matrices whose update is made orthogonal, the others are adam's
    std::vector<bool> orthogonal;
    double muon_a = 0, muon_b = 0, muon_c = 0, adam_rate_ratio = 1,
           rms_rate = 0;  // rms_rate 0: the update as it is
    std::int64_t newton_schulz_steps = 5;
};

class Updater {
  public:
    Updater(OptimizerSpec spec, std::vector<Shape> shapes);

    const OptimizerSpec& spec() const { return spec_; }
    int count() const { return static_cast<int>(shapes_.size()); }
    const Shape& shape(int parameter) const { return shapes_[static_cast<std::size_t>(parameter)]; }
    std::int64_t size(int parameter) const { return size_of(shape(parameter)); }
    bool clips_by_norm() const { return spec_.clip_norm > 0 || spec_.global_clip_norm > 0; }
    // Factor that brings a norm, given its square, down to the limit.
    float clip_scale(double squares) const;
    std::mutex& mutex() const { return mutex_; }  // one step at a time

    std::int64_t iterations() const {
        return iterations_.load(std::memory_order_relaxed);
    }  // also while it works
    void set_iterations(std::int64_t iterations);
    std::vector<std::string> slots() const;
    // The array that a slot keeps for a parameter, and its shape.
    float* slot(const std::string& name, int parameter) const;
    Shape slot_shape(const std::string& name, int parameter) const;
    // For rules that begin with a copy of the parameter; before the first step.
    void start(int parameter, const float* values);

    // What all pieces of one step share.
    struct Step {
        OptimizerUpdate rule;
        double updates_done = 0;  // before it; the count of steps, where each of them updates
        bool updates = true;      // false: gradients are only gathered
        float scale = 1;          // of the gradient: 1 / accumulation
        float average_kept = 0;
        bool overwrites = false;
    };
    Step begin(double learning_rate);
    void end() { ++iterations_; }

    // Adds what earlier steps gathered to elements [first, first + size) of a parameter's gradient, or
    // gathers it. *squares: the sum of squares of the result (null: not wanted).
    void gather(int parameter, std::int64_t first, std::int64_t size, float* gradient, const Step& step,
                double* squares) const;
    // Elements [first, first + size) of a parameter; arrays from `first` on. The gradient is scaled by
    // `scale`, the clipping's. The rules for whole parameters want all elements at once and use the
    // gradient's place for their own.
    void update(int parameter, std::int64_t first, std::int64_t size, float* param, float* gradient,
                const Step& step, float scale) const;
    bool wants_whole() const { return spec_.whole != WholeRule::none; }

  private:
    struct Slot {
        std::string name;
        Buffer values;
    };
    float* values(const char* name, int parameter) const;
    float* book(const char* name);

    OptimizerSpec spec_;
    std::vector<Shape> shapes_;
    std::vector<std::int64_t> offsets_;
    std::int64_t floats_ = 0;
    std::vector<Slot> slots_;
    // The slots' places, null where there is none of that name.
    float *m_ = nullptr, *v_ = nullptr, *u_ = nullptr, *average_ = nullptr, *gathered_ = nullptr;
    std::atomic<std::int64_t> iterations_{0};
    // nadam: the product of the first product_steps_ momenta.
    double product_ = 1;
    std::int64_t product_steps_ = 0;
    std::vector<std::int64_t> scratch_offsets_;  // muon's, by parameter
    Buffer scratch_;
    Choice<OptimizerUpdate> update_;
    mutable std::mutex mutex_;
};

}  // namespace fastcnn
