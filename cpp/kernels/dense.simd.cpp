// Dense layers: one tap of depth `inputs`, a tile's rows are samples.
//
// Packed weights are the fastest to multiply with, but in training they are packed for each step, and for few
// samples that costs as much as the product. The rows `natural` read the weights as they are: the forward
// pass where whole blocks of columns lie close together, the input's gradient with samples in the lanes.
#include "kernels/conv.h"
#include "kernels/rows.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

// Blocks are shared out evenly between `parts`.
FASTCNN_INLINE std::int64_t part_begin(std::int64_t blocks, int part, int parts) {
    return blocks * part / parts;
}

// Packed: [block of columns][row][columns of the block], from a (rows, columns) matrix whose element (r, c)
// is at r * row_step + c * column_step.
FASTCNN_INLINE void pack_matrix(const float* matrix, std::int64_t rows, std::int64_t columns,
                                std::int64_t row_step, std::int64_t column_step, float* packed, int part,
                                int parts) {
    const std::int64_t blocks = pair_count(columns);
    for (std::int64_t block = part_begin(blocks, part, parts); block < part_begin(blocks, part + 1, parts);
         ++block) {
        const std::int64_t width = pair_vecs(columns, block) * kWidth, first = block * kPairWidth;
        float* out = packed + first * rows;
        for (std::int64_t v = 0; v < width; v += kWidth) {
            const std::int64_t lanes = columns - first - v;
            if (column_step == 1) {
                for (std::int64_t r = 0; r < rows; ++r)
                    store(out + r * width + v, load_partial(matrix + r * row_step + first + v, lanes));
                continue;
            }
            std::int64_t r = 0;
            if (lanes >= kWidth && row_step == 1)
                for (; r + kWidth <= rows; r += kWidth)
                    transpose(matrix + r + (first + v) * column_step, column_step, out + r * width + v,
                              width);
            for (; r < rows; ++r)
                for (std::int64_t i = 0; i < kWidth; ++i)
                    out[r * width + v + i] =
                        i < lanes ? matrix[r * row_step + (first + v + i) * column_step] : 0.0f;
        }
    }
}

// y (batch, columns) = x (batch, depth) packed, the same for the forward pass and the input's gradient.
// With b_step the matrix is not packed, its rows are b_step floats apart.
FASTCNN_INLINE void multiply(const float* x, std::int64_t x_stride, std::int64_t batch, std::int64_t depth,
                             const float* packed, std::int64_t columns, const float* bias, bool relu,
                             float* y, std::int64_t y_stride, std::int64_t b_step = 0) {
    const Tap tap{0, 0};
    Tile t;
    t.b_step = b_step;
    t.a_step = x_stride;
    t.taps = &tap;
    t.tap_count = 1;
    t.depth = depth;
    t.relu = relu;
    t.c_step = y_stride;
    std::int64_t first_block = 0;
    if (batch == 1) {
        first_block = packed_columns(columns) / kPairWidth;  // those of two vectors
        Tile row = t;
        row.a = x;
        row.b = packed;
        row.b_step = b_step ? b_step : kPairWidth;
        row.bias = bias;
        row.c = y;
        run_row(row, min_of(columns, first_block * kPairWidth), b_step ? kPairWidth : kPairWidth * depth);
    }
    for (std::int64_t block = first_block; block < pair_count(columns); ++block) {
        const int vecs = pair_vecs(columns, block);
        const std::int64_t first = block * kPairWidth, left = columns - first;
        t.a = x;
        t.b = packed + (b_step ? first : first * depth);
        t.bias = bias ? bias + first : nullptr;
        t.columns = left < vecs * kWidth ? left : vecs * kWidth;
        t.c = y + first;
        run_rows(t, batch, vecs);
    }
}

std::int64_t forward_packed(const DenseForward& d) { return d.inputs * packed_columns(d.units); }
void forward_pack(const DenseForward& d, const float* weights, float* packed, int part, int parts) {
    pack_matrix(weights, d.inputs, d.units, d.units, 1, packed, part, parts);
}
void forward_run(const DenseForward& d) {
    multiply(d.x, d.x_stride, d.batch, d.inputs, d.kernel, d.units, d.bias, d.relu, d.y, d.y_stride);
}

double cost(std::int64_t batch, std::int64_t depth, std::int64_t columns, double share) {
    return product_cycles(static_cast<double>(batch * depth * packed_columns(columns) / kWidth), share);
}
double forward_cost(const DenseForward& d) { return cost(d.batch, d.inputs, d.units, 0.8); }

const char* natural_forward_declines(const DenseForward& d) {
    return d.units % kPairWidth ? "units do not fill blocks of columns"
           : d.units > 512      ? "rows of the weights are far apart"
                                : nullptr;
}
double natural_forward_cost(const DenseForward& d) { return cost(d.batch, d.inputs, d.units, 0.75); }
void natural_forward_run(const DenseForward& d) {
    multiply(d.x, d.x_stride, d.batch, d.inputs, d.kernel, d.units, d.bias, d.relu, d.y, d.y_stride,
             d.kernel_row ? d.kernel_row : d.units);
}

