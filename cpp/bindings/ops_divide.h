// How one call is divided between threads, and the memory it is lent.
#pragma once

#include <algorithm>
#include <limits>

#include "base/memory.h"
#include "base/team.h"
#include "base/threads.h"

namespace fastcnn::bindings {

// Threads that `work` is worth, at `least` of it for each: with about 5 us for each a second thread pays even
// when it has to be woken.
inline int threads_for(std::int64_t work, std::int64_t least) {
    return static_cast<int>(std::clamp<std::int64_t>(work / least, 1, thread_count()));
}
inline constexpr std::int64_t kLeastFlops = 1 << 20;
// Of a pass over memory: for each thread, and of a brief job at most.
inline constexpr std::int64_t kLeastFloats = 1 << 15, kBriefFloats = 1 << 18;

// Items of a phase for `threads`: some for each, so that a fast one takes more of them.
inline std::int64_t items_for(int threads, std::int64_t pieces) {
    return std::clamp<std::int64_t>(threads > 1 ? 4 * threads : 1, 1, std::max<std::int64_t>(1, pieces));
}

// Parts of packed weights too large for L2: each thread packs one where it stays in its cache and does the
// whole batch with it, so that memory is read once for the weights and once for the images. 0: they are not
// divided.
inline std::int64_t weight_parts(std::int64_t packed) {
    constexpr std::int64_t kDivided = 512 * 1024, kPart = 160 * 1024;
    return packed < kDivided ? 0 : packed / kPart + 1;
}

// Memory of one call, kept for the thread's next one: pages fresh from the system cost more than the
// convolution that uses them. One of a slot at a time.
template <int Slot>
class LentMemory {
  public:
    // Filled with NaN where `poisoned`: a kernel under test cannot count on zeros then.
    explicit LentMemory(std::int64_t floats, bool poisoned = false) {
        if (floats > size()) {
            memory() = Buffer();
            memory() = Buffer(floats);
            size() = floats;
        }
        data_ = memory().data();
        if (poisoned) std::fill_n(data_, floats, std::numeric_limits<float>::quiet_NaN());
    }
    ~LentMemory() {
        if (size() <= kKept) return;
        memory() = Buffer();
        size() = 0;
    }
    LentMemory(const LentMemory&) = delete;
    LentMemory& operator=(const LentMemory&) = delete;

    float* data() const { return data_; }  // on any thread

  private:
    float* data_;
    static constexpr std::int64_t kKept = 16 * 1024 * 1024;  // floats: 64 MB

    static Buffer& memory() {
        thread_local Buffer buffer;
        return buffer;
    }
    static std::int64_t& size() {
        thread_local std::int64_t floats = 0;
        return floats;
    }
};
using Lent = LentMemory<0>;

// A batch of images divided into items: samples where there are enough for the threads, else rows of each
// sample. An item is done in blocks of samples that stay in L2 together.
struct ImageDivision {
    std::int64_t batch = 1, rows = 1;
    std::int64_t unit = 1;   // rows to be kept together
    std::int64_t block = 1;  // samples
    std::int64_t parts = 1;  // of each sample's rows
    std::int64_t items = 1;

    // floats: of a sample's arrays. weights: floats that every item streams through once more; beyond what
    // L2 holds, items are as few and blocks as large as can be.
    static ImageDivision of(int threads, std::int64_t batch, std::int64_t rows, std::int64_t unit,
                            std::int64_t floats, std::int64_t weights) {
        constexpr std::int64_t kInL2 = 128 * 1024, kHeavy = 256 * 1024, kTogether = 16;
        ImageDivision d;
        d.batch = batch;
        d.rows = rows;
        d.unit = std::max<std::int64_t>(1, unit);
        d.block = std::max<std::int64_t>(1, std::max(kInL2, weights / 2) / std::max<std::int64_t>(1, floats));
        std::int64_t wanted = threads == 1       ? 1
                              : weights > kHeavy ? threads
                                                 : items_for(threads, batch * rows);
        if (batch < wanted && batch % threads != 0)
            d.parts = std::clamp<std::int64_t>((wanted + batch - 1) / batch, 1, (rows + d.unit - 1) / d.unit);
        // Kernels on small images work on several samples at once.
        wanted = std::max<std::int64_t>(threads, std::min(wanted, batch / std::min(kTogether, d.block)));
        d.items = d.parts > 1 ? batch * d.parts : std::min(batch, wanted);
        return d;
    }

    // visit(first sample, samples, first row, last row), for each block of an item.
    template <class Visit>
    void for_each_block(std::int64_t item, const Visit& visit) const {
        if (parts > 1) {
            const Share share((rows + unit - 1) / unit, item % parts, parts);
            if (share.begin < share.end)
                visit(item / parts, std::int64_t{1}, share.begin * unit, std::min(rows, share.end * unit));
            return;
        }
        const Share share(batch, item, items);
        for (std::int64_t first = share.begin; first < share.end; first += block)
            visit(first, std::min(block, share.end - first), std::int64_t{0}, rows);
    }
};

}  // namespace fastcnn::bindings
