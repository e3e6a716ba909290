// One style of message for everything refused below Python:
//   "<operation>: <argument>: expected <...>, received <...>"
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

#include "base/inline.h"

namespace fastcnn {

// Bad input found natively. Becomes a Python ValueError at the binding. Thrown above the kernels only:
// nothing is thrown inside a parallel region.
class Error : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// Cold, so that compilers make it small.
template <class... Parts>
[[noreturn]] FASTCNN_COLD void fail(const Parts&... parts) {
    std::ostringstream text;
    (text << ... << parts);
    throw Error(text.str());
}

// require(ok, "conv2d: kernel: expected ..., received ...", value): throws Error unless `ok`.
// Inlined even where the caller is compiled for size: some check every element of an array.
template <class... Parts>
FASTCNN_INLINE void require(bool ok, const Parts&... parts) {
    if (!ok) fail(parts...);
}

}  // namespace fastcnn
