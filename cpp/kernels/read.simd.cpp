// The first read of the user's array: any element type to float32; and the way back to bfloat16.
#include "kernels/rows.h"
#include "simd/bfloat16.h"

namespace fastcnn::FASTCNN_ISA {
namespace {

// The compiler turns this loop into conversions of whole vectors; memcpy is how it learns that x has no
// alignment.
template <class T>
void convert(const void* x, std::int64_t size, float* y) {
    const char* bytes = static_cast<const char*>(x);
    for (std::int64_t i = 0; i < size; ++i) {
        T value;
        std::memcpy(&value, bytes + i * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
        y[i] = static_cast<float>(value);
    }
}

void convert_boolean(const void* x, std::int64_t size, float* y) {
    const unsigned char* bytes = static_cast<const unsigned char*>(x);
    for (std::int64_t i = 0; i < size; ++i) y[i] = bytes[i] != 0 ? 1.0f : 0.0f;
}

// IEEE half precision: sign, 5 bits of exponent (bias 15), 10 of fraction. Numbers keep their fraction and
// move to bias 127; infinity and NaN move on to exponent 255; subnormals are fraction * 2^-24, by way of an
// integer, since as float bits they would be subnormal and read as zero where denormals are flushed.
FASTCNN_INLINE float half(std::uint16_t bits) {
    const std::uint32_t fraction = bits & 0x3ffu, exponent = bits & 0x7c00u;
    const std::uint32_t rebias = exponent == 0x7c00u ? 224u << 23 : 112u << 23;
    const std::uint32_t normal = (std::uint32_t{bits & 0x7fffu} << 13) + rebias;
    const float subnormal = static_cast<float>(static_cast<std::int32_t>(fraction)) * 0x1p-24f;
    std::uint32_t magnitude;
    std::memcpy(&magnitude, &subnormal, 4);
    magnitude = (exponent == 0 ? magnitude : normal) | std::uint32_t{bits & 0x8000u} << 16;
    float value;
    std::memcpy(&value, &magnitude, 4);
    return value;
}

void convert_half(const void* x, std::int64_t size, float* y) {
    const char* bytes = static_cast<const char*>(x);
    std::int64_t i = 0;
#if defined(__F16C__)
    for (; i + 8 <= size; i += 8)
        _mm256_storeu_ps(y + i,
                         _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + 2 * i))));
#endif
    for (; i < size; ++i) {
        std::uint16_t value;
        std::memcpy(&value, bytes + 2 * i, 2);
        y[i] = half(value);
    }
}

// The upper half of a float.
void convert_bfloat16(const void* x, std::int64_t size, float* y) {
    const char* bytes = static_cast<const char*>(x);
    for (std::int64_t i = 0; i < size; ++i) {
        std::uint16_t word;
        std::memcpy(&word, bytes + 2 * i, 2);
        const std::uint32_t bits = std::uint32_t{word} << 16;
        std::memcpy(y + i, &bits, 4);
    }
}

void round_bfloat16(const RoundBfloat16& a) {
    for (std::int64_t i = 0; i < a.size; ++i) a.y[i] = to_bfloat16(a.x[i]);
}

// By value: what is written through memcpy might be what a reference leads to.
void pair_words(const PairWords& args) {
    const PairWords a = args;
    const auto put = [y = a.y](std::int64_t i, std::uint32_t pair) {
        std::memcpy(y + i, &pair, sizeof pair);
    };
    if (!a.b)
        for (std::int64_t i = 0; i < a.size; ++i) put(i, a.a[i]);
    else
        for (std::int64_t i = 0; i < a.size; ++i) put(i, a.a[i] | std::uint32_t{a.b[i]} << 16);
}

void read_samples(const ReadSamples& a) {
    switch (a.dtype) {
        case DType::f32:
            std::memcpy(a.y, a.x, static_cast<std::size_t>(a.size) * sizeof(float));
            return;
        case DType::f64:
            return convert<double>(a.x, a.size, a.y);
        case DType::f16:
            return convert_half(a.x, a.size, a.y);
        case DType::bf16:
            return convert_bfloat16(a.x, a.size, a.y);
        case DType::u8:
            return convert<std::uint8_t>(a.x, a.size, a.y);
        case DType::i8:
            return convert<std::int8_t>(a.x, a.size, a.y);
        case DType::u16:
            return convert<std::uint16_t>(a.x, a.size, a.y);
        case DType::i16:
            return convert<std::int16_t>(a.x, a.size, a.y);
        case DType::u32:
            return convert<std::uint32_t>(a.x, a.size, a.y);
        case DType::i32:
            return convert<std::int32_t>(a.x, a.size, a.y);
        case DType::u64:
            return convert<std::uint64_t>(a.x, a.size, a.y);
        case DType::i64:
            return convert<std::int64_t>(a.x, a.size, a.y);
        case DType::boolean:
            return convert_boolean(a.x, a.size, a.y);
    }
}

}  // namespace

const Kernel<ReadSamples> read_samples_direct = {read_samples};
const Kernel<RoundBfloat16> round_bfloat16_direct = {round_bfloat16};
const Kernel<PairWords> pair_words_direct = {pair_words};

}  // namespace fastcnn::FASTCNN_ISA
