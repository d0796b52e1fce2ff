#include "tools/profile/profile_command.h"

#include <cstdlib>
#include <iostream>
#include <map>
#include <string>

namespace pingti::tools {

CLI::App* AddProfile(CLI::App* app, ProfileCommandOptions* options) {
  using worker::WeightFormat;
  ProfileOptions& profile = options->profile;
  CLI::App* command =
      app->add_subcommand("profile", "Show where the time of a step goes, stage by stage");
  command->add_option("MODEL", profile.model, "A .gguf file, or a directory")->required();
  command->add_option("--batch", profile.batch, "Sequences")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_option("--context", profile.context, "Tokens of each before it decodes")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--decode-steps", profile.decode_steps, "Decode steps to time")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  command->add_option("--prefill-steps", profile.prefill_steps, "Prefill steps to time")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  command->add_option("--text", profile.text_file,
                      "Take the prompt from this file, and time its tokenization too");
  command->add_option("--dtype", profile.format, "auto, bf16, f32 or int8")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, WeightFormat>{{"auto", WeightFormat::kStored},
                                              {"bf16", WeightFormat::kBf16},
                                              {"f32", WeightFormat::kF32},
                                              {"int8", WeightFormat::kInt8}}));
  command->add_option("--threads", profile.threads, "Default: one per processor")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--json", options->json, "Print one JSON object in place of the table");
  return command;
}

int RunProfile(const ProfileCommandOptions& options) {
  const auto profile = ProfileModel(options.profile, RealClock());
  if (!profile.ok()) {
    const auto message = profile.status().message();
    std::cerr << "error: " << std::string(message.data(), message.size()) << "\n";
    return EXIT_FAILURE;
  }
  std::cout << (options.json ? ProfileJson(*profile) : ProfileTable(*profile));
  return EXIT_SUCCESS;
}

}  // namespace pingti::tools
