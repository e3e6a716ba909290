#include "kernels/dispatch.h"

#include <algorithm>

#include "base/check.h"

#define FASTCNN_LEVEL(level)           \
    namespace fastcnn::level {         \
    extern const LevelRows level_rows; \
    }
#include "isa/levels.inc"
#undef FASTCNN_LEVEL

namespace fastcnn {

const std::vector<Level>& levels() {
    static const std::vector<Level> found = [] {
        std::vector<Level> list = {
#define FASTCNN_LEVEL(level) {Isa::level, &level::level_rows},
#include "isa/levels.inc"
#undef FASTCNN_LEVEL
        };
        std::reverse(list.begin(), list.end());
        return list;
    }();
    return found;
}

std::vector<RowName> row_names() {
    std::vector<RowName> names;
    for (const Level& level : levels()) {
#define FASTCNN_KERNEL(Args, operation, algorithm) names.push_back({#operation, #algorithm, level.isa});
#include "kernels/table.inc"
#undef FASTCNN_KERNEL
    }
    return names;
}

void fail_no_row(const std::string& operation, Isa isa, const std::string& algorithm,
                 const std::string& declined) {
    fail(operation, ": no kernel ", algorithm.empty() ? "" : "'" + algorithm + "' ", "at level '",
         name_of(isa), "'", declined.empty() ? "" : " (" + declined + ")");
}

}  // namespace fastcnn
