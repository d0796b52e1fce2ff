// Boost.JSON's own kinds of text as std::string_view.
#pragma once

#include <boost/json/string.hpp>
#include <boost/json/string_view.hpp>
#include <string_view>

namespace pingti::grammar {

inline std::string_view View(const boost::json::string& text) { return {text.data(), text.size()}; }
inline std::string_view View(boost::json::string_view text) { return {text.data(), text.size()}; }

}  // namespace pingti::grammar
