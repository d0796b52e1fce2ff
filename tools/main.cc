// The `pingti` command line: reads the arguments, runs one command.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "CLI/CLI.hpp"
#include "common/base/edit_distance.h"
#include "common/base/version.h"
#include "tools/bench/bench_command.h"
#include "tools/chat_command.h"
#include "tools/flag_checks.h"
#include "tools/inspect_command.h"
#include "tools/profile/profile_command.h"
#include "tools/quantize/quantize_command.h"

namespace {

using pingti::tools::ChatOptions;

CLI::App* AddChat(CLI::App* app, ChatOptions* options) {
  CLI::App* chat = app->add_subcommand("chat", "Talk to a model through a router");
  chat->add_option("--url", options->settings.url, "Base address of the router")
      ->transform(pingti::tools::BaseUrl())
      ->capture_default_str();
  chat->add_option("--model", options->settings.model, "Model id; default: the router's first");
  chat->add_option("--api-key", options->settings.api_key, "Sent as a bearer token")
      ->check(pingti::tools::ApiKey())
      ->envname("OPENAI_API_KEY");
  chat->add_option("--system", options->system_prompt, "System prompt");
  chat->add_option("--temperature", options->settings.temperature, "0 takes the likeliest token")
      ->check(pingti::tools::NonNegative());
  chat->add_option("--max-tokens", options->settings.max_tokens, "Longest answer, in tokens")
      ->check(pingti::tools::Positive());
  chat->add_option("--seed", options->settings.seed, "Repeats a sampled answer")
      ->check(pingti::tools::Integer<int64_t>());
  const auto is_question = [](const std::string& text) {
    const bool is_blank = text.find_first_not_of(" \t\r\n") == std::string::npos;
    return std::string(is_blank ? "expected a question" : "");
  };
  chat->add_option("--once", options->once, "Ask this, print the answer, end")
      ->check(CLI::Validator(is_question, "", "question"));
  return chat;
}

// Whether the first argument is meant as a command and is none; then that is said.
bool IsUnknownCommand(const CLI::App& app, int argc, const char* const* argv) {
  if (argc < 2 || argv[1][0] == '-') return false;
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
  if (std::find(names.begin(), names.end(), argv[1]) != names.end()) return false;
  const std::vector<std::string_view> known(names.begin(), names.end());
  const std::optional<std::string_view> nearest = pingti::NearestName(argv[1], known);
  std::cerr << "error: unknown command '" << argv[1] << "'";
  if (nearest) std::cerr << "; did you mean '" << *nearest << "'?";
  std::cerr << "\nRun with --help for those there are.\n";
  return true;
}

int RunCommand(int argc, char** argv) {
  CLI::App app("pingti: talks to models and looks into them", "pingti");
  app.set_version_flag("--version", std::string(pingti::Version()));
  app.require_subcommand(1);

  ChatOptions chat_options;
  const CLI::App* chat = AddChat(&app, &chat_options);

  pingti::tools::BenchOptions bench_options;
  const CLI::App* bench = pingti::tools::AddBench(&app, &bench_options);

  pingti::tools::ProfileCommandOptions profile_options;
  const CLI::App* profile = pingti::tools::AddProfile(&app, &profile_options);

  pingti::tools::QuantizeOptions quantize_options;
  const CLI::App* quantize = pingti::tools::AddQuantize(&app, &quantize_options);

  std::string model_path;
  pingti::tools::InspectOptions inspect_options;
  CLI::App* inspect = app.add_subcommand("inspect", "Say what a model file is, without loading it");
  inspect->add_option("MODEL", model_path, "A .gguf file, or a directory")->required();
  inspect->add_flag("--tensors", inspect_options.list_tensors, "Also list every tensor");
  CLI::Option* fit =
      inspect->add_flag("--fit", inspect_options.fit, "Also say what fits on which graphics card");
  inspect->add_option("--context", inspect_options.contexts, "Tokens a sequence, for --fit")
      ->needs(fit)
      ->delimiter(',')
      ->check(pingti::tools::Integer<int64_t>())
      ->check(pingti::tools::Positive());
  inspect
      ->add_option("--cards", inspect_options.cards,
                   "How many cards may share the model, in the order to try, for --fit")
      ->needs(fit)
      ->delimiter(',')
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  inspect
      ->add_option("--memory-fraction", inspect_options.memory_fraction,
                   "Share of a card that a worker may take, for --fit")
      ->needs(fit)
      ->check(CLI::Range(0.05, 0.98))
      ->capture_default_str();
  inspect
      ->add_flag("--enable-expert-parallel", inspect_options.expert_parallel,
                 "Cards hold whole experts, for --fit")
      ->needs(fit);
  inspect->add_flag("--shapes-only", inspect_options.shapes_only,
                    "A directory with config.json is enough; there are no weights");

  if (IsUnknownCommand(app, argc, argv)) return 2;
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? EXIT_SUCCESS : 2;  // --help is no failure
  }

  if (bench->parsed()) return pingti::tools::RunBench(bench_options);
  if (chat->parsed()) return pingti::tools::RunChat(chat_options);
  if (profile->parsed()) return pingti::tools::RunProfile(profile_options);
  if (quantize->parsed()) return pingti::tools::RunQuantize(quantize_options);
  const auto report = pingti::tools::InspectModel(model_path, inspect_options);
  if (!report.ok()) {
    const auto message = report.status().message();
    std::cerr << "error: " << std::string(message.data(), message.size()) << "\n";
    return EXIT_FAILURE;
  }
  std::cout << *report;
  return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) {
  const int code = RunCommand(argc, argv);
  // Who sends the output to a file has it whole, or hears of it.
  std::cout.flush();
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0 && std::cout) return code;
  std::cerr << "error: the output cannot be written\n";
  return EXIT_FAILURE;
}
