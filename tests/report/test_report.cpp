// The report: its figures are those of the evaluation, its curves follow from the points, and nothing in it leaves the
// page or breaks out of it.
#include "cuttle/report/report.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "tests/support/catch.hpp"
#include "tests/support/temporary_folder.hpp"

using namespace cuttle;
using cuttle_test::Approx;
using cuttle_test::contains;

namespace {

// Scores that are maps' largest pixels; anomalous images have a mask over the hot pixels. Twelve rows, eight columns.
Evaluation evaluation_of(const std::vector<double>& scores, const std::vector<Label>& labels,
                         const std::vector<std::string>& kinds = {}) {
  Evaluation e;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const std::string kind = kinds.empty() ? "" : kinds[i];
    e.samples.push_back({"folder/" + std::to_string(i) + ".png", labels[i], kind, {}});
    e.scores.push_back(static_cast<double>(static_cast<float>(scores[i])));
    auto map = Tensor<float>::full({12, 8}, static_cast<float>(scores[i]) / 64);
    map.data()[3 * 8 + 2] = map.data()[3 * 8 + 3] = static_cast<float>(scores[i]);
    e.maps.push_back(map);
    e.reconstructions.push_back({});
    e.regions.push_back({});
    e.masks.push_back({});
    if (labels[i] != Label::anomalous) continue;
    e.masks.back() = Tensor<std::uint8_t>::zeros({12, 8});
    e.masks.back().data()[3 * 8 + 2] = 1;
  }
  e.seconds_per_image = 0.0125;
  return e;
}

// Ten images, of which 4 and 6 are mistakes at the threshold 8: one alarm (10) and one missed (7).
Evaluation labelled() {
  using enum Label;
  Evaluation e =
      evaluation_of({1, 2, 3, 4, 10, 7, 16, 20, 30, 40},
                    {normal, normal, normal, normal, normal, anomalous, anomalous, anomalous, anomalous, anomalous},
                    {"good", "good", "good", "good", "good", "hole", "hole", "spot", "spot", "spot"});
  e.calibration = Calibration{8, 2};
  cuttle::detail::add_image_metrics(e);
  cuttle::detail::add_pixel_metrics(e);
  return e;
}

Image picture_of(std::size_t i) { return Image::full({24, 16, 3}, static_cast<std::uint8_t>(20 * i)); }

const ReportOptions options{"parts.safetensors", "parts", "patch_svdd", {}};

std::string page_of(const Evaluation& e, const ReportOptions& o = options) { return report_html(e, o, picture_of); }

// "" where every element is closed in order, attributes are quoted and text holds no bare < or >.
std::string markup_fault(const std::string& page) {
  static const std::set<std::string> empty{"meta", "input"};
  std::vector<std::string> open;
  if (!page.starts_with("<!DOCTYPE html>\n")) return "no doctype";
  for (std::size_t at = 16; at < page.size();) {
    if (page[at] == '>') return concat("bare > at ", at);
    if (page[at] != '<') {
      ++at;
      continue;
    }
    const bool closes = page[++at] == '/';
    at += closes;
    const std::size_t named = at;
    while (at < page.size() && (std::isalnum(static_cast<unsigned char>(page[at])) || page[at] == '-')) ++at;
    const std::string name = page.substr(named, at - named);
    if (name.empty()) return concat("bare < at ", named);
    std::set<std::string> attributes;
    bool self = false;
    while (at < page.size() && page[at] != '>') {
      if (page[at] == '/' && page[at + 1] == '>') {
        self = true;
        ++at;
        continue;
      }
      if (page[at++] != ' ') return concat("no space before an attribute of ", name, " at ", at);
      const std::size_t start = at;
      while (std::isalpha(static_cast<unsigned char>(page[at])) || page[at] == '-' ||
             std::isdigit(static_cast<unsigned char>(page[at])))
        ++at;
      if (at == start) return concat("no attribute at ", at, " of ", name);
      if (!attributes.insert(page.substr(start, at - start)).second) return "an attribute twice in " + name;
      if (page[at] != '=') continue;
      if (page[++at] != '"') return "an attribute without quotes in " + name;
      const std::size_t end = page.find('"', at + 1);
      if (end == std::string::npos) return "an attribute without an end in " + name;
      if (page.substr(at, end - at).find('<') != std::string::npos) return "< in an attribute of " + name;
      at = end + 1;
    }
    ++at;
    if (closes) {
      if (open.empty() || open.back() != name)
        return concat("</", name, "> closes ", open.empty() ? "nothing" : open.back());
      open.pop_back();
    } else if (!self && !empty.contains(name)) {
      open.push_back(name);
      if (name == "style") at = page.find("</style>", at);
    }
  }
  return open.empty() ? "" : "open: " + open.back();
}

