// The names under which Python knows the kinds of api_layers.h and graph.h.
#pragma once

#include <string>
#include <utility>

#include "base/check.h"
#include "graph/graph.h"
#include "graph/image_ops.h"
#include "kernels/api.h"
#include "kernels/api_layers.h"

namespace fastcnn {

template <class Kind, std::size_t N>
Kind kind_of(const std::string& operation, const std::string& name,
             const std::pair<const char*, Kind> (&table)[N]) {
    std::string names;
    for (const auto& [known, kind] : table) {
        if (name == known) return kind;
        names += (names.empty() ? "'" : ", '") + std::string(known) + "'";
    }
    fail(operation, ": kind: expected one of ", names, ", received '", name, "'");
}

template <class Kind, std::size_t N>
const char* name_in(const std::pair<const char*, Kind> (&table)[N], Kind kind) {
    for (const auto& [name, known] : table)
        if (known == kind) return name;
    fail("Graph: kind: expected one that has a name, received number ", static_cast<int>(kind));
}

inline constexpr std::pair<const char*, ActivationName> kActivationNames[] = {
    {"linear", ActivationName::linear},   {"relu", ActivationName::relu},
    {"sigmoid", ActivationName::sigmoid}, {"tanh", ActivationName::tanh},
    {"softmax", ActivationName::softmax}, {"log_softmax", ActivationName::log_softmax},
};

inline ActivationName activation_of(const std::string& operation, const std::string& name) {
    return kind_of(operation, name, kActivationNames);
}

inline const char* name_of(ActivationName kind) { return name_in(kActivationNames, kind); }

inline constexpr std::pair<const char*, Function> kFunctionNames[] = {
    {"relu", Function::relu},
    {"elu", Function::elu},
    {"exponential", Function::exponential},
    {"gelu", Function::gelu},
    {"gelu_tanh", Function::gelu_tanh},
    {"silu", Function::silu},
    {"mish", Function::mish},
    {"softplus", Function::softplus},
    {"log_sigmoid", Function::log_sigmoid},
    {"softsign", Function::softsign},
    {"squareplus", Function::squareplus},
    {"hard_sigmoid", Function::hard_sigmoid},
    {"hard_silu", Function::hard_silu},
    {"hard_tanh", Function::hard_tanh},
    {"hard_shrink", Function::hard_shrink},
    {"soft_shrink", Function::soft_shrink},
    {"tanh_shrink", Function::tanh_shrink},
    {"threshold", Function::threshold},
    {"sparse_plus", Function::sparse_plus},
    {"sparse_sigmoid", Function::sparse_sigmoid},
};

inline Function function_of(const std::string& operation, const std::string& name) {
    return kind_of(operation, name, kFunctionNames);
}

inline const char* name_of(Function kind) { return name_in(kFunctionNames, kind); }

inline constexpr std::pair<const char*, NormalizeKind> kNormalizeNames[] = {
    {"standard", NormalizeKind::standard},
    {"rms", NormalizeKind::rms},
    {"unit", NormalizeKind::unit},
};

inline NormalizeKind normalize_of(const std::string& operation, const std::string& name) {
    return kind_of(operation, name, kNormalizeNames);
}

inline const char* name_of(NormalizeKind kind) { return name_in(kNormalizeNames, kind); }

inline constexpr std::pair<const char*, NoiseKind> kNoiseNames[] = {
    {"dropout", NoiseKind::dropout},
    {"alpha_dropout", NoiseKind::alpha_dropout},
    {"gaussian_dropout", NoiseKind::gaussian_dropout},
    {"gaussian", NoiseKind::gaussian},
};

inline NoiseKind noise_of(const std::string& operation, const std::string& name) {
    return kind_of(operation, name, kNoiseNames);
}

inline const char* name_of(NoiseKind kind) { return name_in(kNoiseNames, kind); }

inline constexpr std::pair<const char*, ScaleKind> kScaleNames[] = {
    {"affine", ScaleKind::affine},
    {"normalize", ScaleKind::normalize},
    {"denormalize", ScaleKind::denormalize},
};

inline ScaleKind scale_of(const std::string& operation, const std::string& name) {
    return kind_of(operation, name, kScaleNames);
}

inline const char* name_of(ScaleKind kind) { return name_in(kScaleNames, kind); }

inline constexpr std::pair<const char*, FillMode> kFillNames[] = {
    {"constant", FillMode::constant},
    {"nearest", FillMode::nearest},
    {"wrap", FillMode::wrap},
    {"reflect", FillMode::reflect},
};

inline FillMode fill_of(const std::string& operation, const std::string& name) {
    return kind_of(operation, name, kFillNames);
}

inline const char* name_of(FillMode kind) { return name_in(kFillNames, kind); }

inline constexpr std::pair<const char*, WarpKind> kWarpNames[] = {
    {"flip", WarpKind::flip}, {"rotation", WarpKind::rotation}, {"translation", WarpKind::translation},
    {"zoom", WarpKind::zoom}, {"shear", WarpKind::shear},       {"crop", WarpKind::crop},
};

inline WarpKind warp_of(const std::string& operation, const std::string& name) {
    return kind_of(operation, name, kWarpNames);
}

inline const char* name_of(WarpKind kind) { return name_in(kWarpNames, kind); }

inline constexpr std::pair<const char*, RecolorKind> kRecolorNames[] = {
    {"brightness", RecolorKind::brightness}, {"contrast", RecolorKind::contrast},
    {"grayscale", RecolorKind::grayscale},   {"invert", RecolorKind::invert},
    {"solarize", RecolorKind::solarize},
};

inline RecolorKind recolor_of(const std::string& operation, const std::string& name) {
    return kind_of(operation, name, kRecolorNames);
}

inline const char* name_of(RecolorKind kind) { return name_in(kRecolorNames, kind); }

inline constexpr std::pair<const char*, OptimizerKind> kOptimizerNames[] = {
    {"sgd", OptimizerKind::sgd},         {"adam", OptimizerKind::adam},
    {"rmsprop", OptimizerKind::rmsprop}, {"adadelta", OptimizerKind::adadelta},
    {"adagrad", OptimizerKind::adagrad}, {"adamax", OptimizerKind::adamax},
    {"nadam", OptimizerKind::nadam},     {"ftrl", OptimizerKind::ftrl},
    {"lion", OptimizerKind::lion},       {"schedule_free_adamw", OptimizerKind::schedule_free_adamw},
};

}  // namespace fastcnn
