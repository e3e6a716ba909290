// The kernels' contracts: one argument struct an operation, with its equation and what it may assume.
//
// A kernel is a row of table.inc (operation x algorithm), compiled once per instruction set. It receives
// plain pointers that the plan has laid out; it never allocates, checks or throws. All arrays are float32,
// channels last, one sample contiguous; sample s of an array `a` is at a + s * a_stride. Pointers need only
// their type's alignment.
//
// Everything here is visible to code compiled for an instruction set, so nothing here may emit a symbol.
#pragma once

#include <cstdint>

#include "base/geometry.h"
#include "base/image.h"
#include "kernels/api_images.h"
#include "kernels/api_layers.h"

namespace fastcnn {

// The functions behind one row. Null members: `declines` never, no scratch, weights used as they are.
template <class Args>
struct Kernel {
    void (*run)(const Args&);
    // Why this kernel cannot serve `args` (a sentence for explain()), or null where it can.
    const char* (*declines)(const Args&) = nullptr;
    // Floats of args.scratch that run() needs for any batch up to args.batch.
    std::int64_t (*scratch)(const Args&) = nullptr;
    // Weights in the order the kernel reads them: floats needed, and part `part` of `parts` of the
    // conversion.
    std::int64_t (*packed)(const Args&) = nullptr;
    void (*pack)(const Args&, const float* weights, float* packed, int part, int parts) = nullptr;
    // Estimated processor cycles of one run(), to choose between rows that do the same; null: taken as soon
    // as it does not decline.
    double (*cost)(const Args&) = nullptr;
    // Convolutions: rows of the result that are computed together. A call for a part of the rows that begins
    // at a multiple of it gives the same bits as a call for all of them. Null: 1.
    std::int64_t (*row_unit)(const Args&) = nullptr;
    // Convolutions: kernels that name the same layout read weights that are packed alike.
    const char* layout = nullptr;
    // Whether large weights are better divided between threads than images are.
    bool divides_weights = false;
    // Convolutions: blocks of packed weights, between which args.weight_part can divide one sample's
    // channels. Null: they are not divided.
    std::int64_t (*weight_units)(const Args&) = nullptr;
};

// The results of one part of the packed weights, as pack() divides them, and no others.
struct WeightPart {
    int part = 0, parts = 1;
    bool alone = false;  // packed weights are those of this part only, which pack() writes and args.kernel is
};

// ---------------------------------------------------------------------------------------------- convolution

// kernel: (h.size, w.size, in_channels / groups, out_channels), as in Keras (HWIO).
struct Conv2dShape {
    Window h, w;
    std::int64_t in_channels = 1, out_channels = 1, groups = 1;
};

// Positions of a max pooling window at most: which one holds the maximum is kept in a byte.
inline constexpr std::int64_t kMaxPoolPositions = 256;

// pooling over the convolution's output: h.in = conv.h.out, w.in = conv.w.out
struct PoolShape {
    Window h, w;
    std::int64_t channels = 1;
};

// y[o] = act(bias + sum_taps sum_c x[o * stride - pad + tap * dilation][c] * kernel[tap][c])
// act is ReLU where `relu`, else the identity. Where `pooled`, y is the max over pooling windows of that (NaN
// wins; the first maximum in row-major order wins ties) and never more than one row of windows exists before
// pooling.
struct Conv2dForward {
    Conv2dShape shape;
    bool relu = false;
    bool pooled = false;
    PoolShape pool;
    std::int64_t batch = 0;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    const float* kernel = nullptr;   // packed
    const float* weights = nullptr;  // the kernel it was packed from, HWIO
    WeightPart weight_part;
    const float* bias = nullptr;  // (out_channels) or null
    float* y = nullptr;
    std::int64_t y_stride = 0;
    bool stream = false;             // y may be written past the caches: each position begins a cache line
    std::uint8_t* argmax = nullptr;  // pooled: position of the maximum in its window, row-major; or null
    std::int64_t argmax_stride = 0;
    float* scratch = nullptr;
};

// dx = sum over outputs that read it of dy * kernel. Overwrites dx.
struct Conv2dGradInput {
    Conv2dShape shape;
    std::int64_t batch = 0;
    const float* dy = nullptr;
    std::int64_t dy_stride = 0;
    const float* kernel = nullptr;   // packed
    const float* weights = nullptr;  // the kernel it was packed from, HWIO
    WeightPart weight_part;
    float* dx = nullptr;
    std::int64_t dx_stride = 0;
    float* scratch = nullptr;
};

// dkernel (HWIO) and dbias (or null) = sum over samples and outputs of x * dy and of dy; added to what is
// there where `accumulate`.
struct Conv2dGradKernel {
    Conv2dShape shape;
    bool accumulate = false;
    std::int64_t batch = 0;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    const float* dy = nullptr;
    std::int64_t dy_stride = 0;
    float* dkernel = nullptr;
    float* dbias = nullptr;
    float* scratch = nullptr;
};

// The gradient before a max pool is zero but at each window's maximum. For the gradient of the kernel of a
// convolution below the pool it is kept compressed. The image `x` of these operations is the convolution's
// input with its padding written out (padded_size floats a sample, where the convolution pads).
struct PooledLists {
    // By output channel c: entries [c * channel_capacity, + channel_count[c]), windows in order, samples in
    // order: offset of the first tap's first channel in x (from the first sample), and the gradient.
    std::int32_t* channel_count = nullptr;
    std::int32_t* x_offset = nullptr;
    float* value = nullptr;
    std::int64_t channel_capacity = 0;
};

// Builds the lists from the pooled output's gradient dy (the activation's derivative already applied) and
// argmax. Entries whose gradient is exactly zero are left out; NaN stays.
struct PooledGradient {
    Conv2dShape conv;
    PoolShape pool;
    std::int64_t batch = 0;
    std::int64_t x_stride = 0;  // sample stride of the padded input
    const float* dy = nullptr;
    std::int64_t dy_stride = 0;
    const std::uint8_t* argmax = nullptr;
    std::int64_t argmax_stride = 0;
    PooledLists lists;
};

// As Conv2dGradKernel from lists, groups = 1. dkernel is (out_channels, h.size, w.size, in_channels): OHWI.
struct PooledConv2dGradKernel {
    Conv2dShape shape;
    bool accumulate = false;
    const float* x = nullptr;  // padded
    PooledLists lists;
    float* dkernel = nullptr;
    float* dbias = nullptr;
};

// The same gradient without lists, from the pooled gradient itself (the activation's derivative already
// applied) and argmax: for first layers, where the input's gradient is not wanted and lists cost more than
// they save. Here x is the image as it is and dkernel HWIO.
struct PooledConv2dGradKernelDirect {
    Conv2dShape shape;
    PoolShape pool;
    bool accumulate = false;
    std::int64_t batch = 0;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    const float* dy = nullptr;
    std::int64_t dy_stride = 0;
    const std::uint8_t* argmax = nullptr;
    std::int64_t argmax_stride = 0;
    float* dkernel = nullptr;
    float* dbias = nullptr;
    float* scratch = nullptr;
};

// As Conv2dGradInput from the pooled gradient, groups = 1. Gradients that are exactly zero are left out.
struct PooledConv2dGradInput {
    Conv2dShape shape;
    PoolShape pool;
    std::int64_t batch = 0;
    const float* dy = nullptr;  // gradient of the pooled output, as in PooledGradient
    std::int64_t dy_stride = 0;
    const std::uint8_t* argmax = nullptr;
    std::int64_t argmax_stride = 0;
    const float* kernel = nullptr;  // packed
    float* dx = nullptr;
    std::int64_t dx_stride = 0;
    float* scratch = nullptr;
};

// -------------------------------------------------------------------------------------------------- pooling

enum class Pooling : int { max, average };

// max: as in Conv2dForward. average: mean over the window's positions inside the image (padding does not
// count).
struct PoolForward {
    Pooling kind = Pooling::max;
    PoolShape shape;
    std::int64_t batch = 0;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    float* y = nullptr;
    std::int64_t y_stride = 0;
};

// dx from dy; max finds each window's first maximum in x again. Overwrites dx.
struct PoolBackward {
    Pooling kind = Pooling::max;
    PoolShape shape;
    std::int64_t batch = 0;
    const float* x = nullptr;  // max only
    std::int64_t x_stride = 0;
    const float* dy = nullptr;
    std::int64_t dy_stride = 0;
    float* dx = nullptr;
    std::int64_t dx_stride = 0;
};

// ---------------------------------------------------------------------------------------------------- dense

// Packed weights of dense layers begin afresh every kPackedGroup columns of the product: columns from c on, c
// a multiple of it, are a matrix of their own at packed + c * depth.
inline constexpr std::int64_t kPackedGroup = 64;

// y = act(x kernel + bias); kernel: (inputs, units)
struct DenseForward {
    std::int64_t inputs = 1, units = 1;
    bool relu = false;
    std::int64_t batch = 0;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    const float* kernel = nullptr;  // packed; (inputs, units) where the kernel packs nothing
    std::int64_t kernel_row = 0;    // floats from row to row of a kernel that is not packed; 0: units
    const float* bias = nullptr;    // (units) or null
    float* y = nullptr;
    std::int64_t y_stride = 0;
};

// dx = dy kernel^T
struct DenseGradInput {
    std::int64_t inputs = 1, units = 1;
    std::int64_t batch = 0;
    const float* dy = nullptr;
    std::int64_t dy_stride = 0;
    const float* kernel = nullptr;  // packed; (inputs, units) where the kernel packs nothing
    float* dx = nullptr;
    std::int64_t dx_stride = 0;
    float* scratch = nullptr;
};

// dkernel = x^T dy for inputs [first_input, last_input), dbias = sum of dy (null: not wanted); added where
// `accumulate`.
struct DenseGradKernel {
    std::int64_t inputs = 1, units = 1;
    std::int64_t first_input = 0, last_input = 1;
    bool accumulate = false;
    std::int64_t batch = 0;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    const float* dy = nullptr;
    std::int64_t dy_stride = 0;
    float* dkernel = nullptr;  // whole (inputs, units)
    float* dbias = nullptr;
};

// ---------------------------------------------------------------------------------------------- activations

enum class Activation : int { linear, relu, sigmoid, tanh };

// y = act(x); x == y is allowed. `size` elements a sample.
struct ActivationForward {
    Activation kind = Activation::linear;
    std::int64_t batch = 0, size = 0;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    float* y = nullptr;
    std::int64_t y_stride = 0;
};

// dy *= act'(x), computed from y = act(x), in place. ReLU: dy stays where y > 0 or y is NaN, else becomes 0.
struct ActivationBackward {
    Activation kind = Activation::linear;
    std::int64_t batch = 0, size = 0;
    const float* y = nullptr;
    std::int64_t y_stride = 0;
    float* dy = nullptr;
    std::int64_t dy_stride = 0;
};

// Over the last axis: size = rows * classes elements a sample. y_i = exp(x_i - max x) / sum_j exp(x_j - max
// x). x == y is allowed. Where `log`, y_i is the logarithm of that.
struct SoftmaxForward {
    bool log = false;
    std::int64_t batch = 0, rows = 1, classes = 1;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    float* y = nullptr;
    std::int64_t y_stride = 0;
};

// dy_i = y_i * (dy_i - sum_j dy_j y_j), in place; where `log`, dy_i = dy_i - e^y_i sum_j dy_j.
struct SoftmaxBackward {
    bool log = false;
    std::int64_t batch = 0, rows = 1, classes = 1;
    const float* y = nullptr;
    std::int64_t y_stride = 0;
    float* dy = nullptr;
    std::int64_t dy_stride = 0;
};

// --------------------------------------------------------------------------------------------------- losses

enum class LossKind : int {
    binary_crossentropy,
    categorical_crossentropy,
    sparse_categorical_crossentropy,
    mean_squared_error,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_logarithmic_error,
    huber,
    log_cosh,
    poisson,
    hinge,
    squared_hinge,
    kl_divergence,
    binary_focal_crossentropy,
    categorical_focal_crossentropy,
    categorical_hinge,
    cosine_similarity,
    categorical_generalized_cross_entropy,
    host,  // computed outside of the engine: no kernel knows it
};

// Targets are class numbers.
constexpr bool is_sparse(LossKind kind) {
    return kind == LossKind::sparse_categorical_crossentropy ||
           kind == LossKind::categorical_generalized_cross_entropy;
}

// A loss and its settings. Per row r of `classes` elements (the last axis), as Keras, e = 1e-7:
//   binary_crossentropy              mean_i -(t_i log p_i + (1 - t_i) log(1 - p_i)),  t <- t (1 - s) + s / 2
//   categorical_crossentropy         -sum_i t_i log p_i,                        t <- t (1 - s) + s / classes
//   sparse_categorical_crossentropy  -log p_target                              (no smoothing)
//   mean_squared_error, mean_absolute_error   mean_i (t_i - p_i)^2, mean_i |t_i - p_i|
//   mean_absolute_percentage_error   mean_i 100 |t_i - p_i| / max(|t_i|, e)
//   mean_squared_logarithmic_error   mean_i (log(1 + max(p_i, e)) - log(1 + max(t_i, e)))^2
//   huber                            mean_i d^2 / 2 where |d| = |p_i - t_i| <= a, else a |d| - a^2 / 2
//   log_cosh                         mean_i log cosh(p_i - t_i)
//   poisson                          mean_i p_i - t_i log(p_i + e)
//   hinge, squared_hinge             mean_i max(1 - t_i p_i, 0), and its square
//   kl_divergence                    sum_i t_i log(t_i / p_i),                  both clipped to [e, 1]
//   binary_focal_crossentropy        mean_i w m^a (binary cross-entropy of t_i and p_i), m = t (1 - p) + (1 -
//   t) p,
//                                    w = 1, or with 0 <= b: t b + (1 - t) (1 - b); smoothed as binary
//   categorical_focal_crossentropy   -sum_i w_i (1 - p_i)^a t_i log p_i, w_i: class_weights or b; smoothed as
//   categorical categorical_hinge                max(0, max_i (1 - t_i) p_i - sum_i t_i p_i + 1)
//   cosine_similarity                -sum_i t_i p_i / (|t| |p|), a norm below e counting as e
//   categorical_generalized_cross_entropy  (1 - p_target^a) / a
// s is label_smoothing, a and b the parameters. From logits p = sigmoid or softmax of `prediction`, in the
// overflow-free form; from probabilities p is clipped to [e, 1 - e] (and first divided by its row's sum for
// categorical cross-entropies, focal or not), with a zero gradient where the clip holds, as Keras on PyTorch.
// Focal losses clip what comes from logits too.
struct LossRule {
    LossKind kind = LossKind::mean_squared_error;
    bool from_logits = false;
    double label_smoothing = 0.0;
    double a = 0.0, b = -1.0;
    const float* class_weights = nullptr;  // (classes) or null
    // Sparse cross-entropy: rows of this class have no loss and no gradient.
    bool ignores = false;
    std::int32_t ignored_class = 0;
};

// *loss += sum over rows of weight[sample] * row loss. grad = scale * weight[sample] * d(row
// loss)/d(prediction), where grad is not null. activated (or null): the probabilities, where from_logits.
struct Loss : LossRule {
    std::int64_t batch = 0, rows = 1, classes = 1;
    const float* prediction = nullptr;
    std::int64_t prediction_stride = 0;
    const float* target = nullptr;  // (rows, classes) a sample
    std::int64_t target_stride = 0;
    const std::int32_t* target_class = nullptr;  // sparse: (rows) a sample, stride target_stride
    const float* weight = nullptr;               // (batch) or null
    float scale = 1.0f;
    double* loss = nullptr;
    float* grad = nullptr;
    std::int64_t grad_stride = 0;
    float* activated = nullptr;
    std::int64_t activated_stride = 0;
};

enum class AccuracyKind : int { binary, categorical, sparse_categorical };

// Matches per row, weighted: *total += weight[sample] * match, *count += weight[sample], rows of all samples.
//   binary              mean over the row's classes of (prediction > threshold) == target
//   categorical         argmax(prediction) == argmax(target)     (first maximum)
//   sparse_categorical  argmax(prediction) == target_class
struct Accuracy {
    AccuracyKind kind = AccuracyKind::binary;
    float threshold = 0.5f;
    std::int64_t batch = 0, rows = 1, classes = 1;
    const float* prediction = nullptr;
    std::int64_t prediction_stride = 0;
    const float* target = nullptr;
    std::int64_t target_stride = 0;
    const std::int32_t* target_class = nullptr;
    const float* weight = nullptr;
    double* total = nullptr;
    double* count = nullptr;
};

// Counts of a binary decision at several thresholds, over `size` elements (predictions, targets in {0, 1} or
// booleans as floats, weights or null): positive means prediction > threshold[k].
// tp, fp, fn, tn: `thresholds` doubles each, added to.
struct ConfusionCounts {
    std::int64_t size = 0, thresholds = 0;
    const float* prediction = nullptr;
    const float* target = nullptr;
    const float* weight = nullptr;
    const float* threshold = nullptr;
    double* tp = nullptr;
    double* fp = nullptr;
    double* fn = nullptr;
    double* tn = nullptr;
};

// ------------------------------------------------------------------------------------- batch normalisation

// Over `batch` samples of `positions` x `channels`: mean[c] and m2[c] = sum (x - mean)^2, overwritten. Two
// passes (mean first), so that a large mean does not cancel the variance.
struct BatchNormStatistics {
    std::int64_t batch = 0, positions = 1, channels = 1;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    float* mean = nullptr;
    float* m2 = nullptr;
};

// Scatter of a convolution's input patches, p = (h.size, w.size, in_channels) values that one output reads,
// padding as zeros: mean = sum p / n and scatter = sum (p - mean)(p - mean)^T (whole, row-major) over the n
// outputs of `batch` samples. With them the mean and variance of every linear function of the patches are
// known, so of every output channel. At most kMomentTaps values a patch, groups = 1.
inline constexpr std::int64_t kMomentTaps = 31;

struct PatchMoments {
    Conv2dShape shape;
    std::int64_t batch = 0;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    double* mean = nullptr;
    double* scatter = nullptr;
    float* scratch = nullptr;
};

// y = (x - mean) * scale + shift, then ReLU where `relu`; scale = gamma / sqrt(variance + epsilon), shift =
// beta. x == y is allowed.
struct BatchNormForward {
    bool relu = false;
    std::int64_t batch = 0, positions = 1, channels = 1;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    const float* mean = nullptr;
    const float* scale = nullptr;
    const float* shift = nullptr;
    float* y = nullptr;
    std::int64_t y_stride = 0;
};

// The same, then the max over pooling windows that neither overlap nor pad; NaN and ties as in Conv2dForward.
// Beside y each window's argmax and the x there, `picked`, which the way back needs (both or neither null).
struct BatchNormPoolForward {
    bool relu = false;
    PoolShape pool;
    std::int64_t batch = 0;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    const float* mean = nullptr;
    const float* scale = nullptr;
    const float* shift = nullptr;
    float* y = nullptr;
    std::int64_t y_stride = 0;
    std::uint8_t* argmax = nullptr;
    std::int64_t argmax_stride = 0;
    float* picked = nullptr;
    std::int64_t picked_stride = 0;
};

// sum_dy[c] += sum dy, sum_dy_x[c] += sum dy * (x - mean) * inv_std; overwritten where not `accumulate`.
// Where `relu`, dy is taken as 0 wherever ReLU gave 0: where (x - mean) * scale + shift <= 0 (scale and shift
// are read for that alone). Of a pooled step the sums run over windows: x is `picked`, positions the number
// of windows.
struct BatchNormReduce {
    bool relu = false;
    bool accumulate = false;
    std::int64_t batch = 0, positions = 1, channels = 1;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    const float* dy = nullptr;
    std::int64_t dy_stride = 0;
    const float* mean = nullptr;
    const float* inv_std = nullptr;
    const float* scale = nullptr;
    const float* shift = nullptr;
    float* sum_dy = nullptr;
    float* sum_dy_x = nullptr;
};

// What the gradient by x takes of each channel: dx = scale * (dy - a - (x - mean) * inv_std * b), a = sum_dy
// / n and b = sum_dy_x / n over the whole batch. Where `relu`, dy counts as in BatchNormReduce (shift is read
// for that alone); where `input_relu`, x is a ReLU's result and dx becomes the gradient before it: 0 where x
// <= 0.
struct BatchNormGradient {
    bool relu = false, input_relu = false;
    const float* mean = nullptr;
    const float* inv_std = nullptr;
    const float* scale = nullptr;
    const float* shift = nullptr;
    const float* a = nullptr;
    const float* b = nullptr;
};

// dx == dy is allowed.
struct BatchNormBackward {
    BatchNormGradient norm;
    std::int64_t batch = 0, positions = 1, channels = 1;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    const float* dy = nullptr;
    std::int64_t dy_stride = 0;
    float* dx = nullptr;
    std::int64_t dx_stride = 0;
};

// dy is that of the pooled output: at each window's argmax, and 0 at the other positions. Windows as in
// BatchNormPoolForward.
struct BatchNormPoolBackward {
    BatchNormGradient norm;
    PoolShape pool;
    std::int64_t batch = 0;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    const float* dy = nullptr;
    std::int64_t dy_stride = 0;
    const std::uint8_t* argmax = nullptr;
    std::int64_t argmax_stride = 0;
    float* dx = nullptr;
    std::int64_t dx_stride = 0;
};

// -------------------------------------------------------------------------------------------------- dropout

// y = x / (1 - rate) where a uniform number is >= rate, else 0. The number of element e of sample s (counted
// in the whole batch: first_sample + local index) is lane e % 4 of Philox4x32-10 with counter (e / 4, s,
// step, layer) and the seed as key: the backward pass draws the same. Uniform: top 24 bits * 2^-24. x == y is
// allowed.
struct Dropout {
    float rate = 0.0f;
    std::uint64_t seed = 0;
    std::uint32_t layer = 0, step = 0;
    std::int64_t first_sample = 0;
    std::int64_t batch = 0, size = 0;
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    float* y = nullptr;
    std::int64_t y_stride = 0;
};

// ------------------------------------------------------------------------------------------------ optimizers

// gradient = sum over lanes (in order) + l1 * sign(param) + 2 * l2 * param, for `size` parameters;
// *penalty += l1 * sum |param| + l2 * sum param^2 (before the update), *sum_squares += sum gradient^2 (null:
// not wanted). lane i is at lane + i * lane_stride.
struct SumGradients {
    std::int64_t size = 0, lanes = 1, lane_stride = 0;
    const float* lane = nullptr;
    const float* param = nullptr;
    float l1 = 0.0f, l2 = 0.0f;
    float* gradient = nullptr;
    double* penalty = nullptr;
    double* sum_squares = nullptr;
};

// The same sum for a lane kept as (columns, rows): gradient element (row, column) is lane element (column,
// row). The matrix is (rows, columns) in `gradient`; rows [first_row, last_row) are done here.
struct SumGradientsTransposed {
    std::int64_t rows = 0, columns = 0, first_row = 0, last_row = 0;
    std::int64_t lanes = 1, lane_stride = 0;
    const float* lane = nullptr;
    float* gradient = nullptr;
};

enum class OptimizerKind : int {
    sgd,
    adam,
    rmsprop,
    adadelta,
    adagrad,
    adamax,
    nadam,
    ftrl,
    lion,
    schedule_free_adamw
};

// One step of `size` parameters, as Keras (https://keras.io/api/optimizers/), g = clip(gradient *
// gradient_scale, +- clip_value): weight decay first, where given: param -= param * weight_decay *
// learning_rate  (AdamW)
//   sgd      momentum 0: param -= learning_rate g; else  m = momentum m - learning_rate g;
//            param += nesterov ? momentum m - learning_rate g : m
//   adam     m += (g - m)(1 - beta_1); v += (g^2 - v)(1 - beta_2); amsgrad: u = max(u, v), v := u in the next
//   line
//            param -= m * alpha / (sqrt(v) + epsilon),   alpha = learning_rate sqrt(1 - beta_2^t) / (1 -
//            beta_1^t)
//   rmsprop  v = rho v + (1 - rho) g^2; centered: u = rho u + (1 - rho) g, d = v - u^2 + epsilon, else d = v
//   + epsilon;
//            i = learning_rate g / sqrt(d); momentum > 0: m = momentum m + i, param -= m; else param -= i
//   adadelta v = rho v + (1 - rho) g^2; d = g sqrt(u + epsilon) / sqrt(v + epsilon); u = rho u + (1 - rho)
//   d^2;
//            param -= learning_rate d
//   adagrad  v += g^2; param -= learning_rate g / sqrt(v + epsilon)
//   adamax   m += (g - m)(1 - beta_1); v = max(beta_2 v, |g|); param -= alpha m / (v + epsilon),
//            alpha = learning_rate / (1 - beta_1^t)
//   nadam    m, v as adam; param -= (alpha m + gradient_rate g) / (sqrt(correction v) + epsilon)
//   ftrl     g += 2 shrinkage param; w = v + g'^2 with g' the gradient before that;
//            m += g - (w^power - v^power) / learning_rate * param; v = w;
//            param = (clip(m, +- l1) - m) / (w^power / learning_rate + 2 l2)
//   lion     param -= learning_rate sign(beta_1 m + (1 - beta_1) g); m = beta_2 m + (1 - beta_2) g
//   schedule_free_adamw   v as adam; x = (param - (1 - beta_1) m) / beta_1;
//            m -= alpha g / (sqrt(correction v) + epsilon); x += mix (m - x); param = (1 - beta_1) m + beta_1
//            x
// Slots that a rule does not use are null.
struct OptimizerUpdate {
    OptimizerKind kind = OptimizerKind::sgd;
    std::int64_t size = 0;
    float* param = nullptr;
    const float* gradient = nullptr;
    float* m = nullptr;
    float* v = nullptr;
    float* u = nullptr;
    float gradient_scale = 1.0f;
    float clip_value = 0.0f;  // 0: none
    float learning_rate = 0.0f, alpha = 0.0f;
    float gradient_rate = 0.0f, correction = 1.0f, mix = 1.0f;
    float weight_decay = 0.0f;
    float momentum = 0.0f, epsilon = 0.0f;
    float l1 = 0.0f, l2 = 0.0f, shrinkage = 0.0f, power = 0.5f;
    double rho = 0.0, beta_1 = 0.0, beta_2 = 0.0;  // 1 - float(0.999) would be 5e-5 away from 0.001
    bool nesterov = false, amsgrad = false, centered = false;

