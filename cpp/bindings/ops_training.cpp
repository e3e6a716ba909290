// Losses, metrics, optimizers, gradient sums and reading on arrays.
#include <utility>

#include "bindings/loss_rule.h"
#include "bindings/ops_samples.h"
#include "kernels/reference.h"

namespace fastcnn::bindings {

namespace {

// ------------------------------------------------------------------------------------------ losses and
// metrics

// Predictions (batch, ..., classes) and the targets that belong to them: of the same shape, or for the sparse
// kinds a class number for each row, int32 (batch, ...).
struct Labelled {
    Labelled(const Call& call, const py::array& prediction_, const py::array& target_, const LossRule& rule,
             const OptionalArray& weight_)
        : Labelled(call, prediction_, target_, is_sparse(rule.kind), weight_, rule) {}
    Labelled(const Call& call, const py::array& prediction_, const py::array& target_, bool sparse,
             const OptionalArray& weight_, const LossRule& rule = {})
        : prediction(call.input_any("prediction", prediction_, 2)),
          batch(prediction[0]),
          classes(prediction.shape().back()),
          rows(prediction.size() / batch / classes) {
        if (sparse) {
            const Shape& shape = prediction.shape();
            require_array({call.operation(), "target"}, target_, py::dtype::of<std::int32_t>(),
                          pattern_of(Shape(shape.begin(), shape.end() - 1)));
            target_class = static_cast<const std::int32_t*>(target_.data());
            for (std::int64_t r = 0; r < batch * rows; ++r)
                require((target_class[r] >= 0 && target_class[r] < classes) ||
                            (rule.ignores && target_class[r] == rule.ignored_class),
                        call.operation(), ": target: expected classes from 0 to ", classes - 1, ", received ",
                        target_class[r]);
        } else {
            target = call.input("target", target_, pattern_of(prediction.shape()));
        }
        weight = call.input("weight", weight_, {batch});
    }

    // Of fastcnn's argument structs; those of the oracle take the double arrays.
    template <class Args>
    void fill(Args& args) const {
        args.batch = batch;
        args.rows = rows;
        args.classes = classes;
        args.prediction = prediction.f32();
        args.target = target.f32();
        args.target_class = target_class;
        args.weight = weight.f32();
        args.prediction_stride = rows * classes;
        args.target_stride = target_class ? rows : rows * classes;
    }
    template <class Args>
    void fill_reference(Args& args) const {
        args.batch = batch;
        args.rows = rows;
        args.classes = classes;
        args.prediction = prediction.f64();
        args.target = target.f64();
        args.target_class = target_class;
        args.weight = weight.f64();
    }

