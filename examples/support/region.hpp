// What --roi asks for.
#pragma once

#include <string>

#include "cuttle/models/region_of_interest.hpp"
#include "data_sets.hpp"

namespace console {

// data.evaluate of the region that is white in the image `roi`; of all where roi is empty.
template <class M>
cuttle::Evaluation evaluate_in_region(const M& model, const TestData& data, const std::string& roi,
                                      cuttle::BadFile bad_file) {
  if (roi.empty()) return data.evaluate(model, bad_file);
  if constexpr (requires { cuttle::InRegion(model, cuttle::Image()); })
    return data.evaluate(cuttle::InRegion(model, cuttle::read_image(roi), roi), bad_file);
  else
    throw cuttle::Error(
        cuttle::concat("--roi: a score of ", M::method, " is of the whole image; crop the images instead"));
}

}  // namespace console
