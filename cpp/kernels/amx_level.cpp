#include "kernels/amx.h"

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "base/check.h"

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
    if (!tiles_allowed()) return {Isa::amx, nullptr, "no tiles, or FASTCNN_MAX_ISA forbids them"};
    if (!amx::amx_rows.works()) return {Isa::amx, nullptr, "tiles give wrong results on this machine"};
    return {Isa::amx, &amx::amx_rows};
#else
    return {Isa::amx, nullptr, "this build has no kernels for tiles"};
#endif
}

bool can_emulate() {
#ifdef FASTCNN_AMX
    return detected_isa() >= Isa::avx2;
#else
    return false;
#endif
}

bool emulated_in_environment() {
    const char* value = std::getenv("FASTCNN_EMULATE_AMX");
    if (!value || !*value || !std::strcmp(value, "0")) return false;
    require(!std::strcmp(value, "1"), "FASTCNN_EMULATE_AMX: expected 0 or 1, received '", value, "'");
    return can_emulate();
}

std::atomic<bool>& emulation_switch() {
    static std::atomic<bool> emulated{emulated_in_environment()};
    return emulated;
}

}  // namespace

AmxLevel amx_level() {
    static const AmxLevel level = find();
#ifdef FASTCNN_AMX
    if (emulation_switch().load(std::memory_order_relaxed))
        return {Isa::amx_emulated, &amx_emulated::amx_rows};
#endif
    return level;
}

void set_amx_emulated(bool emulated) {
    require(!emulated || can_emulate(),
            "set_amx_emulated: expected a build with tiles and a processor with AVX2");
    emulation_switch().store(emulated, std::memory_order_relaxed);
}

}  // namespace fastcnn
