// Updater.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cmath>
#include <cstring>

#include "bindings/arrays.h"
#include "bindings/engine.h"
#include "bindings/function_names.h"
#include "engine/updater.h"

namespace fastcnn {

namespace {

// Sets `value` where the description has it.
template <class Value>
void take(const py::dict& dict, const char* key, Value& value) {
    if (dict.contains(key)) value = dict[key].cast<Value>();
}

struct Rule {
    OptimizerKind kind;  // of a rule for whole parameters: the one with the same slots
    WholeRule whole = WholeRule::none;
};

constexpr std::pair<const char*, Rule> kRules[] = {
    {"sgd", {OptimizerKind::sgd}},
    {"adam", {OptimizerKind::adam}},
    {"rmsprop", {OptimizerKind::rmsprop}},
    {"adadelta", {OptimizerKind::adadelta}},
    {"adagrad", {OptimizerKind::adagrad}},
    {"adamax", {OptimizerKind::adamax}},
    {"nadam", {OptimizerKind::nadam}},
    {"ftrl", {OptimizerKind::ftrl}},
    {"lion", {OptimizerKind::lion}},
    {"schedule_free_adamw", {OptimizerKind::schedule_free_adamw}},
    {"lamb", {OptimizerKind::adam, WholeRule::lamb}},
    {"adafactor", {OptimizerKind::adam, WholeRule::adafactor}},
    {"muon", {OptimizerKind::adam, WholeRule::muon}},
};

OptimizerSpec spec_of(const py::dict& dict) {
    OptimizerSpec spec;
    OptimizerUpdate& rule = spec.rule;
    const Rule named =
        kind_of("Updater", dict.contains("kind") ? dict["kind"].cast<std::string>() : "", kRules);
    rule.kind = named.kind;
    spec.whole = named.whole;
    rule.rho = rule.beta_1 = 0.9;  // Keras's usual settings
    rule.beta_2 = 0.999;
    rule.epsilon = 1e-7f;
    take(dict, "momentum", rule.momentum);
    take(dict, "nesterov", rule.nesterov);
    take(dict, "rho", rule.rho);
    take(dict, "centered", rule.centered);
    take(dict, "beta_1", rule.beta_1);
    take(dict, "beta_2", rule.beta_2);
    take(dict, "epsilon", rule.epsilon);
    take(dict, "amsgrad", rule.amsgrad);
    take(dict, "l1", rule.l1);
    take(dict, "l2", rule.l2);
    take(dict, "shrinkage", rule.shrinkage);
    take(dict, "power", rule.power);
    take(dict, "clipvalue", rule.clip_value);
    take(dict, "clipnorm", spec.clip_norm);
    take(dict, "global_clipnorm", spec.global_clip_norm);
    take(dict, "weight_decay", spec.weight_decay);
    take(dict, "accumulation", spec.accumulation);
    take(dict, "averages", spec.averages);
    take(dict, "average_momentum", spec.average_momentum);
    take(dict, "average_overwrite", spec.average_overwrite);
    take(dict, "first_accumulator", spec.first_accumulator);
    take(dict, "warmup_steps", spec.warmup_steps);
    take(dict, "ftrl_beta", spec.ftrl_beta);
    take(dict, "beta_2_decay", spec.beta_2_decay);
    take(dict, "epsilon_1", spec.epsilon_1);
    take(dict, "epsilon_2", spec.epsilon_2);
    take(dict, "clip_threshold", spec.clip_threshold);
    take(dict, "orthogonal", spec.orthogonal);
    take(dict, "muon_a", spec.muon_a);
    take(dict, "muon_b", spec.muon_b);
    take(dict, "muon_c", spec.muon_c);
    take(dict, "adam_rate_ratio", spec.adam_rate_ratio);
    take(dict, "rms_rate", spec.rms_rate);
    take(dict, "newton_schulz_steps", spec.newton_schulz_steps);
    return spec;
}

constexpr std::int64_t kMostIterations = std::int64_t{1} << 53;  // which a double counts

void set_iterations(Updater& updater, std::int64_t iterations) {
    require(iterations >= 0 && iterations <= kMostIterations,
            "Updater: iterations: expected an integer from 0 to 2^53, received ", iterations);
    const std::lock_guard<std::mutex> guard(updater.mutex());
    updater.set_iterations(iterations);
}

py::dict get_state(const Updater& updater) {
    const std::lock_guard<std::mutex> guard(updater.mutex());
    py::dict slots;
    for (const std::string& name : updater.slots()) {
        py::list arrays;
        for (int p = 0; p < updater.count(); ++p)
            arrays.append(py::array_t<float>(updater.slot_shape(name, p), updater.slot(name, p)));
        slots[py::str(name)] = arrays;
    }
    py::dict state;
    state["iterations"] = updater.iterations();
    state["slots"] = slots;
    return state;
}

void set_state(Updater& updater, const py::dict& state) {
    const py::dict slots = state["slots"].cast<py::dict>();
    // All checks first: a bad state changes nothing.
    std::vector<std::pair<float*, py::array>> copies;
    for (const std::string& name : updater.slots()) {
        require(slots.contains(name.c_str()), "set_state: slots: expected '", name, "', which is missing");
        const py::list arrays = slots[name.c_str()].cast<py::list>();
        require(arrays.size() == static_cast<std::size_t>(updater.count()), "set_state: slots: '", name,
                "': expected one array a trainable parameter, received ", arrays.size());
        for (int p = 0; p < updater.count(); ++p) {
            const py::array array = arrays[static_cast<std::size_t>(p)].cast<py::array>();
            bindings::require_array({"set_state", name}, array, py::dtype::of<float>(),
                                    bindings::pattern_of(updater.slot_shape(name, p)));
            copies.emplace_back(updater.slot(name, p), array);
        }
    }
    const std::int64_t iterations = state["iterations"].cast<std::int64_t>();
    require(iterations >= 0 && iterations <= kMostIterations,
            "set_state: iterations: expected an integer from 0 to 2^53, received ", iterations);
    const std::lock_guard<std::mutex> guard(updater.mutex());
    for (const auto& [to, from] : copies)
        std::memcpy(to, from.data(), static_cast<std::size_t>(from.nbytes()));
    updater.set_iterations(iterations);
}

struct Given {
    int parameter;
    float* param;
    float* gradient;
    double squares = 0;
};

// One step of the parameters at `places`, in place; the gradients are written over.
void apply(Updater& updater, const std::vector<int>& places, const std::vector<py::array>& params,
           const std::vector<py::array>& gradients, double learning_rate) {
    require(places.size() == params.size() && places.size() == gradients.size(),
            "apply: params, gradients: expected ", places.size(), " of each, received ", params.size(),
            " and ", gradients.size());
    std::vector<Given> given;
    for (std::size_t i = 0; i < places.size(); ++i) {
        require(places[i] >= 0 && places[i] < updater.count(), "apply: places: expected integers below ",
                updater.count(), ", received ", places[i]);
        const auto array = [&](const char* name, py::array a) {
            bindings::require_array({"apply", name}, a, py::dtype::of<float>(),
                                    bindings::pattern_of(updater.shape(places[i])));
            return static_cast<float*>(a.mutable_data());
        };
        given.push_back({places[i], array("params", params[i]), array("gradients", gradients[i])});
    }
    const py::gil_scoped_release release;
    const std::lock_guard<std::mutex> guard(updater.mutex());
    const Updater::Step step = updater.begin(learning_rate);
    double all = 0;
    for (Given& g : given) {
        updater.gather(g.parameter, 0, updater.size(g.parameter), g.gradient, step, &g.squares);
        all += g.squares;
    }
    for (const Given& g : given) {
        const bool global = updater.spec().global_clip_norm > 0;
        const float scale = updater.clips_by_norm() ? updater.clip_scale(global ? all : g.squares) : 1.0f;
        updater.update(g.parameter, 0, updater.size(g.parameter), g.param, g.gradient, step, scale);
    }
    updater.end();
}

void start(Updater& updater, const std::vector<py::array>& params) {
    require(params.size() == static_cast<std::size_t>(updater.count()), "start: params: expected ",
            updater.count(), " arrays, received ", params.size());
    for (int p = 0; p < updater.count(); ++p) {
        const py::array& param = params[static_cast<std::size_t>(p)];
        bindings::require_array({"start", "params"}, param, py::dtype::of<float>(),
                                bindings::pattern_of(updater.shape(p)));
        updater.start(p, static_cast<const float*>(param.data()));
    }
}

}  // namespace

void bind_updater(py::module_& module) {
    py::class_<Updater, std::shared_ptr<Updater>>(module, "Updater")
        .def(py::init([](const py::dict& description, std::vector<Shape> shapes) {
                 return std::make_shared<Updater>(spec_of(description), std::move(shapes));
             }),
             py::arg("description"), py::arg("shapes"))
        .def_property("iterations", &Updater::iterations, set_iterations)
        .def("start", start, py::arg("params"))
        .def("apply", apply, py::arg("places"), py::arg("params"), py::arg("gradients"),
             py::arg("learning_rate"))
        .def("get_state", get_state)
        .def("set_state", set_state, py::arg("state"));
}

}  // namespace fastcnn
