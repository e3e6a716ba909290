// Dense layers, activations and dropout on arrays.
#include <cstring>

#include "bindings/ops_call.h"
#include "kernels/reference.h"

namespace fastcnn::bindings {

namespace {

// ---------------------------------------------------------------------------------------------------- dense

const Pattern kRows = {"batch", "inputs"};
const Pattern kMatrix = {"inputs", "units"};

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
        call.run(args, kernel.f32());
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
        call.run(args, kernel.f32());
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
    // In two shards of the inputs, as the engine divides a large layer; the second has no use for the bias.
    args.last_input = (inputs + 1) / 2;
    call.run(args);
    if (args.last_input < inputs) {
        args.first_input = args.last_input;
        args.last_input = inputs;
        args.dbias = nullptr;
        call.run(args);
    }
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

// The array as samples: its first axis, or one sample where it has none.
struct Samples {
    explicit Samples(const Operand& x) : batch(x.shape().empty() ? 1 : x[0]), size(x.size() / batch) {}
    std::int64_t batch, size;
};

// Rows over the last axis of each sample.
struct Rows {
    explicit Rows(const Operand& x)
        : batch(x.shape().size() > 1 ? x[0] : 1),
          classes(x.shape().back()),
          rows(x.size() / batch / classes) {}
    std::int64_t batch, classes, rows;
};

void softmax(const Call& call, const Operand& x, const Result& y) {
    const Rows r(x);
    if (call.reference()) {
        call.run_reference(
            [&] { reference::softmax_forward(r.batch * r.rows, r.classes, x.f64(), y.f64()); });
        return;
    }
    SoftmaxForward args;
    args.batch = r.batch;
    args.rows = r.rows;
    args.classes = r.classes;
    args.x = x.f32();
    args.y = y.f32();
    args.x_stride = args.y_stride = r.rows * r.classes;
    call.run(args);
}

py::array activation(const py::array& x_, const std::string& kind, const OptionalArray& out,
                     const std::string& isa, const std::string& algorithm) {
    const Call call("activation", isa, algorithm);
    const bool is_softmax = kind == "softmax";
    const Operand x = call.input_any("x", x_, is_softmax ? 1 : 0);
    const Activation activation = is_softmax ? Activation::linear : activation_of(call, kind);
    const Result y = call.result(out, x.shape(), {&x}, &x);
    const Samples samples(x);
    if (is_softmax) {
        softmax(call, x, y);
    } else if (call.reference()) {
        call.run_reference([&] { reference::activation_forward(activation, x.size(), x.f64(), y.f64()); });
    } else {
        ActivationForward args;
        args.kind = activation;
        args.batch = samples.batch;
        args.size = args.x_stride = args.y_stride = samples.size;
        args.x = x.f32();
        args.y = y.f32();
        call.run(args);
    }
    return y.array();
}

void softmax_grad(const Call& call, const Operand& y, const Result& dx) {
    const Rows r(y);
    if (call.reference()) {
        call.run_reference(
            [&] { reference::softmax_backward(r.batch * r.rows, r.classes, y.f64(), dx.f64()); });
        return;
    }
    SoftmaxBackward args;
    args.batch = r.batch;
    args.rows = r.rows;
    args.classes = r.classes;
    args.y = y.f32();
    args.dy = dx.f32();
    args.y_stride = args.dy_stride = r.rows * r.classes;
    call.run(args);
}

py::array activation_grad(const py::array& y_, const py::array& dy_, const std::string& kind,
                          const std::string& isa, const std::string& algorithm) {
    const Call call("activation_grad", isa, algorithm);
    const bool is_softmax = kind == "softmax";
    const Operand y = call.input_any("y", y_, is_softmax ? 1 : 0);
    const Operand dy = call.input("dy", dy_, pattern_of(y.shape()));
    const Activation activation = is_softmax ? Activation::linear : activation_of(call, kind);
    const Result dx = call.result(y.shape());  // the kernels work in place, on a copy of dy
    std::memcpy(dx.f32(), dy.f32(), static_cast<std::size_t>(dy.array().nbytes()));
    const Samples samples(y);
    if (is_softmax) {
        softmax_grad(call, y, dx);
    } else if (call.reference()) {
        call.run_reference([&] { reference::activation_backward(activation, y.size(), y.f64(), dx.f64()); });
    } else {
        ActivationBackward args;
        args.kind = activation;
        args.batch = samples.batch;
        args.size = args.y_stride = args.dy_stride = samples.size;
        args.y = y.f32();
        args.dy = dx.f32();
        call.run(args);
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