// Everything between two texts, each time.
std::vector<std::string> between(const std::string& page, const std::string& before, const std::string& after) {
  std::vector<std::string> found;
  for (std::size_t at = 0; (at = page.find(before, at)) != std::string::npos;) {
    at += before.size();
    found.push_back(page.substr(at, page.find(after, at) - at));
  }
  return found;
}

// The figure of a card of the summary.
std::string fact(const std::string& page, const std::string& name) {
  const auto found = between(page, "<dt>" + name + "</dt><dd>", "</dd>");
  return found.size() == 1 ? found[0] : concat(found.size(), " of them");
}

std::vector<report::Point> coordinates(const std::string& path) {
  std::vector<report::Point> points;
  static const std::regex pair("[ML](-?[0-9.]+) (-?[0-9.]+)");
  for (std::sregex_iterator at(path.begin(), path.end(), pair), end; at != end; ++at)
    points.push_back({(std::stod((*at)[1]) - 46) / 302, (226 - std::stod((*at)[2])) / 200});
  return points;
}

double area_under(const std::vector<report::Point>& curve) {
  double area = 0;
  for (std::size_t i = 1; i < curve.size(); ++i)
    area += (curve[i].x - curve[i - 1].x) * (curve[i].y + curve[i - 1].y) / 2;
  return area;
}

// Nothing that a browser would ask a network or a disk for, and nothing that runs.
void check_closed(const std::string& page) {
  CHECK(markup_fault(page) == "");
  CHECK(page.find("http:") == std::string::npos);
  CHECK(page.find("https:") == std::string::npos);
  CHECK(page.find("url(") == std::string::npos);
  CHECK(page.find("@import") == std::string::npos);
  CHECK(page.find("src=") == std::string::npos);
  CHECK(page.find("<script") == std::string::npos);
  CHECK(page.find("<link") == std::string::npos);
  for (const std::string& href : between(page, "href=\"", "\""))
    CHECK((href.starts_with("#i") || href.starts_with("data:image/png;base64,") ||
           href.starts_with("data:image/jpeg;base64,")));
  CHECK_THAT(page, contains("default-src 'none'; img-src data:; style-src 'unsafe-inline'"));
  for (const char* word : {"nan", "inf"}) {
    const std::regex number(concat("[ \":>,(]-?", word, "[ \"<,)%]"));
    CHECK_FALSE(std::regex_search(std::regex_replace(page, std::regex("base64,[A-Za-z0-9+/=]*"), ""), number));
  }
}

}  // namespace

