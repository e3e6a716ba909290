// One call of a kernel from Python: checks the arrays, chooses the row, lends it scratch and packed weights,
// runs it.
#pragma once

#include <initializer_list>
#include <optional>
#include <utility>

#include <pybind11/stl.h>

#include "bindings/arrays.h"
#include "bindings/ops_divide.h"
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

// The phases of a call: packing of the weights, then the kernel.
template <class Args, class Visit>
class DividedCall final : public Job {
  public:
    template <class Division>
    DividedCall(const Choice<Args>& choice, const Args& args, const float* weights, const Division& division,
                const Visit& visit, float* memory, std::int64_t packed, std::int64_t scratch)
        : choice_(choice),
          args_(args),
          weights_(weights),
          visit_(visit),
          items_(division.weight_parts ? division.weight_parts : division.items),
          packed_(memory),
          scratch_(memory + packed),
          scratch_floats_(scratch),
          brief_(division.brief),
          weight_parts_(division.weight_parts),
          part_floats_(packed / division.threads),
          packing_(weights && choice.row->kernel->pack && weight_parts_ == 0) {
        // Always in several parts: the tests call every row this way.
        if (packing_) parts_ = packed > kLeastFloats ? std::max<std::int64_t>(3, 4 * division.threads) : 3;
        if constexpr (requires { args_.weights; }) args_.weights = weights;
        if constexpr (requires { args_.kernel; })
            if (weights) args_.kernel = choice.row->kernel->pack ? packed_ : weights;
    }

    std::int64_t next_phase() override {
        packs_now_ = packing_;
        packing_ = false;
        return packs_now_ ? parts_ : std::exchange(items_, 0);
    }

    bool is_brief() const override { return brief_; }

    void run(std::int64_t item, int thread) override {
        if (packs_now_) {
            choice_.row->kernel->pack(args_, weights_, packed_, static_cast<int>(item),
                                      static_cast<int>(parts_));
            return;
        }
        Args copy = args_;
        if constexpr (requires { copy.scratch; }) copy.scratch = scratch_ + thread * scratch_floats_;
        if constexpr (requires { copy.weight_part; })
            if (weight_parts_) {
                const int part = static_cast<int>(item), parts = static_cast<int>(weight_parts_);
                float* const own = packed_ + thread * part_floats_;
                copy.weight_part = {part, parts, true};
                copy.kernel = own;
                choice_.row->kernel->pack(copy, weights_, own, part, parts);
                choice_(copy);
                return;
            }
        visit_(copy, item, [this](const Args& args) { choice_(args); });
    }

  private:
    const Choice<Args>& choice_;
    Args args_;
    const float* weights_;
    const Visit& visit_;
    std::int64_t items_, parts_ = 0;
    float *packed_, *scratch_;
    std::int64_t scratch_floats_;
    const bool brief_;
    const std::int64_t weight_parts_, part_floats_;
    bool packing_, packs_now_ = false;
};

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
    bool exact() const { return exact_; }
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

    Result result(const Shape& shape) const { return Result(result_array(dtype(), shape)); }

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
    Choice<Args> choice(const Args& args, Packing packing = {}) const {
        return choose(args, isa_, algorithm_, exact_, packing);
    }

    // Runs the kernel on one thread.
    template <class Args>
    void run(const Args& args) const {
        run_divided(choice(args), args, nullptr, {},
                    [](Args& whole, std::int64_t, const auto& go) { go(whole); });
    }

    struct Threads {
        int threads = 1;
        std::int64_t items = 1;
        std::int64_t scratch = -1;  // floats for each thread; -1: what the whole call needs
        bool brief = true;          // see Job
        // Items are parts of the weights instead, each packed by the thread that uses it; 0: they are not.
        std::int64_t weight_parts = 0;
    };

    // Divides the call: visit(args, i, go) turns a copy of `args` into what item i is to do and calls
    // go(args) for it. `weights` (or null) are in Keras's order; a kernel that wants them packed gets them
    // so.
    template <class Args, class Visit>
    void run_divided(const Choice<Args>& choice, const Args& args, const float* weights,
                     const Threads& division, const Visit& visit) const {
        const py::gil_scoped_release release;
        const std::int64_t packed = weights ? packed_floats(choice, args, division) : 0;
        const std::int64_t scratch =
            Layout::stride(division.scratch < 0 ? choice.scratch(args) : division.scratch);
        const Lent memory(packed + division.threads * scratch, exact_);
        DividedCall<Args, Visit> job{choice, args, weights, division, visit, memory.data(), packed, scratch};
        run_team(division.threads, job, Denormals::keep);
    }

    // Of a call divided by its weights, each thread's part is packed where its last one was: the memory stays
    // in its cache.
    template <class Args>
    static std::int64_t packed_floats(const Choice<Args>& choice, const Args& args, const Threads& division) {
        if constexpr (requires { args.weight_part; }) {
            Args part = args;
            std::int64_t most = 0;
            for (int i = 0; i < division.weight_parts; ++i) {
                part.weight_part = {i, static_cast<int>(division.weight_parts), true};
                most = std::max(most, choice.packed(part));
            }
            if (most) return division.threads * Layout::stride(most);
        }
        return Layout::round_up(choice.packed(args));
    }

    // The same kernel `count` times: visit(args, i, run) completes a copy of `args` for call i and runs it.
    template <class Args, class Visit>
    void run_each(const Args& args, std::int64_t count, Visit visit) const {
        const Choice<Args> choice = this->choice(args);
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
    for (const auto& [known, value] : table)
        if (name == known) return value;
    std::string names;
    for (const auto& [known, value] : table)
        names += (names.empty() ? "'" : ", '") + std::string(known) + "'";
    fail(call.operation(), ": ", argument, ": expected one of ", names, ", received '", name, "'");
}

// The parts of bind_ops().
void bind_conv_ops(py::module_& module);
void bind_pool_ops(py::module_& module);
void bind_amx_ops(py::module_& module);
void bind_bfloat16_ops(py::module_& module);
void bind_layer_ops(py::module_& module);
void bind_sample_kernels(py::module_& module);
void bind_image_kernels(py::module_& module);
void bind_norm_ops(py::module_& module);
void bind_training_ops(py::module_& module);

}  // namespace fastcnn::bindings
