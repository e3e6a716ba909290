// Functions that code compiled for an instruction set may call. An ordinary inline function called there
// could be emitted with, say, AVX-512 instructions, and the linker might keep that copy for the whole
// program; a function that is always inlined is never emitted.
#pragma once

#if defined(_MSC_VER) && !defined(__clang__)
#define FASTCNN_INLINE inline __forceinline
#define FASTCNN_NOINLINE __declspec(noinline)
#define FASTCNN_COLD
#else
#define FASTCNN_INLINE inline __attribute__((always_inline))
#define FASTCNN_NOINLINE __attribute__((noinline))
#define FASTCNN_COLD __attribute__((cold))
#endif