TEST_CASE("report: figures are those of the evaluation") {
  const Evaluation e = labelled();
  const std::string page = page_of(e);
  check_closed(page);
  // 24 of 25 pairs: the alarm (10) lies above the missed one (7) alone.
  CHECK(fact(page, "Image AUROC") == "0.9600");
  CHECK(fact(page, "Image AUROC") == report::fixed(*e.image_auroc, 4));
  CHECK(fact(page, "Average precision") == report::fixed(*e.image_ap, 4));
  CHECK(fact(page, "Pixel AUROC") == report::fixed(*e.pixel_auroc, 4));
  CHECK(fact(page, "AUPRO") == report::fixed(*e.aupro, 4));
  CHECK(fact(page, "Threshold") == "8");
  CHECK(fact(page, "Called anomalous") == "5");
  CHECK(fact(page, "Recall") == "0.800");
  CHECK(fact(page, "False alarms") == "20.0 %");
  CHECK(fact(page, "F1") == "0.800");
  CHECK(fact(page, "Time") == "12.5 ms");
  CHECK(page.find("Made by cuttle " + std::string(version_string) + ".") != std::string::npos);
  CHECK_THAT(
      page,
      contains(
          "10 images: 5 normal, 5 anomalous. <strong>5 called anomalous</strong>; 1 defect missed, 1 false alarm."));
  CHECK_THAT(page, contains("<dd class=\"more\">chosen by hand</dd>"));

  CHECK(between(page, "<td class=\"right\">", "</td>") ==
        std::vector<std::string>{"4<small>right</small>", "4<small>found</small>"});
  CHECK(between(page, "<td class=\"wrong\">", "</td>") ==
        std::vector<std::string>{"1<small>false alarms</small>", "1<small>missed</small>"});
  // hole: 7 and 16 against 1 2 3 4 10, 9 of 10 pairs, one called; its median 11.5 is z = 1.75.
  CHECK_THAT(page, contains("<tr><th scope=\"row\">hole</th><td class=\"number\">2</td><td class=\"number\">0.9000</td>"
                            "<td class=\"number\">1<span class=\"wide\"> (50.0 %)</span></td>"));
  CHECK_THAT(page,
             contains("<tr><th scope=\"row\">good</th><td class=\"number\">5</td><td class=\"number\">\xE2\x80\x93</td>"
                      "<td class=\"number\">1<span class=\"wide\"> (20.0 %)</span></td><td class=\"number\">" +
                      report::fixed(e.calibration->normalised(3), 3)));

  // Cards from the largest score down, with their mistakes.
  std::vector<std::string> names;
  for (const std::string& head : between(page, "<div class=\"row\"><h3>", "</h3>")) names.push_back(head);
  CHECK(names == std::vector<std::string>{"9.png", "8.png", "7.png", "6.png", "4.png", "5.png", "3.png", "2.png",
                                          "1.png", "0.png"});
  CHECK(between(page, "is-k0 is-alarm", "</article>").size() == 1);
  CHECK_THAT(between(page, "is-k0 is-alarm", "</article>")[0], contains("<h3>4.png"));
  CHECK_THAT(between(page, "is-k1 is-missed", "</article>")[0], contains("<h3>5.png"));
  CHECK_THAT(page, contains("missed <span>1</span>"));
  CHECK_THAT(page, contains("spot <span>3</span>"));
}

TEST_CASE("report: the threshold's origin, and what it promises") {
  Evaluation e = labelled();
  // 19 images, none above: Beta(1, 19), of mean 1/20; its quantiles are 1 - (1 - p)^(1/19).
  e.calibration->from = FromNormalImages{19, 19, 0, 0.05, 0, 1};
  const auto quantile = [](double p) { return report::fixed(100 * (1 - std::pow(1 - p, 1.0 / 19)), 1); };
  CHECK_THAT(page_of(e), contains("from 19 normal images; false-positive rate expected: 5.0 % (95 %: " +
                                  quantile(0.025) + " to " + quantile(0.975) + ")"));
  e.calibration->from = FromLabelledImages{7, 5, 0.9};
  CHECK_THAT(page_of(e), contains("of the largest F1 on 12 labelled images seen before"));
}

TEST_CASE("report: outside a region of interest nothing is shown") {
  Evaluation e = labelled();
  for (std::size_t i = 0; i < e.regions.size(); ++i) {
    e.regions[i] = Tensor<std::uint8_t>::full({12, 8}, 1);
    e.regions[i].data()[3 * 8 + 3] = 0;  // one of the two hot pixels
  }
  const std::string page = page_of(e);
  check_closed(page);
  CHECK_THAT(page, contains("class=\"decision\" transform=\"scale(2.000000 2.000000)\" d=\"M2 3h1v1h-1z\""));
  CHECK(page.find("M2 3h2v1h-2z") == std::string::npos);
  CHECK_THAT(page, contains("Outside the region of interest nothing counts"));
}

