// A trained model of whichever method its file holds.
#pragma once

#include <concepts>
#include <filesystem>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "cuttle/models/patch_svdd.hpp"
#include "cuttle/models/squid.hpp"
#include "cuttle/models/state.hpp"

namespace cuttle {

// Every method of the library. Each has `method`, load, save, score, calibration, training, move_to and device.
template <std::same_as<float> T>
using BasicModel = std::variant<BasicPatchSvdd<T>, BasicSquid<T>>;
// The same in float, the only one there is.
using Model = BasicModel<float>;

namespace detail {
template <class... Methods>
std::variant<Methods...> load_one_of(const SafetensorsFile& file, std::type_identity<std::variant<Methods...>>) {
  const std::string& method = model_metadata(file, "method");
  std::optional<std::variant<Methods...>> model;
  std::string known;
  const auto try_method = [&]<class M>(std::type_identity<M>) {
    if (method == M::method) model.emplace(M::load(file));
    known += concat(known.empty() ? "" : ", ", M::method);
  };
  (try_method(std::type_identity<Methods>()), ...);
  if (!model) throw IoError(file.path(), concat("is a model of method \"", method, "\", none of ", known));
  return std::move(*model);
}
}  // namespace detail

// The model in a file that some method's save() wrote. IoError names the file and what does not fit.
template <std::same_as<float> T = float>
BasicModel<T> load_model(const SafetensorsFile& file) {
  return detail::load_one_of(file, std::type_identity<BasicModel<T>>());
}
// The same from a path.
template <std::same_as<float> T = float>
BasicModel<T> load_model(const std::filesystem::path& path) {
  return load_model<T>(SafetensorsFile(path));
}

}  // namespace cuttle
