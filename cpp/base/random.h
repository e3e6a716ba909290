// Random numbers without state: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy
// as 1, 2, 3", SC 2011, https://doi.org/10.1145/2063384.2063405). Four words are a function of a 128-bit
// counter and a 64-bit key, so a number depends on what it is for (sample, step, layer) and not on who draws
// it, or when.
#pragma once

#include <cstdint>

#include "base/inline.h"

namespace fastcnn {

// One block of four words, or as many as Word has lanes. The generator is the same for one integer and for a
// vector of them; Lanes says how a word is multiplied and mixed:
//   Word                                     a 32-bit unsigned integer, or a vector of them
//   multiply(std::uint32_t a, Word b, Word& high, Word& low)   the halves of the 64-bit product
//   mix(Word a, Word b, std::uint32_t key)   a xor b xor key
template <class Lanes>
FASTCNN_INLINE void philox4x32_10(std::uint64_t key, typename Lanes::Word (&counter)[4]) {
    using Word = typename Lanes::Word;
    std::uint32_t key_0 = static_cast<std::uint32_t>(key), key_1 = static_cast<std::uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round) {
        Word high_0, low_0, high_1, low_1;
        Lanes::multiply(0xd2511f53u, counter[0], high_0, low_0);
        Lanes::multiply(0xcd9e8d57u, counter[2], high_1, low_1);
        counter[0] = Lanes::mix(high_1, counter[1], key_0);
        counter[1] = low_1;
        counter[2] = Lanes::mix(high_0, counter[3], key_1);
        counter[3] = low_0;
        key_0 += 0x9e3779b9u;
        key_1 += 0xbb67ae85u;
    }
}

struct PhiloxWord {
    using Word = std::uint32_t;
    static FASTCNN_INLINE void multiply(std::uint32_t a, Word b, Word& high, Word& low) {
        const std::uint64_t product = std::uint64_t{a} * b;
        high = static_cast<Word>(product >> 32);
        low = static_cast<Word>(product);
    }
    static FASTCNN_INLINE Word mix(Word a, Word b, std::uint32_t key) { return a ^ b ^ key; }
};

// Replaces the counter by its four random words.
FASTCNN_INLINE void philox4x32_10(std::uint64_t key, std::uint32_t (&counter)[4]) {
    philox4x32_10<PhiloxWord>(key, counter);
}

// In [0, 1): the top 24 bits, every value of which float32 represents.
FASTCNN_INLINE float uniform(std::uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

}  // namespace fastcnn