TEST_CASE("report: the same evaluation gives the same bytes, and a file is written whole") {
  const cuttle_test::TemporaryFolder folder;
  const Evaluation e = labelled();
  write_report(folder / "page.html", e, options, picture_of);
  CHECK(read_file(folder / "page.html") == page_of(e));
  CHECK_THROWS_AS(write_report(folder / "no" / "page.html", e, options, picture_of), IoError);
}

TEST_CASE("report: curves follow from the operating points") {
  const Evaluation e = labelled();
  const std::string page = page_of(e);
  const auto paths = between(page, "<path class=\"curve\" d=\"", "\"");
  REQUIRE(paths.size() == 2);
  const auto roc = coordinates(paths[0]), precision = coordinates(paths[1]);
  CHECK(roc.front() == report::Point{0, 0});
  CHECK(roc.back() == report::Point{1, 1});
  CHECK(area_under(roc) == Approx(*e.image_auroc).margin(1e-4));
  CHECK(area_under(precision) == Approx(*e.image_ap).margin(1e-4));
  // Corners of the ROC curve: up to four fifths, over the alarm, up, and to the end.
  REQUIRE(roc.size() == 5);
  CHECK(roc[1].y == Approx(0.8).margin(1e-4));
  CHECK(roc[2].x == Approx(0.2).margin(1e-4));
  CHECK(roc[3].y == Approx(1).margin(1e-4));
  // Both mark where decisions are made: false-positive rate 0.2, recall 0.8; precision 0.8.
  const auto marks = between(page, "<circle class=\"mark\" r=\"5\" ", "/>");
  CHECK(marks == std::vector<std::string>{"cx=\"106.40\" cy=\"66.00\"", "cx=\"287.60\" cy=\"66.00\""});
}

TEST_CASE("report: ties make slanted pieces of the ROC curve") {
  using enum Label;
  Evaluation e = evaluation_of({1, 2, 2, 2, 3}, {normal, normal, anomalous, anomalous, anomalous});
  cuttle::detail::add_image_metrics(e);
  const auto paths = between(page_of(e), "<path class=\"curve\" d=\"", "\"");
  REQUIRE(paths.size() == 2);
  CHECK(area_under(coordinates(paths[0])) == Approx(*e.image_auroc).margin(1e-4));
  CHECK(area_under(coordinates(paths[1])) == Approx(*e.image_ap).margin(1e-4));
}

TEST_CASE("report: the histogram holds every labelled image once, on its side of the threshold") {
  Evaluation e = labelled();
  e.samples[0].label = Label::unknown;
  std::map<std::string, std::int64_t> below, above;
  static const std::regex bar("class=\"(normal|anomalous)\" x=\"([0-9.]+)\".*?<title>[^:]*: ([0-9]+)");
  const std::string page = page_of(e);
  for (std::sregex_iterator at(page.begin(), page.end(), bar), end; at != end; ++at)
    (std::stod((*at)[2]) < 46 + 151 ? below : above)[(*at)[1]] += std::stoll((*at)[3]);
  CHECK(below == std::map<std::string, std::int64_t>{{"anomalous", 1}, {"normal", 3}});
  CHECK(above == std::map<std::string, std::int64_t>{{"anomalous", 4}, {"normal", 1}});

  const std::vector<double> values{0, 0.49999999999999994, 0.5, 1, 1};
  const auto counts = report::histogram(values, std::vector<std::uint8_t>{0, 1, 0, 1, 0}, report::Axis::unit());
  CHECK(counts.normal[0] == 1);
  CHECK(counts.anomalous[11] == 1);
  CHECK(counts.normal[12] == 1);
  CHECK(counts.normal[23] + counts.anomalous[23] == 2);
}

