// A loss as Python describes it.
#pragma once

#include <string>
#include <vector>

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "bindings/function_names.h"
#include "kernels/api.h"

namespace fastcnn {

inline constexpr std::pair<const char*, LossKind> kLossNames[] = {
    {"binary_crossentropy", LossKind::binary_crossentropy},
    {"categorical_crossentropy", LossKind::categorical_crossentropy},
    {"sparse_categorical_crossentropy", LossKind::sparse_categorical_crossentropy},
    {"mean_squared_error", LossKind::mean_squared_error},
    {"mean_absolute_error", LossKind::mean_absolute_error},
    {"mean_absolute_percentage_error", LossKind::mean_absolute_percentage_error},
    {"mean_squared_logarithmic_error", LossKind::mean_squared_logarithmic_error},
    {"huber", LossKind::huber},
    {"log_cosh", LossKind::log_cosh},
    {"poisson", LossKind::poisson},
    {"hinge", LossKind::hinge},
    {"squared_hinge", LossKind::squared_hinge},
    {"kl_divergence", LossKind::kl_divergence},
    {"binary_focal_crossentropy", LossKind::binary_focal_crossentropy},
    {"categorical_focal_crossentropy", LossKind::categorical_focal_crossentropy},
    {"categorical_hinge", LossKind::categorical_hinge},
    {"cosine_similarity", LossKind::cosine_similarity},
    {"categorical_generalized_cross_entropy", LossKind::categorical_generalized_cross_entropy},
};

// A rule's settings beside kind, from_logits and label_smoothing: a, b, class_weights, ignore_class.
// `class_weights`, which the rule points to, must be of `classes` entries and outlive it.
inline void read_loss_settings(const std::string& operation, const pybind11::dict& settings,
                               std::int64_t classes, LossRule& rule, std::vector<float>& class_weights) {
    const auto given = [&](const char* key) { return settings.contains(key) && !settings[key].is_none(); };
    if (given("a")) rule.a = settings["a"].cast<double>();
    if (given("b")) rule.b = settings["b"].cast<double>();
    if (given("ignore_class")) {
        rule.ignores = true;
        rule.ignored_class = settings["ignore_class"].cast<std::int32_t>();
    }
    if (given("class_weights")) {
        class_weights = settings["class_weights"].cast<std::vector<float>>();
        require(static_cast<std::int64_t>(class_weights.size()) == classes, operation,
                ": class_weights: expected one number for each of ", classes, " classes, received ",
                class_weights.size());
        rule.class_weights = class_weights.data();
    }
}

}  // namespace fastcnn
