// Dense layers, activations and dropout on arrays.
#include <cstring>

#include "bindings/ops_samples.h"
#include "kernels/reference.h"

namespace fastcnn::bindings {

namespace {

// ---------------------------------------------------------------------------------------------------- dense

const Pattern kRows = {"batch", "inputs"};
const Pattern kMatrix = {"inputs", "units"};

// A block of the result's matrix.
struct DensePart {
    std::int64_t first_row, rows, first_column, columns;
};

// Runs y (batch, columns) = x weights on the team. Columns are divided where there are enough, so that the
// weights are read once; else rows. narrow(args, part) turns the whole call into one of a part.
template <class Args, class Narrow>
void run_dense(const Call& call, const Args& args, const float* weights, std::int64_t columns,
               const Narrow& narrow) {
    const std::int64_t flops = 2 * args.batch * args.inputs * args.units;
    const Choice<Args> choice = call.choice(args);
    if (!choice.row->kernel->pack)  // only by name, for tests: it takes whole matrices
        return call.run_divided(choice, args, weights, {},
                                [](Args& whole, std::int64_t, const auto& go) { go(whole); });
    const int threads = threads_for(flops, kLeastFlops);
    const std::int64_t groups = (columns + kPackedGroup - 1) / kPackedGroup;
    const bool by_columns = groups >= 2 * threads;
    const std::int64_t items = items_for(threads, by_columns ? groups : args.batch / 8);
    call.run_divided(choice, args, weights, {threads, items, 0, flops < kBriefFlops},
                     [&](Args& copy, std::int64_t item, const auto& go) {
                         DensePart part{0, args.batch, 0, columns};
                         const Share share(by_columns ? groups : args.batch, item, items);
                         if (by_columns) {
                             part.first_column = share.begin * kPackedGroup;
                             part.columns = std::min(columns, share.end * kPackedGroup) - part.first_column;
                         } else {
                             part.first_row = share.begin;
                             part.rows = share.end - share.begin;
                         }
                         narrow(copy, part);
                         go(copy);
                     });
}

py::array dense(const py::array& x_, const py::array& kernel_, const OptionalArray& bias_, bool relu,
                const OptionalArray& out, const std::string& isa, const std::string& algorithm) {
    const Call call("dense", isa, algorithm);
    const Operand x = call.input("x", x_, kRows), kernel = call.input("kernel", kernel_, {x[1], "units"});
    const std::int64_t batch = x[0], inputs = kernel[0], units = kernel[1];
    const Operand bias = call.input("bias", bias_, {units});
    const Result y = call.result(out, {batch, units}, {&x, &kernel, &bias});
    if (call.reference()) {
        call.run_reference([&] {
            reference::dense_forward(batch, inputs, units, x.f64(), kernel.f64(), bias.f64(), relu, y.f64());
        });
    } else {
        DenseForward args;
        args.inputs = args.x_stride = inputs;
        args.units = args.y_stride = units;
        args.relu = relu;
        args.batch = batch;
        args.x = x.f32();
        args.bias = bias.f32();
        args.y = y.f32();
        run_dense(call, args, kernel.f32(), units, [](DenseForward& a, const DensePart& part) {
            a.units = part.columns;
            a.kernel += part.first_column * a.inputs;
            if (a.bias) a.bias += part.first_column;
            a.batch = part.rows;
            a.x += part.first_row * a.x_stride;
            a.y += part.first_row * a.y_stride + part.first_column;
        });
    }
    return y.array();
}

py::array dense_grad_input(const py::array& dy_, const py::array& kernel_, const OptionalArray& out,
                           const std::string& isa, const std::string& algorithm) {
    const Call call("dense_grad_input", isa, algorithm);
    const Operand kernel = call.input("kernel", kernel_, kMatrix);
    const Operand dy = call.input("dy", dy_, {"batch", kernel[1]});
    const std::int64_t batch = dy[0], inputs = kernel[0], units = kernel[1];
    const Result dx = call.result(out, {batch, inputs}, {&dy, &kernel});
    if (call.reference()) {
        call.run_reference(
            [&] { reference::dense_grad_input(batch, inputs, units, dy.f64(), kernel.f64(), dx.f64()); });
    } else {
        DenseGradInput args;
        args.inputs = args.dx_stride = inputs;
        args.units = args.dy_stride = units;
        args.batch = batch;
        args.dy = dy.f32();
        args.dx = dx.f32();
        run_dense(call, args, kernel.f32(), inputs, [](DenseGradInput& a, const DensePart& part) {
            a.inputs = part.columns;
            a.kernel += part.first_column * a.units;
            a.batch = part.rows;
            a.dy += part.first_row * a.dy_stride;
            a.dx += part.first_row * a.dx_stride + part.first_column;
        });
    }
    return dx.array();
}

py::tuple dense_grad_kernel(const py::array& x_, const py::array& dy_, const OptionalArray& out,
                            const std::string& isa, const std::string& algorithm) {
    const Call call("dense_grad_kernel", isa, algorithm);
    const Operand x = call.input("x", x_, kRows), dy = call.input("dy", dy_, {x[0], "units"});
    const std::int64_t batch = x[0], inputs = x[1], units = dy[1];
    const Result dkernel = call.result(out, {inputs, units}, {&x, &dy}), dbias = call.result({units});
    if (call.reference()) {
        call.run_reference([&] {
            reference::dense_grad_kernel(batch, inputs, units, x.f64(), dy.f64(), dkernel.f64(), dbias.f64());
        });
        return py::make_tuple(dkernel.array(), dbias.array());
    }
    DenseGradKernel args;
    args.inputs = args.x_stride = inputs;
    args.units = args.dy_stride = units;
    args.batch = batch;
    args.x = x.f32();
    args.dy = dy.f32();
    args.dkernel = dkernel.f32();
    args.dbias = dbias.f32();
    // Always in several shards of the inputs, as the engine divides a large layer; one of them has the bias.
    const std::int64_t flops = 2 * batch * inputs * units;
    const int threads = threads_for(flops, kLeastFlops);
    const std::int64_t items = std::min(inputs, std::max<std::int64_t>(2, items_for(threads, inputs / 16)));
    call.run_divided(call.choice(args), args, nullptr, {threads, items, 0, flops < kBriefFlops},
                     [&](DenseGradKernel& a, std::int64_t item, const auto& go) {
                         const Share share(inputs, item, items);
                         a.first_input = share.begin;
                         a.last_input = share.end;
                         if (item > 0) a.dbias = nullptr;
                         go(a);
                     });
    return py::make_tuple(dkernel.array(), dbias.array());
}

// ---------------------------------------------------------------------------------------------- activations

Activation activation_of(const Call& call, const std::string& kind) {
    return named<Activation>(call, "kind", kind,
                             {{"linear", Activation::linear},
                              {"relu", Activation::relu},
                              {"sigmoid", Activation::sigmoid},
                              {"tanh", Activation::tanh}});
}

// Rows over the last axis of each sample.
struct Rows {
    explicit Rows(const Operand& x)
        : batch(x.shape().size() > 1 ? x[0] : 1),
          classes(x.shape().back()),
          rows(x.size() / batch / classes) {}
    std::int64_t batch, classes, rows;
};

void softmax(const Call& call, bool log, const Operand& x, const Result& y) {
    const Rows r(x);
    if (call.reference()) {
        call.run_reference(
            [&] { reference::softmax_forward(r.batch * r.rows, r.classes, x.f64(), y.f64(), log); });
        return;
    }
    SoftmaxForward args;
    args.log = log;
    args.batch = r.batch;
    args.rows = r.rows;
    args.classes = r.classes;
    args.x = x.f32();
    args.y = y.f32();
    args.x_stride = args.y_stride = r.rows * r.classes;
    run_samples(call, args, x.size(), [](SoftmaxForward& a, std::int64_t first) {
        a.x += first * a.x_stride;
        a.y += first * a.y_stride;
    });
}

py::array activation(const py::array& x_, const std::string& kind, const OptionalArray& out,
                     const std::string& isa, const std::string& algorithm) {
    const Call call("activation", isa, algorithm);
    const bool is_softmax = kind == "softmax" || kind == "log_softmax";
    const Operand x = call.input_any("x", x_, is_softmax ? 1 : 0);
    const Activation activation = is_softmax ? Activation::linear : activation_of(call, kind);
    const Result y = call.result(out, x.shape(), {&x}, &x);
    const Samples samples(x);
    if (is_softmax) {
        softmax(call, kind == "log_softmax", x, y);
    } else if (call.reference()) {
        call.run_reference([&] { reference::activation_forward(activation, x.size(), x.f64(), y.f64()); });
    } else {
        ActivationForward args;
        args.kind = activation;
        args.batch = samples.batch;
        args.size = args.x_stride = args.y_stride = samples.size;
        args.x = x.f32();
        args.y = y.f32();
        run_samples(call, args, x.size(), [](ActivationForward& a, std::int64_t first) {
            a.x += first * a.x_stride;
            a.y += first * a.y_stride;
        });
    }
    return y.array();
}

void softmax_grad(const Call& call, bool log, const Operand& y, const Result& dx) {
    const Rows r(y);
    if (call.reference()) {
        call.run_reference(
            [&] { reference::softmax_backward(r.batch * r.rows, r.classes, y.f64(), dx.f64(), log); });
        return;
    }
    SoftmaxBackward args;
    args.log = log;
    args.batch = r.batch;
    args.rows = r.rows;
    args.classes = r.classes;
    args.y = y.f32();
    args.dy = dx.f32();
    args.y_stride = args.dy_stride = r.rows * r.classes;
    run_samples(call, args, y.size(), [](SoftmaxBackward& a, std::int64_t first) {
        a.y += first * a.y_stride;
        a.dy += first * a.dy_stride;
    });
}

py::array activation_grad(const py::array& y_, const py::array& dy_, const std::string& kind,
                          const std::string& isa, const std::string& algorithm) {
    const Call call("activation_grad", isa, algorithm);
    const bool is_softmax = kind == "softmax" || kind == "log_softmax";
    const Operand y = call.input_any("y", y_, is_softmax ? 1 : 0);
    const Operand dy = call.input("dy", dy_, pattern_of(y.shape()));
    const Activation activation = is_softmax ? Activation::linear : activation_of(call, kind);
    const Result dx = call.result(y.shape());  // the kernels work in place, on a copy of dy
    std::memcpy(dx.f32(), dy.f32(), static_cast<std::size_t>(dy.array().nbytes()));
    const Samples samples(y);
    if (is_softmax) {
        softmax_grad(call, kind == "log_softmax", y, dx);
    } else if (call.reference()) {
        call.run_reference([&] { reference::activation_backward(activation, y.size(), y.f64(), dx.f64()); });
    } else {
        ActivationBackward args;
        args.kind = activation;
        args.batch = samples.batch;
        args.size = args.y_stride = args.dy_stride = samples.size;
        args.y = y.f32();
        args.dy = dx.f32();
        run_samples(call, args, y.size(), [](ActivationBackward& a, std::int64_t first) {
            a.y += first * a.y_stride;
            a.dy += first * a.dy_stride;
        });
    }
    return dx.array();
}

// -------------------------------------------------------------------------------------------------- dropout

py::array dropout(const py::array& x_, double rate, std::uint64_t seed, std::uint32_t layer,
                  std::uint32_t step, std::int64_t first_sample, const std::string& isa,
                  const std::string& algorithm) {
    const Call call("dropout", isa, algorithm);
    require(rate >= 0.0 && rate < 1.0, call.operation(), ": rate: expected a number in [0, 1), received ",
            rate);
    const Operand x = call.input_any("x", x_, 1);
    const Samples samples(x);
    const Result y = call.result(x.shape());
    if (call.reference()) {
        call.run_reference([&] {
            reference::dropout(rate, seed, layer, step, first_sample, samples.batch, samples.size, x.f64(),
                               y.f64());
        });
    } else {
        Dropout args;
        args.rate = static_cast<float>(rate);
        args.seed = seed;
        args.layer = layer;
        args.step = step;
        args.first_sample = first_sample;
        args.batch = samples.batch;
        args.size = args.x_stride = args.y_stride = samples.size;
        args.x = x.f32();
        args.y = y.f32();
        call.run(args);
    }
    return y.array();
}

}  // namespace

void bind_layer_ops(py::module_& module) {
    using py::arg;
    module.def("dense", dense, arg("x"), arg("kernel"), arg("bias").none(true), arg("relu"),
               arg("out") = py::none(), arg("isa") = "", arg("algorithm") = "");
    module.def("dense_grad_input", dense_grad_input, arg("dy"), arg("kernel"), arg("out") = py::none(),
               arg("isa") = "", arg("algorithm") = "");
    module.def("dense_grad_kernel", dense_grad_kernel, arg("x"), arg("dy"), arg("out") = py::none(),
               arg("isa") = "", arg("algorithm") = "");
    module.def("activation", activation, arg("x"), arg("kind"), arg("out") = py::none(), arg("isa") = "",
               arg("algorithm") = "");
    module.def("activation_grad", activation_grad, arg("y"), arg("dy"), arg("kind"), arg("isa") = "",
               arg("algorithm") = "");
    module.def("dropout", dropout, arg("x"), arg("rate"), arg("seed"), arg("layer") = 0, arg("step") = 0,
               arg("first_sample") = 0, arg("isa") = "", arg("algorithm") = "");
}

}  // namespace fastcnn::bindings
