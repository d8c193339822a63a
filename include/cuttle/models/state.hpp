// Models in files: whose they are, and parameters by PyTorch's names, in its OIHW layout for convolution weights.
#pragma once

#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#include "cuttle/eval/calibrate.hpp"
#include "cuttle/io/json.hpp"
#include "cuttle/io/safetensors.hpp"
#include "cuttle/nn/layers.hpp"
#include "cuttle/ops/permute.hpp"

namespace cuttle {

// A text that every model file has among its metadata; IoError where this one has not.
template <class String>
const String& model_metadata(const BasicSafetensorsFile<String>& file, const std::type_identity_t<String>& key) {
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end())
    throw IoError(file.path(), concat("is no model of this library: its metadata lack \"", key, '"'));
  return found->second;
}

// Of the files that this library writes and reads.
inline constexpr const char* model_format_version = "2";

// Says in a model file's metadata what it is; check_method and model_settings read it back.
template <class String>
void add_method(BasicSafetensorsWriter<String>& file, std::string_view method, const BasicJson<String>& settings) {
  file.set_metadata("method", String(method))
      .set_metadata("format_version", model_format_version)
      .set_metadata("settings", settings.dump())
      .add_checksum();
}

// IoError unless the file is a model of `method`, in the format that this library writes, and undamaged.
template <class String>
void check_method(const BasicSafetensorsFile<String>& file, std::string_view method) {
  if (const String& found = model_metadata(file, "method"); found != method)
    throw IoError(file.path(), concat("is a model of method \"", found, "\", not ", method));
  if (const String& version = model_metadata(file, "format_version"); version != model_format_version)
    throw IoError(file.path(), concat("has format version ", version, "; this library reads ", model_format_version));
  file.verify();
}

// The settings that add_method put into a model's metadata.
template <class String>
BasicJson<String> model_settings(const BasicSafetensorsFile<String>& file) {
  return BasicJson<String>::parse(model_metadata(file, "settings"));
}

// A calibration in a model's settings; null where the model has none. The expected rate and its 95 % interval are there
// for whoever reads the file: they follow from the rest.
template <class Json = cuttle::Json>
Json calibration_json(const std::optional<Calibration>& calibration) {
  if (!calibration) return {};
  Json from;
  if (const auto* normal = std::get_if<FromNormalImages>(&calibration->from)) {
    const RateInterval interval = normal->rate().interval();
    from = Json(typename Json::Object{{"images", normal->images},
                                      {"groups", normal->groups},
                                      {"above", normal->above},
                                      {"asked_rate", normal->asked},
                                      {"correlation", normal->correlation},
                                      {"design_effect", normal->design_effect},
                                      {"expected_rate", normal->rate().expected()},
                                      {"rate_interval_95", Json(typename Json::Array{interval.low, interval.high})}});
  } else if (const auto* labelled = std::get_if<FromLabelledImages>(&calibration->from)) {
    from = Json(
        typename Json::Object{{"normal", labelled->normal}, {"anomalous", labelled->anomalous}, {"f1", labelled->f1}});
  }
  return Json(typename Json::Object{
      {"threshold", calibration->threshold}, {"spread", calibration->spread}, {"from", std::move(from)}});
}
// Reads it back; Error where the numbers make no calibration.
template <class String>
std::optional<Calibration> calibration_from(const BasicJson<String>& json) {
  if (json.is_null()) return std::nullopt;
  Calibration calibration{json.at("threshold").number(), json.at("spread").number()};
  const BasicJson<String>& from = json.at("from");
  const auto integer = [&from](const char* name) { return from.at(name).integer(); };
  const auto number = [&from](const char* name) { return from.at(name).number(); };
  if (from.is_null())
    calibration.from = {};
  else if (from.find("images"))
    calibration.from = FromNormalImages{integer("images"),    integer("groups"),     integer("above"),
                                        number("asked_rate"), number("correlation"), number("design_effect")};
  else
    calibration.from = FromLabelledImages{integer("normal"), integer("anomalous"), number("f1")};
  calibration.check();
  return calibration;
}

namespace detail {
// A name with a * is a stack of tensors: calls each(name with the number instead of *, its part of `whole`) for the
// indices of the first dimension; any other name is itself.
template <class T, class Each>
void for_each_stored(const std::string& name, const Tensor<T>& whole, Each&& each) {
  const std::size_t star = name.find('*');
  if (star == std::string::npos) return each(name, whole);
  for (std::int64_t i = 0; i < whole.size(0); ++i) {
    Shape shape;
    for (int k = 1; k < whole.rank(); ++k) shape.push_back(whole.size(k));
    each(std::string(name).replace(star, 1, std::to_string(i)), whole.slice(i, i + 1).reshape(shape));
  }
}
}  // namespace detail

// Adds every parameter of a module, its name after `prefix`; one whose name has a * as one tensor for each index of its
// first dimension, numbered in the place of the *.
template <class T, class Module>
void add_state(SafetensorsWriter& file, Module& module, const std::string& prefix) {
  module.parameters(
      [&](const std::string& name, nn::Parameter<T>& parameter) {
        detail::for_each_stored(name, parameter.value.to(Device::cpu()),
                                [&](const std::string& stored, const Tensor<T>& value) {
                                  file.add(stored, value.rank() == 4 ? permute(value, {0, 3, 1, 2}) : value);
                                });
      },
      prefix);
}

// For a module that load_state fills next: settings which claim more parameters than the file's tensors have numbers
// are an Error, whatever they claim.
template <class String>
nn::Initializer initializer_for(const BasicSafetensorsFile<String>& file) {
  std::int64_t numbers = 0;
  for (const String& name : file.names()) numbers += file.shape(name).numel();
  return nn::Initializer::to_be_read(numbers);
}

// Reads every parameter of a module from the tensor of its name after `prefix`; F32 is widened where T is double.
// IoError names the file and the tensor that is missing, has another shape or holds a value that is not finite.
template <class T, class Module>
void load_state(Module& module, const SafetensorsFile& file, const std::string& prefix) {
  module.parameters(
      [&](const std::string& parameter_name, nn::Parameter<T>& parameter) {
        detail::for_each_stored(parameter_name, parameter.value, [&](const std::string& name, Tensor<T> place) {
          Tensor<T> value = file.tensor_or_widen<T>(name);
          for (const T x : value.span())
            if (!std::isfinite(x)) throw IoError(file.path(), concat("tensor \"", name, "\" holds ", x));
          if (value.rank() == 4) value = permute(value, {0, 2, 3, 1});
          if (!(value.shape() == place.shape()))
            throw IoError(file.path(), concat("tensor \"", name, "\" has shape ", value.shape(),
                                              " (channels last), not ", place.shape()));
          place.copy_from(value);
        });
      },
      prefix);
}

}  // namespace cuttle
