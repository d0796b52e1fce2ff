// See call_syntax.h.
#include "router/pipeline/call_syntax.h"

#include <algorithm>
#include <utility>

#include "boost/json.hpp"
#include "common/base/strings.h"
#include "common/grammar/field_arguments.h"
#include "router/api/api_error.h"
#include "router/pipeline/harmony_calls.h"
#include "router/pipeline/tool_call_marks.h"

namespace pingti::router {
namespace json = boost::json;
namespace {

using grammar::FieldFrames;

std::string Quoted(std::string_view name) {
  return json::serialize(json::string_view(name.data(), name.size()));
}

std::string_view NameOf(const json::object& function) {
  const json::string& name = function.at("name").as_string();
  return {name.data(), name.size()};
}

const json::object& FunctionOf(const json::value& tool) {
  return tool.as_object().at("function").as_object();
}

const json::array& ToolsOf(const GenerationRequest& request) {
  return request.template_context->at("tools").as_array();
}

bool IsChosen(const GenerationRequest& request, const json::object& function) {
  return request.named_tool.empty() || request.named_tool == NameOf(function);
}

bool IsStrict(const json::object& function) {
  const json::value* strict = function.if_contains("strict");
  return strict != nullptr && *strict == true;
}

// The text around one forced call's arguments.
CallFrames::Call CallFrame(ToolCallFormat format, std::string_view name) {
  std::string begin = Concat("{\"name\": ", Quoted(name), ", \"arguments\": ");
  std::string end = "}";
  switch (format) {
    case ToolCallFormat::kLlama3Json:
      begin = Concat("{\"name\": ", Quoted(name), ", \"parameters\": ");
      break;
    case ToolCallFormat::kDeepSeek:
      begin =
          Concat(kDeepSeekCallBegin, "function", kDeepSeekSeparator, name, "\n", kDeepSeekFence);
      end = Concat("\n```", kDeepSeekCallEnd);
      break;
    case ToolCallFormat::kMistral:
      break;
    case ToolCallFormat::kHarmony:  // as HarmonySplitter hands it on
      begin = Concat(kHarmonyCallBegin, "functions.", name, kHarmonyMessage);
      end = kHarmonyCallEnd;
      break;
    default:
      begin = Concat(kHermesBegin, "\n", begin);
      end = Concat("}\n", kHermesEnd);
  }
  return {std::string(name), std::move(begin), std::move(end)};
}

// Arguments are an object, also where the tool's author did not say so.
json::object ArgumentsSchema(const json::object& function) {
  const json::value* parameters = function.if_contains("parameters");
  if (parameters == nullptr || !parameters->is_object()) {
    return json::object{{"type", "object"}, {"additionalProperties", false}};
  }
  json::object schema = parameters->get_object();
  for (const char* decides : {"type", "$ref", "anyOf", "oneOf", "allOf", "enum", "const"}) {
    if (schema.contains(decides)) return schema;
  }
  schema["type"] = "object";
  return schema;
}

// A schema for fields that says which there are and which are written bare, and no more.
json::object LooseFields(const json::object& schema) {
  json::object loose{{"type", "object"}};
  const json::value* properties = schema.if_contains("properties");
  if (properties == nullptr || !properties->is_object()) return loose;
  json::object& names = loose["properties"].emplace_object();
  for (const auto& property : properties->get_object()) {
    const json::object* object = property.value().if_object();
    const json::value* type = object == nullptr ? nullptr : object->if_contains("type");
    const bool is_text = type != nullptr && *type == "string";
    names[property.key()] = is_text ? json::object{{"type", "string"}} : json::object();
  }
  return loose;
}

json::object Frame(std::string_view begin, std::string_view separator, std::string_view end,
                   json::array calls) {
  return {{"begin", json::string(begin)},
          {"separator", json::string(separator)},
          {"end", json::string(end)},
          {"calls", std::move(calls)}};
}

json::object Call(std::string_view begin, json::object schema, std::string_view end) {
  return {
      {"begin", json::string(begin)}, {"schema", std::move(schema)}, {"end", json::string(end)}};
}

// Writes unforced calls of one request.
class UnforcedWriter {
 public:
  UnforcedWriter(const GenerationRequest& request, HeldArguments held)
      : tools_(ToolsOf(request)), held_(held) {}

