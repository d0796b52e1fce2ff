// Reads the JSON files of tests/golden/text. Test code only.
#pragma once

#include <boost/json.hpp>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>

#include "tests/testing/source_dir.h"

namespace pingti::text {

inline std::string ReadGoldenText(const std::string& name) {
  const std::string path = SourcePath("tests/golden/text/" + name);
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot open " + path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline boost::json::value ReadGoldenJson(const std::string& name) {
  return boost::json::parse(ReadGoldenText(name));
}

}  // namespace pingti::text
