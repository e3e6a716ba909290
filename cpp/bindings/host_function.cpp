#include "bindings/host_function.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <limits>
#include <mutex>

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "base/check.h"
#include "bindings/arrays.h"

namespace fastcnn {

namespace py = pybind11;

namespace {

Shape with_count(std::int64_t count, const Shape& sample) {
    Shape all = {count};
    all.insert(all.end(), sample.begin(), sample.end());
    return all;
}

// What Python may keep: memory of a plan is written again.
py::array copied(const float* from, std::int64_t stride, std::int64_t count, const Shape& sample) {
    py::array_t<float> array(with_count(count, sample));
    const std::int64_t size = size_of(sample);
    for (std::int64_t s = 0; s < count; ++s)
        std::memcpy(array.mutable_data() + s * size, from + s * stride,
                    static_cast<std::size_t>(size) * sizeof(float));
    return array;
}

void put(const std::string& name, const py::object& object, const char* method, const Shape& expected,
         float* to, std::int64_t stride) {
    const py::array_t<float, py::array::c_style | py::array::forcecast> array(object);
    const Shape shape = bindings::shape_of(array);
    require(shape == expected, name, ": ", method, ": expected a result of shape ", to_string(expected),
            ", received ", to_string(shape));
    const std::int64_t size = size_of(expected) / expected.front();
    for (std::int64_t s = 0; s < expected.front(); ++s)
        std::memcpy(to + s * stride, array.data() + s * size, static_cast<std::size_t>(size) * sizeof(float));
}

void fill(float* to, std::int64_t stride, std::int64_t count, std::int64_t size) {
    for (std::int64_t s = 0; s < count; ++s)
        std::fill_n(to + s * stride, size, std::numeric_limits<float>::quiet_NaN());
}

// The error of a call into Python, kept until somebody can throw it.
class KeptError {
  public:
    // The last owner may go while nobody holds the GIL.
    ~KeptError() {
        const py::gil_scoped_acquire gil;
        error_ = nullptr;
    }

    bool any() const noexcept { return failed_.load(std::memory_order_acquire); }

    void rethrow() {
        if (!any()) return;
        std::exception_ptr error;
        {
            const std::lock_guard<std::mutex> guard(mutex_);
            std::swap(error, error_);
            failed_.store(false, std::memory_order_release);
        }
        if (error) std::rethrow_exception(error);
    }

    // Whether body() went through.
    template <class Body>
    bool guarded(const Body& body) noexcept {
        if (any()) return false;
        const py::gil_scoped_acquire gil;
        try {
            body();
            return true;
        } catch (...) {
            const std::lock_guard<std::mutex> guard(mutex_);
            error_ = std::current_exception();
            failed_.store(true, std::memory_order_release);
            return false;
        }
    }

  private:
    std::mutex mutex_;
    std::exception_ptr error_;
    std::atomic<bool> failed_{false};
};

class PythonLayer final : public HostFunction {
  public:
    PythonLayer(const py::object& layer, std::string name, Shape in, Shape out)
        : layer_(py::weakref(layer)), name_(std::move(name)), in_(std::move(in)), out_(std::move(out)) {}

    ~PythonLayer() override {
        const py::gil_scoped_acquire gil;
        layer_ = py::none();
    }

    void forward(const HostBatch& b, bool training) noexcept override {
        if (error_.guarded([&] {
                const py::object y =
                    layer().attr("_host_forward")(copied(b.x, b.x_stride, b.count, in_), training);
                put(name_, y, "call", with_count(b.count, out_), b.y, b.y_stride);
            }))
            return;
        fill(b.y, b.y_stride, b.count, size_of(out_));
    }

    void backward(const HostBatch& b) noexcept override {
        if (error_.guarded([&] { call_backward(b); })) return;
        if (b.dx) fill(b.dx, b.dx_stride, b.count, size_of(in_));
    }

    bool failed() const noexcept override { return error_.any(); }
    void rethrow() override { error_.rethrow(); }

  private:
    py::object layer() const {
        py::object found = layer_();
        require(!found.is_none(), name_, ": call: expected the layer to be alive, received none");
        return found;
    }

