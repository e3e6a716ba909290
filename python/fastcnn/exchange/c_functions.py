"""The C functions that a written model is made of, one for each kind of operation; only those it uses are written.

They are C99, need nothing but <math.h> and <string.h>, and have channels innermost, so that a compiler makes vectors of the
inner loops. Where x and y are not `restrict`, they may be the same array.
"""

from __future__ import annotations

WINDOW = """\
/* One axis of a sliding window: `pad` rows or columns are missing before the first element. */
typedef struct {
    long size, stride, dilation, inputs, outputs, pad;
} window;
"""

TAPS = """\
/* One axis of a resampled image: output o is the sum of weight[t] * input[index[t]], begin[o] <= t < begin[o + 1]. */
typedef struct {
    long inputs, outputs;
    const long *begin, *index;
    const float *weight;
} taps;
"""

FUNCTIONS: dict[str, str] = {
    "conv2d": """\
/* kernel: (height, width, channels / groups, filters); bias may be null. */
static void conv2d(const float *restrict x, float *restrict y, const float *restrict kernel,
                   const float *restrict bias, window h, window w, long channels, long filters, long groups)
{
    const long depth = channels / groups, wide = filters / groups;
    for (long oy = 0; oy < h.outputs; ++oy)
        for (long ox = 0; ox < w.outputs; ++ox) {
            float *restrict out = y + (oy * w.outputs + ox) * filters;
            for (long f = 0; f < filters; ++f) out[f] = bias ? bias[f] : 0.0f;
            for (long ky = 0; ky < h.size; ++ky) {
                const long iy = oy * h.stride - h.pad + ky * h.dilation;
                if (iy < 0 || iy >= h.inputs) continue;
                for (long kx = 0; kx < w.size; ++kx) {
                    const long ix = ox * w.stride - w.pad + kx * w.dilation;
                    if (ix < 0 || ix >= w.inputs) continue;
                    const float *in = x + (iy * w.inputs + ix) * channels;
                    const float *taps_here = kernel + (ky * w.size + kx) * depth * filters;
                    for (long g = 0; g < groups; ++g)
                        for (long c = 0; c < depth; ++c) {
                            const float v = in[g * depth + c];
                            const float *row = taps_here + c * filters + g * wide;
                            float *restrict sum = out + g * wide;
                            for (long f = 0; f < wide; ++f) sum[f] += v * row[f];
                        }
                }
            }
        }
}
""",
    "depthwise_conv2d": """\
/* Each channel by itself. kernel: (height, width, channels * multiplier); bias may be null. */
static void depthwise_conv2d(const float *restrict x, float *restrict y, const float *restrict kernel,
                             const float *restrict bias, window h, window w, long channels, long multiplier)
{
    const long filters = channels * multiplier;
    for (long oy = 0; oy < h.outputs; ++oy)
        for (long ox = 0; ox < w.outputs; ++ox) {
            float *restrict out = y + (oy * w.outputs + ox) * filters;
            for (long f = 0; f < filters; ++f) out[f] = bias ? bias[f] : 0.0f;
            for (long ky = 0; ky < h.size; ++ky) {
                const long iy = oy * h.stride - h.pad + ky * h.dilation;
                if (iy < 0 || iy >= h.inputs) continue;
                for (long kx = 0; kx < w.size; ++kx) {
                    const long ix = ox * w.stride - w.pad + kx * w.dilation;
                    if (ix < 0 || ix >= w.inputs) continue;
                    const float *in = x + (iy * w.inputs + ix) * channels;
                    const float *row = kernel + (ky * w.size + kx) * filters;
                    if (multiplier == 1)
                        for (long c = 0; c < channels; ++c) out[c] += in[c] * row[c];
                    else
                        for (long c = 0; c < channels; ++c)
                            for (long m = 0; m < multiplier; ++m)
                                out[c * multiplier + m] += in[c] * row[c * multiplier + m];
                }
            }
        }
}
""",
    "conv2d_transpose": """\
/* Each input adds its multiple of the kernel to the output. The windows are those of the convolution that this is the transpose
   of: their inputs are the output here. kernel: (height, width, channels, filters); bias may be null. */
static void conv2d_transpose(const float *restrict x, float *restrict y, const float *restrict kernel,
                             const float *restrict bias, window h, window w, long channels, long filters)
{
    for (long p = 0; p < h.inputs * w.inputs; ++p)
        for (long f = 0; f < filters; ++f) y[p * filters + f] = bias ? bias[f] : 0.0f;
    for (long iy = 0; iy < h.outputs; ++iy)
        for (long ix = 0; ix < w.outputs; ++ix) {
            const float *in = x + (iy * w.outputs + ix) * channels;
            for (long ky = 0; ky < h.size; ++ky) {
                const long oy = iy * h.stride - h.pad + ky * h.dilation;
                if (oy < 0 || oy >= h.inputs) continue;
                for (long kx = 0; kx < w.size; ++kx) {
                    const long ox = ix * w.stride - w.pad + kx * w.dilation;
                    if (ox < 0 || ox >= w.inputs) continue;
                    float *restrict out = y + (oy * w.inputs + ox) * filters;
                    for (long c = 0; c < channels; ++c) {
                        const float *row = kernel + ((ky * w.size + kx) * channels + c) * filters;
                        for (long f = 0; f < filters; ++f) out[f] += in[c] * row[f];
                    }
                }
            }
        }
}
""",
    "dense": """\
/* kernel: (inputs, units); bias may be null. */
static void dense(const float *restrict x, float *restrict y, const float *restrict kernel,
                  const float *restrict bias, long rows, long inputs, long units)
{
    for (long r = 0; r < rows; ++r) {
        const float *in = x + r * inputs;
        float *restrict out = y + r * units;
        for (long u = 0; u < units; ++u) out[u] = bias ? bias[u] : 0.0f;
        for (long i = 0; i < inputs; ++i) {
            const float v = in[i];
            const float *row = kernel + i * units;
            for (long u = 0; u < units; ++u) out[u] += v * row[u];
        }
    }
}
""",
    "max_pool2d": """\
static void max_pool2d(const float *restrict x, float *restrict y, window h, window w, long channels)
{
    for (long oy = 0; oy < h.outputs; ++oy)
        for (long ox = 0; ox < w.outputs; ++ox) {
            float *restrict out = y + (oy * w.outputs + ox) * channels;
            for (long c = 0; c < channels; ++c) out[c] = -INFINITY;
            for (long ky = 0; ky < h.size; ++ky) {
                const long iy = oy * h.stride - h.pad + ky;
                if (iy < 0 || iy >= h.inputs) continue;
                for (long kx = 0; kx < w.size; ++kx) {
                    const long ix = ox * w.stride - w.pad + kx;
                    if (ix < 0 || ix >= w.inputs) continue;
                    const float *in = x + (iy * w.inputs + ix) * channels;
                    for (long c = 0; c < channels; ++c) out[c] = in[c] <= out[c] ? out[c] : in[c];
                }
            }
        }
}
""",
    "average_pool2d": """\
/* What lies outside of the image does not count. */
static void average_pool2d(const float *restrict x, float *restrict y, window h, window w, long channels)
{
    for (long oy = 0; oy < h.outputs; ++oy)
        for (long ox = 0; ox < w.outputs; ++ox) {
            float *restrict out = y + (oy * w.outputs + ox) * channels;
            long count = 0;
            for (long c = 0; c < channels; ++c) out[c] = 0.0f;
            for (long ky = 0; ky < h.size; ++ky) {
                const long iy = oy * h.stride - h.pad + ky;
                if (iy < 0 || iy >= h.inputs) continue;
                for (long kx = 0; kx < w.size; ++kx) {
                    const long ix = ox * w.stride - w.pad + kx;
                    if (ix < 0 || ix >= w.inputs) continue;
                    const float *in = x + (iy * w.inputs + ix) * channels;
                    ++count;
                    for (long c = 0; c < channels; ++c) out[c] += in[c];
                }
            }
            for (long c = 0; c < channels; ++c) out[c] /= (float)count;
        }
}
""",
    "adaptive_max_pool2d": """\
/* Output o of an axis covers inputs floor(o in / out) to ceil((o + 1) in / out). */
static void adaptive_max_pool2d(const float *restrict x, float *restrict y, long height, long width,
                                long out_height, long out_width, long channels)
{
    for (long oy = 0; oy < out_height; ++oy)
        for (long ox = 0; ox < out_width; ++ox) {
            float *restrict out = y + (oy * out_width + ox) * channels;
            const long top = oy * height / out_height, bottom = ((oy + 1) * height + out_height - 1) / out_height;
            const long left = ox * width / out_width, right = ((ox + 1) * width + out_width - 1) / out_width;
            for (long c = 0; c < channels; ++c) out[c] = -INFINITY;
            for (long iy = top; iy < bottom; ++iy)
                for (long ix = left; ix < right; ++ix) {
                    const float *in = x + (iy * width + ix) * channels;
                    for (long c = 0; c < channels; ++c) out[c] = in[c] <= out[c] ? out[c] : in[c];
                }
        }
}
""",
    "resample2d": """\
/* Cropping, zero padding, enlarging, adaptive means. */
static void resample2d(const float *restrict x, float *restrict y, taps h, taps w, long channels)
{
    for (long oy = 0; oy < h.outputs; ++oy)
        for (long ox = 0; ox < w.outputs; ++ox) {
            float *restrict out = y + (oy * w.outputs + ox) * channels;
            for (long c = 0; c < channels; ++c) out[c] = 0.0f;
            for (long ty = h.begin[oy]; ty < h.begin[oy + 1]; ++ty)
                for (long tx = w.begin[ox]; tx < w.begin[ox + 1]; ++tx) {
                    const float *in = x + (h.index[ty] * w.inputs + w.index[tx]) * channels;
                    const float share = h.weight[ty] * w.weight[tx];
                    for (long c = 0; c < channels; ++c) out[c] += share * in[c];
                }
        }
}
""",
    "permute": """\
/* y[i_0, ..., i_k] = x[sum i_j * stride[j]], y dense. */
static void permute(const float *restrict x, float *restrict y, const long *shape, const long *stride, long rank)
{
    long index[MOST_AXES] = {0}, count = 1, at = 0;
    for (long axis = 0; axis < rank; ++axis) count *= shape[axis];
    for (long n = 0; n < count; ++n) {
        y[n] = x[at];
        for (long axis = rank - 1; axis >= 0; --axis) {
            at += stride[axis];
            if (++index[axis] < shape[axis]) break;
            at -= stride[axis] * shape[axis];
            index[axis] = 0;
        }
    }
}
""",
    "scale_and_shift": """\
/* Batch normalization and the like. Element (o, p, i) is multiplied by scale[p], then offset[p] is added. */
static void scale_and_shift(const float *x, float *y, const float *scale, const float *offset, long outer, long period,
                            long inner)
{
    for (long o = 0; o < outer; ++o)
        for (long p = 0; p < period; ++p)
            for (long i = 0; i < inner; ++i) {
                const long at = (o * period + p) * inner + i;
                y[at] = x[at] * scale[p] + offset[p];
            }
}
""",
    "prelu": """\
/* Element (o, p, i) has the slope alpha[p]. */
static void prelu(const float *x, float *y, const float *alpha, long outer, long period, long inner)
{
    for (long o = 0; o < outer; ++o)
        for (long p = 0; p < period; ++p)
            for (long i = 0; i < inner; ++i) {
                const long at = (o * period + p) * inner + i;
                y[at] = x[at] > 0.0f ? x[at] : alpha[p] * x[at];
            }
}
""",
    "standardize": """\
/* x as (outer, positions, groups, channels): each (outer, group) to mean 0 and variance 1. gamma and beta, groups * channels
   numbers, may be null. */
static void standardize(const float *x, float *y, const float *gamma, const float *beta, long outer, long positions,
                        long groups, long channels, float epsilon)
{
    const long row = groups * channels;
    const float count = (float)(positions * channels);
    for (long o = 0; o < outer; ++o)
        for (long g = 0; g < groups; ++g) {
            const long first = o * positions * row + g * channels;
            float mean = 0.0f, variance = 0.0f;
            for (long p = 0; p < positions; ++p) {
                float sum = 0.0f;
                for (long c = 0; c < channels; ++c) sum += x[first + p * row + c];
                mean += sum / count;
            }
            for (long p = 0; p < positions; ++p) {
                float sum = 0.0f;
                for (long c = 0; c < channels; ++c) {
                    const float d = x[first + p * row + c] - mean;
                    sum += d * d;
                }
                variance += sum / count;
            }
            const float factor = 1.0f / sqrtf(variance + epsilon);
            for (long p = 0; p < positions; ++p)
                for (long c = 0; c < channels; ++c) {
                    const long at = first + p * row + c, w = g * channels + c;
                    const float v = (x[at] - mean) * factor;
                    y[at] = v * (gamma ? gamma[w] : 1.0f) + (beta ? beta[w] : 0.0f);
                }
        }
}
""",
    "rescale_rows": """\
/* x as (outer, positions, groups, channels): each (outer, group) to mean square 1, or, with `unit`, to the norm 1. gamma and
   beta, groups * channels numbers, may be null. */
static void rescale_rows(const float *x, float *y, const float *gamma, const float *beta, long outer, long positions,
                         long groups, long channels, float epsilon, int unit)
{
    const long row = groups * channels;
    for (long o = 0; o < outer; ++o)
        for (long g = 0; g < groups; ++g) {
            const long first = o * positions * row + g * channels;
            float squares = 0.0f;
            for (long p = 0; p < positions; ++p) {
                float sum = 0.0f;
                for (long c = 0; c < channels; ++c) sum += x[first + p * row + c] * x[first + p * row + c];
                squares += sum;
            }
            if (unit)
                squares = squares < epsilon ? epsilon : squares;
            else
                squares = squares / (float)(positions * channels) + epsilon;
            const float factor = 1.0f / sqrtf(squares);
            for (long p = 0; p < positions; ++p)
                for (long c = 0; c < channels; ++c) {
                    const long at = first + p * row + c, w = g * channels + c;
                    y[at] = x[at] * factor * (gamma ? gamma[w] : 1.0f) + (beta ? beta[w] : 0.0f);
                }
        }
}
""",
    "softmax": """\
static void softmax(const float *x, float *y, long rows, long classes)
{
    for (long r = 0; r < rows; ++r, x += classes, y += classes) {
        float most = x[0], sum = 0.0f;
        for (long c = 1; c < classes; ++c) most = x[c] > most ? x[c] : most;
        for (long c = 0; c < classes; ++c) sum += y[c] = expf(x[c] - most);
        for (long c = 0; c < classes; ++c) y[c] /= sum;
    }
}
""",
    "log_softmax": """\
static void log_softmax(const float *x, float *y, long rows, long classes)
{
    for (long r = 0; r < rows; ++r, x += classes, y += classes) {
        float most = x[0], sum = 0.0f;
        for (long c = 1; c < classes; ++c) most = x[c] > most ? x[c] : most;
        for (long c = 0; c < classes; ++c) sum += expf(x[c] - most);
        const float log_sum = logf(sum);
        for (long c = 0; c < classes; ++c) y[c] = x[c] - most - log_sum;
    }
}
""",
}

