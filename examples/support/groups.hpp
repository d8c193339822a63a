// Images that belong together: exposures of one part, views of one patient. They stay on one side of every split.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <istream>
#include <map>
#include <regex>
#include <span>
#include <string>
#include <vector>

#include "cuttle/core/error.hpp"
#include "cuttle/data/folder.hpp"
#include "cuttle/data/image.hpp"

namespace console {

// The number of each sample's group: those whose paths inside `root` match `pattern` (ECMAScript, somewhere) with the
// same first capture have one, every other sample has its own. Empty: every sample has its own. Error: no regular
// expression, or one without a capture.
inline std::vector<std::int64_t> groups_of(std::span<const cuttle::Sample> samples, const std::filesystem::path& root,
                                           const std::string& pattern) {
  std::vector<std::int64_t> groups;
  std::regex regex;
  try {
    regex = std::regex(pattern);
  } catch (const std::regex_error& error) {
    throw cuttle::Error(cuttle::concat("--group: '", pattern, "' is no regular expression: ", error.what()));
  }
  if (!pattern.empty() && regex.mark_count() == 0)
    throw cuttle::Error(
        cuttle::concat("--group: '", pattern, "' captures nothing; put parentheses round what names a group"));
  std::map<std::string, std::int64_t> known;
  for (const cuttle::Sample& sample : samples) {
    const std::string name = sample.path.lexically_relative(root).string();
    const auto next = std::ssize(groups);
    std::smatch match;
    const bool matches = !pattern.empty() && std::regex_search(name, match, regex) && match[1].matched;
    groups.push_back(matches ? known.emplace(match[1].str(), next).first->second : next);
  }
  return groups;
}

// The numbers of groups by lines "image,group": an image is named by its path inside `root`, a group by any text;
// `name` stands in errors. IoError: a line is not of that form, a sample has no line.
inline std::vector<std::int64_t> groups_in(std::istream& in, const std::string& name,
                                           std::span<const cuttle::Sample> samples, const std::filesystem::path& root) {
  std::map<std::string, std::string> group_of;
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    const std::size_t comma = line.rfind(',');
    if (comma == std::string::npos || comma == 0 || comma + 1 == line.size())
      throw cuttle::IoError(name, cuttle::concat("line ", number, " is not 'image,group'"));
    group_of[line.substr(0, comma)] = line.substr(comma + 1);
  }
  std::map<std::string, std::int64_t> known;
  std::vector<std::int64_t> groups;
  for (const cuttle::Sample& sample : samples) {
    const std::string image = sample.path.lexically_relative(root).string();
    const auto found = group_of.find(image);
    if (found == group_of.end()) throw cuttle::IoError(name, cuttle::concat("has no line for ", image));
    groups.push_back(known.emplace(found->second, std::ssize(known)).first->second);
  }
  return groups;
}

// The same of a file. IoError, besides: it cannot be read.
inline std::vector<std::int64_t> groups_from(std::span<const cuttle::Sample> samples, const std::filesystem::path& root,
                                             const std::filesystem::path& file) {
  std::ifstream in(file);
  if (!in) throw cuttle::IoError(file.string(), "cannot be opened");
  return groups_in(in, file.string(), samples, root);
}

// Groups of images whose files say nothing of what belongs together, but were cut out of photographs by hand, so that
// exposures of one part have nearly one size and parts differ: an image joins the group of the nearest of the eight
// images before it whose height and width both differ from its own by less than 6 %. Parts of one size that follow one
// another become one group, which errs on the careful side.
inline std::vector<std::int64_t> groups_by_size(std::span<const cuttle::Sample> samples) {
  std::vector<cuttle::Shape> shapes;
  std::vector<std::int64_t> groups;
  const auto alike = [](std::int64_t a, std::int64_t b) {
    return static_cast<double>(std::abs(a - b)) < 0.06 * static_cast<double>(std::max(a, b));
  };
  for (const cuttle::Sample& sample : samples) {
    shapes.push_back(cuttle::read_image(sample.path).shape());
    const std::size_t i = groups.size();
    groups.push_back(static_cast<std::int64_t>(i));
    for (std::size_t back = 1; back <= std::min<std::size_t>(8, i); ++back) {
      if (!alike(shapes[i][0], shapes[i - back][0]) || !alike(shapes[i][1], shapes[i - back][1])) continue;
      groups[i] = groups[i - back];
      break;
    }
  }
  return groups;
}

}  // namespace console
