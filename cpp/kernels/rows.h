// The rows of table.inc at one instruction set, as data. A *.simd.cpp file includes this and defines its
// rows: `const Kernel<Args> operation_algorithm = {run, ...};`
#pragma once

#include "kernels/api.h"

namespace fastcnn {

struct LevelRows {
#define FASTCNN_KERNEL(Args, operation, algorithm) const Kernel<Args>* operation##_##algorithm;
#include "kernels/table.inc"
#undef FASTCNN_KERNEL
};

}  // namespace fastcnn

#ifdef FASTCNN_ISA
namespace fastcnn::FASTCNN_ISA {
#define FASTCNN_KERNEL(Args, operation, algorithm) extern const Kernel<Args> operation##_##algorithm;
#include "kernels/table.inc"
#undef FASTCNN_KERNEL
extern const LevelRows level_rows;
}  // namespace fastcnn::FASTCNN_ISA
#endif
