// A team of threads that works through a job phase by phase.
//
// Threads come and go: a thread takes part in a phase by claiming one of its items, and only claimed items
// are waited for. One that is still asleep, or whose core another process has taken, holds up nobody; the
// others do its share. A call of microseconds therefore never waits for a thread to wake.
#pragma once

#include <cstdint>
#include <type_traits>

namespace fastcnn {

// Work in phases of independent items. Everything an item wrote is visible to the next phase. Nothing may
// throw.
class Job {
  public:
    // Called by one thread (at the start by the caller of run_team, later by whichever finished the phase):
    // what stands between two phases. Returns the number of items of the next one, at most kMaxItems; 0: the
    // job is done.
    virtual std::int64_t next_phase() = 0;
    // Called once for each item of the phase, in any order and at the same time. `thread` is below the
    // team's size and no other thread's at that time: it numbers per-thread memory. A thread is given the
    // same items in phases of the same number of items, unless another is faster: what it wrote is in its
    // cache.
    virtual void run(std::int64_t item, int thread) = 0;

    // Whether one thread would be through in about 100 us. Waking a thread costs 5 us and its help comes 30
    // us later: sleeping ones are then woken only where jobs follow one another within 50 us, for the next
    // ones.
    virtual bool is_brief() const { return false; }

  protected:
    ~Job() = default;
};

inline constexpr std::int64_t kMaxItems = 65535;

// What becomes of denormals during a job: `flush` to zero, or as the caller's floating-point state has it,
// which stays as it was in any case.
enum class Denormals { flush, keep };

// Runs the job on at most `threads` threads, the calling one included. Runs on the calling thread alone where
// the team is at work for another caller, and in a child of fork(), which has no other threads.
void run_team(int threads, Job& job, Denormals denormals = Denormals::flush);

// Floating-point operations of a brief job, at most.
inline constexpr std::int64_t kBriefFlops = 16'000'000;

// Item `i` of `items` stands for [begin, end) of n things; where there are fewer things, the first items have
// them.
struct Share {
    std::int64_t begin, end;
    Share(std::int64_t n, std::int64_t i, std::int64_t items)
        : begin((n * i + items - 1) / items), end((n * (i + 1) + items - 1) / items) {}
};

// A job of one phase: body(item, thread).
template <class Body>
void run_items(int threads, std::int64_t items, const Body& body) {
    struct OnePhase final : Job {
        OnePhase(std::int64_t n, const Body& b) : items(n), body(b) {}
        std::int64_t next_phase() override {
            const std::int64_t n = items;
            items = 0;
            return n;
        }
        void run(std::int64_t item, int thread) override { body(item, thread); }
        std::int64_t items;
        const Body& body;
    } job(items, body);
    run_team(threads, job);
}

}  // namespace fastcnn
