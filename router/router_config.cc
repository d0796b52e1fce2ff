// See router_config.h.
#include "router/router_config.h"

namespace pingti::router {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;

void AddListeners(RouterConfig* config, config::Schema* schema) {
  schema->Group("Listeners");
  schema->Add("address", &config->address,
              "Address of the ports; * is every address of the host, IPv4 and IPv6.");
  schema->Add(
      "admin_address", &config->admin_address,
      "Address of the admin port, where it is not to be reached from everywhere; empty takes "
      "the one above.");
  schema->Add("http_port", &config->http_port,
              "Port of the OpenAI-compatible API; 0 takes any free one.");
  schema->Add("grpc_port", &config->grpc_port,
              "Port of the gRPC service pingti.v1.Inference; 0 takes any free one.");
  schema->Add("admin_port", &config->admin_port,
              "Port of /metrics, /healthz and /readyz; 0 takes any free one.");
  schema->Add("playground", &config->playground,
              "Whether / is a page to chat with the model from a browser.");
  schema->Add("cors_origins", &config->cors_origins,
              "Origins of the pages that may use the HTTP API from a browser, each as "
              "https://chat.example.com; * is any; empty: the router's own pages alone.");
  schema->Add("http_threads", &config->http_threads, "Threads that read and write HTTP.")
      .Range(1, 64);
  schema->AddBytes("max_body_bytes", &config->max_body_bytes, "Largest HTTP request body.")
      .Range(1024, 1 << 30);
  schema
      ->AddBytes("max_bodies_bytes", &config->max_bodies_bytes,
                 "Memory for request bodies, HTTP and gRPC alike, that are read or worked on, all "
                 "together, at four bytes for each of theirs; a request beyond gets 503 or "
                 "RESOURCE_EXHAUSTED.")
      .Range(1024, int64_t{1} << 50);
  schema->Add("max_connections", &config->max_connections, "HTTP connections open at once.")
      .Range(1, 1 << 20);
  schema
      ->AddBytes("grpc_max_message_length", &config->grpc_max_message_length,
                 "Largest gRPC message to clients, and to and from workers.")
      .Range(1024, INT32_MAX)
      .Env("GRPC_MAX_MESSAGE_LENGTH");
  schema
      ->AddBytes("grpc_max_request_bytes", &config->grpc_max_request_bytes,
                 "Largest gRPC message from a client.")
      .Range(1024, INT32_MAX);
  schema
      ->Add("grpc_max_connections", &config->grpc_max_connections, "gRPC connections open at once.")
      .Range(1, 1 << 20);
  schema
      ->Add("grpc_max_calls_per_connection", &config->grpc_max_calls_per_connection,
            "gRPC calls under way at once on one connection; more of them wait at the client.")
      .Range(1, 1 << 20);
  schema->Add(
      "tls_cert_file", &config->tls_cert_file,
      "Certificate chain (PEM) with which the HTTP and gRPC ports speak TLS; empty: they do "
      "not. Read again when it changes.");
  schema->Add("tls_key_file", &config->tls_key_file, "Private key (PEM) of that certificate.");
}

// The weights of router/policy/cost.h.
void AddCost(CostSettings* cost, config::Schema* schema) {
  schema
      ->Add("cost_tokens_per_sequence", &cost->tokens_per_sequence,
            "What a sequence at a worker costs the next one there, as tokens to prefill. Used by "
            "all policies but round_robin, as the three settings below.")
      .Range(0, 1 << 20)
      .Reloadable();
  schema
      ->Add("cost_full_cache", &cost->full_cache,
            "What a full KV cache costs; a cache in part full costs the square of that part.")
      .Range(milliseconds(0), hours(1))
      .Reloadable();
  schema
      ->Add("cost_unknown_prefill_rate", &cost->unknown_prefill_tokens_per_s,
            "Tokens per second that workers are taken to prefill until one reports its rate.")
      .Range(1, 1e9)
      .Reloadable();
  schema
      ->Add("cost_unknown_step", &cost->unknown_step,
            "Time that a step is taken to last until a worker reports it.")
      .Range(milliseconds(1), hours(1))
      .Reloadable();
}

void AddWorkers(RouterConfig* config, config::Schema* schema) {
  schema->Group("Workers");
  schema
      ->Add("workers", &config->workers,
            "Workers as HOST:PORT, as dns:HOST:PORT for every address that the name has, or as "
            "kubernetes:[NAMESPACE/]SERVICE:PORT for the Service's endpoints.")
      .Required();
  schema->Add("dns_interval", &config->dns_interval, "How often dns: names are asked again.")
      .Range(milliseconds(100), hours(1));
  schema->Add("kubernetes_api", &config->kubernetes_api,
              "URL of the API server that kubernetes: entries ask; empty takes that of the cluster "
              "this runs in.");
  schema->Add("kubernetes_token_file", &config->kubernetes_token_file,
              "Token for that server; read for every request, so that it may rotate.");
  schema->Add("kubernetes_ca_file", &config->kubernetes_ca_file,
              "Certificates (PEM) that may sign that server's; empty takes the system's.");
  schema->Add("zone", &config->zone,
              "Zone of this router, as nodes have it in topology.kubernetes.io/zone; workers in it "
              "are preferred where Kubernetes tells theirs. Empty: none is.");
  schema->Add("min_ready_workers", &config->min_ready_workers,
              "Ready workers it takes for /readyz to say so.");
  schema
      ->Add("policy", &config->policy,
            "How a worker is chosen: prefix_affinity, least_loaded, power_of_two, session_hash or "
            "round_robin.")
      .Reloadable();
  AddCost(&config->policy_settings.cost, schema);
  PrefixAffinitySettings& affinity = config->policy_settings.prefix_affinity;
  schema
      ->Add("affinity_recompute_weight", &affinity.recompute_weight,
            "With the policy prefix_affinity, what a token that a worker must compute costs, where "
            "one that waits there costs 1.")
      .Range(0, 1000)
      .Reloadable();
  schema
      ->Add("affinity_arrival_rate", &affinity.arrival_rate,
            "With prefix_affinity, requests per second that a worker is taken to get, which wait "
            "while it computes a long prompt.")
      .Range(0, 1000)
      .Reloadable();
  schema
      ->Add("affinity_hint_tokens", &affinity.hint_tokens,
            "With prefix_affinity, what the worker that prompt_cache_key or user names is worth, "
            "as tokens to prefill, where no worker has any of the prompt cached.")
      .Range(0, 1 << 20)
      .Reloadable();
  schema
      ->Add("session_hash_load_factor", &config->policy_settings.session_hash.load_factor,
            "With the policy session_hash, how many times the mean number of sequences a worker "
            "may have before further ones of its sessions go elsewhere.")
      .Range(1.01, 100)
      .Reloadable();
  schema
      ->Add("stall_timeout", &config->stall_timeout,
            "A worker that sends nothing for this long is given up, its sequences go elsewhere.")
      .Range(milliseconds(50), minutes(5));
  schema->Add("connect_timeout", &config->connect_timeout, "Time a worker has to answer at first.")
      .Range(milliseconds(50), minutes(5));
}

void AddWorkerTls(RouterConfig* config, config::Schema* schema) {
  schema->Add("worker_tls", &config->worker_tls, "Speak TLS to the workers.");
  schema->Add("worker_tls_ca_file", &config->worker_tls_ca_file,
              "Certificates (PEM) that may sign a worker's; empty takes the system's.");
  schema->Add("worker_tls_cert_file", &config->worker_tls_cert_file,
              "Certificate chain (PEM) that the router shows to workers; empty: none.");
  schema->Add("worker_tls_key_file", &config->worker_tls_key_file,
              "Private key (PEM) of that certificate.");
  schema->Add("worker_tls_server_name", &config->worker_tls_server_name,
              "Name that a worker's certificate must bear; empty takes the worker's address.");
}

void AddModels(RouterConfig* config, config::Schema* schema) {
  schema->Group("Models");
  schema
      ->Add(
          "models", &config->models,
          "Models that should be there: while no worker is ready for one, its requests get 503 "
          "with Retry-After, and /v1/models lists it. Others are known once a worker serves them.")
      .Reloadable();
  schema->Add("model_aliases", &config->model_aliases, "Further names of models, ALIAS=MODEL each.")
      .Reloadable();
  schema
      ->Add("model_wait", &config->generation.model_wait,
            "How long a request for a model of those two settings waits for a worker that is ready "
            "before it gets 503; 0s: not at all.")
      .Range(milliseconds(0), minutes(5));
  schema->Add("allow_runtime_lora_updating", &config->generation.adapter_changes,
              "Whether clients may load LoRA adapters from the workers' files, and unload them, by "
              "/v1/load_lora_adapter and /v1/unload_lora_adapter. The workers' settings must allow "
              "it too.");
}

void AddRequests(RouterConfig* config, config::Schema* schema) {
  schema->Group("Requests");
  schema->Add(
      "queue_order", &config->queue_order,
      "Who is next among sequences of one priority: fair (API keys take turns by tokens, or "
      "client addresses where no keys are asked for) or fifo (first come, first served).");
  schema
      ->Add("max_queued_sequences", &config->admission.max_queued_sequences,
            "Sequences (prompts times n) that may wait for their first token. When they are so "
            "many, a request with a higher priority, or of an API key with less waiting, takes the "
            "place of another; the rest are refused with 429.")
      .Range(1, 1 << 24)
      .Reloadable();
  schema
      ->Add("max_queued_tokens", &config->admission.max_queued_tokens,
            "Their prompt tokens together; with more it is the same.")
      .Range(1, 1e12)
      .Reloadable();
  schema
      ->Add("max_predicted_wait", &config->admission.max_predicted_wait,
            "A request that would wait longer for its turn, by the rate at which others start, is "
            "refused with 429 and the time until it would not; 0: none is.")
      .Range(milliseconds(0), hours(1))
      .Reloadable();
  schema
      ->Add("first_token_objectives", &config->first_token_objectives,
            "Within what time first tokens should come, CLASS=DURATION for each class of API keys "
            "that has such a time. A request that would wait longer for its turn is refused with "
            "429, and metrics count how many of the others came in time.")
      .Reloadable();
  schema
      ->Add("promote_after", &config->promote_after,
            "A sequence that has waited so long for a worker goes with those of the highest "
            "priority; 0: never.")
      .Range(milliseconds(0), hours(1));
  schema
      ->Add("max_concurrent_sequences", &config->admission.max_concurrent_sequences,
            "Sequences of requests under way at once; 0: no limit.")
      .Range(0, 1 << 24)
      .Reloadable();
  schema
      ->Add(
          "max_concurrent_per_key", &config->admission.max_concurrent_per_key,
          "Sequences of requests under way at once with one API key that has no limit of its own; "
          "0: no limit.")
      .Range(0, 1 << 24)
      .Reloadable();
  schema
      ->Add("limits_divided_by", &config->admission.limits_divided_by,
            "How many routers share the limits of API keys: each lets a key have its part of what "
            "the key may use per minute and at once, rounded up.")
      .Range(1, 1000)
      .Reloadable();
  schema
      ->Add("max_priority", &config->admission.max_priority,
            "Highest priority that a request with an API key may ask for, unless the keys' file "
            "gives "
            "the key its own.")
      .Reloadable();
  schema
      ->Add(
          "queue_timeout", &config->generation.queue_timeout,
          "How long a sequence waits for a worker with room. A burst of long prompts takes a large "
          "model its time; max_predicted_wait refuses what would wait too long at once.")
      .Range(milliseconds(1), hours(1));
  schema
      ->Add("request_timeout", &config->generation.request_timeout,
            "How long a request may take in all.")
      .Range(milliseconds(1), hours(24));
  schema
      ->Add("keep_alive", &config->generation.keep_alive,
            "After this long without output an event stream gets a comment.")
      .Range(milliseconds(10), hours(1));
  schema
      ->Add(
          "stream_interval", &config->generation.stream_interval,
          "Time between two events of a streamed answer, for which workers hold tokens back: those "
          "that come in between go together. 0: every token at once.")
      .Range(milliseconds(0), milliseconds(1000));
  schema
      ->Add("max_attempts", &config->generation.max_attempts,
            "How often in a row one answer may fail at a worker, without a token in between.")
      .Range(1, 100);
  schema
      ->Add("max_beams", &config->generation.max_beams,
            "Beams of one search at most; 1: requests with beam search are refused.")
      .Range(1, 128);
  schema
      ->Add("prepare_threads", &config->prepare_threads,
            "Threads that render and tokenize long prompts.")
      .Range(1, 64);
  schema->Add(
      "api_keys_file", &config->api_keys_file,
      "File of the API keys: YAML with their hashes and limits, or KEY or NAME:KEY a line, after "
      "which max_priority=N may stand; empty: no keys are asked for. Read again when it changes.");
  schema
      ->Add("api_keys", &config->api_keys,
            "API keys without a file, separated by commas; best given by the environment.")
      .Secret();
}

}  // namespace

void AddSettings(RouterConfig* config, config::Schema* schema) {
  AddListeners(config, schema);
  AddWorkers(config, schema);
  AddWorkerTls(config, schema);
  AddModels(config, schema);
  AddRequests(config, schema);
  schema->Group("Process");
  schema
      ->Add("drain_delay", &config->drain_delay,
            "After SIGTERM, how long to go on taking requests while not ready: the time load "
            "balancers need to notice.")
      .Range(milliseconds(0), minutes(10));
  schema
      ->Add("drain_timeout", &config->drain_timeout,
            "After that, how long requests under way may still take.")
      .Range(milliseconds(0), hours(24));
  schema->Add("log_level", &config->log_level, "debug, info, warning or error.");
  schema->Add("log_format", &config->log_format, "json or text.");
}

}  // namespace pingti::router
