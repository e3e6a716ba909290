// Aligned memory whose layout is decided before it is granted: a Layout books ranges, a Buffer grants their
// total.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace fastcnn {

// Buffers granted so far, for the test that running allocates nothing.
inline std::atomic<std::int64_t>& allocation_count() {
    static std::atomic<std::int64_t> count{0};
    return count;
}

// Books ranges of floats, each starting on a cache line.
class Layout {
  public:
    static constexpr std::int64_t kAlign = 16;  // floats in a cache line

    std::int64_t book(std::int64_t floats) {
        const std::int64_t at = size_;
        size_ += round_up(floats);
        return at;
    }
    std::int64_t size() const { return size_; }

    static std::int64_t round_up(std::int64_t floats) { return (floats + kAlign - 1) / kAlign * kAlign; }
    // A stride between samples: whole cache lines, and never a multiple of 4 KB, which would map all samples
    // to the same sets of the L1 cache.
    static std::int64_t stride(std::int64_t floats) {
        const std::int64_t s = round_up(floats);
        return s % 1024 == 0 ? s + kAlign : s;
    }

  private:
    std::int64_t size_ = 0;
};

// Zero-filled floats, aligned to a page. Throws std::bad_alloc.
class Buffer {
  public:
    Buffer() = default;
    explicit Buffer(std::int64_t floats) {
        if (floats <= 0) return;
        constexpr std::size_t align = 4096;
        const std::size_t bytes =
            (static_cast<std::size_t>(floats) * sizeof(float) + align - 1) / align * align;
        data_ = static_cast<float*>(std::aligned_alloc(align, bytes));
        if (!data_) throw std::bad_alloc();
        std::memset(data_, 0, bytes);
        allocation_count().fetch_add(1, std::memory_order_relaxed);
    }
    ~Buffer() { std::free(data_); }
    Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(data_, other.data_);
        return *this;
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    float* data() const { return data_; }

  private:
    float* data_ = nullptr;
};

}  // namespace fastcnn
