#include "router/pipeline/model_names.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pingti::router {
namespace {

TEST(ModelNames, AnAliasMeansItsModelAndConfiguresIt) {
  ModelNames names;
  EXPECT_EQ(names.Resolve("r1"), "r1");
  EXPECT_FALSE(names.IsConfigured("r1"));
  names.Replace(*MakeModelTable({"a"}, {"deepseek-reasoner=r1", "deepseek-chat=a"}));
  EXPECT_EQ(names.Resolve("deepseek-reasoner"), "r1");
  EXPECT_EQ(names.Resolve("r1"), "r1");
  EXPECT_TRUE(names.IsConfigured("a"));
  EXPECT_TRUE(names.IsConfigured("r1"));
  EXPECT_FALSE(names.IsConfigured("deepseek-reasoner")) << "a name, not a model";
  names.Replace({});
  EXPECT_EQ(names.Resolve("deepseek-reasoner"), "deepseek-reasoner");
}

TEST(MakeModelTable, RefusesWhatIsAmbiguous) {
  const std::vector<std::vector<std::string>> kBad = {{"alias"},   {"=m"},         {"alias="},
                                                      {"m=other"}, {"x=m", "x=n"}, {"x=y", "y=m"}};
  for (const std::vector<std::string>& aliases : kBad) {
    const absl::Status status = MakeModelTable({"m"}, aliases).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << aliases.back();
    EXPECT_NE(status.message().find("model alias '"), absl::string_view::npos) << status;
  }
  EXPECT_NE(MakeModelTable({"m", ""}, {}).status().message().find("models: ''"),
            absl::string_view::npos);
  EXPECT_TRUE(MakeModelTable({}, {}).ok());
}

}  // namespace
}  // namespace pingti::router
