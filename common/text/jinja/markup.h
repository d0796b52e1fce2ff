// Text that is markup already, as MarkupSafe's Markup: what `safe` and `escape` make. Text that is
// put together with it is escaped, and most of what is made of it is markup too. Templates of chats
// get there by writing `"..."|safe + text`. Stateless.
#pragma once

#include <string>
#include <string_view>

#include "common/text/jinja/value.h"

namespace pingti::text::jinja {

// & < > " ' as HTML's entities.
std::string EscapeHtml(std::string_view text);
// `value` printed: as it is when it is markup, else escaped.
std::string EscapedText(const Value& value);
// `result`, which was made of `self`: its texts are markup when `self` is. A list or tuple of texts
// is taken item by item.
Value Alike(const Value& self, Value result);

}  // namespace pingti::text::jinja
