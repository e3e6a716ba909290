// Finding the kernel for an operation: the rows of table.inc at run time.
#pragma once

#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "isa/isa.h"
#include "kernels/rows.h"

namespace fastcnn {

template <class Args>
struct Row {
    const char* operation;
    const char* algorithm;
    Isa isa;
    const Kernel<Args>* kernel;
};

struct Level {
    Isa isa;
    const LevelRows* rows;
};

// Compiled levels, best first.
const std::vector<Level>& levels();

// Rows of the operation `Args`, best instruction set first, then in the table's order.
template <class Args>
const std::vector<Row<Args>>& rows() {
    static const std::vector<Row<Args>> found = [] {
        std::vector<Row<Args>> list;
        for (const Level& level : levels()) {
#define FASTCNN_KERNEL(RowArgs, operation, algorithm) \
    if constexpr (std::is_same_v<RowArgs, Args>)      \
        list.push_back({#operation, #algorithm, level.isa, level.rows->operation##_##algorithm});
#include "kernels/table.inc"
#undef FASTCNN_KERNEL
        }
        return list;
    }();
    return found;
}

// A row's name, for tests and lists.
struct RowName {
    std::string operation, algorithm;
    Isa isa;
};
std::vector<RowName> row_names();

[[noreturn]] void fail_no_row(const std::string& operation, Isa isa, const std::string& algorithm,
                              const std::string& declined);

bool is_winograd(const char* algorithm);

// Rows that were not chosen, and why. Put into words only where somebody reads them: choosing is part of
// every call of an operation on arrays.
class PassedOver {
  public:
    void declined(const char* algorithm, const char* reason) { rows_.push_back({algorithm, reason, 0}); }
    // Estimated to take so many cycles.
    void slower(const char* algorithm, double cycles) { rows_.push_back({algorithm, nullptr, cycles}); }
    // "winograd: stride is not 1; direct: estimated 1.3 times the time", the times those of `least` cycles.
    std::string text(double least) const;

  private:
    struct Entry {
        const char *algorithm, *reason;
        double cycles;
    };
    std::vector<Entry> rows_;
};

template <class Args>
struct Choice {
    const Row<Args>* row = nullptr;
    double cycles = 0;  // its estimate, 0: there is none
    PassedOver passed_over;

    std::string declined() const { return passed_over.text(cycles); }

    explicit operator bool() const { return row != nullptr; }
    void operator()(const Args& args) const { row->kernel->run(args); }
    std::int64_t scratch(const Args& args) const {
        return row->kernel->scratch ? row->kernel->scratch(args) : 0;
    }
    std::int64_t packed(const Args& args) const {
        return row->kernel->packed ? row->kernel->packed(args) : 0;
    }
    std::int64_t weight_units(const Args& args) const {
        return row->kernel->weight_units ? row->kernel->weight_units(args) : 1;
    }
    std::int64_t row_unit(const Args& args) const {
        return row->kernel->row_unit ? row->kernel->row_unit(args) : 1;
    }
};

// Whether rows that use Winograd's method may be chosen; where not, the direct sums are. True at first;
// FASTCNN_WINOGRAD=0 in the environment and set_winograd(false) turn it off.
bool winograd_allowed();
void set_winograd(bool allowed);

// How often an operation's weights change.
struct Packing {
    double per_run =
        0;  // times the weights are packed in one run of the kernel; 0: packed once for many runs
    const char* layout = nullptr;  // in which they are packed anyway, for another operation
    bool in_parts = false;         // each part is used as soon as it is packed, where the kernel can
};

inline bool same_layout(const char* a, const char* b) { return a && b && std::string_view(a) == b; }

// Cycles to pack `floats` weights; the figure hardly depends on the order that a kernel wants, but much on
// whether they go to memory and are read from there again. `in_parts`: packed and used a part at a time,
// which never leaves L2.
inline double pack_cycles(double floats, bool in_parts) {
    constexpr double kInL2 = 512 * 1024;
    return floats > kInL2 && !in_parts ? 4 * floats : floats;
}

// The row at or below `isa` that accepts `args` and is estimated the fastest, none where all decline; with
// `algorithm` only that one. Rows of a better instruction set always come first. With `exact`, only rows of
// the level `isa` itself.
template <class Args>
Choice<Args> choose_if_any(const Args& args, Isa isa = active_isa(), const std::string& algorithm = "",
                           bool exact = false, Packing packing = {}) {
    Choice<Args> choice;
    for (const Row<Args>& row : rows<Args>()) {
        if (row.isa > isa || (exact && row.isa != isa)) continue;
        if (!algorithm.empty() && algorithm != row.algorithm) continue;
        if (choice.row && row.isa != choice.row->isa) break;
        if (const char* reason = row.kernel->declines ? row.kernel->declines(args) : nullptr) {
            choice.passed_over.declined(row.algorithm, reason);
            continue;
        }
        if (algorithm.empty() && !winograd_allowed() && is_winograd(row.algorithm)) {
            choice.passed_over.declined(row.algorithm, "switched off");
            continue;
        }
        if (!row.kernel->cost) {
            choice.row = &row;
            return choice;
        }
        const bool packs = row.kernel->packed && !same_layout(row.kernel->layout, packing.layout);
        const double packed = packs ? static_cast<double>(row.kernel->packed(args)) : 0;
        const bool in_parts = packing.in_parts && row.kernel->divides_weights;
        const double cycles = row.kernel->cost(args) + packing.per_run * pack_cycles(packed, in_parts);
        const bool best = !choice.row || cycles < choice.cycles;
        if (choice.row)
            choice.passed_over.slower((best ? *choice.row : row).algorithm, best ? choice.cycles : cycles);
        if (!best) continue;
        choice.row = &row;
        choice.cycles = cycles;
    }
    return choice;
}

// The same, but throws Error where there is none.
template <class Args>
Choice<Args> choose(const Args& args, Isa isa = active_isa(), const std::string& algorithm = "",
                    bool exact = false, Packing packing = {}) {
    const Choice<Args> choice = choose_if_any(args, isa, algorithm, exact, packing);
    if (!choice) fail_no_row(rows<Args>().front().operation, isa, algorithm, choice.declined());
    return choice;
}

template <class Args>
Choice<Args> choose(const Args& args, Packing packing) {
    return choose(args, active_isa(), "", false, packing);
}

}  // namespace fastcnn
