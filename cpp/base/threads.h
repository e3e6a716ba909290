// Threads: how many, how they are started, how they wait, and what they do to the floating-point state.
// OpenMP is named in threads.cpp alone.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>

namespace fastcnn {

struct ThreadConfig {
    int threads = 1;
    std::string reason;  // why that many
    int affinity = 1;    // processors this process may run on
    double quota = 0;    // processors the container may use; 0: no limit found
};

// FASTCNN_NUM_THREADS, else OMP_NUM_THREADS, else min(affinity, cgroup quota); or what set_thread_count()
// asked for.
ThreadConfig thread_config();
int thread_count();
void set_thread_count(int threads);  // 0: back to the default
bool built_with_openmp();

// Waiting spins briefly (a step's phases are microseconds apart) and then sleeps, so that a thread whose core
// was taken by another process does not hold up the others by spinning.
class Barrier {
  public:
    explicit Barrier(int size) : size_(size) {}

    void wait() {
        if (size_ == 1) return;
        const std::uint32_t round = round_.load(std::memory_order_acquire);
        if (waiting_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
            waiting_.store(0, std::memory_order_relaxed);
            round_.store(round + 1, std::memory_order_release);
            round_.notify_all();
            return;
        }
        for (int spin = 0; spin < kSpins; ++spin) {
            if (round_.load(std::memory_order_acquire) != round) return;
            pause();
        }
        while (round_.load(std::memory_order_acquire) == round) round_.wait(round, std::memory_order_acquire);
    }

  private:
    static constexpr int kSpins = 4000;  // about 50 us
    static void pause() {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#else
        std::this_thread::yield();
#endif
    }

    const int size_;
    std::atomic<int> waiting_{0};
    alignas(64) std::atomic<std::uint32_t> round_{0};
};

// One member of a team.
struct Worker {
    int index = 0;
    int size = 1;
    Barrier* barrier = nullptr;

    void wait() const { barrier->wait(); }
    // This worker's part of [0, n): the same for the same team, so that what it wrote last time is in its
    // cache.
    std::int64_t begin(std::int64_t n) const { return n * index / size; }
    std::int64_t end(std::int64_t n) const { return n * (index + 1) / size; }
};

// Runs body(worker) on a team of at most `threads`, the calling thread included, with denormals flushed to
// zero; returns when all have finished, with the caller's floating-point state as it was. The team may be
// smaller than asked (a child of fork() runs alone: the OpenMP runtime's threads do not survive the fork).
// `body` must not throw.
void run_team(int threads, void (*body)(void*, const Worker&), void* data);

template <class Body>
void run_team(int threads, Body& body) {
    run_team(threads, [](void* data, const Worker& worker) { (*static_cast<Body*>(data))(worker); }, &body);
}

// The calling thread's floating-point control register (MXCSR; 0 where there is none).
std::uint32_t float_state();

}  // namespace fastcnn
