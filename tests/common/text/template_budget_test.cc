// No template uses more time or memory than its limits say, whatever it shares, nests, compares or
// prints: known attacks, and programs that are generated. Counts the memory of the whole process,
// so it is a program of its own.
#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <boost/json.hpp>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "common/text/chat_template.h"

namespace {

std::atomic<size_t> live_bytes{0};
std::atomic<size_t> peak_bytes{0};

void* Allocate(size_t size) {
  void* memory = std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  const size_t live = live_bytes += malloc_usable_size(memory);
  size_t peak = peak_bytes;
  while (live > peak && !peak_bytes.compare_exchange_weak(peak, live)) {
  }
  return memory;
}

void Free(void* memory) {
  if (memory == nullptr) return;
  live_bytes -= malloc_usable_size(memory);
  std::free(memory);
}

}  // namespace

void* operator new(size_t size) { return Allocate(size); }
void* operator new[](size_t size) { return Allocate(size); }
// What std::stable_sort takes.
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  try {
    return Allocate(size);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void operator delete(void* memory) noexcept { Free(memory); }
void operator delete[](void* memory) noexcept { Free(memory); }
void operator delete(void* memory, size_t) noexcept { Free(memory); }
void operator delete[](void* memory, size_t) noexcept { Free(memory); }

namespace pingti::text {
namespace {

constexpr ChatTemplateLimits kLimits{
    .max_output_bytes = 1 << 20, .max_value_bytes = 4 << 20, .max_steps = 300'000, .max_depth = 50};
// Values, what filters keep beside them while they work, and the parsed template.
constexpr size_t kMaxBytes = 6 * kLimits.max_value_bytes;
// 300,000 steps are hundredths of a second; sanitizers and a busy machine take their share.
constexpr double kMaxSeconds = 5;

double CpuSeconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

absl::StatusOr<std::string> Render(const std::string& source) {
  auto parsed = ChatTemplate::Parse(source, kLimits);
  if (!parsed.ok()) return parsed.status();
  static const boost::json::value context =
      boost::json::parse(R"({"a": [1, [2, "x"]], "b": {"k": "v", "n": {"m": [3]}}, "c": "text"})");
  return (*parsed)->Render(context.as_object(), {});
}

// Renders within the limits and returns what it ended with.
absl::Status RenderCounted(const std::string& source) {
  const size_t before = live_bytes;
  peak_bytes = before;
  const double start = CpuSeconds();
  const absl::Status status = Render(source).status();
  EXPECT_LT(peak_bytes - before, kMaxBytes) << source;
  EXPECT_LT(CpuSeconds() - start, kMaxSeconds) << source;
  return status;
}

// `times` doublings of ns.x, then `use` of it.
std::string Doubled(const std::string& step, int times, const std::string& use) {
  return "{% set ns=namespace(x=[1], y=[1]) %}{% for i in range(" + std::to_string(times) + ") %}" +
         step + "{% endfor %}" + use;
}

TEST(TemplateBudgetTest, WhatIsSharedIsChargedAsOftenAsItIsVisited) {
  const std::vector<std::string> doublings = {
      "{% set ns.x=[ns.x,ns.x] %}{% set ns.y=[ns.y,ns.y] %}",
      "{% set ns.x=(ns.x,ns.x) %}{% set ns.y=(ns.y,ns.y) %}",
      "{% set ns.x={'a':ns.x,'b':ns.x} %}{% set ns.y={'a':ns.y,'b':ns.y} %}",
      "{% set ns.x=[namespace(p=ns.x),namespace(p=ns.x)] %}{% set ns.y=ns.x %}"};
  const std::vector<std::string> uses = {
      "{{ ns.x|string|length }}", "{{ ns.x }}",        "{{ '%s' % [ns.x] }}",
      "{{ '{}'.format(ns.x) }}",  "{{ ns.x|tojson }}", "{{ ns.x ~ 'a' }}",
      "{{ [ns.x]|join(',') }}",   "{{ ns.x|upper }}",  "{{ ns.x is lower }}"};
  for (const std::string& doubling : doublings) {
    for (const std::string& use : uses) {
      const absl::Status status = RenderCounted(Doubled(doubling, 30, use));
      EXPECT_FALSE(status.ok()) << doubling << use;
    }
  }
  for (const std::string use :
       {"{{ ns.x == ns.y }}", "{{ ns.x < ns.y }}", "{{ [ns.x]|unique|list|length }}",
        "{{ [ns.x, ns.y]|sort }}", "{{ [ns.x, ns.y]|max }}", "{{ ns.x in [ns.y] }}",
        "{{ [ns.x].index(ns.y) }}", "{{ [ns.x].count(ns.y) }}", "{{ {ns.x: 1}[ns.y] }}",
        "{% for i in [1,2] %}{{ loop.changed(ns.x if i == 1 else ns.y) }}{% endfor %}"}) {
    for (const std::string& doubling : {doublings[0], doublings[1]}) {
      (void)RenderCounted(Doubled(doubling, 30, use));  // bounded, whatever becomes of it
    }
  }
}

TEST(TemplateBudgetTest, TextCostsWhatIsReadAndCopiedOfIt) {
  const std::string big = "{% set t = 'ab' * 400000 %}";
  const std::string loop = "{% for i in range(99999) %}";
  for (const std::string use : {"{% if t|length %}{% endif %}",
                                "{% if t is upper %}{% endif %}",
                                "{% if t.startswith(t) %}{% endif %}",
                                "{% if t == 'ba' * 400000 %}{% endif %}",
                                "{% if 'aab' in t %}{% endif %}",
                                "{% if t[-1] %}{% endif %}",
                                "{% if t[5:] %}{% endif %}",
                                "{% if t|trim('xyz') %}{% endif %}",
                                "{% if t.find('zz') %}{% endif %}",
                                "{% if t.rfind('zz') %}{% endif %}",
                                "{% if t.count('ba') %}{% endif %}",
                                "{% if t.isalnum() %}{% endif %}",
                                "{% if t.partition('zz') %}{% endif %}",
                                "{% if t|wordcount %}{% endif %}",
                                "{% if {t: 1}[t] %}{% endif %}",
                                "{% if t|default('') %}{% endif %}",
                                "{% if t|list %}{% endif %}",
                                "{% if t|urlencode %}{% endif %}",
                                "{% if t|int %}{% endif %}",
                                "{% if t.removeprefix(t) %}{% endif %}",
                                "{% if t.split('b') %}{% endif %}",
                                "{% if t|indent %}{% endif %}",
                                "{% if [t, t]|max %}{% endif %}"}) {
    EXPECT_EQ(RenderCounted(big + loop + use + "{% endfor %}").code(),
              absl::StatusCode::kResourceExhausted)
        << use;
  }
}

TEST(TemplateBudgetTest, IntegersCostWhatTheirLengthsMake) {
  const std::string numbers = "{% set n = 3 ** 20000 %}{% set d = 10 ** 4200 %}";
  for (const std::string use :
       {"n * n", "n ** 2", "n // d", "n % d", "d ~ ''", "'%x' % n", "'{:b}'.format(n)",
        "[d]|tojson", "{d: 1}[d]", "(d ~ '')|int", "n / d", "[n + 1] == [n]"}) {
    EXPECT_EQ(RenderCounted(numbers + "{% for i in range(99999) %}{% if " + use +
                            " %}{% endif %}{% endfor %}")
                  .code(),
              absl::StatusCode::kResourceExhausted)
        << use;
  }
  for (const std::string use : {"2 ** (10 ** 30)", "2 ** 65537", "3 ** 99999",
                                "(2 ** 65000) * (2 ** 65000)", "(2 ** 65535) * 2 + 2 ** 65535"}) {
    EXPECT_EQ(RenderCounted("{% set x = " + use + " %}").code(),
              absl::StatusCode::kResourceExhausted)
        << use;
  }
  EXPECT_TRUE(RenderCounted("{{ (2 ** 65535 - 1) % 10 }}").ok());
  // Each is alive.
  EXPECT_EQ(RenderCounted("{% set ns = namespace(x=[]) %}{% for i in range(9999) %}"
                          "{% set ns.x = ns.x[-1:] + [2 ** 65000 + i] %}{% endfor %}"
                          "{% set l = [] %}{% for i in range(300) %}{% set v = 2 ** 65000 + i %}"
                          "{{ '' if v else '' }}{% endfor %}")
                .code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(TemplateBudgetTest, SearchesTakeTimeInProportionToTheText) {
  const std::string texts = "{% set t = 'a' * 900000 %}{% set w = 'a' * 400000 %}";
  for (const std::string use :
       {"{{ w ~ 'b' in t }}", "{{ 'b' ~ w in t }}", "{{ t.rfind('b' ~ w) }}",
        "{{ t.rfind(w ~ 'b') }}", "{{ t.count(w ~ 'b') }}", "{{ t|replace(w ~ 'b', '')|length }}",
        "{{ t.split(w ~ 'b')|length }}", "{{ t.rsplit('b' ~ w)|length }}",
        "{{ t.partition(w ~ 'b')|length }}"}) {
    const absl::Status status = RenderCounted(texts + use);
    EXPECT_TRUE(status.ok() || status.code() == absl::StatusCode::kResourceExhausted) << status;
  }
}

TEST(TemplateBudgetTest, WhatIsHeldWhileOtherThingsAreEvaluatedCounts) {
  const std::string big = "{% set t = 'a' * 900000 %}";
  std::string nested = "t";
  for (int i = 0; i < 40; ++i) nested = "t ~ (" + nested + ")";
  std::string blocks, ends;
  for (int i = 0; i < 40; ++i) {
    blocks += "{% set v" + std::to_string(i) + " %}{{ t }}";
    ends += "{% endset %}";
  }
  std::string lists;
  for (int i = 0; i < 40; ++i) lists += "{% for c" + std::to_string(i) + " in l %}";
  for (int i = 0; i < 40; ++i) lists += "{% endfor %}";
  std::string scopes;
  for (int i = 0; i < 2000; ++i) scopes += "{% set u" + std::to_string(i) + " = 1 %}";
  for (const std::string& source : std::vector<std::string>{
           big + "{{ " + nested + " }}",
           big + blocks + ends,
           "{% set l = range(60000)|list %}" + lists,
           "{% for i in range(99999) %}{% macro m() %}{{ i }}{% endmacro %}{% endfor %}",
           "{% for i in range(99999) %}{% if namespace(a=i) %}{% endif %}{% endfor %}",
           scopes + "{% for i in range(99999) %}{% if range %}{% endif %}{% endfor %}",
           big + "{% set ns=namespace(l=[]) %}{% for i in range(999) %}"
                 "{% set ns.l = [ns.l, {}[t ~ i]] %}{% endfor %}",
           "{{ '%(a)900000d' * 50 % {'a': 1} }}",
           "{{ '%(a).900000d' * 50 % {'a': 1} }}",
           "{{ '%(a).900000f' * 50 % {'a': 1} }}",
           "{{ '%(a)900000s' * 50 % {'a': 1} }}",
           "{{ '%*d' % (10 ** 9, 1) }}",
           "{{ 'x' * 10 ** 9 }}",
           "{{ [1] * 10 ** 8 }}",
           "{{ ('ab' * 400000) * 1000 }}",
           "{{ ('{0:900000d}' * 50).format(1) }}",
           "{{ ('x ' * 400000)|wordwrap(1, true, 'ab' * 99) }}",
           "{{ ('\\n' * 900000).splitlines()|length }}",
           "{{ ('\\n' * 900000)|wordwrap }}",
           "{{ ('\\n' * 900000)|pprint }}",
           "{{ ([[['word ' * 30] * 30] * 30] * 30)|pprint }}",
           "{{ 'abc' .translate({97: 'x' * 900000, 98: 'x' * 900000}) }}",
           "{{ ([1] * 99999)|tojson(indent=1000) }}",
           "{{ ('x' * 999)|center(999999999999999999) }}",
           "{{ [1]|batch(999999999999, 0)|list }}",
           "{{ [1]|slice(999999999999)|list }}",
           "{{ strftime_now('%c' * 400000) }}",
           "{{ ('\\n' * 900000)|indent(900000) }}",
           "{{ raise_exception('a' * 900000) }}"}) {
    EXPECT_FALSE(RenderCounted(source).ok()) << source.substr(0, 200);
  }
}

TEST(TemplateBudgetTest, AnErrorsMessageIsShort) {
  const auto result = Render("{{ raise_exception('\u00e9' * 400000) }}");
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_LT(result.status().message().size(), 2100u);
}

// A program of the language that shares, nests, compares and prints at random.
class Generator {
 public:
  explicit Generator(uint64_t seed) : random_(seed) {}

  std::string Program() {
    std::string out = "{% set ns = namespace(x=[1], y='t') %}";
    for (int i = 0; i < 4; ++i) out += Statement(0);
    return out;
  }

 private:
  size_t Below(size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random_); }
  std::string Pick(const std::vector<std::string>& of) { return of[Below(of.size())]; }

  std::string Statement(int depth) {
    const std::string body = depth < 3 ? Statement(depth + 1) + Statement(depth + 1) : "";
    switch (Below(8)) {
      case 0:
        return "{% for i in range(" + Pick({"3", "40", "5000"}) + ") %}" + body + "{% endfor %}";
      case 1:
        return "{% for i in " + Sequence(0) + " %}" + body + "{% endfor %}";
      case 2:
        return "{% if " + Any(0) + " == " + Any(0) + " %}" + body + "{% else %}x{% endif %}";
      case 3:
        return "{% set v %}" + body + "{{ " + Any(0) + " }}{% endset %}";
      case 4:
        return "{% macro m(q) %}" + body + "{% endmacro %}{{ m(" + Any(0) + ") }}";
      case 5:
        return "{{ " + Any(0) + " }}" + body;
      case 6:
        return "{% set ns.x = [" + Any(0) + ", ns.x, " + Pick({"ns.x", "1"}) + "] %}" + body;
      default:
        return "{% set ns.y = ns.y ~ " + Text(0) + " %}" + body;
    }
  }

  std::string Any(int depth) {
    switch (Below(5)) {
      case 0:
        return Pick({"a", "b", "c", "i", "v", "q", "1", "2.5", "none", "ns"});
      case 1:
        return "{'k': " + (depth < 4 ? Any(depth + 1) : "1") + ", " + Text(depth + 1) + ": 1}";
      case 2:
        return Sequence(depth + 1);
      case 3:
        return "(" + Sequence(depth + 1) + "[" + Pick({"0", "-1", "1:", "::-1"}) + "])";
      default:
        return Text(depth + 1);
    }
  }

  std::string Sequence(int depth) {
    if (depth > 4) return Pick({"ns.x", "a", "[1]"});
    switch (Below(5)) {
      case 0:
        return "[" + Any(depth + 1) + ", " + Any(depth + 1) + "]";
      case 1:
        return "(" + Sequence(depth + 1) + " + " + Sequence(depth + 1) + ")";
      case 2:
        return "(" + Text(depth + 1) + Pick({".split('1')", "|list", ".splitlines()"}) + ")";
      case 3:
        return "(" + Sequence(depth + 1) +
               Pick({"|list", "|reverse|list", "|map('string')|sort", "|batch(2, 0)|list",
                     "|slice(3)|list", "|map('string')|unique|list", " * 3", "[1:]"}) +
               ")";
      default:
        return "ns.x";
    }
  }

  std::string Text(int depth) {
    if (depth > 4) return Pick({"ns.y", "c", "'s'"});
    switch (Below(5)) {
      case 0:
        return "(" + Any(depth + 1) + Pick({" ~ ", "|string ~ "}) + Any(depth + 1) + ")";
      case 1:
        return "(" + Any(depth + 1) +
               Pick({"|string", "|upper", "|e", "|string|urlencode", "|replace('1', '22')"}) + ")";
      case 2:
        return "(" + Sequence(depth + 1) + Pick({"|join(',')", "|string|indent", "|first|string"}) +
               ")";
      case 3:
        return "('%s{}'.format(ns.x) % [" + Any(depth + 1) + "])";
      default:
        return Pick({"ns.y", "'text'"});
    }
  }

  std::mt19937_64 random_;
};

TEST(TemplateBudgetTest, GeneratedProgramsStayWithinTheirLimits) {
  int rendered = 0, exhausted = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    const absl::Status status = RenderCounted(Generator(seed).Program());
    rendered += status.ok();
    exhausted += status.code() == absl::StatusCode::kResourceExhausted;
    EXPECT_NE(status.code(), absl::StatusCode::kInternal) << status;
  }
  // The generator says something only when its programs end in every way.
  EXPECT_GT(rendered, 20);
  EXPECT_GT(exhausted, 5);
}

}  // namespace
}  // namespace pingti::text