TEST_CASE("report: axes show their values") {
  using report::Axis;
  for (const std::vector<double>& values : {std::vector<double>{3},
                                            {0, 0},
                                            {-2, 5},
                                            {1e-9, 4e-8, 1e-3},
                                            {0.02, 0.021},
                                            {1, 1e12},
                                            {-1e-8, 3e-9},
                                            {1.1, 8.9},
                                            {0.015, 0.22},
                                            {9, 8900}}) {
    const Axis axis = Axis::covering(values);
    double before = -1;
    for (const Axis::Tick& tick : axis.ticks()) {
      CHECK(axis.shows(tick.value));
      CHECK(axis.at(tick.value) > before);
      CHECK(axis.value_at(axis.at(tick.value)) == Approx(tick.value).margin(1e-12));
      CHECK(std::stod(tick.label) == Approx(tick.value).epsilon(1e-3).margin(1e-12));
      before = axis.at(tick.value);
    }
    CHECK(axis.ticks().size() >= 2);
    CHECK(axis.ticks().size() <= 10);
    for (const double value : values) CHECK(axis.shows(value));
  }
  CHECK(Axis::covering(std::vector<double>{1, 8}).logarithmic());
  CHECK_FALSE(Axis::covering(std::vector<double>{1, 7}).logarithmic());
  CHECK_FALSE(Axis::covering(std::vector<double>{0, 8}).logarithmic());
}

TEST_CASE("report: names cannot break out of the page") {
  const std::string evil = "<script>alert(1)</script>&\".png",
                    escaped = "&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;.png";
  Evaluation e = labelled();
  e.samples[7].path = std::filesystem::path("x") / "<script>alert(1)<" / "script>&\".png";
  e.samples[8].path = "'quotes' \"both\"\x01\xFF.png";
  for (std::size_t i = 5; i < 7; ++i) e.samples[i].kind = evil;
  e.skipped.push_back({"folder/<b>.png", "folder/<b>.png: is </td> no image"});
  ReportOptions o{evil, evil, evil, Json(Json::Object{{"<i>", "</table>"}, {"list", Json(Json::Array{1, "\"<"})}})};
  cuttle::detail::add_image_metrics(e);
  const std::string page = page_of(e, o);
  check_closed(page);
  CHECK(between(page, escaped, " ").size() > 5);
  CHECK_THAT(page, contains("<h3>script&gt;&amp;&quot;.png</h3>"));
  CHECK_THAT(page, contains("<h3>&#39;quotes&#39; &quot;both&quot;\xEF\xBF\xBD\xEF\xBF\xBD.png</h3>"));
  CHECK_THAT(page, contains("<th scope=\"row\">&lt;b&gt;.png</th><td>is &lt;/td&gt; no image</td>"));
  CHECK_THAT(page, contains("<th scope=\"row\">&lt;i&gt;</th><td>&lt;/table&gt;</td>"));
}

TEST_CASE("report: what is not known is left out") {
  SECTION("no labels and no threshold: scores alone") {
    const std::string page = page_of(evaluation_of({1, 2, 30}, std::vector<Label>(3, Label::unknown)));
    check_closed(page);
    CHECK_THAT(page, contains("there are scores, and no decisions"));
    CHECK(page.find("AUROC") == std::string::npos);
    CHECK(page.find("<table class=\"counts\">") == std::string::npos);
    CHECK(page.find("called ") == std::string::npos);
    CHECK(page.find("class=\"decision\"") == std::string::npos);
    CHECK_THAT(page, contains("The axis is logarithmic."));
    CHECK(fact(page, "Images") == "3");
  }
  SECTION("one image of unknown label, a threshold") {
    Evaluation e = evaluation_of({9}, {Label::unknown});
    e.calibration = Calibration{8, 2};
    const std::string page = page_of(e);
    check_closed(page);
    CHECK_THAT(page, contains("<p class=\"lead\">1 image. <strong>1 called anomalous</strong>."));
    CHECK(page.find("Recall") == std::string::npos);
  }
  SECTION("normal images alone") {
    Evaluation e = evaluation_of({1, 9}, std::vector<Label>(2, Label::normal));
    e.calibration = Calibration{8, 2};
    cuttle::detail::add_image_metrics(e);
    const std::string page = page_of(e);
    check_closed(page);
    CHECK(fact(page, "False alarms") == "50.0 %");
    CHECK(page.find("Image AUROC") == std::string::npos);
    CHECK(page.find("<dt>F1") == std::string::npos);
  }
  SECTION("no threshold of the model's own: the page says whose it takes") {
    Evaluation e = labelled();
    e.calibration.reset();
    e.at_own_threshold.reset();
    const std::string page = page_of(e);
    check_closed(page);
    CHECK_THAT(page, contains("of the largest F1 on these very images"));
    CHECK(fact(page, "Threshold") == report::significant(e.f1_max->threshold, 4));
    CHECK(fact(page, "F1") == report::fixed(e.f1_max->counts.f1(), 3));
  }
  SECTION("all scores alike") {
    check_closed(page_of(evaluation_of({0, 0, 0}, {Label::normal, Label::unknown, Label::normal})));
  }
}

