// What the kernels for a network's first layer share.
#pragma once

#include "kernels/conv.h"

namespace fastcnn::FASTCNN_ISA {

namespace {

const char* not_few_channels(const Conv2dShape& c) {
    if (c.groups != 1) return "groups is not 1";
    if (c.in_channels > 4) return "more than 4 input channels";
    if (c.w.dilation != 1) return "kernel is dilated";
    return nullptr;
}

}  // namespace

}  // namespace fastcnn::FASTCNN_ISA
