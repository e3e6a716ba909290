# One row an instruction set: name, then the compiler's flags; -O3 unless a row says otherwise. The rows become
# isa/levels.inc and one object library of the *.simd.cpp files each.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  set(FASTCNN_ISAS baseline avx2 avx512)
  set(FASTCNN_FLAGS_baseline -march=x86-64)
  # -O3 would be 45 KB more of the wheel, for convolutions that take 0.98 of the time on processors of before 2013.
  set(FASTCNN_OPTIMIZE_baseline -O2)
  set(FASTCNN_FLAGS_avx2 -march=x86-64-v3)
  set(FASTCNN_FLAGS_avx512 -march=x86-64-v4 -mprefer-vector-width=512)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC takes its own _mm512_undefined_ps() for an uninitialised variable of the caller.
    list(APPEND FASTCNN_FLAGS_avx512 -Wno-uninitialized -Wno-maybe-uninitialized)
  endif()
  # The *.amx.cpp files. The assembler has to know the tiles, the compiler not.
  include(CheckCXXSourceCompiles)
  include(CheckCXXCompilerFlag)
  check_cxx_source_compiles("int main() { asm volatile(\"tdpbf16ps %tmm2, %tmm1, %tmm0\"); }" FASTCNN_ASSEMBLES_AMX)
  check_cxx_compiler_flag(-mavx512bf16 FASTCNN_KNOWS_AVX512BF16)
  if(FASTCNN_KNOWS_AVX512BF16)
    set(FASTCNN_FLAGS_avx512_pairs ${FASTCNN_FLAGS_avx512} -mavx512bf16)
  endif()
  if(FASTCNN_ASSEMBLES_AMX AND FASTCNN_KNOWS_AVX512BF16)
    set(FASTCNN_AMX_LEVELS amx amx_emulated)
    # Tiles are given back in a destructor: with exceptions it would be called while unwinding, through a symbol that
    # other code shares. Kernels throw nothing.
    set(FASTCNN_FLAGS_amx ${FASTCNN_FLAGS_avx512} -mavx512bf16 -fno-exceptions)
    set(FASTCNN_FLAGS_amx_emulated ${FASTCNN_FLAGS_avx2} -fno-exceptions)
    set(FASTCNN_DEFINITIONS_amx_emulated FASTCNN_EMULATE_TILES)
    set(FASTCNN_OPTIMIZE_amx -O3)
    set(FASTCNN_OPTIMIZE_amx_emulated -Os)  # for tests, in every wheel
  endif()
else()
  set(FASTCNN_ISAS baseline)
  set(FASTCNN_FLAGS_baseline "")
endif()
foreach(level IN LISTS FASTCNN_ISAS)
  if(NOT DEFINED FASTCNN_OPTIMIZE_${level})
    set(FASTCNN_OPTIMIZE_${level} -O3)
  endif()
endforeach()
