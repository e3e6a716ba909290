// The names under which Python knows the kinds of api_layers.h.
#pragma once

#include <string>
#include <utility>

#include "base/check.h"
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

inline Function function_of(const std::string& operation, const std::string& name) {
    static constexpr std::pair<const char*, Function> table[] = {
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
    return kind_of(operation, name, table);
}

inline NormalizeKind normalize_of(const std::string& operation, const std::string& name) {
    static constexpr std::pair<const char*, NormalizeKind> table[] = {
        {"standard", NormalizeKind::standard},
        {"rms", NormalizeKind::rms},
        {"unit", NormalizeKind::unit},
    };
    return kind_of(operation, name, table);
}

inline NoiseKind noise_of(const std::string& operation, const std::string& name) {
    static constexpr std::pair<const char*, NoiseKind> table[] = {
        {"dropout", NoiseKind::dropout},
        {"alpha_dropout", NoiseKind::alpha_dropout},
        {"gaussian_dropout", NoiseKind::gaussian_dropout},
        {"gaussian", NoiseKind::gaussian},
    };
    return kind_of(operation, name, table);
}

}  // namespace fastcnn
