#include "base/team.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <system_error>
#include <thread>

#ifdef __linux__
#include <pthread.h>
#include <csignal>
#endif

#include "base/threads.h"

namespace fastcnn {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMaxThreads = 1024;
// A thread without work spins this long, for phases are microseconds apart, and then sleeps. Waking one costs
// the waker about 5 us and takes 5 to 50 us.
constexpr std::chrono::microseconds kSpin{50};
// One that has done its part of a phase and waits for the others lets whoever wants its core have it, but
// goes on looking for so long. On a shared virtual machine (Zen 3, two threads, the README's network, batches
// of 8 and 32) the median of rounds is 1.09 times as fast as with 50 us, the best round equal.
constexpr std::chrono::microseconds kYield{1000};

void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    std::this_thread::yield();
#endif
}

// The items of one phase that belong to one thread and are still unclaimed, [next, end), as one word with the
// phase's number: a claim that comes a phase late fails. The owner takes from the front, others from the
// back.
struct Queue {
    std::uint32_t phase;
    std::uint16_t end, next;

    static Queue of(std::uint64_t word) {
        return {static_cast<std::uint32_t>(word >> 32), static_cast<std::uint16_t>(word >> 16),
                static_cast<std::uint16_t>(word)};
    }
    std::uint64_t word() const { return std::uint64_t{phase} << 32 | std::uint64_t{end} << 16 | next; }
};

// Never destroyed: its threads sleep until the process ends.
class Pool {
  public:
    static Pool& instance() {
        static Pool* const pool = new Pool;
        return *pool;
    }

    // False where another caller has the pool.
    bool run(int threads, Job& job) {
        if (busy_.exchange(true, std::memory_order_acquire)) return false;
        threads = start_workers(threads);
        job_.store(&job, std::memory_order_relaxed);
        threads_.store(threads, std::memory_order_relaxed);
        float_state_.store(float_state(), std::memory_order_relaxed);
        wakes_.store(!job.is_brief() || Clock::now() - ended_ < kSpin, std::memory_order_relaxed);
        open_phase();
        // The end is a phase like any other: a flag beside it could rise between a look at the flag and one
        // at the phase, and the caller would wait for a phase that nobody opens.
        for (std::uint32_t phase; (phase = current_phase()) != last_phase_.load(std::memory_order_relaxed);)
            take_part(0, phase);
        ended_ = Clock::now();
        busy_.store(false, std::memory_order_release);
        return true;
    }

  private:
    struct alignas(64) Seat {
        std::atomic<std::uint64_t> queue{0};
        std::atomic<std::uint32_t> asleep{0};
    };

    // Threads that there are then, at most `threads`, with the caller.
    int start_workers(int threads) {
        threads = threads < kMaxThreads ? threads : kMaxThreads;
        if (workers_ + 1 >= threads) return threads;
#ifdef __linux__
        // The process's signals are for the threads that it started itself.
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
#endif
        try {
            for (; workers_ + 1 < threads; ++workers_)
                std::thread([this, seat = workers_ + 1] {
                    for (;;) take_part(seat, current_phase());
                }).detach();
        } catch (const std::system_error&) {  // no more threads to be had: fewer do the work
        }
#ifdef __linux__
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
#endif
        return workers_ + 1 < threads ? workers_ + 1 : threads;
    }

    std::uint32_t current_phase() const { return phase_.load(std::memory_order_acquire); }

