// Convolutions divided between threads.
#pragma once

#include "bindings/ops_windows.h"
#include "kernels/parts.h"

namespace fastcnn::bindings {

// A sample's work as dense operations: with one or two input channels a group there is nothing to reuse, and
// a quarter of their speed is reached.
inline std::int64_t work_of(const Conv2dShape& c) {
    return flops_of(c) * (c.in_channels / c.groups < 3 ? 4 : 1);
}

// How often a call packs its weights.
inline constexpr Packing kPackedOnce{1.0, nullptr, true};

// Scratch that each thread needs for the blocks of a divided call.
template <class Args>
std::int64_t scratch_of(const Choice<Args>& choice, const Args& args, const ImageDivision& division) {
    std::int64_t floats = 0;
    for (std::int64_t item = 0; item < (division.parts > 1 ? division.parts : division.items); ++item)
        division.for_each_block(
            item, [&](auto... part) { floats = std::max(floats, choice.scratch(part_of(args, part...))); });
    return floats;
}

// Runs the kernel on the team, divided by samples or runs of at least `least_unit` rows of the result.
template <class Args>
void run_on_images(const Call& call, const Choice<Args>& choice, const Args& args, const float* weights,
                   std::int64_t flops, std::int64_t rows, std::int64_t least_unit,
                   std::int64_t sample_floats) {
    const int threads = threads_for(args.batch * flops, kLeastFlops);
    const ImageDivision division =
        ImageDivision::of(threads, args.batch, rows, std::max(least_unit, choice.row_unit(args)),
                          sample_floats, choice.packed(args));
    const std::int64_t parts = choice.row->kernel->divides_weights ? weight_parts(choice.packed(args)) : 0;
    const std::int64_t scratch = parts ? choice.scratch(args) : scratch_of(choice, args, division);
    call.run_divided(choice, args, weights,
                     {threads, division.items, scratch, args.batch * flops < kBriefFlops, parts},
                     [&](const Args& copy, std::int64_t item, const auto& go) {
                         division.for_each_block(item, [&](auto... part) { go(part_of(copy, part...)); });
                     });
}

// The gradient summed in lanes: fixed runs of samples or rows, each summed in order by one thread, then the
// lanes in order. Their number depends on the shape alone, and so do the bits.
class GradKernelJob final : public Job {
  public:
    GradKernelJob(const Call& call, const Choice<Conv2dGradKernel>& choice, const Conv2dGradKernel& args,
                  std::int64_t weights)
        : args_(args),
          weights_(weights),
          bias_at_(Layout::round_up(weights)),
          stride_(Layout::stride(bias_at_ + args.shape.out_channels)),
          choice_(choice),
          sum_(call.any_algorithm().choice(SumGradients{})) {
        const Conv2dShape& c = args.shape;
        division_.batch = args.batch;
        division_.rows = c.h.out;
        const std::int64_t wanted = lanes_wanted();
        if (args.batch < wanted) division_.parts = std::min(c.h.out, wanted / args.batch);
        division_.items = division_.parts > 1 ? args.batch * division_.parts : std::min(args.batch, wanted);
        const std::int64_t floats =
            std::max(c.h.in * c.w.in * c.in_channels, c.h.out * c.w.out * c.out_channels);
        division_.block = std::max<std::int64_t>(1, std::max<std::int64_t>(128 * 1024, weights / 2) / floats);
        threads_ =
            std::min(threads_for(args.batch * work_of(c), kLeastFlops), static_cast<int>(division_.items));
        scratch_ = Layout::stride(scratch_of(choice_, args, division_));
    }

    int threads() const { return threads_; }
    std::int64_t memory() const { return (lanes() > 1 ? lanes() * stride_ : 0) + threads_ * scratch_; }
    void use(float* memory) { memory_ = memory; }

    std::int64_t next_phase() override {
        ++phase_;
        if (phase_ == 1) return lanes();
        return phase_ == 2 && lanes() > 1 ? sums() : 0;
    }

    bool is_brief() const override { return args_.batch * work_of(args_.shape) < kBriefFlops; }

    void run(std::int64_t item, int thread) override { phase_ == 1 ? run_lane(item, thread) : run_sum(item); }

  private:
    std::int64_t lanes() const { return division_.items; }

    // As many as there may be threads, but so few that summing them (lanes * weights) stays far below the
    // work (positions * weights).
    std::int64_t lanes_wanted() const {
        constexpr std::int64_t kMost = 8, kPositions = 512, kFloats = 8 * 1024 * 1024;
        const std::int64_t positions = args_.batch * args_.shape.h.out * args_.shape.w.out;
        if (args_.batch * work_of(args_.shape) < 2 * kLeastFlops) return 1;
        std::int64_t wanted = 2;
        while (wanted < kMost && 2 * wanted * kPositions <= positions && 2 * wanted * weights_ <= kFloats)
            wanted *= 2;
        return wanted;
    }

    std::int64_t sums() const { return items_for(threads_, weights_ / 4096); }

    void run_lane(std::int64_t lane, int thread) {
        Conv2dGradKernel a = args_;
        if (lanes() > 1) {
            a.dkernel = memory_ + lane * stride_;
            if (args_.dbias) a.dbias = a.dkernel + bias_at_;
        }
        a.scratch = memory_ + memory() - (thread + 1) * scratch_;
        a.accumulate = false;
        division_.for_each_block(lane, [&](auto... part) {
            choice_(part_of(a, part...));
            a.accumulate = true;
        });
    }

    void run_sum(std::int64_t item) {
        const Share share(weights_, item, sums());
        sum(share.begin, share.end - share.begin, args_.dkernel + share.begin);
        if (item == 0 && args_.dbias) sum(bias_at_, args_.shape.out_channels, args_.dbias);
    }

    void sum(std::int64_t at, std::int64_t size, float* out) const {
        SumGradients s;
        s.size = size;
        s.lanes = lanes();
        s.lane = memory_ + at;
        s.lane_stride = stride_;
        s.gradient = out;
        sum_(s);
    }

    const Conv2dGradKernel args_;
    const std::int64_t weights_, bias_at_, stride_;
    const Choice<Conv2dGradKernel> choice_;
    const Choice<SumGradients> sum_;
    ImageDivision division_;
    int threads_ = 1, phase_ = 0;
    std::int64_t scratch_ = 0;
    float* memory_ = nullptr;
};

}  // namespace fastcnn::bindings
