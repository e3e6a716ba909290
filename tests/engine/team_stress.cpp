// Short jobs on more threads than cores, without a pause: `team_stress SECONDS THREADS` ends with 0, with 1
// where nothing has moved for 20 seconds, with 2 where items were left out or done twice.
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "base/team.h"

namespace {

class Phases final : public fastcnn::Job {
  public:
    explicit Phases(int phases) : phases_(phases) {}
    std::int64_t next_phase() override {
        if (phases_-- == 0) return 0;
        expected_ += 3 + phases_;
        return 3 + phases_;
    }
    void run(std::int64_t, int) override {
        done_.fetch_add(1);
        for (int i = 0; i < 300; ++i) __asm__ volatile("");
    }
    bool complete() const { return done_ == expected_; }

  private:
    int phases_, expected_ = 0;
    std::atomic<int> done_{0};
};

}  // namespace

int main(int, char** arguments) {
    using Clock = std::chrono::steady_clock;
    static std::atomic<long> jobs{0};
    std::thread([] {
        for (long before = -1; before != jobs; std::this_thread::sleep_for(std::chrono::seconds(20)))
            before = jobs;
        std::_Exit(1);
    }).detach();
    const auto end = Clock::now() + std::chrono::seconds(std::atoi(arguments[1]));
    const int threads = std::atoi(arguments[2]);
    while (Clock::now() < end)
        for (int phases = 1; phases <= 4; ++phases, ++jobs) {
            Phases job(phases);
            fastcnn::run_team(threads, job);
            if (!job.complete()) std::_Exit(2);
        }
    std::_Exit(0);
}
