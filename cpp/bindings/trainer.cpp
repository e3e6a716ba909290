// Trainer.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <map>

#include "bindings/arrays.h"
#include "bindings/engine.h"
#include "bindings/host_function.h"
#include "bindings/loss_rule.h"
#include "engine/trainer.h"

namespace fastcnn {

namespace {

template <class Value>
Value lookup(const char* what, const std::map<std::string, Value>& names, const std::string& name) {
    const auto found = names.find(name);
    if (found != names.end()) return found->second;
    std::string known;
    for (const auto& entry : names) known += (known.empty() ? "'" : ", '") + entry.first + "'";
    fail("Trainer: ", what, ": expected one of ", known, ", received '", name, "'");
}

template <class Value>
Value get(const py::dict& dict, const char* key, Value standard) {
    return dict.contains(key) ? dict[key].cast<Value>() : standard;
}

LossSpec loss_of(const py::dict& dict, const Shape& output) {
    static const std::map<std::string, LossReduction> reductions = {
        {"mean", LossReduction::mean},
        {"weighted_mean", LossReduction::weighted_mean},
        {"sum", LossReduction::sum}};
    LossSpec spec;
    if (dict.contains("host")) {
        spec.kind = LossKind::host;
        spec.host = make_host_loss(dict["host"], output);
        return spec;
    }
    spec.kind = kind_of("Trainer: loss", get<std::string>(dict, "kind", ""), kLossNames);
    spec.from_logits = get(dict, "from_logits", false);
    spec.label_smoothing = get(dict, "label_smoothing", 0.0);
    spec.reduction = lookup("reduction", reductions, get<std::string>(dict, "reduction", "mean"));
    read_loss_settings("Trainer: loss", dict, output.back(), spec, spec.weight_of_class);
    return spec;
}

MetricSpec metric_of(const py::dict& dict, LossKind kind) {
    static const std::map<std::string, AccuracyKind> kinds = {
        {"binary", AccuracyKind::binary},
        {"categorical", AccuracyKind::categorical},
        {"sparse_categorical", AccuracyKind::sparse_categorical}};
    MetricSpec spec;
    spec.weighted = get(dict, "weighted", false);
    if (dict.contains("loss")) {
        const py::dict loss = dict["loss"];
        spec.is_loss = true;
        spec.loss.kind = kind_of("Trainer: metrics", get<std::string>(loss, "kind", ""), kLossNames);
        spec.loss.from_logits = get(loss, "from_logits", false);
        spec.loss.label_smoothing = get(loss, "label_smoothing", 0.0);
        require(is_sparse(spec.loss.kind) == is_sparse(kind),
                "Trainer: metrics: expected one that reads labels as the loss does, received '",
                get<std::string>(loss, "kind", ""), "'");
        return spec;
    }
    spec.kind = lookup("metrics", kinds, get<std::string>(dict, "kind", ""));
    spec.threshold = get(dict, "threshold", 0.5f);
    require((spec.kind == AccuracyKind::sparse_categorical) == is_sparse(kind),
            "Trainer: metrics: expected one that reads labels as the loss does, received '",
            get<std::string>(dict, "kind", ""), "'");
    return spec;
}

ConstraintSpec constraint_of(const py::object& given, const Shape& shape) {
    ConstraintSpec spec;
    if (given.is_none()) return spec;
    if (!py::isinstance<py::dict>(given)) {
        spec.kind = ConstraintSpec::Kind::host;
        spec.host = make_host_weights(given, shape);
        return spec;
    }
    const py::dict dict = given;
    spec.kind = lookup<ConstraintSpec::Kind>(
        "constraints",
        {{"norm", ConstraintSpec::Kind::norm}, {"non_negative", ConstraintSpec::Kind::non_negative}},
        get<std::string>(dict, "kind", ""));
    spec.minimum = get(dict, "minimum", 0.0);
    spec.maximum = get(dict, "maximum", 0.0);
    spec.rate = get(dict, "rate", 1.0);
    spec.epsilon = get(dict, "epsilon", 1e-7);
    spec.axes = get(dict, "axes", std::vector<int>{});
    return spec;
}

std::shared_ptr<Trainer> make_trainer(const std::shared_ptr<Network>& network, const py::dict& loss,
                                      const std::vector<py::dict>& metrics, std::shared_ptr<Updater> updater,
                                      const std::vector<py::object>& regularizers,
                                      std::vector<bool> trainable,
                                      const std::vector<py::object>& constraints) {
    std::vector<MetricSpec> specs;
    LossSpec spec = loss_of(loss, network->graph().output_shape());
    for (const py::dict& metric : metrics) specs.push_back(metric_of(metric, spec.kind));
    std::vector<Regularizer> penalties;
    const auto shape_of = [&](std::size_t p) -> const Shape& {
        require(p < network->parameters().size(), "Trainer: regularizers, constraints: expected ",
                network->parameters().size(), " entries, received more");
        const ParameterRef& ref = network->parameters()[p];
        return ref.owner->shape(ref.index);
    };
    for (const py::object& given : regularizers) {
        if (py::isinstance<py::tuple>(given)) {
            const auto [l1, l2] = given.cast<std::pair<float, float>>();
            penalties.push_back({l1, l2, nullptr});
        } else {
            penalties.push_back({0, 0, make_host_weights(given, shape_of(penalties.size()))});
        }
    }
    std::vector<ConstraintSpec> limits;
    for (const py::object& given : constraints)
        limits.push_back(constraint_of(given, shape_of(limits.size())));
    return std::make_shared<Trainer>(network, loss_of(loss, network->graph().output_shape()),
                                     std::move(specs), std::move(updater), std::move(penalties),
                                     std::move(trainable), std::move(limits));
}

TargetArray target_array(const Trainer& trainer, const char* operation, const py::array& y,
                         std::int64_t samples) {
    if (trainer.loss().host) {
        require(y.ndim() > 0 && y.shape(0) == samples, operation, ": y: expected ", samples,
                " rows, received ", y.ndim() ? y.shape(0) : 0);
        bindings::require_array({operation, "y"}, y, py::dtype::of<float>(),
                                bindings::pattern_of(bindings::shape_of(y)));
        const Shape all = bindings::shape_of(y);
        TargetArray target;
        target.shape = std::make_shared<const Shape>(all.begin() + 1, all.end());
        target.size = size_of(*target.shape);
        target.values = static_cast<const float*>(y.data());
        return target;
    }
    Shape shape = {samples};
    const Shape& output = trainer.network().graph().output_shape();
    const bool sparse = is_sparse(trainer.loss().kind);
    shape.insert(shape.end(), output.begin(), sparse ? output.end() - 1 : output.end());
    const bool flat = !sparse && output.size() == 1 && output[0] == 1 && y.ndim() == 1;
    if (flat) shape.pop_back();
    const py::dtype dtype = sparse ? py::dtype::of<std::int32_t>() : py::dtype::of<float>();
    bindings::require_array({operation, "y"}, y, dtype, bindings::pattern_of(shape));
    TargetArray target;
    target.size = size_of(Shape(shape.begin() + 1, shape.end()));
    if (sparse)
        target.classes = static_cast<const std::int32_t*>(y.data());
    else
        target.values = static_cast<const float*>(y.data());
    return target;
}

// Borrows the arrays: the caller keeps them alive during the run.
RunInput run_input(const Trainer& trainer, const char* operation, const py::array& x, const py::array& y,
                   const py::object& weight, std::int64_t begin, std::int64_t end, std::int64_t limit,
                   std::int64_t batch_size) {
    RunInput in;
    in.x = input_array(operation, x, trainer.network().graph().input_shape());
    in.y = target_array(trainer, operation, y, in.x.samples);
    if (!weight.is_none()) {
        const py::array array = weight.cast<py::array>();
        const Shape& output = trainer.network().graph().output_shape();
        const std::int64_t rows = size_of(output) / output.back();
        if (array.ndim() == 2 && !trainer.loss().host)
            in.weight_size = rows;  // one for each row of the output
        bindings::Pattern pattern = {in.x.samples};
        if (array.ndim() == 2) pattern.push_back(in.weight_size);
        bindings::require_array({operation, "sample_weight"}, array, py::dtype::of<float>(), pattern);
        in.weight = static_cast<const float*>(array.data());
    }
    require(batch_size > 0, operation, ": batch_size: expected a positive integer, received ", batch_size);
    if (limit < 0) limit = in.x.samples;
    require(begin >= 0 && begin <= end && end <= limit, operation,
            ": begin, end: expected 0 <= begin <= end <= ", limit, ", received ", begin, ", ", end);
    in.begin = begin;
    in.end = end;
    in.batch_size =
        std::min(batch_size, std::max<std::int64_t>(1, in.x.samples));  // the plan books memory for a batch
    return in;
}

// Checks the positions [begin, end), all that the call can reach.
const std::int64_t* checked_indices(const py::array& indices, std::int64_t samples, std::int64_t begin,
                                    std::int64_t end) {
    bindings::require_array({"train", "indices"}, indices, py::dtype::of<std::int64_t>(), {"positions"});
    const std::int64_t* p = static_cast<const std::int64_t*>(indices.data());
    for (std::int64_t i = begin; i < end; ++i)
        require(p[i] >= 0 && p[i] < samples, "train: indices: expected rows in [0, ", samples, "), received ",
                p[i]);
    return p;
}

// Checks the labels of positions [begin, end): the loss's kernel uses class numbers as indices.
void check_classes(const Trainer& trainer, const char* operation, const RunInput& in, std::int64_t begin,
                   std::int64_t end) {
    if (!in.y.classes) return;
    const std::int64_t classes = trainer.network().graph().output_shape().back();
    const LossRule& rule = trainer.loss();
    for (std::int64_t i = begin; i < end; ++i) {
        const std::int32_t* label = in.y.classes + (in.indices ? in.indices[i] : i) * in.y.size;
        for (std::int64_t r = 0; r < in.y.size; ++r)
            require((label[r] >= 0 && label[r] < classes) || (rule.ignores && label[r] == rule.ignored_class),
                    operation, ": y: expected classes from 0 to ", classes - 1, ", received ", label[r]);
    }
}

float* output_array(const Trainer& trainer, const char* operation, const py::object& outputs,
                    std::int64_t samples) {
    if (outputs.is_none()) return nullptr;
    py::array array = outputs.cast<py::array>();
    bindings::require_dtype({operation, "outputs"}, array, py::dtype::of<float>());
    const std::int64_t size = samples * size_of(trainer.network().graph().output_shape());
    require(array.size() >= size, operation, ": outputs: expected at least ", size, " elements, received ",
            array.size());
    return static_cast<float*>(array.mutable_data());
}

py::dict totals_dict(const RunTotals& totals) {
    py::list metrics;
    for (std::size_t m = 0; m < totals.metric_total.size(); ++m)
        metrics.append(py::make_tuple(totals.metric_total[m], totals.metric_count[m]));
    py::dict dict;
    dict["steps"] = totals.steps;
    dict["samples"] = totals.samples;
    dict["loss"] = totals.loss;
    dict["loss_weight"] = totals.loss_weight;
    dict["metrics"] = metrics;
    return dict;
}

py::dict train(Trainer& trainer, const py::array& x, const py::array& y, const py::object& weight,
               const py::object& indices, std::int64_t begin, std::int64_t end, std::int64_t batch_size,
               const py::array& learning_rates, std::int64_t max_steps, double time_limit,
               const py::object& outputs) {
    require(trainer.has_optimizer(),
            "train: optimizer: expected a Trainer with one, received a Trainer for evaluation");
    const py::array order = indices.is_none() ? py::array() : indices.cast<py::array>();
    RunInput in = run_input(trainer, "train", x, y, weight, begin, end, indices.is_none() ? -1 : order.size(),
                            batch_size);
    bindings::require_array({"train", "learning_rates"}, learning_rates, py::dtype::of<double>(), {"steps"});
    RunLimits limits;
    limits.learning_rates = static_cast<const double*>(learning_rates.data());
    limits.learning_rate_count = learning_rates.size();
    limits.max_steps = limits.learning_rate_count == 1
                           ? max_steps
                           : std::min<std::int64_t>(max_steps, learning_rates.size());
    limits.seconds = time_limit;
    // Samples that this call can reach at the most.
    const std::int64_t reach =
        limits.max_steps <= (end - begin) / batch_size ? limits.max_steps * batch_size : end - begin;
    const std::int64_t last = std::min(end, begin + reach);
    if (!indices.is_none()) in.indices = checked_indices(order, in.x.samples, begin, last);
    check_classes(trainer, "train", in, begin, last);
    in.outputs = output_array(trainer, "train", outputs, reach);
    RunTotals totals;
    {
        const py::gil_scoped_release release;
        totals = trainer.train(in, limits);
    }
    trainer.rethrow_host_error();
    return totals_dict(totals);
}

py::dict evaluate(const Trainer& trainer, const py::array& x, const py::array& y, const py::object& weight,
                  std::int64_t begin, std::int64_t end, std::int64_t batch_size, const py::object& outputs) {
    RunInput in = run_input(trainer, "evaluate", x, y, weight, begin, end, -1, batch_size);
    check_classes(trainer, "evaluate", in, begin, end);
    in.outputs = output_array(trainer, "evaluate", outputs, end - begin);
    RunTotals totals;
    {
        const py::gil_scoped_release release;
        totals = trainer.evaluate(in);
    }
    trainer.rethrow_host_error();
    return totals_dict(totals);
}

py::list gradients(Trainer& trainer, const py::array& x, const py::array& y, const py::object& weight,
                   std::uint32_t step) {
    RunInput in = run_input(trainer, "gradients", x, y, weight, 0, x.ndim() ? x.shape(0) : 0, -1, 1);
    require(in.end > 0, "gradients: x: expected at least one sample, received none");
    check_classes(trainer, "gradients", in, 0, in.end);
    py::list list;
    std::vector<float*> out;
    for (std::size_t p = 0; p < trainer.trainable().size(); ++p) {
        if (!trainer.trainable()[p]) {
            list.append(py::none());
            out.push_back(nullptr);
            continue;
        }
        const ParameterRef& ref = trainer.network().parameters()[p];
        py::array_t<float> array(ref.owner->shape(ref.index));
        out.push_back(array.mutable_data());
        list.append(std::move(array));
    }
    {
        const py::gil_scoped_release release;
        trainer.gradients(in, step, out);
    }
    trainer.rethrow_host_error();
    return list;
}

py::list profile(Trainer& trainer, const py::array& x, const py::array& y, const py::object& weight,
                 double seconds) {
    const RunInput in = run_input(trainer, "profile", x, y, weight, 0, x.ndim() ? x.shape(0) : 0, -1, 1);
    require(in.end > 0, "profile: x: expected at least one sample, received none");
    check_classes(trainer, "profile", in, 0, in.end);
    Profile found;
    {
        const py::gil_scoped_release release;
        found = trainer.profile(in, seconds);
    }
    trainer.rethrow_host_error();
    return profile_as_list(found);
}

}  // namespace

void bind_trainer(py::module_& module) {
    py::class_<Trainer, std::shared_ptr<Trainer>>(module, "Trainer")
        .def(py::init(&make_trainer), py::arg("network"), py::arg("loss"), py::arg("metrics"),
             py::arg("updater"), py::arg("regularizers"), py::arg("trainable"),
             py::arg("constraints") = std::vector<py::object>{})
        .def_property_readonly("updater", &Trainer::updater)
        .def("train", train, py::arg("x"), py::arg("y"), py::arg("sample_weight"), py::arg("indices"),
             py::arg("begin"), py::arg("end"), py::arg("batch_size"), py::arg("learning_rates"),
             py::arg("max_steps"), py::arg("time_limit"), py::arg("outputs"))
        .def("evaluate", evaluate, py::arg("x"), py::arg("y"), py::arg("sample_weight"), py::arg("begin"),
             py::arg("end"), py::arg("batch_size"), py::arg("outputs"))
        .def("profile", profile, py::arg("x"), py::arg("y"), py::arg("sample_weight"), py::arg("seconds"))
        .def("gradients", gradients, py::arg("x"), py::arg("y"), py::arg("sample_weight"), py::arg("step"))
        .def(
            "explain",
            [](const Trainer& t, std::int64_t batch_size) {
                require(batch_size > 0, "explain: batch_size: expected a positive integer, received ",
                        batch_size);
                return plan_as_list(*t.plan(Mode::train, batch_size));
            },
            py::arg("batch_size"));
}

}  // namespace fastcnn
