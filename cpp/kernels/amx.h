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

// The processor's own tiles where they are allowed and work; the emulated ones where FASTCNN_EMULATE_AMX is 1.
const AmxLevel& amx_level();

}  // namespace fastcnn