    // Does what there is to do in phase `phase`, then waits for the next one.
    void take_part(int seat, std::uint32_t phase) {
        bool worked = false;
        for (std::int64_t item; (item = claim(seat, phase)) >= 0; worked = true) {
            set_float_state(float_state_.load(std::memory_order_relaxed));  // the caller's, for every worker
            job_.load(std::memory_order_relaxed)->run(item, seat);
            if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) open_phase();
        }
        wait(seat, phase, worked ? kYield : kSpin);
    }

    // An item of phase `phase`, or -1. Between reading the number of threads and the queues the job may have
    // become another: then the phases differ and nothing is claimed.
    std::int64_t claim(int seat, std::uint32_t phase) {
        const int threads = threads_.load(std::memory_order_relaxed);
        for (int i = 0, owner = seat; seat < threads && i < threads; ++i, owner = (owner + 1) % threads) {
            std::atomic<std::uint64_t>& queue = seats_[static_cast<std::size_t>(owner)].queue;
            std::uint64_t word = queue.load(std::memory_order_acquire);
            for (Queue q = Queue::of(word); q.phase == phase && q.next < q.end; q = Queue::of(word)) {
                const std::int64_t item = owner == seat ? q.next++ : --q.end;
                if (queue.compare_exchange_weak(word, q.word(), std::memory_order_acq_rel)) return item;
            }
        }
        return -1;
    }

    // By the thread that did the last item, when nobody else has one.
    void open_phase() {
        const std::int64_t items = job_.load(std::memory_order_relaxed)->next_phase();
        const std::uint32_t phase = phase_.load(std::memory_order_relaxed) + 1;
        const int threads = threads_.load(std::memory_order_relaxed);
        left_.store(items, std::memory_order_relaxed);
        for (int i = 0; i < threads && items > 0; ++i) {
            const Share share(items, i, threads);
            const Queue queue{phase, static_cast<std::uint16_t>(share.end),
                              static_cast<std::uint16_t>(share.begin)};
            seats_[static_cast<std::size_t>(i)].queue.store(queue.word(), std::memory_order_release);
        }
        if (items == 0) last_phase_.store(phase, std::memory_order_relaxed);
        // In one order with a sleeper's store to `asleep` and its second look at the phase: either it sees
        // the new phase or it is woken.
        phase_.store(phase, std::memory_order_seq_cst);
        const bool wakes = wakes_.load(std::memory_order_relaxed);
        for (int i = 0; i < (items > 0 && wakes ? threads : 1); ++i) {
            if (i > 0 && Share(items, i, threads).begin == Share(items, i, threads).end) continue;
            std::atomic<std::uint32_t>& asleep = seats_[static_cast<std::size_t>(i)].asleep;
            if (asleep.load(std::memory_order_seq_cst) && asleep.exchange(0)) asleep.notify_one();
        }
    }

    // Until the phase is another; awake for at most `patience`, and while there is a job.
    void wait(int seat, std::uint32_t phase, std::chrono::microseconds patience) {
        const auto begin = Clock::now();
        for (;;) {
            for (int i = 0; i < 16; ++i) {
                if (current_phase() != phase) return;
                pause();
            }
            const auto waited = Clock::now() - begin;
            if (waited < kSpin) continue;
            if (waited >= patience || !busy_.load(std::memory_order_relaxed)) break;
            std::this_thread::yield();
        }
        std::atomic<std::uint32_t>& asleep = seats_[static_cast<std::size_t>(seat)].asleep;
        asleep.store(1, std::memory_order_seq_cst);
        if (phase_.load(std::memory_order_seq_cst) != phase) {
            asleep.store(0, std::memory_order_relaxed);
            return;
        }
        while (asleep.load(std::memory_order_acquire)) asleep.wait(1, std::memory_order_acquire);
    }

    std::atomic<bool> busy_{false};
    int workers_ = 0;
    Clock::time_point ended_{};  // of the job before; whoever has the pool reads and writes it
    std::atomic<bool> wakes_{true};
    std::unique_ptr<Seat[]> seats_{new Seat[kMaxThreads]};
    std::atomic<Job*> job_{nullptr};
    std::atomic<int> threads_{0};
    std::atomic<std::uint32_t> float_state_{0};
    std::atomic<std::uint32_t> last_phase_{0};  // of the job before; of this one once it is done
    alignas(64) std::atomic<std::int64_t> left_{0};
    alignas(64) std::atomic<std::uint32_t> phase_{0};
};

}  // namespace

void run_team(int threads, Job& job, Denormals denormals) {
    const std::uint32_t before = float_state();
    if (denormals == Denormals::flush) flush_denormals();
    if (threads <= 1 || !may_start_threads() || !Pool::instance().run(threads, job))
        while (const std::int64_t items = job.next_phase())
            for (std::int64_t i = 0; i < items; ++i) job.run(i, 0);
    set_float_state(before);
}

}  // namespace fastcnn
