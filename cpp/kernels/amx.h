// The kernels over AMX tiles that this process may use.
#pragma once

#include "isa/isa.h"
#include "kernels/rows_amx.h"

namespace fastcnn {

struct AmxLevel {
    Isa isa = Isa::amx;
    const AmxRows* rows = nullptr;  // or null: there are none
    const char* declined = "";      // why

    explicit operator bool() const { return rows != nullptr; }
};

// The processor's own tiles where they are allowed and work; or the emulated ones, after
// set_amx_emulated(true), for plans that are made from then on.
AmxLevel amx_level();

// Kernels with the tiles in memory: the same numbers, slowly. False at first; FASTCNN_EMULATE_AMX=1 in the
// environment turns it on. Throws Error where the build or the processor cannot do it.
void set_amx_emulated(bool emulated);

}  // namespace fastcnn
