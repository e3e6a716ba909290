// One style of message for everything refused below Python:
//   "<operation>: <argument>: expected <...>, received <...>"
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace fastcnn {

// Bad input found natively. Becomes a Python ValueError at the binding. Thrown above the kernels only:
// nothing is thrown inside a parallel region.
class Error : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
    std::ostringstream text;
    (text << ... << parts);
    throw Error(text.str());
}

// require(ok, "conv2d: kernel: expected ..., received ...", value): throws Error unless `ok`.
template <class... Parts>
void require(bool ok, const Parts&... parts) {
    if (!ok) fail(parts...);
}

}  // namespace fastcnn
