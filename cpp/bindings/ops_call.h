// One call of a kernel from Python: checks the arrays, chooses the row, lends it scratch and packed weights,
// runs it.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <optional>

#include <pybind11/stl.h>

#include "base/memory.h"
#include "bindings/arrays.h"
#include "kernels/dispatch.h"

namespace fastcnn::bindings {

// An array that the call reads or writes: float32 for the kernels, float64 for the oracle; null where it was
// not given.
class Operand {
  public:
    Operand() = default;
    explicit Operand(py::array array) : array_(std::move(array)), shape_(shape_of(*array_)) {}

    const py::array& array() const { return *array_; }
    const Shape& shape() const { return shape_; }
    std::int64_t operator[](std::size_t axis) const { return shape_[axis]; }
    std::int64_t size() const { return size_of(shape_); }
    explicit operator bool() const { return array_.has_value(); }

    const float* f32() const { return static_cast<const float*>(data()); }
    const double* f64() const { return static_cast<const double*>(data()); }

  private:
    const void* data() const { return array_ ? array_->data() : nullptr; }

    std::optional<py::array> array_;
    Shape shape_;
};

class Result : public Operand {
  public:
    explicit Result(py::array array) : Operand(array), data_(array.mutable_data()) {}
    float* f32() const { return static_cast<float*>(data_); }
    double* f64() const { return static_cast<double*>(data_); }

  private:
    void* data_;
};

using OptionalArray = std::optional<py::array>;

class Call {
  public:
    // isa: "" for the best row in use, a level's name for rows of that level only, "reference" for the
    // oracle.
    Call(std::string operation, const std::string& isa, std::string algorithm)
        : operation_(std::move(operation)), algorithm_(std::move(algorithm)), reference_(isa == "reference") {
        if (reference_) return;
        exact_ = !isa.empty();
        isa_ = exact_ ? level(isa) : active_isa();
    }

    const std::string& operation() const { return operation_; }
    bool reference() const { return reference_; }
    py::dtype dtype() const { return reference_ ? py::dtype::of<double>() : py::dtype::of<float>(); }

    Operand input(const char* name, const py::array& array, const Pattern& pattern) const {
        require_array({operation_, name}, array, dtype(), pattern);
        return Operand(array);
    }
    Operand input(const char* name, const OptionalArray& array, const Pattern& pattern) const {
        return array ? input(name, *array, pattern) : Operand();
    }
    // Of any shape with at least one element.
    Operand input_any(const char* name, const py::array& array, py::ssize_t rank_at_least = 0) const {
        require_dtype({operation_, name}, array, dtype());
        require(array.ndim() >= rank_at_least && array.size() > 0, operation_, ": ", name,
                ": expected a non-empty array of rank ", rank_at_least, " or more, received ",
                describe(array));
        return Operand(array);
    }

    Result result(const Shape& shape) const { return Result(py::array(dtype(), shape)); }

    // `out` where it was given: the result's array, not overlapping what is read, except that it may be
    // `in_place` itself.
    Result result(const OptionalArray& out, const Shape& shape, std::initializer_list<const Operand*> inputs,
                  const Operand* in_place = nullptr) const {
        if (!out) return result(shape);
        require_array({operation_, "out"}, *out, dtype(), pattern_of(shape));
        require_writeable("out", *out);
        for (const Operand* input : inputs) {
            if (!*input || (input == in_place && input->array().data() == out->data())) continue;
            require(!overlap(*out, input->array()), operation_,
                    ": out: expected memory of its own, received an array that overlaps an input");
        }
        return Result(*out);
    }

    // An array that the call changes in place.
    Result in_place(const char* name, const py::array& array, const Shape& shape) const {
        require_array({operation_, name}, array, dtype(), pattern_of(shape));
        require_writeable(name, array);
        return Result(array);
    }

    // Runs the oracle without the GIL.
    template <class Oracle>
    void run_reference(Oracle oracle) const {
        py::gil_scoped_release release;
        oracle();
    }

    template <class Args>
    void run(Args args) const {
        const Choice<Args> choice = choose(args, isa_, algorithm_, exact_);
        py::gil_scoped_release release;
        run_chosen(choice, args);
    }

    // The same with weights in Keras's order, which the kernel may want packed into its own.
    template <class Args>
    void run(Args args, const float* weights) const {
        const Choice<Args> choice = choose(args, isa_, algorithm_, exact_, Packing{1});
        py::gil_scoped_release release;
        const Buffer packed = lend(choice.packed(args));
        args.kernel = weights;
        if constexpr (requires { args.weights; }) args.weights = weights;
        if (choice.row->kernel->pack) {
            // In several parts, as threads would.
            constexpr int parts = 3;
            for (int part = 0; part < parts; ++part)
                choice.row->kernel->pack(args, weights, packed.data(), part, parts);
            args.kernel = packed.data();
        }
        run_chosen(choice, args);
    }

    // The same kernel `count` times: visit(args, i, run) completes a copy of `args` for call i and runs it.
    template <class Args, class Visit>
    void run_each(const Args& args, std::int64_t count, Visit visit) const {
        const Choice<Args> choice = choose(args, isa_, algorithm_, exact_);
        py::gil_scoped_release release;
        for (std::int64_t i = 0; i < count; ++i) {
            Args copy = args;
            visit(copy, i, [&] { choice(copy); });
        }
    }

    // The level that run() is bound to, with every algorithm allowed.
    Call any_algorithm() const {
        Call call = *this;
        call.algorithm_.clear();
        return call;
    }

  private:
    // Memory for the kernel. A row asked for by name is being tested: it finds NaN there, so that it cannot
    // count on zeros.
    Buffer lend(std::int64_t floats) const {
        Buffer buffer(floats);
        if (exact_ && floats > 0) std::fill_n(buffer.data(), floats, std::numeric_limits<float>::quiet_NaN());
        return buffer;
    }

    template <class Args>
    void run_chosen(const Choice<Args>& choice, Args& args) const {
        const Buffer scratch = lend(choice.scratch(args));
        if constexpr (requires { args.scratch; }) args.scratch = scratch.data();
        choice(args);
    }

    Isa level(const std::string& name) const {
        for (Isa isa : compiled_isas()) {
            if (name != name_of(isa)) continue;
            require(isa <= detected_isa(), operation_, ": isa: expected at most '", name_of(detected_isa()),
                    "', which is what this processor can run, received '", name, "'");
            return isa;
        }
        std::string names;
        for (Isa isa : compiled_isas()) names += std::string(", '") + name_of(isa) + "'";
        fail(operation_, ": isa: expected one of '', 'reference'", names, ", received '", name, "'");
    }

    void require_writeable(const char* name, const py::array& array) const {
        require(array.writeable(), operation_, ": ", name,
                ": expected a writeable array, received a read-only one");
    }

    std::string operation_, algorithm_;
    bool reference_ = false, exact_ = false;
    Isa isa_ = Isa::baseline;
};

// Finds `name` in a table of (name, value) pairs.
template <class Value>
Value named(const Call& call, const char* argument, const std::string& name,
            std::initializer_list<std::pair<const char*, Value>> table) {
    std::string names;
    for (const auto& [known, value] : table) {
        if (name == known) return value;
        names += (names.empty() ? "'" : ", '") + std::string(known) + "'";
    }
    fail(call.operation(), ": ", argument, ": expected one of ", names, ", received '", name, "'");
}

// The parts of bind_ops().
void bind_conv_ops(py::module_& module);
void bind_layer_ops(py::module_& module);
void bind_norm_ops(py::module_& module);
void bind_training_ops(py::module_& module);

}  // namespace fastcnn::bindings