  // A call with JSON arguments for each tool, `begin` and `end` around its name and arguments.
  template <typename Begin>
  json::array JsonCalls(const Begin& begin, std::string_view end) const {
    json::array calls;
    for (const json::value& tool : tools_) {
      const json::object& function = FunctionOf(tool);
      calls.push_back(Call(begin(NameOf(function)), JsonSchema(function), end));
    }
    return calls;
  }

  // A call with arguments as fields for each tool, Hermes' where they cannot be that.
  template <typename Begin>
  json::array FieldCalls(const Begin& begin, const FieldFrames& frames,
                         std::string_view end) const {
    json::array calls;
    for (const json::value& tool : tools_) {
      const json::object& function = FunctionOf(tool);
      json::object schema = FieldSchema(function);
      if (grammar::FitsFields(schema, frames)) {
        calls.push_back(WithFields(Call(begin(NameOf(function)), std::move(schema), end), frames));
      } else {
        const CallFrames::Call hermes = CallFrame(ToolCallFormat::kHermes, NameOf(function));
        calls.push_back(Call(hermes.begin, JsonSchema(function), hermes.end));
      }
    }
    return calls;
  }

  // [f(a=1), g()]. Nothing when a tool cannot be called so.
  std::optional<json::object> PythonCalls() const {
    const FieldFrames frames{.name_begin = "", .name_end = "=", .value_end = "", .separator = ", "};
    json::array calls;
    for (const json::value& tool : tools_) {
      const json::object& function = FunctionOf(tool);
      json::object schema = FieldSchema(function);
      if (!IsWord(NameOf(function)) || !grammar::FitsFields(schema, frames)) return std::nullopt;
      calls.push_back(
          WithFields(Call(Concat(NameOf(function), "("), std::move(schema), ")"), frames));
    }
    return Frame("[", ", ", "]", std::move(calls));
  }

 private:
  bool IsHeld(const json::object& function) const {
    return held_ == HeldArguments::kOfAllTools || IsStrict(function);
  }
  json::object JsonSchema(const json::object& function) const {
    return IsHeld(function) ? ArgumentsSchema(function) : json::object{{"type", "object"}};
  }
  json::object FieldSchema(const json::object& function) const {
    json::object schema = ArgumentsSchema(function);
    return IsHeld(function) ? schema : LooseFields(schema);
  }
  static json::object WithFields(json::object call, const FieldFrames& frames) {
    call["fields"] = json::object{{"name_begin", frames.name_begin},
                                  {"name_end", frames.name_end},
                                  {"value_end", frames.value_end},
                                  {"separator", frames.separator},
                                  {"bare_strings", frames.bare_strings}};
    return call;
  }
  // As python_calls.h reads names.
  static bool IsWord(std::string_view name) {
    return name.find_first_not_of(
               "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"
               ".-") == std::string_view::npos;
  }

