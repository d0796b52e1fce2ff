// A conversation as gpt-oss's chat template takes it. Pure.
#pragma once

#include "boost/json/fwd.hpp"

namespace pingti::router {

// Changes "messages" and "tools" of a template's context, which parsing has normalized:
// - thoughts ("reasoning_content") are called "thinking";
// - words beside a call and its thought become the thought's last line, for the template takes the
//   one or the other;
// - a turn of several calls becomes a turn for each, its results behind it, for the template writes
//   the first call alone and gives every result the name of the last;
// - a tool without a description has an empty one.
// Source: the chat template of openai/gpt-oss-20b.
void FitHarmonyTemplate(boost::json::object* context);

}  // namespace pingti::router