TEST_CASE("report: contours are those of the decision and of the mask") {
  Evaluation e = labelled();
  const auto card = [](const std::string& page, const std::string& name) {
    for (const std::string& text : between(page, "<article", "</article>"))
      if (text.find("<h3>" + name + "</h3>") != std::string::npos) return text;
    return std::string();
  };
  SECTION("a score that is the largest pixel: the pixels at the threshold") {
    const std::string page = page_of(e);
    // Pixels (3,2) and (3,3) of a map that is half the image in each direction.
    CHECK_THAT(card(page, "9.png"),
               contains("<path class=\"decision\" transform=\"scale(2.000000 2.000000)\" d=\"M2 3h2v1h-2z\"/>"));
    CHECK_THAT(card(page, "9.png"),
               contains("<path class=\"truth\" transform=\"scale(2.000000 2.000000)\" d=\"M2 3h1v1h-1z\"/>"));
    CHECK(card(page, "5.png").find("\"decision\"") == std::string::npos);  // called normal: no pixel reaches it
    CHECK_THAT(card(page, "4.png"), contains("\"decision\""));
    CHECK(card(page, "4.png").find("\"truth\"") == std::string::npos);
    CHECK_THAT(page, contains("each of which alone makes its image anomalous"));
  }
  SECTION("a threshold between floats rounds up, so that the contour never shows what does not decide") {
    const float pixel = 16;
    e.calibration->threshold = std::nextafter(static_cast<double>(pixel), 17.0);
    cuttle::detail::add_image_metrics(e);
    CHECK(card(page_of(e), "6.png").find("\"decision\"") == std::string::npos);
    e.calibration->threshold = static_cast<double>(pixel);
    cuttle::detail::add_image_metrics(e);
    CHECK_THAT(card(page_of(e), "6.png"), contains("\"decision\""));
  }
  SECTION("any other score: the 99.5th percentile of the normal pixels") {
    for (double& score : e.scores) score += 1;
    const std::string page = page_of(e);
    CHECK_THAT(page, contains("pixels above 99.5 % of those of the normal images here"));
    // 480 normal pixels, of which the 477th from below is 4.
    CHECK_THAT(card(page, "3.png"), contains("d=\"M2 3h2v1h-2z\""));
    CHECK(card(page, "2.png").find("\"decision\"") == std::string::npos);
  }
}

TEST_CASE("report: the reconstruction stands beside the input") {
  Evaluation e = labelled();
  CHECK(page_of(e).find("reconstruction") == std::string::npos);
  for (Image& reconstruction : e.reconstructions) reconstruction = Image::full({6, 6, 1}, 77);
  const std::string page = page_of(e);
  check_closed(page);
  CHECK(between(page, "<figcaption>reconstruction", "<").size() == 10);
}

