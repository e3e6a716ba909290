// "Kernels on arrays": what the functions share, and where they are.
#include "base/random.h"
#include "bindings/bindings.h"
#include "bindings/ops_call.h"

namespace fastcnn {

namespace {

using Block = std::array<std::uint32_t, 4>;

pybind11::tuple philox(std::uint64_t seed, const Block& counter) {
    std::uint32_t words[4] = {counter[0], counter[1], counter[2], counter[3]};
    philox4x32_10(seed, words);
    return pybind11::make_tuple(words[0], words[1], words[2], words[3]);
}

pybind11::list kernel_rows() {
    pybind11::list list;
    for (const RowName& row : row_names())
        list.append(pybind11::make_tuple(row.operation, row.algorithm, name_of(row.isa)));
    return list;
}

}  // namespace

void bind_ops(pybind11::module_& module) {
    module.def("rows", kernel_rows);
    module.def("philox", philox, pybind11::arg("seed"), pybind11::arg("counter"));
    bindings::bind_conv_ops(module);
    bindings::bind_pool_ops(module);
    bindings::bind_amx_ops(module);
    bindings::bind_bfloat16_ops(module);
    bindings::bind_layer_ops(module);
    bindings::bind_sample_kernels(module);
    bindings::bind_image_kernels(module);
    bindings::bind_norm_ops(module);
    bindings::bind_training_ops(module);
}

}  // namespace fastcnn
