// See schema_format.h.
#include "common/grammar/schema_format.h"

namespace pingti::grammar {
namespace {

#define PINGTI_DATE                                                                           \
  "[12][0-9]{3}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)" \
  "|02-(0[1-9]|1[0-9]|2[0-8]))"
#define PINGTI_TIME \
  "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
#define PINGTI_LABEL "[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?"
#define PINGTI_HOST PINGTI_LABEL "(\\." PINGTI_LABEL "){0,4}"
#define PINGTI_OCTET "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define PINGTI_IPV4 PINGTI_OCTET "(\\." PINGTI_OCTET "){3}"
#define PINGTI_GROUP "[0-9a-f]{1,4}"

struct Format {
  std::string_view name;
  std::string_view pattern;
};

constexpr Format kFormats[] = {
    {"date", PINGTI_DATE},                       // RFC 3339, full-date
    {"time", PINGTI_TIME},                       // RFC 3339, full-time
    {"date-time", PINGTI_DATE "T" PINGTI_TIME},  // RFC 3339, date-time
    // RFC 3339, appendix A.
    {"duration",
     "P([0-9]{1,6}W|([0-9]{1,6}Y)?([0-9]{1,6}M)?[0-9]{1,6}D(T[0-9]{1,6}H)?"
     "|T([0-9]{1,6}H)?([0-9]{1,6}M)?[0-9]{1,6}S)"},
    {"uuid", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"},  // RFC 4122
    {"email",
     "[A-Za-z0-9_+-]{1,32}(\\.[A-Za-z0-9_+-]{1,16})?@" PINGTI_LABEL "(\\." PINGTI_LABEL "){1,3}"},
    {"hostname", PINGTI_HOST},  // RFC 1123
    {"ipv4", PINGTI_IPV4},
    {"ipv6",  // RFC 4291: all eight groups, or a gap between the first and the last ones
     "(" PINGTI_GROUP ":){7}" PINGTI_GROUP "|::(" PINGTI_GROUP "(:" PINGTI_GROUP
     "){0,5})?|(" PINGTI_GROUP ":){1,3}(:" PINGTI_GROUP "){1,3}"},
    {"uri", "[a-z][a-z0-9+.-]{0,15}://" PINGTI_HOST "(/[A-Za-z0-9._~-]{0,64}){0,16}"
            "(\\?[A-Za-z0-9._~=&-]{0,128})?(#[A-Za-z0-9._~-]{0,64})?"},  // RFC 3986
};

#undef PINGTI_DATE
#undef PINGTI_TIME
#undef PINGTI_LABEL
#undef PINGTI_HOST
#undef PINGTI_OCTET
#undef PINGTI_IPV4
#undef PINGTI_GROUP

}  // namespace

std::string_view PatternOfFormat(std::string_view format) {
  for (const Format& known : kFormats) {
    if (known.name == format) return known.pattern;
  }
  return "";
}

}  // namespace pingti::grammar
