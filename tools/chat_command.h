// `pingti chat`: a conversation in the terminal, or one question with --once.
#pragma once

#include <string>

#include "tools/chat_client.h"

namespace pingti::tools {

struct ChatOptions {
  ChatSettings settings;
  std::string system_prompt;
  std::string once;  // ask this, print the answer, end
};

// Runs until end of input, /quit or Ctrl-C at the prompt. Ctrl-C during an answer stops only that
// answer. Returns the process's exit status; errors go to stderr.
int RunChat(const ChatOptions& options);

}  // namespace pingti::tools
