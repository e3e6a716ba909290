// The graph's operations on images: scaling, resizing, and what is random while training.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "base/check.h"
#include "bindings/engine.h"
#include "bindings/function_names.h"

namespace fastcnn {

namespace {

using Numbers = std::pair<float, float>;
// (size of the input, index and weight of the inputs that each position of the output is made of)
using Taps =
    std::tuple<std::int64_t, std::vector<std::vector<std::int64_t>>, std::vector<std::vector<double>>>;

py::tuple tuple(const Shape& shape) { return py::tuple(py::cast(shape)); }

AxisMap axis_map(const std::string& layer, const Taps& taps) {
    const auto& [in, index, weight] = taps;
    bool fits = in > 0 && index.size() == weight.size();
    for (std::size_t o = 0; fits && o < index.size(); ++o) {
        fits = index[o].size() == weight[o].size();
        for (const std::int64_t i : index[o]) fits = fits && i >= 0 && i < in;
    }
    require(fits, layer, ": taps: expected positions below ", in, " with a weight each, received others");
    return AxisMap::given(in, index, weight);
}

WarpOp warp_op(const std::string& layer, const std::string& kind, Numbers height, Numbers width, bool tied,
               bool bilinear, const std::string& fill_mode, float fill_value, std::uint64_t seed) {
    WarpOp op;
    op.kind = warp_of(layer, kind);
    op.low = {height.first, width.first};
    op.high = {height.second, width.second};
    op.tied = tied;
    op.seed = seed;
    op.shape.bilinear = bilinear;
    op.shape.fill = fill_of(layer, fill_mode);
    op.shape.fill_value = fill_value;
    return op;
}

RecolorOp recolor_op(const std::string& layer, const std::string& kind, Numbers factor, Numbers second,
                     Numbers value_range, std::uint64_t seed) {
    RecolorOp op;
    op.shape.kind = recolor_of(layer, kind);
    op.low = factor.first;
    op.high = factor.second;
    op.second_low = second.first;
    op.second_high = second.second;
    op.shape.low = value_range.first;
    op.shape.high = value_range.second;
    op.seed = seed;
    return op;
}

EraseOp erase_op(Numbers rate, Numbers area, std::vector<float> fill, float deviation, Numbers value_range,
                 std::uint64_t seed) {
    EraseOp op;
    op.rate_low = rate.first;
    op.rate_high = rate.second;
    op.area_low = area.first;
    op.area_high = area.second;
    op.fill = std::move(fill);
    op.shape.deviation = deviation;
    op.shape.low = value_range.first;
    op.shape.high = value_range.second;
    op.seed = seed;
    return op;
}

}  // namespace

void bind_image_ops(py::class_<Graph>& graph) {
    using py::arg;
    graph
        .def(
            "scale",
            [](Graph& g, const std::string& name, const std::string& kind, const Shape& shape,
               std::vector<float> a, std::vector<float> b, float epsilon) {
                ScaleOp op;
                op.kind = scale_of(name, kind);
                op.epsilon = epsilon;
                op.a_values = std::move(a);
                op.b_values = std::move(b);
                return tuple(g.scale(name, std::move(op), shape, {}));
            },
            arg("name"), py::kw_only(), arg("kind"), arg("shape"), arg("a"), arg("b"), arg("epsilon") = 0.0f)
        .def(
            "normalize_by",
            [](Graph& g, const std::string& name, const std::string& kind, const Shape& shape,
               const Shape& parameter_shape, int mean, int variance, float epsilon) {
                ScaleOp op;
                op.kind = scale_of(name, kind);
                op.epsilon = epsilon;
                op.a = mean;
                op.b = variance;
                return tuple(g.scale(name, std::move(op), shape, parameter_shape));
            },
            arg("name"), py::kw_only(), arg("kind"), arg("shape"), arg("parameter_shape"), arg("mean"),
            arg("variance"), arg("epsilon"))
        .def(
            "resample2d",
            [](Graph& g, const std::string& name, const Taps& height, const Taps& width) {
                return tuple(g.resample2d(name, axis_map(name, height), axis_map(name, width)));
            },
            arg("name"), py::kw_only(), arg("height"), arg("width"))
        .def(
            "warp",
            [](Graph& g, const std::string& name, const std::string& kind, Numbers height, Numbers width,
               bool tied, bool bilinear, const std::string& fill_mode, float fill_value, std::uint64_t seed) {
                const Shape& in = g.output_shape();
                require(in.size() == 3, name, ": input: expected shape (height, width, channels), received ",
                        to_string(in));
                return tuple(g.warp(
                    name, warp_op(name, kind, height, width, tied, bilinear, fill_mode, fill_value, seed),
                    {in[0], in[1]}));
            },
            arg("name"), py::kw_only(), arg("kind"), arg("height"), arg("width"), arg("tied") = false,
            arg("bilinear") = true, arg("fill_mode") = "constant", arg("fill_value") = 0.0f, arg("seed"))
        .def(
            "random_crop",
            [](Graph& g, const std::string& name, Pair size, const Taps& height, const Taps& width,
               std::uint64_t seed) {
                WarpOp op;
                op.kind = WarpKind::crop;
                op.seed = seed;
                op.otherwise = ResampleOp{axis_map(name, height), axis_map(name, width)};
                require(op.otherwise->h.out() == size.first && op.otherwise->w.out() == size.second, name,
                        ": taps: expected those of the output's size, received those of (",
                        op.otherwise->h.out(), ", ", op.otherwise->w.out(), ")");
                return tuple(g.warp(name, std::move(op), size));
            },
            arg("name"), py::kw_only(), arg("size"), arg("height"), arg("width"), arg("seed"))
        .def(
            "recolor",
            [](Graph& g, const std::string& name, const std::string& kind, Numbers factor, Numbers second,
               Numbers value_range, std::uint64_t seed) {
                return tuple(g.recolor(name, recolor_op(name, kind, factor, second, value_range, seed)));
            },
            arg("name"), py::kw_only(), arg("kind"), arg("factor"), arg("second") = Numbers(0.0f, 0.0f),
            arg("value_range"), arg("seed"))
        .def(
            "erase",
            [](Graph& g, const std::string& name, Numbers rate, Numbers area, std::vector<float> fill,
               float deviation, Numbers value_range, std::uint64_t seed) {
                return tuple(
                    g.erase(name, erase_op(rate, area, std::move(fill), deviation, value_range, seed)));
            },
            arg("name"), py::kw_only(), arg("rate"), arg("area"), arg("fill"), arg("deviation"),
            arg("value_range"), arg("seed"));
}

}  // namespace fastcnn