_SIGMOID = "1.0f / (1.0f + expf(-{}))"
_SOFTPLUS = "(({0} > 0.0f ? {0} : 0.0f) + log1pf(expf(-fabsf({0}))))"
_HARD = "({0} < -3.0f ? 0.0f : {0} > 3.0f ? 1.0f : {0} / 6.0f + 0.5f)"

# Function of one number v -> the constants that it has, and the expression. `Function` in cpp/kernels/api_layers.h says what they
# are; NaN gives NaN in all of them.
ELEMENTWISE: dict[str, tuple[str, str]] = {
    "relu": ("abc", "v > c ? (v < b ? v : b) : a * (v - c)"),
    "elu": ("abc", "v > 0.0f ? c * v : c * a * expm1f(b * v)"),
    "exponential": ("", "expf(v)"),
    "gelu": ("", "0.5f * v * erfcf(-0.707106781f * v)"),
    "gelu_tanh": ("", "v / (1.0f + expf(-1.59576912f * (v + 0.044715f * v * v * v)))"),
    "silu": ("", "v / (1.0f + expf(-v))"),
    "mish": ("", f"v * tanhf({_SOFTPLUS.format('v')})"),
    "softplus": ("", _SOFTPLUS.format("v")),
    "log_sigmoid": ("", "(v < 0.0f ? v : 0.0f * v) - log1pf(expf(-fabsf(v)))"),
    "softsign": ("", "v / (1.0f + fabsf(v))"),
    "squareplus": ("a", "0.5f * (v + sqrtf(v * v + a))"),
    "hard_sigmoid": ("", _HARD.format("v")),
    "hard_silu": ("", f"v * {_HARD.format('v')}"),
    "hard_tanh": ("", "v < -1.0f ? -1.0f : v > 1.0f ? 1.0f : v"),
    "hard_shrink": ("a", "fabsf(v) <= a ? 0.0f : v"),
    "soft_shrink": ("a", "v > a ? v - a : v < -a ? v + a : 0.0f * v"),
    "tanh_shrink": ("", "v - tanhf(v)"),
    "threshold": ("ab", "v <= a ? b : v"),
    "sparse_plus": ("", "v <= -1.0f ? 0.0f : v < 1.0f ? 0.25f * (v + 1.0f) * (v + 1.0f) : v"),
    "sparse_sigmoid": ("", "v < -1.0f ? 0.0f : v > 1.0f ? 1.0f : 0.5f * (v + 1.0f)"),
}

