#include "base/threads.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <sstream>
#include <thread>

#ifdef __linux__
#include <pthread.h>
#include <sched.h>
#endif
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace fastcnn {

namespace {

std::atomic<int> requested{0};
std::atomic<bool> threads_started{false};
std::atomic<bool> forked{false};

void watch_forks() {
#ifdef __linux__
    static std::once_flag once;
    std::call_once(once, [] {
        pthread_atfork(nullptr, nullptr, [] {
            if (threads_started.load()) forked.store(true);
        });
    });
#endif
}

int affinity_count() {
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
    return std::max(1u, std::thread::hardware_concurrency());
}

// Processors that a line "quota period" (or "max period") allows; 0: no limit.
double parse_quota(const std::string& quota, double period) {
    if (quota.empty() || quota == "max") return 0;
    const double allowed = std::atof(quota.c_str());
    return allowed > 0 && period > 0 ? allowed / period : 0;
}

double quota_of_folder(const std::string& folder) {
    if (std::ifstream file(folder + "/cpu.max"); file) {  // cgroup v2
        std::string quota;
        double period = 100000;
        file >> quota >> period;
        return parse_quota(quota, period);
    }
    std::ifstream quota_file(folder + "/cpu.cfs_quota_us"), period_file(folder + "/cpu.cfs_period_us");  // v1
    std::string quota;
    double period = 0;
    if (quota_file >> quota && period_file >> period) return parse_quota(quota, period);
    return 0;
}

// The tightest limit on the way from this process's control group to the root.
double cgroup_quota() {
    double tightest = 0;
    const auto apply = [&](const std::string& folder) {
        const double quota = quota_of_folder(folder);
        if (quota > 0) tightest = tightest > 0 ? std::min(tightest, quota) : quota;
    };
    std::ifstream groups("/proc/self/cgroup");
    for (std::string line; std::getline(groups, line);) {
        std::istringstream fields(line);
        std::string id, controllers, path;
        std::getline(fields, id, ':');
        std::getline(fields, controllers, ':');
        std::getline(fields, path);
        if (!controllers.empty() && controllers.find("cpu") == std::string::npos) continue;
        const std::string root = controllers.empty() ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu";
        for (;;) {
            apply(root + path);
            const std::size_t slash = path.find_last_of('/');
            if (path.empty() || slash == std::string::npos) break;
            path.erase(slash);
        }
        apply(root);
    }
    return tightest;
}

// First number of a variable such as OMP_NUM_THREADS=4,2; 0 where unset or not a positive number.
int from_environment(const char* name) {
    const char* value = std::getenv(name);
    return value ? std::max(0, std::min(std::atoi(value), 1024)) : 0;
}

ThreadConfig default_config() {
    ThreadConfig config;
    config.affinity = affinity_count();
    config.quota = cgroup_quota();
    for (const char* name : {"FASTCNN_NUM_THREADS", "OMP_NUM_THREADS"})
        if (const int asked = from_environment(name)) {
            config.threads = asked;
            config.reason = std::string(name) + "=" + std::to_string(asked);
            return config;
        }
    config.threads = config.affinity;
    config.reason = "processors this process may run on";
    if (config.quota > 0 && std::ceil(config.quota) < config.threads) {
        config.threads = static_cast<int>(std::ceil(config.quota));
        config.reason = "processors the container's quota allows";
    }
    return config;
}

}  // namespace

ThreadConfig thread_config() {
    static const ThreadConfig config = default_config();
    ThreadConfig current = config;
    if (const int asked = requested.load()) {
        current.threads = asked;
        current.reason = "set_num_threads(" + std::to_string(asked) + ")";
    }
    if (forked.load()) {
        current.threads = 1;
        current.reason = "child of a process that had used threads before fork()";
    }
    return current;
}

int thread_count() {
    static const int standard = default_config().threads;
    if (forked.load()) return 1;
    const int asked = requested.load();
    return asked ? asked : standard;
}

void set_thread_count(int threads) { requested.store(threads); }

bool may_start_threads() {
    watch_forks();
    threads_started.store(true);
    return !forked.load();
}

std::uint32_t float_state() {
#if defined(__x86_64__)
    return _mm_getcsr();
#else
    return 0;
#endif
}

void set_float_state([[maybe_unused]] std::uint32_t state) {
#if defined(__x86_64__)
    _mm_setcsr(state);
#endif
}

void flush_denormals() {
#if defined(__x86_64__)
    _mm_setcsr(_mm_getcsr() | 0x8040u);
#endif
}

}  // namespace fastcnn
