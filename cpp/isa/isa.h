// The instruction sets that kernels are compiled for, in rising order. A kernel's row names one; the best one
// that the processor, the operating system and FASTCNN_MAX_ISA allow is used. NEON gets a name of its own
// when its first kernel is written.
#pragma once

#include <string>
#include <vector>

namespace fastcnn {

enum class Isa : int {
    baseline = 0,  // SSE2 on x86-64, plain C++ elsewhere
    avx2 = 1,      // x86-64-v3: AVX2, FMA, BMI2
    avx512 = 2,    // x86-64-v4: AVX-512 F, BW, CD, DQ, VL
    // The tile kernels (kernels/tiles.h) alone; everything else stays at avx512.
    amx = 3,           // and AMX-TILE, AMX-BF16, AVX512-BF16
    amx_emulated = 4,  // the same kernels with the tiles in memory, for tests on any processor of level avx2
};

inline constexpr int kIsaCount = 5;

const char* name_of(Isa isa);

// Throws Error naming the known levels.
Isa isa_from_name(const std::string& name);

// Best level this processor and operating system can run (CPUID, and XGETBV for the register state).
Isa detected_isa();

// Best level of vectors in use: detected_isa() capped by the environment variable FASTCNN_MAX_ISA, read once.
// An unknown name in the variable throws Error.
Isa active_isa();

// Whether FASTCNN_MAX_ISA does not forbid them, the processor has AMX tiles of bfloat16, and the operating
// system has granted them to this process (asked for once, when this is first called).
bool tiles_allowed();

// Whether vectors in use are those of AVX-512 and the processor multiplies bfloat16 numbers in pairs
// (AVX512-BF16).
bool has_bfloat16_pairs();

// Whether that is faster than float32: on AMD's (Zen 4) two multiply-adds take the time of one. On the Intel
// processor that was measured the dot product is slower than float32's multiply-add.
bool bfloat16_pairs_pay();

// Levels this build holds kernels for.
const std::vector<Isa>& compiled_isas();

}  // namespace fastcnn
