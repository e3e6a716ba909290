// Parameters, Graph and Network.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <mutex>
#include <shared_mutex>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "bindings/engine.h"
#include "bindings/function_names.h"
#include "engine/network.h"

namespace fastcnn {

using bindings::Argument;

namespace {

void check_index(const Parameters& p, int index) {
    require(index >= 0 && index < p.count(), "Parameters: index: expected an integer below ", p.count(),
            ", received ", index);
}

py::array view(const std::shared_ptr<Parameters>& p, int index) {
    check_index(*p, index);
    py::array_t<float> array(p->shape(index), p->data(index), py::cast(p));
    array.attr("setflags")(py::arg("write") = false);
    return array;
}

void assign(const std::shared_ptr<Parameters>& p, int index, const py::array& value) {
    check_index(*p, index);
    bindings::require_array({"assign", "value"}, value, py::dtype::of<float>(),
                            bindings::pattern_of(p->shape(index)));
    const void* from = value.data();
    const std::size_t bytes = static_cast<std::size_t>(size_of(p->shape(index))) * sizeof(float);
    const py::gil_scoped_release release;
    const std::unique_lock<std::shared_mutex> lock(p->mutex());
    std::memcpy(p->data(index), from, bytes);
    p->changed();
}

void bind_parameters(py::module_& module) {
    py::class_<Parameters, std::shared_ptr<Parameters>>(module, "Parameters")
        .def(py::init<std::vector<Shape>>(), py::arg("shapes"))
        .def("__len__", &Parameters::count)
        .def("view", view, py::arg("index"))
        .def("assign", assign, py::arg("index"), py::arg("value"));
}

void bind_graph(py::module_& module) {
    const auto tuple = [](const Shape& shape) { return py::tuple(py::cast(shape)); };
    py::class_<Graph> graph(module, "Graph");
    graph.def(py::init<Shape>(), py::arg("input_shape"))
        .def_property_readonly("output_shape", [tuple](const Graph& g) { return tuple(g.output_shape()); })
        .def_property("bfloat16", &Graph::bfloat16, &Graph::set_bfloat16)
        .def("operations", operations_of)
        .def(
            "conv2d",
            [tuple](Graph& g, const std::string& name, std::int64_t filters, Pair kernel_size, Pair strides,
                    const std::string& padding, Pair dilation_rate, std::int64_t groups, int kernel,
                    int bias) {
                return tuple(g.conv2d(name, filters, kernel_size, strides, padding_of(name, padding),
                                      dilation_rate, groups, kernel, bias));
            },
            py::arg("name"), py::kw_only(), py::arg("filters"), py::arg("kernel_size"), py::arg("strides"),
            py::arg("padding"), py::arg("dilation_rate"), py::arg("groups"), py::arg("kernel"),
            py::arg("bias"))
        .def(
            "pool2d",
            [tuple](Graph& g, const std::string& name, const std::string& kind, Pair pool_size, Pair strides,
                    const std::string& padding) {
                return tuple(
                    g.pool2d(name, is_average(name, kind), pool_size, strides, padding_of(name, padding)));
            },
            py::arg("name"), py::kw_only(), py::arg("kind"), py::arg("pool_size"), py::arg("strides"),
            py::arg("padding"))
        .def(
            "padded_pool2d",
            [tuple](Graph& g, const std::string& name, const std::string& kind, Pair pool_size, Pair strides,
                    Pair height, Pair width) {
                return tuple(
                    g.padded_pool2d(name, is_average(name, kind), pool_size, strides, height, width));
            },
            py::arg("name"), py::kw_only(), py::arg("kind"), py::arg("pool_size"), py::arg("strides"),
            py::arg("height"), py::arg("width"))
        .def(
            "global_pool2d",
            [tuple](Graph& g, const std::string& name, const std::string& kind, bool keepdims) {
                return tuple(g.global_pool2d(name, is_average(name, kind), keepdims));
            },
            py::arg("name"), py::kw_only(), py::arg("kind"), py::arg("keepdims"))
        .def(
            "dense",
            [tuple](Graph& g, const std::string& name, std::int64_t units, int kernel, int bias) {
                return tuple(g.dense(name, units, kernel, bias));
            },
            py::arg("name"), py::kw_only(), py::arg("units"), py::arg("kernel"), py::arg("bias"))
        .def(
            "activation",
            [tuple](Graph& g, const std::string& name, const std::string& kind) {
                return tuple(g.activation(name, activation_of(name, kind)));
            },
            py::arg("name"), py::kw_only(), py::arg("kind"))
        .def(
            "reshape",
            [tuple](Graph& g, const std::string& name, Shape target) {
                return tuple(g.reshape(name, std::move(target)));
            },
            py::arg("name"), py::kw_only(), py::arg("target_shape"))
        .def(
            "dropout",
            [tuple](Graph& g, const std::string& name, float rate, std::uint64_t seed) {
                return tuple(g.dropout(name, rate, seed));
            },
            py::arg("name"), py::kw_only(), py::arg("rate"), py::arg("seed"))
        .def(
            "batch_norm",
            [tuple](Graph& g, const std::string& name, int gamma, int beta, int moving_mean,
                    int moving_variance, float momentum, float epsilon, bool frozen) {
                return tuple(
                    g.batch_norm(name, gamma, beta, moving_mean, moving_variance, momentum, epsilon, frozen));
            },
            py::arg("name"), py::kw_only(), py::arg("gamma"), py::arg("beta"), py::arg("moving_mean"),
            py::arg("moving_variance"), py::arg("momentum"), py::arg("epsilon"), py::arg("frozen") = false);
    bind_sample_ops(graph);
    bind_image_ops(graph);
}

std::shared_ptr<Network> make_network(
    const Graph& graph, const std::vector<std::pair<std::shared_ptr<Parameters>, int>>& parameters) {
    std::vector<ParameterRef> refs;
    for (const auto& [owner, index] : parameters) {
        require(owner != nullptr, "Network: parameters: expected (Parameters, index) pairs, received None");
        check_index(*owner, index);
        refs.push_back({owner, index});
    }
    return std::make_shared<Network>(graph, std::move(refs));
}

py::tuple batch_shape(std::int64_t n, const Shape& shape) {
    Shape all = {n};
    all.insert(all.end(), shape.begin(), shape.end());
    return py::tuple(py::cast(all));
}

py::array predict(const Network& network, const py::array& x, std::int64_t /*batch_size*/, std::int64_t begin,
                  std::int64_t end, const py::object& out) {
    const InputArray input = input_array("predict", x, network.graph().input_shape());
    if (end < 0) end = input.samples;
    require(begin >= 0 && begin <= end && end <= input.samples,
            "predict: begin, end: expected 0 <= begin <= end <= ", input.samples, ", received ", begin, ", ",
            end);
    const py::tuple shape = batch_shape(end - begin, network.graph().output_shape());
    py::array result = out.is_none() ? py::array_t<float>(shape.cast<Shape>()) : out.cast<py::array>();
    bindings::require_array({"predict", "out"}, result, py::dtype::of<float>(),
                            bindings::pattern_of(shape.cast<Shape>()));
    float* to = static_cast<float*>(result.mutable_data());
    {
        const py::gil_scoped_release release;
        network.predict(input, begin, end, to);
    }
    network.rethrow_host_error();
    return result;
}

// predict() for the usual array, without what it costs to check any other: one of exactly NumPy's own class,
// C-contiguous, of float32 or uint8 and of the input's shape. None for all others.
py::object predict_usual(const Network& network, py::handle object) {
    const auto& numpy = py::detail::npy_api::get();
    if (reinterpret_cast<PyObject*>(Py_TYPE(object.ptr())) !=
        reinterpret_cast<PyObject*>(numpy.PyArray_Type_))
        return py::none();
    const auto x = py::reinterpret_borrow<py::array>(object);
    const py::dtype dtype = x.dtype();
    const bool is_float = dtype.num() == py::detail::npy_api::NPY_FLOAT_ && dtype.byteorder() == '=';
    const bool is_bytes = dtype.num() == py::detail::npy_api::NPY_UBYTE_;
    const Shape& sample = network.graph().input_shape();
    const auto rank = static_cast<py::ssize_t>(sample.size());
    if (!(is_float || is_bytes) || !bindings::readable_in_place(x) || x.ndim() != rank + 1 ||
        x.shape(0) < 1 || !std::equal(sample.begin(), sample.end(), x.shape() + 1))
        return py::none();
    InputArray input;
    input.data = static_cast<const char*>(x.data());
    input.dtype = is_float ? DType::f32 : DType::u8;
    input.item = x.itemsize();
    input.samples = x.shape(0);
    input.size = size_of(sample);
    input.sample_stride = input.size * input.item;
    Shape shape = {input.samples};
    shape.insert(shape.end(), network.graph().output_shape().begin(), network.graph().output_shape().end());
    py::array_t<float> result(std::move(shape));
    float* to = result.mutable_data();
    {
        const py::gil_scoped_release release;
        network.predict(input, 0, input.samples, to);
    }
    network.rethrow_host_error();
    return result;
}

py::array forward_training(const Network& network, const py::array& x, std::uint32_t step) {
    const InputArray input = input_array("forward", x, network.graph().input_shape());
    py::array_t<float> result(batch_shape(input.samples, network.graph().output_shape()).cast<Shape>());
    float* to = result.mutable_data();
    {
        const py::gil_scoped_release release;
        network.forward_training(input, step, to);
    }
    network.rethrow_host_error();
    return result;
}

py::list explain(const Network& network, std::int64_t batch_size, bool training) {
    require(batch_size > 0, "explain: batch_size: expected a positive integer, received ", batch_size);
    std::shared_ptr<const Plan> plan;
    if (training) {
        PlanOptions options;
        options.mode = Mode::train;
        options.batch_size = batch_size;
        options.loss.from_logits = true;
        options.trainable.assign(network.parameters().size(), true);
        plan = network.make_plan(std::move(options));
    } else {
        plan = network.inference_plan(batch_size);
    }
    return plan_as_list(*plan);
}

}  // namespace

py::list plan_as_list(const Plan& plan) {
    py::list list;
    const int threads = plan.threads_wanted(plan.options().batch_size);
    int index = 0;
    std::int64_t flops = 0;
    for (const StepInfo& info : plan.infos()) {
        py::dict step;
        step["index"] = index++;
        step["layers"] = info.layers;
        step["operation"] = info.operation;
        step["kernel"] = info.kernel;
        step["isa"] = name_of(info.isa);
        step["output_shape"] = py::tuple(py::cast(info.output_shape));
        step["flops"] = info.flops;
        step["activation_bytes"] = info.activation_floats * 4;
        step["scratch_bytes"] = info.scratch_floats * 4;
        step["packed_bytes"] = info.packed_floats * 4;
        step["declined"] = info.declined;
        flops += info.flops;
        list.append(std::move(step));
    }
    py::dict total;
    total["operation"] = "total";
    total["threads"] = threads;
    total["block"] = plan.block_size();
    total["piece"] = plan.piece_size();
    total["lanes"] = plan.lane_count();
    total["segments"] = plan.phase_count();
    total["flops"] = flops;
    total["context_bytes"] = plan.context_bytes(threads);
    list.append(std::move(total));
    return list;
}

DType dtype_of(const char* operation, const py::array& x) {
    const py::dtype dtype = x.dtype();
    const char kind = dtype.kind();
    const auto size = dtype.itemsize();
    const char order = dtype.byteorder();
    const bool native =
        order == '=' || order == '|' || order == '<';  // the kernels are for little-endian machines
    if (native) {
        if (kind == 'f' && size == 4) return DType::f32;
        if (kind == 'f' && size == 8) return DType::f64;
        if (kind == 'f' && size == 2) return DType::f16;
        if (kind == 'b') return DType::boolean;
        if (kind == 'u')
            return size == 1 ? DType::u8 : size == 2 ? DType::u16 : size == 4 ? DType::u32 : DType::u64;
        if (kind == 'i')
            return size == 1 ? DType::i8 : size == 2 ? DType::i16 : size == 4 ? DType::i32 : DType::i64;
    }
    fail(operation, ": x: expected an array of numbers, received dtype ", py::str(dtype).cast<std::string>());
}

InputArray input_array(const char* operation, const py::array& x, const Shape& sample) {
    InputArray input;
    input.dtype = dtype_of(operation, x);
    input.item = x.itemsize();
    const Shape shape = bindings::shape_of(x);
    require(!shape.empty(), operation, ": x: expected an array of samples, received a single number");
    const Shape rest(shape.begin() + 1, shape.end());
    require(size_of(rest) == size_of(sample), operation, ": x: expected shape (n, ...) with samples of ",
            to_string(sample), ", received ", to_string(shape));
    input.data = static_cast<const char*>(x.data());
    input.samples = shape[0];
    input.size = size_of(sample);
    input.sample_stride = x.strides(0);
    std::int64_t expected = input.item;
    for (py::ssize_t axis = x.ndim() - 1; axis > 0; --axis) {
        if (x.shape(axis) != 1 && x.strides(axis) != expected) input.contiguous = false;
        expected *= x.shape(axis);
    }
    if (input.contiguous) return input;
    input.shape = rest;
    for (py::ssize_t axis = 1; axis < x.ndim(); ++axis) input.strides.push_back(x.strides(axis));
    return input;
}

void bind_engine(py::module_& module) {
    bind_parameters(module);
    bind_graph(module);
    py::class_<Network, std::shared_ptr<Network>>(module, "Network")
        .def(py::init(&make_network), py::arg("graph"), py::arg("parameters"))
        .def_property_readonly("input_shape",
                               [](const Network& n) { return py::tuple(py::cast(n.graph().input_shape())); })
        .def_property_readonly("output_shape",
                               [](const Network& n) { return py::tuple(py::cast(n.graph().output_shape())); })
        .def("predict", predict, py::arg("x"), py::arg("batch_size") = 32, py::arg("begin") = 0,
             py::arg("end") = -1, py::arg("out") = py::none())
        .def("predict_usual", predict_usual, py::arg("x"))
        .def("forward_training", forward_training, py::arg("x"), py::arg("step"))
        .def(
            "profile",
            [](const Network& network, const py::array& x, double seconds) {
                const InputArray input = input_array("profile", x, network.graph().input_shape());
                require(input.samples > 0, "profile: x: expected at least one sample, received none");
                Profile found;
                {
                    const py::gil_scoped_release release;
                    found = network.profile(input, seconds);
                }
                return profile_as_list(found);
            },
            py::arg("x"), py::arg("seconds"))
        .def("explain", explain, py::arg("batch_size"), py::arg("training"));
    bind_updater(module);
    bind_trainer(module);
    bind_profile(module);
}

}  // namespace fastcnn