    void call_backward(const HostBatch& b) const {
        const py::tuple result = layer().attr("_host_backward")(copied(b.x, b.x_stride, b.count, in_),
                                                                copied(b.dy, b.dy_stride, b.count, out_));
        if (b.dx) put(name_, result[0], "backward", with_count(b.count, in_), b.dx, b.dx_stride);
        const py::list gradients = result[1];
        for (std::size_t i = 0; i < b.gradients.size(); ++i) {
            if (!b.gradients[i]) continue;
            const py::array_t<float, py::array::c_style> gradient(py::object(gradients[i]));
            std::memcpy(b.gradients[i], gradient.data(), static_cast<std::size_t>(gradient.nbytes()));
        }
    }

    py::object layer_;
    std::string name_;
    Shape in_, out_;
    KeptError error_;
};

class PythonLoss final : public HostLoss {
  public:
    PythonLoss(py::object loss, Shape output) : loss_(std::move(loss)), output_(std::move(output)) {}

    ~PythonLoss() override {
        const py::gil_scoped_acquire gil;
        loss_ = py::none();
    }

    double run(const HostLossBatch& b) noexcept override {
        double loss = std::numeric_limits<double>::quiet_NaN();
        if (!error_.guarded([&] { loss = call(b); }) && b.grad)
            fill(b.grad, b.grad_stride, b.count, size_of(output_));
        return loss;
    }

    bool failed() const noexcept override { return error_.any(); }
    void rethrow() override { error_.rethrow(); }

  private:
    double call(const HostLossBatch& b) const {
        py::array_t<float> labels(with_count(b.count, *b.label_shape));
        py::object weight = py::none();
        if (b.weight) weight = py::array_t<float>(b.count);
        for (std::int64_t i = 0; i < b.count; ++i) {
            const std::int64_t row = b.indices ? b.indices[i] : b.first + i;
            std::memcpy(labels.mutable_data() + i * b.label_size, b.labels + row * b.label_size,
                        static_cast<std::size_t>(b.label_size) * sizeof(float));
            if (b.weight) static_cast<float*>(py::array(weight).mutable_data())[i] = b.weight[row];
        }
        const py::tuple result = loss_.attr("_host_loss")(
            labels, copied(b.prediction, b.prediction_stride, b.count, output_), weight, b.grad != nullptr);
        if (b.grad)
            put(loss_.attr("name").cast<std::string>(), result[1], "gradient", with_count(b.count, output_),
                b.grad, b.grad_stride);
        return result[0].cast<double>();
    }

    py::object loss_;
    Shape output_;
    KeptError error_;
};

class PythonWeights final : public HostWeights {
  public:
    PythonWeights(py::object function, Shape shape)
        : function_(std::move(function)), shape_(std::move(shape)) {}

    ~PythonWeights() override {
        const py::gil_scoped_acquire gil;
        function_ = py::none();
    }

    double penalty(const float* values, float* gradient) noexcept override {
        double found = std::numeric_limits<double>::quiet_NaN();
        error_.guarded([&] {
            const py::tuple result =
                function_.attr("_host_penalty")(py::array_t<float>(shape_, values), gradient != nullptr);
            if (gradient) take(result[1], gradient);
            found = result[0].cast<double>();
        });
        return found;
    }

    void constrain(float* values) noexcept override {
        error_.guarded(
            [&] { take(function_.attr("_host_constrain")(py::array_t<float>(shape_, values)), values); });
    }

    bool failed() const noexcept override { return error_.any(); }
    void rethrow() override { error_.rethrow(); }

  private:
    // Python has checked the shape.
    void take(const py::object& result, float* to) const {
        const py::array_t<float, py::array::c_style> array(result);
        std::memcpy(to, array.data(), static_cast<std::size_t>(array.nbytes()));
    }

    py::object function_;
    Shape shape_;
    KeptError error_;
};

}  // namespace

std::shared_ptr<HostFunction> make_host_function(const py::object& layer, std::string name, Shape in,
                                                 Shape out) {
    return std::make_shared<PythonLayer>(layer, std::move(name), std::move(in), std::move(out));
}

std::shared_ptr<HostLoss> make_host_loss(const py::object& loss, Shape output) {
    return std::make_shared<PythonLoss>(loss, std::move(output));
}

std::shared_ptr<HostWeights> make_host_weights(const py::object& function, Shape shape) {
    return std::make_shared<PythonWeights>(function, std::move(shape));
}

}  // namespace fastcnn
