// Which steps are computed with AMX tiles, and what passes between them.
#pragma once

#include "engine/fuse.h"

namespace fastcnn {

// Decides for each step that may round to bfloat16 (`amx` or `amx_declined`). Between two steps with tiles
// nothing is converted: one writes the image that the other reads. `at_once`: steps that take the whole
// batch; they write float32. `flat`: steps that sum over inputs in their order, 32 at a time, and
// so read images whose lines have no gaps.
void plan_amx(std::vector<FusedOp>& ops, const std::vector<bool>& at_once, const std::vector<bool>& flat);

// What a step writes for the next one, of `samples` samples.
AmxImage image_of(const AmxPlan& plan, std::int64_t samples);

}  // namespace fastcnn
