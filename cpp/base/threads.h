// Threads: how many and why, whether more may be started, and the floating-point state they work in. The team
// that works is in team.h.
#pragma once

#include <cstdint>
#include <string>

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

// False in a child of fork() whose parent had started threads: they do not survive the fork. Whoever asks is
// about to start some.
bool may_start_threads();

// The calling thread's floating-point control register (MXCSR; 0 where there is none).
std::uint32_t float_state();
void set_float_state(std::uint32_t state);
// Flushes denormals in the calling thread. Adam's moments decay into denormals, and each operation on one
// costs some hundred cycles.
void flush_denormals();

}  // namespace fastcnn