    Operand prediction, target, weight;
    std::int64_t batch, classes, rows;
    const std::int32_t* target_class = nullptr;
};

// A loss's settings as Python gives them.
struct Rule : LossRule {
    Rule(const Call& call, const py::array& prediction, const std::string& name, bool logits,
         double smoothing, const py::dict& settings) {
        kind = kind_of(call.operation(), name, kLossNames);
        from_logits = logits;
        require(smoothing >= 0.0 && smoothing <= 1.0, call.operation(),
                ": label_smoothing: expected a number in [0, 1], received ", smoothing);
        label_smoothing = smoothing;
        const std::int64_t classes = prediction.ndim() ? prediction.shape(prediction.ndim() - 1) : 0;
        read_loss_settings(call.operation(), settings, classes, *this, weights);
    }
    std::vector<float> weights;
};

py::tuple loss(const py::array& prediction, const py::array& target, const std::string& kind,
               bool from_logits, double label_smoothing, const OptionalArray& weight, double scale,
               const py::dict& settings, const std::string& isa, const std::string& algorithm) {
    const Call call("loss", isa, algorithm);
    const Rule rule(call, prediction, kind, from_logits, label_smoothing, settings);
    const Labelled data(call, prediction, target, rule, weight);
    const Result grad = call.result(data.prediction.shape());
    const Operand activated = from_logits ? call.result(data.prediction.shape()) : data.prediction;
    double total = 0.0;
    if (call.reference()) {
        reference::Loss args;
        static_cast<LossRule&>(args) = rule;
        data.fill_reference(args);
        args.scale = scale;
        args.grad = grad.f64();
        if (from_logits) args.activated = Result(activated.array()).f64();
        call.run_reference([&] { total = reference::loss(args); });
    } else {
        Loss args;
        static_cast<LossRule&>(args) = rule;
        data.fill(args);
        args.scale = static_cast<float>(scale);
        args.loss = &total;
        args.grad = grad.f32();
        if (from_logits) args.activated = Result(activated.array()).f32();
        args.grad_stride = args.activated_stride = args.prediction_stride;
        call.run(args);
    }
    return py::make_tuple(total, grad.array(), activated.array());
}

// Each row's loss on its own: the kernel sums, so it is asked row by row.
py::array row_losses(const py::array& prediction, const py::array& target, const std::string& kind,
                     bool from_logits, double label_smoothing, const OptionalArray& out,
                     const py::dict& settings, const std::string& isa, const std::string& algorithm) {
    const Call call("row_losses", isa, algorithm);
    const Rule rule(call, prediction, kind, from_logits, label_smoothing, settings);
    const Labelled data(call, prediction, target, rule, std::nullopt);
    const Shape& shape = data.prediction.shape();
    const Result losses =
        call.result(out, Shape(shape.begin(), shape.end() - 1), {&data.prediction, &data.target});
    const auto fill_row = [&](auto& args, std::int64_t row) {
        args.batch = args.rows = 1;
        args.prediction += row * data.classes;
        if (args.target) args.target += row * data.classes;
        if (args.target_class) args.target_class += row;
    };
    const std::int64_t rows = data.batch * data.rows;
    if (call.reference()) {
        call.run_reference([&] {
            for (std::int64_t row = 0; row < rows; ++row) {
                reference::Loss args;
                static_cast<LossRule&>(args) = rule;
                data.fill_reference(args);
                fill_row(args, row);
                losses.f64()[row] = reference::loss(args);
            }
        });
        return losses.array();
    }
    Loss first;
    static_cast<LossRule&>(first) = rule;
    data.fill(first);
    call.run_each(first, rows, [&](Loss& args, std::int64_t row, auto run) {
        double total = 0.0;
        fill_row(args, row);
        args.loss = &total;
        run();
        losses.f32()[row] = static_cast<float>(total);
    });
    return losses.array();
}

py::tuple accuracy(const py::array& prediction, const py::array& target, const std::string& kind,
                   double threshold, const OptionalArray& weight, const std::string& isa,
                   const std::string& algorithm) {
    const Call call("accuracy", isa, algorithm);
    const AccuracyKind accuracy_kind =
        named<AccuracyKind>(call, "kind", kind,
                            {{"binary", AccuracyKind::binary},
                             {"categorical", AccuracyKind::categorical},
                             {"sparse_categorical", AccuracyKind::sparse_categorical}});
    const Labelled data(call, prediction, target, accuracy_kind == AccuracyKind::sparse_categorical, weight);
    double total = 0.0, count = 0.0;
    if (call.reference()) {
        reference::Accuracy args;
        data.fill_reference(args);
        args.kind = accuracy_kind;
        args.threshold = threshold;
        call.run_reference([&] { reference::accuracy(args, &total, &count); });
    } else {
        Accuracy args;
        data.fill(args);
        args.kind = accuracy_kind;
        args.threshold = static_cast<float>(threshold);
        args.total = &total;
        args.count = &count;
        call.run(args);
    }
    return py::make_tuple(total, count);
}

py::tuple confusion_counts(const py::array& prediction_, const py::array& target_,
                           const py::array& thresholds_, const OptionalArray& weight_, const std::string& isa,
                           const std::string& algorithm) {
    const Call call("confusion_counts", isa, algorithm);
    const Operand prediction = call.input_any("prediction", prediction_);
    const Pattern same = pattern_of(prediction.shape());
    const Operand target = call.input("target", target_, same), weight = call.input("weight", weight_, same);
    const Operand thresholds = call.input("thresholds", thresholds_, {"thresholds"});
    // tp, fp, fn, tn
    const Shape each = {thresholds[0]};
    py::array_t<double> counts[4] = {py::array_t<double>(each), py::array_t<double>(each),
                                     py::array_t<double>(each), py::array_t<double>(each)};
    double* sums[4];
    for (int i = 0; i < 4; ++i) {
        sums[i] = counts[i].mutable_data();
        std::fill_n(sums[i], thresholds[0], 0.0);
    }
    if (call.reference()) {
        call.run_reference([&] {
            reference::confusion_counts(prediction.size(), thresholds[0], prediction.f64(), target.f64(),
                                        weight.f64(), thresholds.f64(), sums[0], sums[1], sums[2], sums[3]);
        });
    } else {
        ConfusionCounts args;
        args.size = prediction.size();
        args.thresholds = thresholds[0];
        args.prediction = prediction.f32();
        args.target = target.f32();
        args.weight = weight.f32();
        args.threshold = thresholds.f32();
        args.tp = sums[0];
        args.fp = sums[1];
        args.fn = sums[2];
        args.tn = sums[3];
        call.run(args);
    }
    return py::make_tuple(counts[0], counts[1], counts[2], counts[3]);
}

// ------------------------------------------------------------------------------------------------ optimizers

// Writes hyper-parameter `name` into the argument struct; false where there is none of that name.
template <class Update>
bool set_hyper(Update& update, const std::string& name, double value) {
    bool found = false;
    const auto field = [&](const char* known, auto& member) {
        if (name != known) return;
        member = static_cast<std::remove_reference_t<decltype(member)>>(value);
        found = true;
    };
    field("gradient_scale", update.gradient_scale);
    field("clip_value", update.clip_value);
    field("learning_rate", update.learning_rate);
    field("alpha", update.alpha);
    field("gradient_rate", update.gradient_rate);
    field("correction", update.correction);
    field("mix", update.mix);
    field("l1", update.l1);
    field("l2", update.l2);
    field("shrinkage", update.shrinkage);
    field("power", update.power);
    field("weight_decay", update.weight_decay);
    field("momentum", update.momentum);
    field("epsilon", update.epsilon);
    field("rho", update.rho);
    field("beta_1", update.beta_1);
    field("beta_2", update.beta_2);
    field("nesterov", update.nesterov);
    field("amsgrad", update.amsgrad);
    field("centered", update.centered);
    return found;
}

template <class Update>
void fill_hyper(const Call& call, Update& update, const py::dict& hyper) {
    for (const auto& [key, value] : hyper) {
        const auto name = py::cast<std::string>(key);
        require(set_hyper(update, name, py::cast<double>(value)), call.operation(),
                ": hyper: expected fields of OptimizerUpdate, received '", name, "'");
    }
}

// Checks the arrays, fills the struct, and hands it to `run`.
template <class Update, class Pointer, class Run>
void update_arrays(const Call& call, OptimizerKind kind, const py::array& param_, const py::array& gradient_,
                   const py::dict& slots, const py::dict& hyper, Pointer pointer, Run run) {
    const Operand gradient = call.input_any("gradient", gradient_);
    const Result param = call.in_place("param", param_, gradient.shape());
    Update update;
    update.kind = kind;
    fill_hyper(call, update, hyper);
    OptimizerUpdate rule;  // what it uses is said once, for the kernels
    rule.kind = kind;
    fill_hyper(call, rule, hyper);
    std::vector<Result> kept;  // the struct's pointers are theirs
    const auto slot = [&](const char* name, bool wanted) -> decltype(update.param) {
        if (!wanted) return nullptr;
        require(slots.contains(name), call.operation(), ": slots: expected an array '", name,
                "', received none");
        kept.push_back(call.in_place(name, py::cast<py::array>(slots[name]), gradient.shape()));
        return pointer(kept.back());
    };
    update.size = gradient.size();
    update.param = pointer(param);
    update.gradient = pointer(gradient);
    update.m = slot("m", rule.uses_m());
    update.v = slot("v", rule.uses_v());
    update.u = slot("u", rule.uses_u());
    run(update);
}

void optimizer_update(const std::string& kind, const py::array& param, const py::array& gradient,
                      const py::dict& slots, const py::dict& hyper, const std::string& isa,
                      const std::string& algorithm) {
    const Call call("optimizer_update", isa, algorithm);
    const OptimizerKind rule = kind_of(call.operation(), kind, kOptimizerNames);
    if (call.reference())
        update_arrays<reference::OptimizerUpdate>(
            call, rule, param, gradient, slots, hyper, [](const auto& a) { return a.f64(); },
            [&](const reference::OptimizerUpdate& update) {
                call.run_reference([&] { reference::optimizer_update(update); });
            });
    else
        update_arrays<OptimizerUpdate>(
            call, rule, param, gradient, slots, hyper, [](const auto& a) { return a.f32(); },
            [&](const OptimizerUpdate& update) { call.run(update); });
}

py::tuple sum_gradients(const py::array& lanes_, const py::array& param_, double l1, double l2,
                        const std::string& isa, const std::string& algorithm) {
    const Call call("sum_gradients", isa, algorithm);
    const Operand lanes = call.input("lanes", lanes_, {"lanes", "size"});
    const Operand param = call.input("param", param_, {lanes[1]});
    const Result gradient = call.result({lanes[1]});
    double penalty = 0.0, sum_squares = 0.0;
    if (call.reference()) {
        call.run_reference([&] {
            reference::sum_gradients(lanes[1], lanes[0], lanes.f64(), param.f64(), l1, l2, gradient.f64(),
                                     &penalty, &sum_squares);
        });
    } else {
        SumGradients args;
        args.size = args.lane_stride = lanes[1];
        args.lanes = lanes[0];
        args.lane = lanes.f32();
        args.param = param.f32();
        args.l1 = static_cast<float>(l1);
        args.l2 = static_cast<float>(l2);
        args.gradient = gradient.f32();
        args.penalty = &penalty;
        args.sum_squares = &sum_squares;
        call.run(args);
    }
    return py::make_tuple(gradient.array(), penalty, sum_squares);
}

py::array sum_gradients_transposed(const py::array& lanes_, const std::string& isa,
                                   const std::string& algorithm) {
    const Call call("sum_gradients_transposed", isa, algorithm);
    const Operand lanes = call.input("lanes", lanes_, {"lanes", "columns", "rows"});
    const std::int64_t columns = lanes[1], rows = lanes[2];
    const Result gradient = call.result({rows, columns});
    if (call.reference()) {
        call.run_reference([&] {
            reference::sum_gradients_transposed(rows, columns, lanes[0], lanes.f64(), gradient.f64());
        });
        return gradient.array();
    }
    SumGradientsTransposed args;
    args.rows = rows;
    args.columns = columns;
    args.lanes = lanes[0];
    args.lane_stride = rows * columns;
    args.lane = lanes.f32();
    args.gradient = gradient.f32();
    // In two shards of rows, as threads divide the matrix.
    args.last_row = (rows + 1) / 2;
    call.run(args);
    args.first_row = args.last_row;
    args.last_row = rows;
    if (args.first_row < rows) call.run(args);
    return gradient.array();
}

// --------------------------------------------------------------------------------------------------- reading

DType dtype_of(const Call& call, const py::array& x) {
    const py::dtype dtype = x.dtype();
    const auto native = [&](const char* name) { return dtype.equal(py::dtype(name)); };
    for (const auto& [name, value] :
         std::initializer_list<std::pair<const char*, DType>>{{"float32", DType::f32},
                                                              {"float64", DType::f64},
                                                              {"float16", DType::f16},
                                                              {"uint8", DType::u8},
                                                              {"int8", DType::i8},
                                                              {"uint16", DType::u16},
                                                              {"int16", DType::i16},
                                                              {"uint32", DType::u32},
                                                              {"int32", DType::i32},
                                                              {"uint64", DType::u64},
                                                              {"int64", DType::i64},
                                                              {"bool", DType::boolean}})
        if (native(name)) return value;
    // The ml_dtypes type, which NumPy sees as two bytes without a meaning.
    if (dtype.kind() == 'V' && dtype.itemsize() == 2 && dtype.attr("name").cast<std::string>() == "bfloat16")
        return DType::bf16;
    fail(call.operation(), ": x: expected bool, integer or float elements in native byte order, received ",
         describe(x));
}

py::array read_samples(const py::array& x, const std::string& isa, const std::string& algorithm) {
    const Call call("read_samples", isa, algorithm);
    const DType dtype = dtype_of(call, x);
    require((x.flags() & py::array::c_style) && x.size() > 0, call.operation(),
            ": x: expected a non-empty C-contiguous array, received ", describe(x));
    const Result y = call.result(shape_of(x));
    if (call.reference()) {
        call.run_reference([&] { reference::read_samples(dtype, x.size(), x.data(), y.f64()); });
    } else {
        ReadSamples args;
        args.dtype = dtype;
        args.size = x.size();
        args.x = x.data();
        args.y = y.f32();
        const std::int64_t item = x.itemsize();
        run_elements(call, args, [item](ReadSamples& part, std::int64_t first) {
            part.x = static_cast<const char*>(part.x) + first * item;
            part.y += first;
        });
    }
    return y.array();
}

// 16-bit words: NumPy itself has no bfloat16, the caller views them as that of ml_dtypes.
py::array round_bfloat16(const py::array& x_, const std::string& isa, const std::string& algorithm) {
    const Call call("round_bfloat16", isa, algorithm);
    require(!call.reference(), call.operation(), ": isa: expected a level, received 'reference'");
    const Operand x = call.input_any("x", x_);
    require(x_.flags() & py::array::c_style, call.operation(),
            ": x: expected a C-contiguous array, received ", describe(x_));
    py::array y = result_array(py::dtype::of<std::uint16_t>(), x.shape());
    RoundBfloat16 args;
    args.size = x.size();
    args.x = x.f32();
    args.y = static_cast<std::uint16_t*>(y.mutable_data());
    run_elements(call, args, [](RoundBfloat16& part, std::int64_t first) {
        part.x += first;
        part.y += first;
    });
    return y;
}

// Pairs of words, b's above a's (null: zeros).
py::array pair_words(const py::array& a, const OptionalArray& b, const std::string& isa,
                     const std::string& algorithm) {
    const Call call("pair_words", isa, algorithm);
    require(!call.reference(), call.operation(), ": isa: expected a level, received 'reference'");
    const Shape shape = shape_of(a);
    require_array({call.operation(), "a"}, a, py::dtype::of<std::uint16_t>(), pattern_of(shape));
    if (b) require_array({call.operation(), "b"}, *b, py::dtype::of<std::uint16_t>(), pattern_of(shape));
    py::array y = result_array(py::dtype::of<std::uint32_t>(), shape);
    PairWords args;
    args.size = a.size();
    args.a = static_cast<const std::uint16_t*>(a.data());
    args.b = b ? static_cast<const std::uint16_t*>(b->data()) : nullptr;
    args.y = static_cast<float*>(y.mutable_data());
    run_elements(call, args, [](PairWords& part, std::int64_t first) {
        part.a += first;
        if (part.b) part.b += first;
        part.y += first;
    });
    return y;
}

}  // namespace

void bind_training_ops(py::module_& module) {
    using py::arg;
    module.def("loss", loss, arg("prediction"), arg("target"), arg("kind"), arg("from_logits"),
               arg("label_smoothing"), arg("weight") = py::none(), arg("scale") = 1.0,
               arg("settings") = py::dict(), arg("isa") = "", arg("algorithm") = "");
    module.def("row_losses", row_losses, arg("prediction"), arg("target"), arg("kind"), arg("from_logits"),
               arg("label_smoothing") = 0.0, arg("out") = py::none(), arg("settings") = py::dict(),
               arg("isa") = "", arg("algorithm") = "");
    module.def("accuracy", accuracy, arg("prediction"), arg("target"), arg("kind"), arg("threshold") = 0.5,
               arg("weight") = py::none(), arg("isa") = "", arg("algorithm") = "");
    module.def("confusion_counts", confusion_counts, arg("prediction"), arg("target"), arg("thresholds"),
               arg("weight") = py::none(), arg("isa") = "", arg("algorithm") = "");
    module.def("optimizer_update", optimizer_update, arg("kind"), arg("param"), arg("gradient"), arg("slots"),
               arg("hyper"), arg("isa") = "", arg("algorithm") = "");
    module.def("sum_gradients", sum_gradients, arg("lanes"), arg("param"), arg("l1"), arg("l2"),
               arg("isa") = "", arg("algorithm") = "");
    module.def("sum_gradients_transposed", sum_gradients_transposed, arg("lanes"), arg("isa") = "",
               arg("algorithm") = "");
    module.def("read_samples", read_samples, arg("x"), arg("isa") = "", arg("algorithm") = "");
    module.def("round_bfloat16", round_bfloat16, arg("x"), arg("isa") = "", arg("algorithm") = "");
    module.def("pair_words", pair_words, arg("a"), arg("b").none(true), arg("isa") = "",
               arg("algorithm") = "");
}

}  // namespace fastcnn::bindings
