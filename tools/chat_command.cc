#include "tools/chat_command.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <string_view>
#include <utility>
#include <vector>

#include "tools/interrupt.h"

namespace pingti::tools {
namespace {

constexpr std::string_view kHelp =
    "/reset   forget the conversation\n"
    "/system TEXT   set the system prompt and forget the conversation\n"
    "/quit    leave (so do Ctrl-D, and Ctrl-C at the prompt)\n"
    "Ctrl-C during an answer stops the answer.\n";

void Print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

void PrintError(const absl::Status& status) {
  std::cerr << "error: " << std::string(status.message().data(), status.message().size()) << "\n";
}

// One conversation: its history, and how answers look on this terminal.
class Conversation {
 public:
  Conversation(const ChatOptions& options, InterruptHandler* interrupt)
      : client_(options.settings),
        interrupt_(interrupt),
        system_prompt_(options.system_prompt),
        colours_(isatty(STDOUT_FILENO) != 0) {
    Reset();
  }

  absl::Status Connect() { return client_.ResolveModel(); }
  const std::string& model() const { return client_.model(); }

  void Reset() {
    history_.clear();
    if (!system_prompt_.empty()) history_.push_back({"system", system_prompt_});
  }

  void SetSystemPrompt(std::string prompt) {
    system_prompt_ = std::move(prompt);
    Reset();
  }

  // Asks and prints the answer as it comes. A question that failed is not kept in the history.
  absl::StatusOr<ChatAnswer> Ask(std::string question) {
    history_.push_back({"user", std::move(question)});
    const auto start = std::chrono::steady_clock::now();
    auto first = start;
    bool reasoning = false;
    const auto begin_part = [&](bool is_reasoning) {
      if (first == start) first = std::chrono::steady_clock::now();
      if (is_reasoning == reasoning) return;
      reasoning = is_reasoning;
      if (colours_) Print(is_reasoning ? "\033[2m" : "\033[0m\n");
    };
    interrupt_->Set([this] { client_.Cancel(); });
    absl::StatusOr<ChatAnswer> answer = client_.Ask(history_, {.on_reasoning =
                                                                   [&](std::string_view text) {
                                                                     begin_part(true);
                                                                     Print(text);
                                                                   },
                                                               .on_content =
                                                                   [&](std::string_view text) {
                                                                     begin_part(false);
                                                                     Print(text);
                                                                   }});
    interrupt_->Set(nullptr);
    if (colours_ && reasoning) Print("\033[0m");
    Print("\n");
    if (!answer.ok()) {
      history_.pop_back();
      return answer;
    }
    if (colours_) PrintFooter(*answer, start, first);
    history_.push_back({"assistant", answer->content});
    return answer;
  }

 private:
  using Time = std::chrono::steady_clock::time_point;

  static void PrintFooter(const ChatAnswer& answer, Time start, Time first) {
    const double first_ms = std::chrono::duration<double, std::milli>(first - start).count();
    const double rest_s =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - first).count();
    if (answer.finish_reason == "cancelled") {
      Print("\033[2m[stopped]\033[0m\n");
    } else if (answer.completion_tokens > 1 && rest_s > 0) {
      std::printf("\033[2m[%d tokens, first after %.0f ms, then %.0f a second%s]\033[0m\n",
                  answer.completion_tokens, first_ms, (answer.completion_tokens - 1) / rest_s,
                  answer.finish_reason == "length" ? ", cut off by the token limit" : "");
    }
  }

  ChatClient client_;
  InterruptHandler* interrupt_;
  std::string system_prompt_;
  const bool colours_;
  std::vector<ChatMessage> history_;
};

// Handles a line that starts with '/'. False: leave.
bool RunSlashCommand(const std::string& line, Conversation* conversation) {
  const size_t space = line.find(' ');
  const std::string command = line.substr(0, space);
  const std::string argument = space == std::string::npos ? "" : line.substr(space + 1);
  if (command == "/quit" || command == "/exit") return false;
  if (command == "/reset") {
    conversation->Reset();
  } else if (command == "/system") {
    conversation->SetSystemPrompt(argument);
  } else if (command == "/help") {
    Print(kHelp);
  } else {
    std::cerr << "unknown command " << command << "; /help lists them\n";
  }
  return true;
}

int TalkUntilEnd(Conversation* conversation) {
  const bool interactive = isatty(STDIN_FILENO) != 0;
  if (interactive) Print("Talking to " + conversation->model() + ". /help lists the commands.\n");
  std::string line;
  while (true) {
    if (interactive) Print("> ");
    if (!std::getline(std::cin, line)) break;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    if (line.front() == '/') {
      if (!RunSlashCommand(line, conversation)) break;
      continue;
    }
    if (const auto answer = conversation->Ask(line); !answer.ok()) {
      PrintError(answer.status());
      if (!interactive) return 1;
    }
  }
  return 0;
}

}  // namespace

int RunChat(const ChatOptions& options) {
  InterruptHandler interrupt;
  Conversation conversation(options, &interrupt);
  if (const absl::Status status = conversation.Connect(); !status.ok()) {
    PrintError(status);
    return 1;
  }
  if (options.once.empty()) return TalkUntilEnd(&conversation);
  const absl::StatusOr<ChatAnswer> answer = conversation.Ask(options.once);
  if (!answer.ok()) {
    PrintError(answer.status());
    return 1;
  }
  return answer->finish_reason == "cancelled" ? 130 : 0;
}

}  // namespace pingti::tools
