#include "tools/profile/profile_command.h"

#include <cstdlib>
#include <iostream>
#include <string>

#include "tools/device_flag.h"
#include "tools/flag_checks.h"

namespace pingti::tools {

CLI::App* AddProfile(CLI::App* app, ProfileCommandOptions* options) {
  using worker::WeightFormat;
  ProfileOptions& profile = options->profile;
  CLI::App* command =
      app->add_subcommand("profile", "Show where the time of a step goes, stage by stage");
  command->footer(
      "\"As served\" is a step as a worker runs it, from CUDA graphs where it would use them. The\n"
      "stages are of a second run with marks around each operation; what no operation accounts\n"
      "for is the host's. Kernels launched with programmatic dependent launch overlap as served,\n"
      "and do not with marks between them, so on a GPU the stages may add up to more.");
  command->add_option("MODEL", profile.model, "A .gguf file, or a directory")->required();
  TakesOneOf<bool>(command->add_option("--load-format", profile.random_weights,
                                       "dummy: random weights on a GPU, so that MODEL needs only a "
                                       "config.json"),
                   {{"auto", false}, {"dummy", true}});
  command->add_option("--batch", profile.batch, "Sequences")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_option("--context", profile.context, "Tokens of each before it decodes")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command
      ->add_option("--max-batch-tokens", profile.max_batch_tokens,
                   "Tokens of a step at most; a longer prefill takes several")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--decode-steps", profile.decode_steps, "Decode steps to time")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  command->add_option("--prefill-steps", profile.prefill_steps, "Prefills to time")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  command->add_option("--text", profile.text_file,
                      "Take the prompt from this file, and time its tokenization too");
  TakesOneOf<WeightFormat>(
      command->add_option("--dtype", profile.format, "How weights are kept and multiplied"),
      {{"auto", WeightFormat::kStored},
       {"bf16", WeightFormat::kBf16},
       {"f32", WeightFormat::kF32},
       {"int8", WeightFormat::kInt8}});
  TakesOneOf<worker::KvFormat>(
      command->add_option("--kv-dtype", profile.kv_format,
                          "Keys and values: auto, as the model, or int8, on a GPU"),
      {{"auto", worker::KvFormat::kModel}, {"int8", worker::KvFormat::kInt8}});
  AddDeviceFlags(command, &profile.device, &profile.gpu_index);
  command
      ->add_option("--tensor-parallel", profile.tensor_parallel,
                   "Ranks that share the model: GPUs, or groups of threads; rank 0 is timed")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command->add_flag("--enable-expert-parallel", profile.expert_parallel,
                    "Ranks hold whole experts rather than some columns of each");
  command->add_option("--threads", profile.threads, "Of the CPU; default: one per processor")
      ->check(NonNegative());
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