TEST_CASE("report: pictures decode to what was put in, at the size that was asked for") {
  Evaluation e = evaluation_of({5}, {Label::unknown});
  ReportOptions o = options;
  o.image_side = 16;
  const auto decode = [](const std::string& uri) {
    static const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::vector<std::byte> bytes;
    std::uint32_t bits = 0;
    int held = 0;
    for (const char c : uri.substr(uri.find(',') + 1)) {
      if (c == '=') break;
      bits = bits << 6 | static_cast<std::uint32_t>(digits.find(c));
      if ((held += 6) >= 8) bytes.push_back(static_cast<std::byte>(bits >> (held -= 8) & 255));
    }
    return decode_image(bytes, "uri");
  };
  const std::string page = report_html(e, o, [](std::size_t) { return Image::full({30, 60, 3}, 99); });
  const auto uris = between(page, " href=\"data:", "\"");
  REQUIRE(uris.size() == 2);
  const Image picture = decode(uris[0]);
  CHECK(picture.shape() == Shape{8, 16, 1});  // without colour: one channel
  for (const std::uint8_t pixel : picture.span()) CHECK(std::abs(pixel - 99) <= 1);
  // The heat: hot where the map is, nothing elsewhere; transparency shows as black.
  const Image heat = decode(uris[1]);
  REQUIRE(heat.shape() == Shape{12, 8, 3});
  CHECK(heat.data()[(3 * 8 + 2) * 3] > 150);
  CHECK(heat.data()[0] == 0);
}

TEST_CASE("report: the gallery holds mistakes first, then the most anomalous, then some of all") {
  std::vector<double> scores;
  std::vector<std::uint8_t> mistakes(100, 0);
  for (int i = 0; i < 100; ++i) scores.push_back(100 - i);
  mistakes[50] = mistakes[90] = 1;
  CHECK(report::shown_samples(scores, mistakes, 100).size() == 100);
  const auto shown = report::shown_samples(scores, mistakes, 12);
  REQUIRE(shown.size() == 12);
  CHECK(std::ranges::is_sorted(shown));  // of falling scores
  for (const std::size_t i : {50u, 90u, 0u, 1u, 2u, 3u, 4u}) CHECK(std::ranges::count(shown, i) == 1);
  CHECK(std::ranges::count_if(shown, [](std::size_t i) { return i > 50; }) >= 3);
  CHECK(report::shown_samples(scores, mistakes, 1) == std::vector<std::size_t>{50});
  CHECK(report::shown_samples(scores, mistakes, 0).empty());

  ReportOptions o = options;
  o.images = 3;
  std::vector<std::size_t> asked;
  const std::string page = report_html(labelled(), o, [&](std::size_t i) {
    asked.push_back(i);
    return picture_of(i);
  });
  CHECK(asked == std::vector<std::size_t>{9, 4, 5});
  CHECK_THAT(page, contains("Shown are 3 of 10"));
  o.images = 0;
  check_closed(page_of(labelled(), o));
}

TEST_CASE("report: what does not fit is an error") {
  Evaluation e = labelled();
  CHECK_THROWS_WITH(page_of(Evaluation()), "report: no images");
  e.scores[3] = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_WITH(page_of(e), contains("the score of folder/3.png is nan"));
  e = labelled();
  e.maps.pop_back();
  CHECK_THROWS_WITH(page_of(e), contains("10 samples, but 10 scores, 9 maps"));
  ReportOptions o = options;
  o.image_side = 4;
  CHECK_THROWS_WITH(page_of(labelled(), o), contains("image_side is 4"));
}

TEST_CASE("report: numbers and base64") {
  using namespace cuttle::report;
  CHECK(fixed(0.12345, 3) == "0.123");
  CHECK(fixed(-0.0001, 2) == "0.00");
  CHECK(fixed(std::nan(""), 2) == no_number);
  CHECK(significant(1234567, 4) == "1.235e+06");
  CHECK(significant(0.5, 4) == "0.5");
  const auto encoded = [](std::string_view text) { return base64(std::as_bytes(std::span(text))); };
  // RFC 4648, section 10.
  CHECK(encoded("") == "");
  CHECK(encoded("f") == "Zg==");
  CHECK(encoded("fo") == "Zm8=");
  CHECK(encoded("foo") == "Zm9v");
  CHECK(encoded("foobar") == "Zm9vYmFy");
}
