#include "router/playground/playground.h"

#include <string>
#include <string_view>

namespace pingti::router {

// Made by embed.cmake from the files of the same names.
extern const std::string_view kPlaygroundIndexHtml;
extern const std::string_view kPlaygroundPlaygroundCss;
extern const std::string_view kPlaygroundPlaygroundJs;
extern const std::string_view kPlaygroundMarkdownJs;

namespace {

// Only this router's own files and API; no inline code, and no string ever becomes markup
// (https://www.w3.org/TR/CSP3, https://w3c.github.io/trusted-types).
constexpr char kPolicy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'";

struct File {
  std::string_view path;
  std::string_view content_type;
  const std::string_view* body;
};

constexpr File kFiles[] = {
    {"/", "text/html; charset=utf-8", &kPlaygroundIndexHtml},
    {"/playground/playground.css", "text/css; charset=utf-8", &kPlaygroundPlaygroundCss},
    {"/playground/playground.js", "text/javascript; charset=utf-8", &kPlaygroundPlaygroundJs},
    {"/playground/markdown.js", "text/javascript; charset=utf-8", &kPlaygroundMarkdownJs},
};

}  // namespace

bool ServePlayground(const net::HttpRequest& request, net::HttpResponder* responder) {
  if (request.method != "GET" && request.method != "HEAD") return false;
  for (const File& file : kFiles) {
    if (request.path != file.path) continue;
    net::HttpResponse response;
    response.content_type = std::string(file.content_type);
    response.headers = {{"content-security-policy", kPolicy},
                        {"x-content-type-options", "nosniff"},
                        {"referrer-policy", "no-referrer"},
                        {"cache-control", "no-cache"}};
    response.body = std::string(*file.body);
    responder->Send(std::move(response));
    return true;
  }
  return false;
}

}  // namespace pingti::router
