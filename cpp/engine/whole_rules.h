// Optimizers whose step needs norms or products of a whole parameter.
#pragma once

#include "engine/updater.h"

namespace fastcnn {

// One parameter and what its rule keeps. `gradient` is clipped and scaled, and may be written over.
struct WholeUpdate {
    Shape shape;
    float* param;
    float* gradient;
    float *m, *v, *u;
    float* scratch;  // muon_scratch() floats for muon
};

// LAMB (https://arxiv.org/abs/1904.00962): adam's step at a length that goes with the parameter's.
void lamb_update(const OptimizerSpec& spec, const Updater::Step& step, const WholeUpdate& a);

// Adafactor (https://arxiv.org/abs/1804.04235): v from means over rows (m) and columns (u) of the last two
// axes.
void adafactor_update(const OptimizerSpec& spec, const Updater::Step& step, const WholeUpdate& a);

// Muon (https://kellerjordan.github.io/posts/muon/): momentum (m), made orthogonal by Newton-Schulz steps.
std::int64_t muon_scratch(const Shape& shape);
void muon_update(const OptimizerSpec& spec, const Updater::Step& step, const WholeUpdate& a);

}  // namespace fastcnn
