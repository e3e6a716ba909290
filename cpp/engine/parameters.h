// Trained values: one flat, aligned float32 buffer for a set of arrays, so that an optimizer step, clipping
// or a reduction is one pass over it.
#pragma once

#include <atomic>
#include <memory>
#include <shared_mutex>
#include <vector>

#include "base/memory.h"
#include "base/shape.h"

namespace fastcnn {

class Parameters {
  public:
    explicit Parameters(std::vector<Shape> shapes);

    int count() const { return static_cast<int>(shapes_.size()); }
    const Shape& shape(int index) const { return shapes_[static_cast<std::size_t>(index)]; }
    float* data(int index) const { return buffer_.data() + offsets_[static_cast<std::size_t>(index)]; }

    // Held shared by whoever reads the values and exclusively by whoever writes them.
    std::shared_mutex& mutex() const { return mutex_; }
    // Counts the writes: packed copies made at another version are stale.
    std::uint64_t version() const { return version_.load(std::memory_order_acquire); }
    void changed() { version_.fetch_add(1, std::memory_order_acq_rel); }

  private:
    std::vector<Shape> shapes_;
    std::vector<std::int64_t> offsets_;
    Buffer buffer_;
    mutable std::shared_mutex mutex_;
    std::atomic<std::uint64_t> version_{1};
};

// One array of one Parameters.
struct ParameterRef {
    std::shared_ptr<Parameters> owner;
    int index = 0;

    float* data() const { return owner->data(index); }
    std::int64_t size() const { return size_of(owner->shape(index)); }
};

// The Parameters behind a list of references, each once, locked in one global order (two models may share
// layers).
class ParameterSet {
  public:
    explicit ParameterSet(const std::vector<ParameterRef>& refs);

    void lock_shared() const;
    void unlock_shared() const;
    void lock() const;
    void unlock() const;
    std::uint64_t version() const;  // changes whenever any of them does
    void changed() const;

  private:
    std::vector<std::shared_ptr<Parameters>> owners_;
};

}  // namespace fastcnn
