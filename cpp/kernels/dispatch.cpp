#include "kernels/dispatch.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <iomanip>
#include <sstream>

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

namespace {

bool winograd_from_environment() {
    const char* value = std::getenv("FASTCNN_WINOGRAD");
    if (!value || !*value || !std::strcmp(value, "1")) return true;
    require(!std::strcmp(value, "0"), "FASTCNN_WINOGRAD: expected 0 or 1, received '", value, "'");
    return false;
}

std::atomic<bool>& winograd_switch() {
    static std::atomic<bool> allowed{winograd_from_environment()};
    return allowed;
}

}  // namespace

bool winograd_allowed() { return winograd_switch().load(std::memory_order_relaxed); }

void set_winograd(bool allowed) { winograd_switch().store(allowed, std::memory_order_relaxed); }

bool is_winograd(const char* algorithm) { return !std::strncmp(algorithm, "winograd", 8); }

std::string PassedOver::text(double least) const {
    std::string text;
    for (const Entry& row : rows_) {
        std::ostringstream entry;
        entry << row.algorithm << ": ";
        if (row.reason)
            entry << row.reason;
        else
            entry << "estimated " << std::fixed << std::setprecision(1) << row.cycles / least
                  << " times the time";
        // Levels decline for the same reasons.
        if (text.find(entry.str()) == std::string::npos) text += (text.empty() ? "" : "; ") + entry.str();
    }
    return text;
}

}  // namespace fastcnn
