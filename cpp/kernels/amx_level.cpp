#include "kernels/amx.h"

#ifdef FASTCNN_AMX
namespace fastcnn::amx {
extern const AmxRows amx_rows;
}
namespace fastcnn::amx_emulated {
extern const AmxRows amx_rows;
}
#endif

namespace fastcnn {

namespace {

AmxLevel find() {
#ifdef FASTCNN_AMX
    if (tiles_emulated()) return {Isa::amx_emulated, &amx_emulated::amx_rows};
    if (!tiles_allowed()) return {Isa::amx, nullptr, "the processor has no AMX tiles, or they are not allowed"};
    if (!amx::amx_rows.works()) return {Isa::amx, nullptr, "AMX tiles give wrong results on this machine"};
    return {Isa::amx, &amx::amx_rows};
#else
    return {Isa::amx, nullptr, "this build has no AMX kernels"};
#endif
}

}  // namespace

const AmxLevel& amx_level() {
    static const AmxLevel level = find();
    return level;
}

}  // namespace fastcnn
