// See report_svg.h.
#include "tools/bench/report_svg.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>

#include "common/base/strings.h"

namespace pingti::tools {
namespace {

constexpr double kPanelWidth = 420;
constexpr double kPanelHeight = 260;
constexpr double kLeft = 58;  // room for the axis
constexpr double kTop = 34;
constexpr double kPlotWidth = kPanelWidth - kLeft - 18;
constexpr double kPlotHeight = kPanelHeight - kTop - 42;
constexpr int kTicks = 4;

struct Series {
  const char* name;
  const char* css_class;
  std::function<double(const RunReport&)> value;
};

std::string Number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.4g", value);
  return text;
}

std::string Escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<') {
      out += "&lt;";
    } else if (c == '&') {
      out += "&amp;";
    } else {
      out += c;
    }
  }
  return out;
}

// 1, 2 or 5 times a power of ten, at least `value`.
double NiceCeiling(double value) {
  if (value <= 0) return 1;
  const double power = std::pow(10, std::floor(std::log10(value)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (value <= factor * power) return factor * power;
  }
  return 10 * power;
}

class Panel {
 public:
  Panel(const BenchReport& report, double x, double y, std::string title,
        std::vector<Series> series)
      : runs_(report.runs), x_(x + kLeft), y_(y + kTop), series_(std::move(series)) {
    double most_load = 0;
    double most_value = 0;
    for (const RunReport& run : runs_) {
      most_load = std::max(most_load, run.load);
      for (const Series& one : series_) most_value = std::max(most_value, one.value(run));
    }
    most_load_ = NiceCeiling(most_load);
    most_value_ = NiceCeiling(most_value);
    Text(kLeft - 44, -14, "title", title);
    Axes(report.options.rates.empty() ? "streams" : "due requests / s");
    for (size_t i = 0; i < series_.size(); ++i) Curve(series_[i], i);
  }
  std::string Take() { return std::move(out_); }

 private:
  double X(double load) const { return x_ + kPlotWidth * load / most_load_; }
  double Y(double value) const { return y_ + kPlotHeight * (1 - value / most_value_); }

  void Text(double dx, double dy, const char* css_class, const std::string& text) {
    out_ +=
        Concat("<text class=\"", std::string_view(css_class), "\" x=\"", Number(x_ - kLeft + dx),
               "\" y=\"", Number(y_ + dy), "\">", Escaped(text), "</text>\n");
  }

  void Axes(const char* load_name) {
    for (int i = 0; i <= kTicks; ++i) {
      const double value = most_value_ * i / kTicks;
      const double load = most_load_ * i / kTicks;
      out_ += Concat("<path class=\"grid\" d=\"M", Number(x_), " ", Number(Y(value)), "h",
                     Number(kPlotWidth), "\"/>\n");
      Text(kLeft - 6, Y(value) - y_ + 4, "y", Number(value));
      Text(X(load) - x_ + kLeft, kPlotHeight + 16, "x", Number(load));
    }
    Text(kLeft + kPlotWidth / 2, kPlotHeight + 32, "x", load_name);
  }

  void Curve(const Series& series, size_t index) {
    std::vector<const RunReport*> by_load;
    for (const RunReport& run : runs_) by_load.push_back(&run);
    std::sort(by_load.begin(), by_load.end(),
              [](const RunReport* a, const RunReport* b) { return a->load < b->load; });
    const std::string_view css_class = series.css_class;
    std::string path;
    for (const RunReport* run : by_load) {
      const std::string x = Number(X(run->load));
      const std::string y = Number(Y(series.value(*run)));
      path += Concat(path.empty() ? "M" : "L", x, " ", y);
      out_ += Concat("<circle class=\"", css_class, "\" cx=\"", x, "\" cy=\"", y, "\" r=\"3\"/>\n");
    }
    out_ += Concat("<path class=\"line ", css_class, "\" d=\"", path, "\"/>\n");
    if (series_.size() > 1) {
      Text(kPanelWidth - 150 + 45 * static_cast<double>(index), -14, series.css_class, series.name);
    }
  }

  const std::vector<RunReport>& runs_;
  const double x_;
  const double y_;
  const std::vector<Series> series_;
  double most_load_ = 1;
  double most_value_ = 1;
  std::string out_;
};

std::vector<Series> LatencySeries(Percentiles RunReport::*member) {
  return {{"p50", "a", [=](const RunReport& run) { return (run.*member).p50; }},
          {"p95", "b", [=](const RunReport& run) { return (run.*member).p95; }},
          {"p99", "c", [=](const RunReport& run) { return (run.*member).p99; }}};
}

constexpr std::string_view kStyle =
    "<style>text{font:12px system-ui,sans-serif;fill:#333}.title{font-weight:600}"
    ".x{text-anchor:middle}.y{text-anchor:end}.grid{stroke:#bbb;stroke-width:.5}"
    ".line{fill:none;stroke-width:2}.a{fill:#0a7;stroke:#0a7}.b{fill:#e80;stroke:#e80}"
    ".c{fill:#c25;stroke:#c25}.line{fill:none}text.a,text.b,text.c{stroke:none}"
    "@media(prefers-color-scheme:dark){svg{background:#111}text{fill:#ddd}.grid{stroke:#555}}"
    "</style>\n";

}  // namespace

std::string ReportSvg(const BenchReport& report) {
  const double width = 2 * kPanelWidth;
  const double height = 2 * kPanelHeight + 30;
  std::string out = Concat("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"", Number(width),
                           "\" height=\"", Number(height), "\" viewBox=\"0 0 ", Number(width), " ",
                           Number(height), "\">\n", kStyle);
  out += Concat("<text class=\"title\" x=\"14\" y=\"20\">", Escaped(report.model), "</text>\n");
  const auto panel = [&](int column, int row, const char* title, std::vector<Series> series) {
    out += Panel(report, kPanelWidth * column, 30 + kPanelHeight * row, title, std::move(series))
               .Take();
  };
  panel(0, 0, "TTFT / ms", LatencySeries(&RunReport::ttft_ms));
  panel(1, 0, "TPOT / ms", LatencySeries(&RunReport::tpot_ms));
  panel(0, 1, "E2E / ms", LatencySeries(&RunReport::e2e_ms));
  panel(1, 1, "output tokens / s",
        {{"", "a", [](const RunReport& run) { return run.output_tokens_per_s; }}});
  return out + "</svg>\n";
}

}  // namespace pingti::tools
