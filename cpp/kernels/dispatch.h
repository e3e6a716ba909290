// Finding the kernel for an operation: the rows of table.inc at run time.
#pragma once

#include <string>
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

template <class Args>
struct Choice {
    const Row<Args>* row = nullptr;
    std::string declined;  // why better rows were passed over: "winograd: stride is not 1; ..."

    explicit operator bool() const { return row != nullptr; }
    void operator()(const Args& args) const { row->kernel->run(args); }
    std::int64_t scratch(const Args& args) const {
        return row->kernel->scratch ? row->kernel->scratch(args) : 0;
    }
    std::int64_t packed(const Args& args) const {
        return row->kernel->packed ? row->kernel->packed(args) : 0;
    }
    std::int64_t row_unit(const Args& args) const {
        return row->kernel->row_unit ? row->kernel->row_unit(args) : 1;
    }
};

// The best row at or below `isa` that accepts `args`; with `algorithm` only that one. Throws Error where
// there is none. With `exact`, only rows of the level `isa` itself.
template <class Args>
Choice<Args> choose(const Args& args, Isa isa = active_isa(), const std::string& algorithm = "",
                    bool exact = false) {
    Choice<Args> choice;
    const char* operation = "";
    for (const Row<Args>& row : rows<Args>()) {
        operation = row.operation;
        if (row.isa > isa || (exact && row.isa != isa)) continue;
        if (!algorithm.empty() && algorithm != row.algorithm) continue;
        const char* reason = row.kernel->declines ? row.kernel->declines(args) : nullptr;
        if (!reason) {
            choice.row = &row;
            return choice;
        }
        const std::string said = std::string(row.algorithm) + ": " + reason;
        if (choice.declined.find(said) == std::string::npos)
            choice.declined += (choice.declined.empty() ? "" : "; ") + said;
    }
    fail_no_row(operation, isa, algorithm, choice.declined);
}

}  // namespace fastcnn