# The activations without constants.
ACTIVATIONS: dict[str, str] = {
    "relu": "v < 0.0f ? 0.0f : v",
    "sigmoid": _SIGMOID.format("v"),
    "tanh": "tanhf(v)",
}


def of_each(name: str, constants: str, expression: str) -> str:
    """The C function `name` that applies an expression in v to each element."""
    arguments = "".join(f", float {constant}" for constant in constants)
    return (
        f"static void {name}(const float *x, float *y, long count{arguments})\n{{\n"
        "    for (long i = 0; i < count; ++i) {\n        const float v = x[i];\n"
        f"        y[i] = {expression};\n    }}\n}}\n"
    )


MAIN = """\
#ifdef FASTCNN_MAIN
#include <stdio.h>

/* Reads samples from standard input until it ends, writes the outputs of each: numbers as text, a line a sample; with any
   argument as floats, byte for byte. */
int main(int argc, char **argv)
{
    static float input[@INPUT@], output[@OUTPUT@];
    (void)argv;
    for (;;) {
        size_t read = 0;
        if (argc > 1)
            read = fread(input, sizeof(float), @INPUT@, stdin);
        else
            while (read < @INPUT@ && scanf("%f", &input[read]) == 1) ++read;
        if (read == 0 && feof(stdin)) return 0;
        if (read < @INPUT@) {
            fprintf(stderr, "expected @INPUT@ numbers a sample, received %lu\\n", (unsigned long)read);
            return 1;
        }
        @PREDICT@(input, output);
        if (argc > 1)
            fwrite(output, sizeof(float), @OUTPUT@, stdout);
        else
            for (size_t i = 0; i < @OUTPUT@; ++i) printf("%.9g%c", (double)output[i], i + 1 < @OUTPUT@ ? ' ' : '\\n');
    }
}
#endif
"""
