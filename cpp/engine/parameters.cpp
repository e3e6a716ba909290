#include "engine/parameters.h"

#include <algorithm>

#include "base/check.h"

namespace fastcnn {

Parameters::Parameters(std::vector<Shape> shapes) : shapes_(std::move(shapes)) {
    Layout layout;
    for (const Shape& shape : shapes_) {
        std::int64_t n = 1;
        for (std::int64_t d : shape) {
            require(d >= 0, "Parameters: shapes: expected dimensions >= 0, received ", to_string(shape));
            require(d == 0 || n <= (std::int64_t{1} << 40) / d,
                    "Parameters: shapes: expected at most 2^40 elements, received ", to_string(shape));
            n *= d;
        }
        offsets_.push_back(layout.book(n));
    }
    buffer_ = Buffer(layout.size() + Layout::kAlign);
}

ParameterSet::ParameterSet(const std::vector<ParameterRef>& refs) {
    for (const ParameterRef& ref : refs) owners_.push_back(ref.owner);
    std::sort(owners_.begin(), owners_.end());
    owners_.erase(std::unique(owners_.begin(), owners_.end()), owners_.end());
}

void ParameterSet::lock_shared() const {
    for (const auto& owner : owners_) owner->mutex().lock_shared();
}
void ParameterSet::unlock_shared() const {
    for (const auto& owner : owners_) owner->mutex().unlock_shared();
}
void ParameterSet::lock() const {
    for (const auto& owner : owners_) owner->mutex().lock();
}
void ParameterSet::unlock() const {
    for (const auto& owner : owners_) owner->mutex().unlock();
}
std::uint64_t ParameterSet::version() const {
    std::uint64_t sum = 0;  // each only ever grows, so the sum differs whenever one does
    for (const auto& owner : owners_) sum += owner->version();
    return sum;
}
void ParameterSet::changed() const {
    for (const auto& owner : owners_) owner->changed();
}

}  // namespace fastcnn