    bool uses_m() const {
        switch (kind) {
            case OptimizerKind::sgd:
            case OptimizerKind::rmsprop:
                return momentum > 0;
            case OptimizerKind::adadelta:
            case OptimizerKind::adagrad:
                return false;
            default:
                return true;
        }
    }
    bool uses_v() const { return kind != OptimizerKind::sgd && kind != OptimizerKind::lion; }
    bool uses_u() const {
        return kind == OptimizerKind::adadelta || (kind == OptimizerKind::adam && amsgrad) ||
               (kind == OptimizerKind::rmsprop && centered);
    }
};

// --------------------------------------------------------------------------------------------------- reading

enum class DType : int { f32, f64, f16, bf16, u8, i8, u16, i16, u32, i32, u64, i64, boolean };

// y[i] = float(x[i]) for `size` elements, x contiguous but of any alignment. bool: 0 or 1.
struct ReadSamples {
    DType dtype = DType::f32;
    std::int64_t size = 0;
    const void* x = nullptr;
    float* y = nullptr;
};

// y[i] = x[i] as bfloat16, rounded to nearest even; NaN stays NaN.
struct RoundBfloat16 {
    std::int64_t size = 0;
    const float* x = nullptr;
    std::uint16_t* y = nullptr;
};

// y[i] = words a[i] and b[i] (b null: 0), side by side in the place of a float.
struct PairWords {
    std::int64_t size = 0;
    const std::uint16_t* a = nullptr;
    const std::uint16_t* b = nullptr;
    float* y = nullptr;
};

// ----------------------------------------------------------------------------------------------------- peak

// What a processor can do at the most: `rounds` of r = a r + b on as many registers as a tile has
// accumulators, begun at `start`. *value: the mean of all lanes; *flops: operations done.
struct FmaLoop {
    std::int64_t rounds = 0;
    float start = 0.0f, a = 0.0f, b = 0.0f;
    float* value = nullptr;
    std::int64_t* flops = nullptr;
};

}  // namespace fastcnn