std::int64_t grad_input_packed(const DenseGradInput& d) { return d.units * packed_columns(d.inputs); }
void grad_input_pack(const DenseGradInput& d, const float* weights, float* packed, int part, int parts) {
    pack_matrix(weights, d.units, d.inputs, 1, d.units, packed, part, parts);
}
void grad_input_run(const DenseGradInput& d) {
    multiply(d.dy, d.dy_stride, d.batch, d.units, d.kernel, d.inputs, nullptr, false, d.dx, d.dx_stride);
}

double grad_input_cost(const DenseGradInput& d) { return cost(d.batch, d.units, d.inputs, 0.8); }

// dy and dx of kWidth samples, transposed: the weights are the rows of a product with one vector of samples.
std::int64_t natural_grad_input_scratch(const DenseGradInput& d) {
    return (packed_columns(d.units) + packed_columns(d.inputs)) * kWidth;
}
double natural_grad_input_cost(const DenseGradInput& d) {
    const double vectors = static_cast<double>((d.batch + kWidth - 1) / kWidth);
    const double products = vectors * static_cast<double>(d.inputs * d.units);
    const double transposed = vectors * static_cast<double>(d.inputs + d.units);
    return product_cycles(products, 0.7) + 8 * transposed;
}

// (columns, kWidth) of rows `stride` apart, which number `rows`, and back.
FASTCNN_INLINE void to_lanes(const float* from, std::int64_t stride, std::int64_t rows, std::int64_t columns,
                             float* to) {
    std::int64_t c = 0;
    if (rows == kWidth)
        for (; c + kWidth <= columns; c += kWidth) transpose(from + c, stride, to + c * kWidth, kWidth);
    for (; c < columns; ++c)
        for (std::int64_t r = 0; r < kWidth; ++r) to[c * kWidth + r] = r < rows ? from[r * stride + c] : 0.0f;
}
FASTCNN_INLINE void from_lanes(const float* from, std::int64_t rows, std::int64_t columns, float* to,
                               std::int64_t stride) {
    std::int64_t c = 0;
    if (rows == kWidth)
        for (; c + kWidth <= columns; c += kWidth) transpose(from + c * kWidth, kWidth, to + c, stride);
    for (; c < columns; ++c)
        for (std::int64_t r = 0; r < rows; ++r) to[r * stride + c] = from[c * kWidth + r];
}

void natural_grad_input_run(const DenseGradInput& d) {
    float* dy = d.scratch;
    float* dx = dy + packed_columns(d.units) * kWidth;
    const Tap tap{0, 0};
    Tile t;
    t.a = d.kernel;
    t.a_step = d.units;
    t.taps = &tap;
    t.tap_count = 1;
    t.depth = d.units;
    t.b = dy;
    t.columns = t.c_step = kWidth;
    t.c = dx;
    for (std::int64_t first = 0; first < d.batch; first += kWidth) {
        const std::int64_t samples = min_of(kWidth, d.batch - first);
        to_lanes(d.dy + first * d.dy_stride, d.dy_stride, samples, d.units, dy);
        run_rows(t, d.inputs, 1);
        from_lanes(dx, samples, d.inputs, d.dx + first * d.dx_stride, d.dx_stride);
    }
}

void grad_kernel_run(const DenseGradKernel& d) {
    OuterTile t;
    t.a = d.x + d.first_input;
    t.b = d.dy;
    t.positions = d.batch;
    t.a_position = d.x_stride;
    t.b_position = d.dy_stride;
    t.accumulate = d.accumulate;
    t.c = d.dkernel + d.first_input * d.units;
    t.c_step = d.units;
    run_outer(t, d.last_input - d.first_input, d.units);
    if (d.dbias) sum_columns(d.dy, d.batch, d.dy_stride, 1, d.units, d.accumulate, d.dbias);
}

}  // namespace

const Kernel<DenseForward> dense_forward_direct = {forward_run,    nullptr,      nullptr,
                                                   forward_packed, forward_pack, forward_cost};
const Kernel<DenseForward> dense_forward_natural = {
    natural_forward_run, natural_forward_declines, nullptr, nullptr, nullptr, natural_forward_cost};
const Kernel<DenseGradInput> dense_grad_input_direct = {grad_input_run,    nullptr,         nullptr,
                                                        grad_input_packed, grad_input_pack, grad_input_cost};
const Kernel<DenseGradInput> dense_grad_input_natural = {
    natural_grad_input_run, nullptr, natural_grad_input_scratch, nullptr, nullptr, natural_grad_input_cost};
const Kernel<DenseGradKernel> dense_grad_kernel_direct = {grad_kernel_run};

}  // namespace fastcnn::FASTCNN_ISA
