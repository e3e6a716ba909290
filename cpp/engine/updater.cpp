#include "engine/updater.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"
#include "engine/whole_rules.h"

namespace fastcnn {

namespace {

// The share of nadam's momentum in step t.
double nadam_share(double beta, double t) { return beta * (1.0 - 0.5 * std::pow(0.96, t)); }

// The product of the first `steps` of them.
double nadam_product(double beta, std::int64_t steps) {
    constexpr std::int64_t kCounted = 1000;  // 0.96^1000 is nothing beside 1
    double product = 1;
    for (std::int64_t t = 1; t <= std::min(steps, kCounted); ++t)
        product *= nadam_share(beta, static_cast<double>(t));
    return product * std::pow(beta, static_cast<double>(std::max<std::int64_t>(steps - kCounted, 0)));
}

}  // namespace

Updater::Updater(OptimizerSpec spec, std::vector<Shape> shapes)
    : spec_(std::move(spec)), shapes_(std::move(shapes)) {
    const std::size_t n = shapes_.size();
    require(spec_.weight_decay.size() == n, "Updater: weight_decay: expected ", n, " entries, received ",
            spec_.weight_decay.size());
    require(spec_.whole != WholeRule::muon || spec_.orthogonal.size() == n, "Updater: orthogonal: expected ",
            n, " entries, received ", spec_.orthogonal.size());
    for (std::size_t p = 0; p < spec_.orthogonal.size(); ++p)
        require(!spec_.orthogonal[p] || shapes_[p].size() == 2,
                "Updater: orthogonal: expected parameters of two axes, received one of shape ",
                to_string(shapes_[p]));
    require(spec_.accumulation >= 1, "Updater: accumulation: expected a positive integer, received ",
            spec_.accumulation);
    Layout layout;
    for (const Shape& shape : shapes_) offsets_.push_back(layout.book(size_of(shape)));
    floats_ = layout.size() + Layout::kAlign;
    if (spec_.whole == WholeRule::adafactor) {
        m_ = book("r");
        u_ = book("c");
        v_ = book("v");
    } else {
        if (spec_.rule.uses_m()) m_ = book("m");
        if (spec_.rule.uses_v()) v_ = book("v");
        if (spec_.rule.uses_u()) u_ = book("u");
    }
    if (spec_.averages) average_ = book("average");
    if (spec_.accumulation > 1) gathered_ = book("accumulated");
    if (spec_.first_accumulator != 0 && v_) std::fill(v_, v_ + floats_, spec_.first_accumulator);
    update_ = choose(spec_.rule);
    std::int64_t scratch = 0;
    for (std::size_t p = 0; p < n && spec_.whole == WholeRule::muon; ++p) {
        scratch_offsets_.push_back(scratch);
        if (spec_.orthogonal[p]) scratch += Layout::round_up(muon_scratch(shapes_[p]));
    }
    scratch_ = Buffer(scratch);
}

float* Updater::book(const char* name) {
    slots_.push_back({name, Buffer(floats_)});
    return slots_.back().values.data();
}

float Updater::clip_scale(double squares) const {
    const float limit = spec_.global_clip_norm > 0 ? spec_.global_clip_norm : spec_.clip_norm;
    const double norm = std::sqrt(squares);
    return norm > limit ? static_cast<float>(limit / norm) : 1.0f;
}

void Updater::set_iterations(std::int64_t iterations) {
    iterations_.store(iterations, std::memory_order_relaxed);
}

std::vector<std::string> Updater::slots() const {
    std::vector<std::string> names;
    for (const Slot& slot : slots_) names.push_back(slot.name);
    return names;
}

float* Updater::slot(const std::string& name, int parameter) const {
    for (const Slot& slot : slots_)
        if (slot.name == name) return slot.values.data() + offsets_[static_cast<std::size_t>(parameter)];
    return nullptr;
}

Shape Updater::slot_shape(const std::string& name, int parameter) const {
    Shape shape = this->shape(parameter);
    if (name != "r" && name != "c") return shape;
    if (shape.size() < 2) return {};  // nothing: kept so that each parameter has its array
    shape.erase(shape.end() - (name == "r" ? 1 : 2));
    return shape;
}

void Updater::start(int parameter, const float* values) {
    if (spec_.rule.kind == OptimizerKind::schedule_free_adamw)
        std::copy_n(values, size(parameter), m_ + offsets_[static_cast<std::size_t>(parameter)]);
}

Updater::Step Updater::begin(double learning_rate) {
    Step step;
    const std::int64_t n = spec_.accumulation;
    const std::int64_t taken = iterations(), done = taken / n;
    step.updates_done = static_cast<double>(done);
    step.updates = (taken + 1) % n == 0;
    step.scale = n > 1 ? static_cast<float>(1.0 / static_cast<double>(n)) : 1.0f;
    step.average_kept = done ? static_cast<float>(spec_.average_momentum) : 0.0f;
    step.overwrites = spec_.average_overwrite > 0 && (done + 1) % spec_.average_overwrite == 0;
    step.rule = spec_.rule;
    OptimizerUpdate& rule = step.rule;
    const double t = static_cast<double>(done + 1);
    rule.learning_rate = static_cast<float>(learning_rate);
    const double rest_1 = 1.0 - std::pow(rule.beta_1, t), rest_2 = 1.0 - std::pow(rule.beta_2, t);
    rule.correction = static_cast<float>(1.0 / rest_2);
    switch (rule.kind) {
        case OptimizerKind::adam:
            if (spec_.whole == WholeRule::muon) learning_rate *= spec_.adam_rate_ratio;
            rule.alpha = static_cast<float>(learning_rate * std::sqrt(rest_2) / rest_1);
            break;
        case OptimizerKind::adamax:
            rule.alpha = static_cast<float>(learning_rate / rest_1);
            break;
        case OptimizerKind::nadam: {
            if (product_steps_ != done + 1)
                product_ = product_steps_ == done ? product_ * nadam_share(rule.beta_1, t)
                                                  : nadam_product(rule.beta_1, done + 1);
            product_steps_ = done + 1;
            const double share = nadam_share(rule.beta_1, t), next = nadam_share(rule.beta_1, t + 1);
            rule.alpha = static_cast<float>(learning_rate * next / (1.0 - product_ * next));
            rule.gradient_rate = static_cast<float>(learning_rate * (1.0 - share) / (1.0 - product_));
            break;
        }
        case OptimizerKind::ftrl:
            rule.l2 = static_cast<float>(spec_.rule.l2 + spec_.ftrl_beta / (2.0 * learning_rate));
            break;
        case OptimizerKind::schedule_free_adamw:
            if (spec_.warmup_steps > 0) learning_rate *= std::min(t / spec_.warmup_steps, 1.0);
            rule.alpha = static_cast<float>(learning_rate);
            rule.mix = static_cast<float>(1.0 / t);
            break;
        default:
            break;
    }
    return step;
}

void Updater::gather(int parameter, std::int64_t first, std::int64_t size, float* gradient, const Step& step,
                     double* squares) const {
    double sum = 0;
    float* gathered = gathered_ ? gathered_ + offsets_[static_cast<std::size_t>(parameter)] + first : nullptr;
    for (std::int64_t i = 0; i < size; ++i) {
        float g = gradient[i];
        if (gathered) {
            g += gathered[i];
            gathered[i] = step.updates ? 0.0f : g;
            g *= step.scale;
            gradient[i] = g;
        }
        sum += static_cast<double>(g) * g;
    }
    if (squares) *squares = sum;
}

void Updater::update(int parameter, std::int64_t first, std::int64_t size, float* param, float* gradient,
                     const Step& step, float scale) const {
    const std::size_t p = static_cast<std::size_t>(parameter);
    const std::int64_t at = offsets_[p] + first;
    if (step.updates) {
        OptimizerUpdate a = step.rule;
        a.size = size;
        a.param = param;
        a.gradient = gradient;
        a.m = m_ ? m_ + at : nullptr;
        a.v = v_ ? v_ + at : nullptr;
        a.u = u_ ? u_ + at : nullptr;
        a.gradient_scale = scale;
        a.weight_decay = spec_.weight_decay[p];
        if (!wants_whole() || (spec_.whole == WholeRule::muon && !spec_.orthogonal[p])) {
            update_(a);
        } else {
            const float decay = 1.0f - a.weight_decay * static_cast<float>(a.learning_rate);
            const float limit = a.clip_value > 0 ? a.clip_value : INFINITY;
            for (std::int64_t i = 0; i < size; ++i) {
                if (a.weight_decay != 0) param[i] *= decay;
                gradient[i] = std::min(std::max(gradient[i] * scale, -limit), limit);
            }
            float* scratch = scratch_offsets_.empty() ? nullptr : scratch_.data() + scratch_offsets_[p];
            const WholeUpdate whole{shapes_[p], param, gradient, a.m, a.v, a.u, scratch};
            switch (spec_.whole) {
                case WholeRule::lamb:
                    lamb_update(spec_, step, whole);
                    break;
                case WholeRule::adafactor:
                    adafactor_update(spec_, step, whole);
                    break;
                default:
                    muon_update(spec_, step, whole);
            }
        }
    }
    if (!average_) return;
    float* average = average_ + at;
    const float kept = step.average_kept;
    for (std::int64_t i = 0; i < size; ++i) average[i] = kept * average[i] + (1.0f - kept) * param[i];
    if (step.overwrites) std::copy_n(average, size, param);
}

}  // namespace fastcnn
