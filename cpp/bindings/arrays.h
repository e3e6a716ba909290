// NumPy arrays as pointers. Nothing is converted or copied here: an array that cannot be read in place is
// refused with
// "<operation>: <argument>: expected <...>, received <...>".
#pragma once

#include <pybind11/numpy.h>

#include <initializer_list>
#include <string>

#include "base/check.h"
#include "base/shape.h"

namespace fastcnn::bindings {

namespace py = pybind11;

// What an argument is called in a message.
struct Argument {
    std::string operation, name;
};

// One axis of an expected shape: a size, or any size under a name that says what the axis is.
struct Axis {
    Axis(std::int64_t fixed) : size(fixed) {}       // NOLINT: meant to be implicit
    Axis(const char* any) : size(-1), name(any) {}  // NOLINT; lives as long as the program
    std::string text() const { return size < 0 ? name : std::to_string(size); }

    std::int64_t size;
    const char* name = "";
};

using Pattern = std::vector<Axis>;

inline std::string to_string(const Pattern& pattern) {
    std::string text = "(";
    for (std::size_t i = 0; i < pattern.size(); ++i) text += (i ? ", " : "") + pattern[i].text();
    return text + (pattern.size() == 1 ? ",)" : ")");
}

inline Pattern pattern_of(const Shape& shape) { return Pattern(shape.begin(), shape.end()); }

inline Shape shape_of(const py::array& array) { return Shape(array.shape(), array.shape() + array.ndim()); }

// "float64 (2, 3), not C-contiguous"
inline std::string describe(const py::array& array) {
    std::string text = py::str(array.dtype()).cast<std::string>() + " " + fastcnn::to_string(shape_of(array));
    if (!(array.flags() & py::array::c_style)) text += ", not C-contiguous";
    if (!(array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_)) text += ", not aligned";
    return text;
}

inline bool matches(const py::array& array, const Pattern& pattern) {
    if (static_cast<std::size_t>(array.ndim()) != pattern.size()) return false;
    for (std::size_t i = 0; i < pattern.size(); ++i)
        if (pattern[i].size < 0 ? array.shape(i) < 1 : array.shape(i) != pattern[i].size) return false;
    return true;
}

// C-contiguous, aligned for its elements.
inline bool readable_in_place(const py::array& array) {
    return (array.flags() & py::array::c_style) && (array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_);
}

// Whether `array` holds elements of `dtype`. An unpickled array has a dtype object of its own.
inline bool has_dtype(const py::array& array, const py::dtype& dtype) {
    return array.dtype().is(dtype) || array.dtype().equal(dtype);
}

// Throws unless `array` has this dtype (of this machine's byte order), is C-contiguous and aligned.
inline void require_dtype(const Argument& argument, const py::array& array, const py::dtype& dtype) {
    if (has_dtype(array, dtype) && readable_in_place(array)) return;
    fail(argument.operation, ": ", argument.name, ": expected a C-contiguous ",
         py::str(dtype).cast<std::string>(), " array, received ", describe(array));
}

// The same, and the shape fits; an axis of any size holds at least one element.
inline void require_array(const Argument& argument, const py::array& array, const py::dtype& dtype,
                          const Pattern& pattern) {
    if (has_dtype(array, dtype) && readable_in_place(array) && matches(array, pattern)) return;
    fail(argument.operation, ": ", argument.name, ": expected a C-contiguous ",
         py::str(dtype).cast<std::string>(), " array of shape ", to_string(pattern), ", received ",
         describe(array));
}

// An array for a result. NumPy aligns at 16 bytes, where each store of a 64-byte vector touches two cache
// lines: a large array is a view that begins at a cache line of its own.
inline py::array result_array(const py::dtype& dtype, const Shape& shape) {
    constexpr py::ssize_t kLine = 64, kLarge = 1 << 16;
    const py::ssize_t bytes = static_cast<py::ssize_t>(size_of(shape)) * dtype.itemsize();
    if (bytes < kLarge) return py::array(dtype, shape);
    py::array_t<std::uint8_t> memory(bytes + kLine - 1);
    const auto begin = reinterpret_cast<std::uintptr_t>(memory.mutable_data());
    return py::array(dtype, shape, memory.mutable_data() + (kLine - begin % kLine) % kLine, memory);
}

// Whether a result is so large that its beginning has left the caches when its end is written: written past
// them, it spares reading what is overwritten. (A smaller one is still there for the next operation, which
// would have to fetch all from memory.) And whether its rows begin at cache lines.
inline bool passes_caches(const py::array& result) {
    constexpr py::ssize_t kBytes = 8 << 20, kLine = 64;
    return result.nbytes() >= kBytes && result.shape(result.ndim() - 1) * result.itemsize() % kLine == 0 &&
           reinterpret_cast<std::uintptr_t>(result.data()) % kLine == 0;
}

// Whether two contiguous arrays share memory.
inline bool overlap(const py::array& a, const py::array& b) {
    const char* first = static_cast<const char*>(a.data());
    const char* second = static_cast<const char*>(b.data());
    return first < second + b.nbytes() && second < first + a.nbytes();
}

}  // namespace fastcnn::bindings
