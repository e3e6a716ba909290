// The rows of amx.inc at one level, as data, and the level in use.
#pragma once

#include "kernels/api.h"
#include "kernels/api_amx.h"
#include "kernels/api_amx_dense.h"
#include "kernels/api_planes.h"

namespace fastcnn {

struct AmxRows {
#define FASTCNN_AMX_KERNEL(Args, operation) const Kernel<Args>* operation;
#include "kernels/amx.inc"
#undef FASTCNN_AMX_KERNEL
    // Whether a product of tiles comes out as it should: false where something between here and the processor
    // does not keep its word.
    bool (*works)();
};

}  // namespace fastcnn

#ifdef FASTCNN_ISA
namespace fastcnn::FASTCNN_ISA {
#define FASTCNN_AMX_KERNEL(Args, operation) extern const Kernel<Args> operation;
#include "kernels/amx.inc"
#undef FASTCNN_AMX_KERNEL
bool tiles_work();
extern const AmxRows amx_rows;
}  // namespace fastcnn::FASTCNN_ISA
#endif
