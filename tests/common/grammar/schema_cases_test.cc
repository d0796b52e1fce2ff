// JSON Schemas and texts that a validator has judged: tests/golden/grammar/schema_cases.json, which
// make_schema_cases.py beside it writes.
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <fstream>
#include <sstream>
#include <string>

#include "tests/common/grammar/test_vocabulary.h"
#include "tests/testing/source_dir.h"

namespace pingti::grammar {
namespace {

TEST(SchemaCases, GrammarsAcceptWhatIsValidAndOfTheirForm) {
  std::ifstream file(SourcePath("tests/golden/grammar/schema_cases.json"));
  std::ostringstream text;
  text << file.rdbuf();
  const boost::json::value cases = boost::json::parse(text.str());
  ASSERT_GT(cases.as_array().size(), 400u);
  for (const boost::json::value& one : cases.as_array()) {
    const std::string schema = boost::json::serialize(one.at("schema"));
    const auto grammar = CompileForTest(GrammarSource::Kind::kJsonSchema, schema);
    EXPECT_TRUE(grammar.ok()) << schema << ": " << grammar.status();
    if (!grammar.ok()) continue;
    for (const char* verdict : {"yes", "no"}) {
      for (const boost::json::value& judged : one.at(verdict).as_array()) {
        EXPECT_EQ(Matches(*grammar, judged.as_string()), verdict == std::string_view("yes"))
            << schema << " / " << judged;
      }
    }
  }
}

}  // namespace
}  // namespace pingti::grammar
