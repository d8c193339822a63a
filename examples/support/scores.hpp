// What a program says of each image: a line for people, a row of CSV, an object of JSON.
#pragma once

#include <charconv>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "console.hpp"
#include "cuttle/models/evaluation.hpp"

namespace console {

// The decision on image i; unset where the model has no threshold.
inline std::optional<bool> anomalous(const cuttle::Evaluation& evaluation, std::size_t i) {
  if (!evaluation.calibration) return {};
  return evaluation.calibration->anomalous(evaluation.scores[i]);
}
inline bool any_anomalous(const cuttle::Evaluation& evaluation) {
  for (std::size_t i = 0; i < evaluation.scores.size(); ++i)
    if (anomalous(evaluation, i).value_or(false)) return true;
  return false;
}

// path, score (normalised: 0.5 is the cut), raw_score, anomalous, label (0 or 1), kind. What is not known is null.
inline cuttle::Json::Object score_json(const cuttle::Evaluation& evaluation, std::size_t i) {
  using cuttle::Json;
  const cuttle::Sample& sample = evaluation.samples[i];
  const double raw = evaluation.scores[i];
  const std::optional<bool> decision = anomalous(evaluation, i);
  return {{"path", sample.path.string()},
          {"score", decision ? Json(evaluation.calibration->normalised(raw)) : Json()},
          {"raw_score", json_or_null(raw)},
          {"anomalous", decision ? Json(*decision) : Json()},
          {"label", sample.label == cuttle::Label::unknown ? Json() : Json(static_cast<int>(sample.label))},
          {"kind", sample.kind.empty() ? Json() : Json(sample.kind)}};
}

// Quoted where it has to be, as RFC 4180 has it.
inline std::string csv_field(const cuttle::Json& value) {
  if (value.is_null()) return "";
  const std::string text = value.dump();
  if (text[0] != '"') return text;
  const std::string& plain = value.string();
  if (plain.find_first_of(",\"\r\n") == std::string::npos) return plain;
  std::string quoted(1, '"');
  for (const char c : plain) quoted.append(c == '"' ? 2 : 1, c);
  return quoted.append(1, '"');
}

// A row for each image under a row of names. What is not known is empty.
inline std::string scores_csv(const cuttle::Evaluation& evaluation) {
  std::string names, rows;
  for (std::size_t i = 0; i < evaluation.samples.size(); ++i) {
    const cuttle::Json::Object score = score_json(evaluation, i);
    for (std::size_t k = 0; k < score.size(); ++k) {
      const char* const end = k + 1 < score.size() ? "," : "\n";
      if (i == 0) names.append(score[k].first).append(end);
      rows.append(csv_field(score[k].second)).append(end);
    }
  }
  return names + rows;
}

// JSON Lines: an object a line.
inline std::string scores_json_lines(const cuttle::Evaluation& evaluation) {
  std::string text;
  for (std::size_t i = 0; i < evaluation.samples.size(); ++i)
    text += cuttle::Json(score_json(evaluation, i)).dump() + "\n";
  return text;
}

// A line for each image: the normalised score and the decision, or the score as it is where the model has no threshold.
inline void print_scores(const cuttle::Evaluation& evaluation, std::FILE* to) {
  for (std::size_t i = 0; i < evaluation.samples.size(); ++i) {
    const std::optional<bool> decision = anomalous(evaluation, i);
    const char* const path = evaluation.samples[i].path.c_str();
    if (decision)
      std::fprintf(to, "%.4f  %s  %s\n", evaluation.calibration->normalised(evaluation.scores[i]),
                   *decision ? "anomalous" : "normal   ", path);
    else
      std::fprintf(to, "%.6g  %s\n", evaluation.scores[i], path);
  }
}

}  // namespace console