  const json::array& tools_;
  const HeldArguments held_;
};

json::object HermesCalls(const UnforcedWriter& writer) {
  const auto begin = [](std::string_view name) {
    return CallFrame(ToolCallFormat::kHermes, name).begin;
  };
  return Frame("", "\n", "", writer.JsonCalls(begin, CallFrame(ToolCallFormat::kHermes, "").end));
}

json::object LlamaCalls(const UnforcedWriter& writer) {
  const auto begin = [](std::string_view name) {
    return CallFrame(ToolCallFormat::kLlama3Json, name).begin;
  };
  return Frame("", "; ", "", writer.JsonCalls(begin, "}"));
}

// As V3 and R1 write them, or as V3.1 does.
json::object DeepSeekCalls(const UnforcedWriter& writer) {
  const auto fenced = [](std::string_view name) {
    return CallFrame(ToolCallFormat::kDeepSeek, name).begin;
  };
  const auto bare = [](std::string_view name) {
    return Concat(kDeepSeekCallBegin, name, kDeepSeekSeparator);
  };
  json::object calls =
      Frame(kDeepSeekCallsBegin, "\n", kDeepSeekCallsEnd,
            writer.JsonCalls(fenced, CallFrame(ToolCallFormat::kDeepSeek, "").end));
  calls["others"] = json::array{
      Frame(kDeepSeekCallsBegin, "", kDeepSeekCallsEnd, writer.JsonCalls(bare, kDeepSeekCallEnd))};
  return calls;
}

// As one list, or as newer models do with a mark before each name.
json::object MistralCalls(const UnforcedWriter& writer) {
  const auto listed = [](std::string_view name) {
    return CallFrame(ToolCallFormat::kMistral, name).begin;
  };
  const auto named = [](std::string_view name) {
    return Concat(kMistralBegin, name, kMistralArguments);
  };
  json::object calls = Frame(Concat(kMistralBegin, "["), ", ", "]", writer.JsonCalls(listed, "}"));
  calls["others"] = json::array{Frame("", "", "", writer.JsonCalls(named, ""))};
  return calls;
}

// Each is numbered.
json::object KimiCalls(const UnforcedWriter& writer) {
  const auto begin = [](std::string_view name) {
    return Concat(kKimiCallBegin, "functions.", name, ":");
  };
  json::array calls = writer.JsonCalls(begin, kKimiCallEnd);
  for (json::value& call : calls) call.as_object()["number"] = json::string(kKimiArguments);
  return Frame(kKimiCallsBegin, "", kKimiCallsEnd, std::move(calls));
}

json::object QwenXmlCalls(const UnforcedWriter& writer) {
  const auto begin = [](std::string_view name) {
    return Concat(kHermesBegin, "\n<function=", name, ">\n");
  };
  const FieldFrames frames{.name_begin = "<parameter=",
                           .name_end = ">\n",
                           .value_end = "\n</parameter>\n",
                           .separator = "",
                           .bare_strings = true};
  return Frame("", "\n", "", writer.FieldCalls(begin, frames, Concat("</function>\n", kHermesEnd)));
}

json::object GlmCalls(const UnforcedWriter& writer) {
  const auto begin = [](std::string_view name) { return Concat(kHermesBegin, name, "\n"); };
  const FieldFrames frames{.name_begin = "<arg_key>",
                           .name_end = "</arg_key>\n<arg_value>",
                           .value_end = "</arg_value>\n",
                           .separator = "",
                           .bare_strings = true};
  return Frame("", "\n", "", writer.FieldCalls(begin, frames, kHermesEnd));
}

std::optional<json::object> InSyntaxOf(const ServedModel& model, const UnforcedWriter& writer) {
  switch (model.tool_calls) {
    case ToolCallFormat::kNone:
      return std::nullopt;
    case ToolCallFormat::kHarmony:
      if (!HoldsMessages(model)) return std::nullopt;
      return HarmonyCalls(writer.JsonCalls([](std::string_view name) { return name; }, ""));
    case ToolCallFormat::kHermes:
      return HermesCalls(writer);
    case ToolCallFormat::kLlama3Json:
      return LlamaCalls(writer);
    case ToolCallFormat::kDeepSeek:
      return DeepSeekCalls(writer);
    case ToolCallFormat::kQwenXml:
      return QwenXmlCalls(writer);
    case ToolCallFormat::kGlm:
      return GlmCalls(writer);
    case ToolCallFormat::kPythonic:
      return writer.PythonCalls();
    case ToolCallFormat::kMistral:
      return MistralCalls(writer);
    case ToolCallFormat::kKimi:
      return KimiCalls(writer);
  }
  return std::nullopt;
}

}  // namespace

ToolCallFormat ForcedCallFormat(const ServedModel& model) {
  switch (model.tool_calls) {
    case ToolCallFormat::kLlama3Json:
    case ToolCallFormat::kDeepSeek:
    case ToolCallFormat::kMistral:
      return model.tool_calls;
    case ToolCallFormat::kHarmony:
      return HoldsMessages(model) ? model.tool_calls : ToolCallFormat::kHermes;
    default:
      return ToolCallFormat::kHermes;
  }
}

CallFrames ForcedCallFrames(const ServedModel& model, const GenerationRequest& request) {
  const ToolCallFormat format = ForcedCallFormat(model);
  CallFrames frames{.begin = "", .separator = "\n", .end = "", .calls = {}};
  if (format == ToolCallFormat::kLlama3Json) frames.separator = "; ";
  if (format == ToolCallFormat::kDeepSeek) {
    frames.begin = kDeepSeekCallsBegin;
    frames.end = kDeepSeekCallsEnd;
  }
  if (format == ToolCallFormat::kMistral) {
    frames = {.begin = Concat(kMistralBegin, "["), .separator = ", ", .end = "]", .calls = {}};
  }
  for (const json::value& tool : ToolsOf(request)) {
    if (!IsChosen(request, FunctionOf(tool))) continue;
    frames.calls.push_back(CallFrame(format, NameOf(FunctionOf(tool))));
  }
  return frames;
}

absl::StatusOr<json::object> ForcedCalls(const ServedModel& model,
                                         const GenerationRequest& request) {
  const CallFrames frames = ForcedCallFrames(model, request);
  if (frames.calls.empty()) {
    return FieldError("tool_choice", Concat("'tool_choice' names '", request.named_tool,
                                            "', which is none of the 'tools'"));
  }
  const bool as_message = ForcedCallFormat(model) == ToolCallFormat::kHarmony;
  json::array calls;
  for (const json::value& tool : ToolsOf(request)) {
    if (!IsChosen(request, FunctionOf(tool))) continue;
    const CallFrames::Call& frame = frames.calls[calls.size()];
    calls.push_back(Call(as_message ? frame.name : frame.begin, ArgumentsSchema(FunctionOf(tool)),
                         as_message ? std::string_view() : frame.end));
  }
  if (as_message) return HarmonyForcedCalls(std::move(calls));
  json::object source = Frame(frames.begin, frames.separator, frames.end, std::move(calls));
  // One tool by name is one call.
  source["many"] = request.parallel_tool_calls && request.named_tool.empty();
  return source;
}

std::optional<json::object> UnforcedCalls(const ServedModel& model,
                                          const GenerationRequest& request, HeldArguments held) {
  std::optional<json::object> calls = InSyntaxOf(model, UnforcedWriter(request, held));
  // A call of Harmony's ends the turn.
  if (!calls.has_value() || model.tool_calls == ToolCallFormat::kHarmony) return calls;
  (*calls)["many"] = request.parallel_tool_calls;
  if (json::value* others = calls->if_contains("others")) {
    for (json::value& other : others->as_array()) {
      other.as_object()["many"] = request.parallel_tool_calls;
    }
  }
  return calls;
}

CallStart StartOf(ToolCallFormat format) {
  switch (format) {
    case ToolCallFormat::kLlama3Json:
      return {"unless", "{"};
    case ToolCallFormat::kPythonic:
      return {"unless", "["};
    case ToolCallFormat::
        kDeepSeek:  // what its marks around all calls and around one have in common
      return {"free", "<｜tool▁call"};
    case ToolCallFormat::kKimi:
      return {"free", "<|tool_call"};
    case ToolCallFormat::kMistral:
      return {"free", kMistralBegin};
    default:
      return {"free", kHermesBegin};
  }
}

}  // namespace pingti::router
