// From operations to steps: the named rewrites that make one step of several operations.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "kernels/api.h"
#include "kernels/api_amx.h"

namespace fastcnn {

// How a convolution or dense step is computed with AMX tiles (engine/amx.h). A dense layer is a convolution
// whose kernel covers the image.
struct AmxPlan {
    Window h, w;
    AmxLine channels, filters;
    AmxPool pool;
    std::int64_t out_height = 1, out_width = 1;   // after pooling
    bool x_is_image = false, y_is_image = false;  // else float32 samples
    std::int64_t y_left = 0, y_right = 0;         // columns that the next step wants beside the image
    std::int64_t y_stride = 1;                    // and their order (AmxImage)
};

// One step to be: a main operation and what is fused into it.
struct FusedOp {
    std::string layers;  // names, joined by " + "
    Op op;
    Shape in, out;                                       // of the whole step
    ActivationName activation = ActivationName::linear;  // after the operation, before the pool
    std::optional<PoolOp> pool;                          // max pooling inside a convolution or normalisation
    std::optional<BatchNormOp> norm;                     // before the activation, folded into the weights
    bool gradient_above = false;  // the step above takes the activation's derivative with its own
    bool input_relu = false;      // this step takes the derivative of the ReLU that it reads from
    bool bfloat16 = false;        // its arrays and weights may be rounded to bfloat16
    std::optional<AmxPlan> amx;   // it is computed with AMX tiles
    std::string amx_declined;     // why not, where it might be
};

// What the last activation and the loss become together.
struct FusedLoss {
    bool from_logits = false;
    ActivationName activation =
        ActivationName::linear;  // taken from the network: the probabilities' function
};

// The rewrites, in the order they are tried:
//   reshape             no step: the same numbers under another shape
//   dropout             no step at inference or at rate 0
//   noise               no step at inference; nor have warps, changes of colour and erased rectangles, but a
//                         crop at a random place becomes one of the middle
//   permutation         no step where it undoes the one before it, and neither is that one
//   linear              no step
//   normalisation       into the weights of the convolution or dense layer before it
//                         where its statistics are constants and, in training, nothing of the two is trained;
//                         in training with the batch's statistics where the convolution reads the data
//                         (nothing below it is trained) in patches so small that their moments give the
//                         statistics
//   activation          into the convolution, dense or normalisation before it (softmax stays a step)
//   max pool            of windows of at most 256 positions, over no activation or ReLU: into the convolution
//                         before it; into the normalisation before it where they neither overlap nor pad
//   ReLU's derivative   of a convolution or dense layer, into the normalisation after it
//   sigmoid, softmax    last before its cross-entropy: the loss is computed from the logits
//   rescaling           and normalisation by constants, first of several steps: in place as the samples are
//   read
// and then, from the last step down:
//   trimming            of what a convolution or pool computes, the last rows and columns that the windows
//                         above do not reach are left out (13 columns under a 3x3 convolution and a 2x2 pool:
//                         12 are read)
std::vector<FusedOp> fuse(const std::vector<Node>& nodes, bool training, const std::vector<bool>& trainable);

// Whether a step has anything to train.
bool trains(const FusedOp& step, const std::vector<bool>& trainable);

// Takes a rescaling or normalisation by constants that is the first of several steps out of `ops`: it is done
// in place while the samples are read.
std::optional<ScaleOp> fuse_reading(std::vector<FusedOp>& ops);

// Takes the final activation out of `ops` where the loss can do it better.
FusedLoss fuse_loss(std::vector<FusedOp>& ops, LossKind kind, bool from_logits);

}  // namespace fastcnn
