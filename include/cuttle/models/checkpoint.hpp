// Training runs in files: all that the next step depends on, so that a run which was stopped goes on as if it never had
// been.
//
// A trainer that can be stopped has
//   run_kind                       the method of its files, as models have one
//   Json::Object identity()        everything else that its steps depend on; two runs of one identity are the same run
//   void state(visit)              calls visit(name, tensor) for every tensor that steps change
//   std::int64_t steps()           how many were made, of recipe().steps
//   void continue_after(steps)     goes on behind so many steps, with a state that was copied in
#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <type_traits>

#include "cuttle/io/checksum.hpp"
#include "cuttle/io/json.hpp"
#include "cuttle/io/safetensors.hpp"
#include "cuttle/models/state.hpp"
#include "cuttle/nn/optim.hpp"

namespace cuttle {

// A checksum of a tensor's extents and bytes: tells whether a run goes on with the images that it began with.
template <class T>
std::string fingerprint(const Tensor<T>& tensor) {
  const Tensor<T> here = tensor.to(Device::cpu());
  Checksum checksum;
  for (const std::int64_t extent : here.shape()) checksum.add(static_cast<std::uint64_t>(extent));
  return checksum.add(std::as_bytes(here.span())).text();
}

// Calls visit(name, tensor) for what training a module changes: the arena's values, Adam's moments, and the parameters
// that no gradient reaches, such as running statistics.
template <class T, class Module, class Visit>
void for_each_changing(Module& module, const std::string& name, nn::ParameterArena<T>& arena, nn::Adam<T>& adam,
                       Visit&& visit) {
  visit(name + ".values", arena.values());
  visit(name + ".first_moment", adam.first_moment());
  visit(name + ".second_moment", adam.second_moment());
  module.parameters(
      [&](const std::string& parameter_name, nn::Parameter<T>& parameter) {
        if (!parameter.trainable) visit(parameter_name, parameter.value);
      },
      name + ".");
}

// Writes the run as it is, whole or not at all; notes are the caller's own, and load_checkpoint gives them back.
template <class Trainer>
void save_checkpoint(const std::filesystem::path& path, Trainer& trainer, const Json& notes = {}) {
  SafetensorsWriter file;
  trainer.state([&](const std::string& name, const auto& tensor) { file.add(name, tensor); });
  add_method(file, Trainer::run_kind,
             Json(Json::Object{{"run", Json(trainer.identity())}, {"steps", Json(trainer.steps())}, {"notes", notes}}));
  file.write(path);
}

// Brings a trainer that has made no step to where the run in the file was, and returns the notes. IoError names the
// file and what does not fit: another run (which part of its identity), a tensor that is missing, misshapen or not
// finite. The trainer is of no use after that.
template <class Trainer>
Json load_checkpoint(const SafetensorsFile& file, Trainer& trainer) {
  check_method(file, Trainer::run_kind);
  try {
    const Json settings = model_settings(file);
    for (const auto& [name, value] : trainer.identity()) {
      const std::string there = settings.at("run").at(name).dump(), here = Json(value).dump();
      if (there != here)
        throw IoError(file.path(), concat("is of another run: its ", name, " is ", there, ", not ", here));
    }
    trainer.state([&]<class T>(const std::string& name, Tensor<T>& tensor) {
      const Tensor<T> stored = file.tensor<T>(name);
      require(stored.shape() == tensor.shape(), "tensor \"", name, "\" has shape ", stored.shape(), ", not ",
              tensor.shape());
      if constexpr (std::is_floating_point_v<T>)
        for (const T x : stored.span()) require(std::isfinite(x), "tensor \"", name, "\" holds ", x);
      tensor.copy_from(stored);
    });
    const std::int64_t steps = settings.at("steps").integer();
    require(steps >= 0 && steps <= trainer.recipe().steps, "steps is ", steps);
    trainer.continue_after(steps);
    return settings.at("notes");
  } catch (const IoError&) {
    throw;
  } catch (const Error& error) {
    throw IoError(file.path(), error.what());
  }
}
// The same from a path.
template <class Trainer>
Json load_checkpoint(const std::filesystem::path& path, Trainer& trainer) {
  return load_checkpoint(SafetensorsFile(path), trainer);
}

}  // namespace cuttle
