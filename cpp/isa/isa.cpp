#include "isa/isa.h"

#include <algorithm>
#include <cstdlib>

#include "base/check.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <cpuid.h>
#include <immintrin.h>
#define FASTCNN_X86 1
#endif
#if defined(__linux__) && defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#define FASTCNN_TILE_PERMISSION 1
#endif

namespace fastcnn {

namespace {

constexpr const char* kNames[kIsaCount] = {"baseline", "avx2", "avx512", "amx", "amx_emulated"};

#ifdef FASTCNN_X86
bool bit(unsigned value, int position) { return (value >> position) & 1u; }

// Register state that the operating system saves. Written out because _xgetbv() needs -mxsave here.
unsigned long long xcr0() {
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (static_cast<unsigned long long>(high) << 32) | low;
}

Isa detect() {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return Isa::baseline;
    const bool osxsave = bit(c, 27), fma = bit(c, 12), f16c = bit(c, 29), avx = bit(c, 28),
               movbe = bit(c, 22);
    if (!(osxsave && fma && f16c && avx && movbe)) return Isa::baseline;
    const unsigned long long state = xcr0();
    if ((state & 0x6) != 0x6) return Isa::baseline;  // XMM and YMM
    unsigned b7, c7, d7;
    if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d7)) return Isa::baseline;
    if (!(bit(b7, 5) && bit(b7, 3) && bit(b7, 8))) return Isa::baseline;                // AVX2, BMI1, BMI2
    if (!__get_cpuid(0x80000001u, &a, &b, &c, &d) || !bit(c, 5)) return Isa::baseline;  // LZCNT
    const bool avx512 =
        bit(b7, 16) && bit(b7, 17) && bit(b7, 28) && bit(b7, 30) && bit(b7, 31);  // F DQ CD BW VL
    if (!avx512 || (state & 0xe6) != 0xe6) return Isa::avx2;                      // and mask and ZMM state
    return Isa::avx512;
}

bool detect_pairs() {
    unsigned a, b, c, d;
    return detect() == Isa::avx512 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && bit(a, 5);  // AVX512-BF16
}

bool detect_tiles() {
    unsigned a, b, c, d;
    if (!detect_pairs() || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    if (!bit(d, 24) || !bit(d, 22)) return false;  // AMX-TILE, AMX-BF16
    return (xcr0() & 0x60000) == 0x60000;          // tile state
}

bool made_by_amd() {
    unsigned a, b, c, d;
    return __get_cpuid(0, &a, &b, &c, &d) && b == signature_AMD_ebx && c == signature_AMD_ecx &&
           d == signature_AMD_edx;
}
#else
Isa detect() { return Isa::baseline; }
bool detect_pairs() { return false; }
bool detect_tiles() { return false; }
bool made_by_amd() { return false; }
#endif

// Linux keeps a process's tile state only after it has asked for it.
bool request_tiles() {
#ifdef FASTCNN_TILE_PERMISSION
    constexpr long kRequestPermission = 0x1023, kTileData = 18;
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
    return false;
#endif
}

Isa cap_from_environment() {
    const char* cap = std::getenv("FASTCNN_MAX_ISA");
    return cap && *cap ? isa_from_name(cap) : Isa::amx;
}

}  // namespace

const char* name_of(Isa isa) { return kNames[static_cast<int>(isa)]; }

Isa isa_from_name(const std::string& name) {
    for (int i = 0; i <= static_cast<int>(Isa::amx); ++i)
        if (name == kNames[i]) return static_cast<Isa>(i);
    fail("FASTCNN_MAX_ISA: expected one of 'baseline', 'avx2', 'avx512', 'amx', received '", name, "'");
}

Isa detected_isa() {
    static const Isa found = detect();
    return found;
}

Isa active_isa() {
    static const Isa active = [] {
        const Isa limit = cap_from_environment();
        Isa best = Isa::baseline;
        for (Isa isa : compiled_isas())
            if (isa <= limit && isa <= detected_isa()) best = std::max(best, isa);
        return best;
    }();
    return active;
}

bool tiles_allowed() {
    static const bool allowed = cap_from_environment() >= Isa::amx && detect_tiles() && request_tiles();
    return allowed;
}

bool has_bfloat16_pairs() {
    static const bool has = active_isa() >= Isa::avx512 && detect_pairs();
    return has;
}

bool bfloat16_pairs_pay() {
    static const bool pay = has_bfloat16_pairs() && made_by_amd();
    return pay;
}

const std::vector<Isa>& compiled_isas() {
    static const std::vector<Isa> levels = {
#define FASTCNN_LEVEL(name) Isa::name,
#include "isa/levels.inc"
#undef FASTCNN_LEVEL
    };
    return levels;
}

}  // namespace fastcnn
