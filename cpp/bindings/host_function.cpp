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

class PythonLayer final : public HostFunction {
  public:
    PythonLayer(const py::object& layer, std::string name, Shape in, Shape out)
        : layer_(py::weakref(layer)), name_(std::move(name)), in_(std::move(in)), out_(std::move(out)) {}

    // The last plan may go while nobody holds the GIL.
    ~PythonLayer() override {
        const py::gil_scoped_acquire gil;
        layer_ = py::none();
        error_ = nullptr;
    }

    void forward(const HostBatch& b, bool training) noexcept override {
        if (!failed() && guarded([&] {
                const py::object y =
                    layer().attr("_host_forward")(copied(b.x, b.x_stride, b.count, in_), training);
                put(y, "call", with_count(b.count, out_), b.y, b.y_stride, b.count, size_of(out_));
            }))
            return;
        fill(b.y, b.y_stride, b.count, size_of(out_));
    }

    void backward(const HostBatch& b) noexcept override {
        if (!failed() && guarded([&] { call_backward(b); })) return;
        if (b.dx) fill(b.dx, b.dx_stride, b.count, size_of(in_));
    }

    bool failed() const noexcept override { return failed_.load(std::memory_order_acquire); }

    void rethrow() override {
        if (!failed()) return;
        std::exception_ptr error;
        {
            const std::lock_guard<std::mutex> guard(mutex_);
            std::swap(error, error_);
            failed_.store(false, std::memory_order_release);
        }
        if (error) std::rethrow_exception(error);
    }

  private:
    py::object layer() const {
        py::object found = layer_();
        require(!found.is_none(), name_, ": call: expected the layer to be alive, received none");
        return found;
    }

    void call_backward(const HostBatch& b) const {
        const py::tuple result = layer().attr("_host_backward")(copied(b.x, b.x_stride, b.count, in_),
                                                                copied(b.dy, b.dy_stride, b.count, out_));
        if (b.dx)
            put(result[0], "backward", with_count(b.count, in_), b.dx, b.dx_stride, b.count, size_of(in_));
        const py::list gradients = result[1];
        for (std::size_t i = 0; i < b.gradients.size(); ++i) {
            if (!b.gradients[i]) continue;
            const py::array_t<float, py::array::c_style> gradient(py::object(gradients[i]));
            std::memcpy(b.gradients[i], gradient.data(), static_cast<std::size_t>(gradient.nbytes()));
        }
    }

    // What Python may keep: memory of a plan is written again.
    static py::array copied(const float* from, std::int64_t stride, std::int64_t count, const Shape& sample) {
        py::array_t<float> array(with_count(count, sample));
        const std::int64_t size = size_of(sample);
        for (std::int64_t s = 0; s < count; ++s)
            std::memcpy(array.mutable_data() + s * size, from + s * stride,
                        static_cast<std::size_t>(size) * sizeof(float));
        return array;
    }

    void put(const py::object& object, const char* method, const Shape& expected, float* to,
             std::int64_t stride, std::int64_t count, std::int64_t size) const {
        const py::array_t<float, py::array::c_style | py::array::forcecast> array(object);
        const Shape shape = bindings::shape_of(array);
        require(shape == expected, name_, ": ", method, ": expected a result of shape ", to_string(expected),
                ", received ", to_string(shape));
        for (std::int64_t s = 0; s < count; ++s)
            std::memcpy(to + s * stride, array.data() + s * size,
                        static_cast<std::size_t>(size) * sizeof(float));
    }

    static void fill(float* to, std::int64_t stride, std::int64_t count, std::int64_t size) {
        for (std::int64_t s = 0; s < count; ++s)
            std::fill_n(to + s * stride, size, std::numeric_limits<float>::quiet_NaN());
    }

    // Whether body() went through; its error is kept.
    template <class Body>
    bool guarded(const Body& body) noexcept {
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

    py::object layer_;
    std::string name_;
    Shape in_, out_;
    std::mutex mutex_;
    std::exception_ptr error_;
    std::atomic<bool> failed_{false};
};

}  // namespace

std::shared_ptr<HostFunction> make_host_function(const py::object& layer, std::string name, Shape in,
                                                 Shape out) {
    return std::make_shared<PythonLayer>(layer, std::move(name), std::move(in), std::move(out));
}

}  // namespace fastcnn
