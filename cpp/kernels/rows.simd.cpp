#include "kernels/rows.h"

namespace fastcnn::FASTCNN_ISA {

// Constant data: reading it runs no instruction of this level.
constinit const LevelRows level_rows = {
#define FASTCNN_KERNEL(Args, operation, algorithm) &operation##_##algorithm,
#include "kernels/table.inc"
#undef FASTCNN_KERNEL
};

}  // namespace fastcnn::FASTCNN_ISA
