// Writes the embedded woven set as a folder in MVTec AD's layout: something real to train on, with masks.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "cuttle/data/woven.hpp"
#include "support/console.hpp"

int main(int argc, char** argv) {
  std::string folder;
  cuttle::WovenCounts counts;
  std::uint64_t seed = 1;
  std::int64_t size = 256;
  CLI::App app{"Writes photographs of woven cloth, normal and with planted defects.", "write_woven"};
  app.add_option("folder", folder, "where to write train/, test/ and ground_truth/")->required();
  app.add_option("--train", counts.train_good, "normal images to train on")->check(CLI::PositiveNumber);
  app.add_option("--test-good", counts.test_good, "normal images to test on")->check(CLI::PositiveNumber);
  app.add_option("--each-defect", counts.each_defect, "images of each kind of defect")->check(CLI::PositiveNumber);
  app.add_option("--size", size, "pixels a side")->check(CLI::Range(32, 4096));
  app.add_option("--seed", seed, "another seed, another cloth");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return console::run("write_woven", [&] {
    cuttle::write_woven_tree(folder, counts, seed, size);
    std::printf("wrote %lld normal images to train on, %lld to test and %lld of each of %zu defects to %s\n",
                static_cast<long long>(counts.train_good), static_cast<long long>(counts.test_good),
                static_cast<long long>(counts.each_defect), cuttle::woven_kinds.size() - 1, folder.c_str());
    return 0;
  });
}
