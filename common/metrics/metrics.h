// Every metric pingti exports: name, help, labels, buckets. Dashboards and alerts use these names;
// renaming one is a breaking change. Base units (seconds, bytes, tokens), counters end in _total,
// label values come from bounded sets.
#pragma once

#include "common/metrics/spec.h"

namespace pingti::metrics {

// Buckets, in seconds: the ones gateways and dashboards of other servers use, so that they compare.
inline constexpr double kTimeToFirstTokenBuckets[] = {
    .001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160};
inline constexpr double kInterTokenBuckets[] = {.001, .0025, .005, .01, .025, .05, .075, .1,
                                                .15,  .2,    .3,   .4,  .5,   .75, 1,    2.5};
inline constexpr double kRequestBuckets[] = {.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10, 15,
                                             20, 30, 40, 50, 60,  120, 240, 480, 960};
inline constexpr double kStepBuckets[] = {.0005, .001, .0025, .005, .01, .02, .03, .05,
                                          .075,  .1,   .25,   .5,   1,   2.5, 5,   10};
inline constexpr double kTokenBuckets[] = {1,   2,   4,    8,    16,   32,   64,   128,
                                           256, 512, 1024, 2048, 4096, 8192, 16384};
inline constexpr double kDraftBuckets[] = {0, 1, 2, 3, 4, 5, 6, 7};
inline constexpr double kSequenceBuckets[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512};

// --- every process
inline constexpr GaugeSpec<2> kBuildInfo{
    "pingti_build_info", "Always 1; the labels tell process and version.", {"process", "version"}};

inline constexpr CounterSpec<0> kProcessCpu{"process_cpu_seconds_total",
                                            "User and system CPU time spent."};
inline constexpr GaugeSpec<0> kProcessResidentMemory{"process_resident_memory_bytes",
                                                     "Resident memory."};
inline constexpr GaugeSpec<0> kProcessVirtualMemory{"process_virtual_memory_bytes",
                                                    "Virtual memory."};
inline constexpr GaugeSpec<0> kProcessThreads{"process_threads", "Threads."};
inline constexpr GaugeSpec<0> kProcessStartTime{"process_start_time_seconds",
                                                "Start of the process, seconds since the epoch."};
inline constexpr GaugeSpec<0> kProcessOpenFds{"process_open_fds", "Open file descriptors."};
inline constexpr GaugeSpec<0> kProcessMaxFds{"process_max_fds",
                                             "Most file descriptors that may be open."};

inline constexpr CounterSpec<0> kProcessDroppedLogLines{
    "pingti_log_lines_dropped_total",
    "Log lines that were dropped because nobody reads what the process writes."};

// --- router
inline constexpr CounterSpec<3> kRouterRequests{
    "pingti_router_requests_total",
    "Requests answered, by endpoint, model and HTTP or gRPC status code.",
    {"endpoint", "model", "code"}};
inline constexpr HistogramSpec<2> kRouterRequestDuration{
    "pingti_router_request_duration_seconds",
    "Time from a request's arrival to the last byte of its answer.",
    kRequestBuckets,
    {"endpoint", "model"}};
inline constexpr HistogramSpec<1> kRouterTimeToFirstToken{
    "pingti_router_time_to_first_token_seconds",
    "Time from a request's arrival to its first output token.",
    kTimeToFirstTokenBuckets,
    {"model"}};
inline constexpr HistogramSpec<1> kRouterInterTokenLatency{
    "pingti_router_inter_token_latency_seconds",
    "Time between two output tokens of one sequence; of tokens that came together, their mean.",
    kInterTokenBuckets,
    {"model"}};
inline constexpr HistogramSpec<1> kRouterQueueTime{
    "pingti_router_queue_time_seconds",
    "Time a sequence waited in the router before it was sent to a worker.",
    kTimeToFirstTokenBuckets,
    {"model"}};
inline constexpr CounterSpec<1> kRouterPromptTokens{
    "pingti_router_prompt_tokens_total", "Prompt tokens of accepted requests.", {"model"}};
inline constexpr CounterSpec<1> kRouterOutputTokens{
    "pingti_router_output_tokens_total", "Tokens received from workers.", {"model"}};
inline constexpr CounterSpec<2> kRouterClassRequests{
    "pingti_router_class_requests_total",
    "Requests answered, by class of the API key and HTTP or gRPC status code.",
    {"tenant_class", "code"}};
inline constexpr CounterSpec<2> kRouterClassTokens{
    "pingti_router_class_tokens_total",
    "Tokens of accepted requests, by class of the API key; direction is prompt or output.",
    {"tenant_class", "direction"}};
inline constexpr HistogramSpec<1> kRouterClassTimeToFirstToken{
    "pingti_router_class_time_to_first_token_seconds",
    "Time from a request's arrival to its first output token, by class of the API key.",
    kTimeToFirstTokenBuckets,
    {"tenant_class"}};
inline constexpr CounterSpec<2> kRouterClassFirstTokens{
    "pingti_router_class_first_tokens_total",
    "Requests whose first token came, by class of the API key, of classes with an objective; "
    "objective is met or missed.",
    {"tenant_class", "objective"}};
inline constexpr GaugeSpec<1> kRouterDiscoveryFailed{
    "pingti_router_discovery_failed",
    "1 while a source of workers' addresses does not answer and those it said last stay in use.",
    {"source"}};
inline constexpr GaugeSpec<1> kRouterReloadFailed{
    "pingti_router_config_reload_failed",
    "1 while a file that the router reads again has an error and what it said before stays in "
    "force, by source: settings or keys.",
    {"source"}};
inline constexpr GaugeSpec<0> kRouterRequestsInFlight{"pingti_router_requests_in_flight",
                                                      "Requests accepted and not yet answered."};
inline constexpr GaugeSpec<1> kRouterQueuedRequests{
    "pingti_router_queued_requests",
    "Sequences that wait in the router for a worker, by model.",
    {"model"}};
inline constexpr GaugeSpec<0> kRouterQueuedTokens{
    "pingti_router_queued_tokens", "Prompt tokens of the sequences that wait in the router."};
inline constexpr GaugeSpec<0> kRouterBodyBytes{
    "pingti_router_body_bytes",
    "Memory set aside for HTTP request bodies that are read or worked on."};
inline constexpr GaugeSpec<1> kRouterWorkers{
    "pingti_router_workers", "Workers known to this router, by state.", {"state"}};
inline constexpr GaugeSpec<1> kRouterReadyWorkers{
    "pingti_router_ready_workers",
    "Workers that are ready, of every model that is configured or that a known worker has "
    "served.",
    {"model"}};
inline constexpr CounterSpec<1> kRouterWorkerDispatch{
    "pingti_router_worker_dispatch_total", "Sequences sent to each worker.", {"worker"}};
inline constexpr CounterSpec<0> kRouterResumedSequences{
    "pingti_router_resumed_sequences_total",
    "Sequences that went on at another worker after theirs was lost."};
inline constexpr CounterSpec<0> kRouterRestartedSearches{
    "pingti_router_restarted_searches_total",
    "Beam searches that began again at another worker, from their prompt, after theirs was lost."};
inline constexpr CounterSpec<0> kRouterClientDisconnects{
    "pingti_router_client_disconnects_total",
    "Requests whose client went away before the answer was complete."};

// --- worker
inline constexpr GaugeSpec<1> kWorkerRunningSequences{
    "pingti_worker_running_sequences", "Sequences in the running batch.", {"model"}};
inline constexpr GaugeSpec<1> kWorkerWaitingSequences{
    "pingti_worker_waiting_sequences",
    "Sequences accepted and waiting for a place in the batch.",
    {"model"}};
inline constexpr GaugeSpec<1> kWorkerKvBlocks{
    "pingti_worker_kv_blocks", "KV cache blocks of the pool.", {"model"}};
inline constexpr GaugeSpec<1> kWorkerKvBlocksLeased{
    "pingti_worker_kv_blocks_leased", "KV cache blocks held by sequences.", {"model"}};
inline constexpr GaugeSpec<1> kWorkerKvBlocksCached{
    "pingti_worker_kv_blocks_cached",
    "KV cache blocks kept for reuse that no sequence holds.",
    {"model"}};
inline constexpr CounterSpec<0> kWorkerPromptTokens{
    "pingti_worker_prompt_tokens_total", "Prompt tokens of admitted sequences, cached ones too."};
inline constexpr CounterSpec<0> kWorkerCachedTokens{"pingti_worker_cached_tokens_total",
                                                    "Prompt tokens taken from the prefix cache."};
inline constexpr CounterSpec<0> kWorkerOutputTokens{"pingti_worker_output_tokens_total",
                                                    "Tokens sampled."};
inline constexpr CounterSpec<0> kWorkerSteps{"pingti_worker_steps_total", "Engine steps run."};
inline constexpr HistogramSpec<0> kWorkerStepDuration{"pingti_worker_step_duration_seconds",
                                                      "Duration of an engine step.", kStepBuckets};
inline constexpr HistogramSpec<0> kWorkerBatchTokens{
    "pingti_worker_batch_tokens", "Tokens computed in an engine step.", kTokenBuckets};
inline constexpr HistogramSpec<0> kWorkerBatchSequences{
    "pingti_worker_batch_sequences", "Sequences in an engine step.", kSequenceBuckets};
inline constexpr CounterSpec<0> kWorkerDrafts{"pingti_worker_drafts_total",
                                              "Proposed tokens that the model checked."};
inline constexpr CounterSpec<0> kWorkerDraftsAccepted{
    "pingti_worker_drafts_accepted_total", "Proposed tokens that the model would have drawn too."};
inline constexpr HistogramSpec<0> kWorkerDraftsAcceptedLength{
    "pingti_worker_drafts_accepted_length",
    "Of a sequence's proposed tokens in one step, how many stood.", kDraftBuckets};
inline constexpr CounterSpec<0> kWorkerDraftReads{
    "pingti_worker_draft_reads_total",
    "Tokens that a draft head read, many at once, without drafting behind them."};
inline constexpr CounterSpec<0> kWorkerDraftSeconds{"pingti_worker_draft_seconds_total",
                                                    "Time spent on proposing tokens."};
inline constexpr GaugeSpec<1> kWorkerExpertImbalance{
    "pingti_worker_expert_imbalance",
    "Tokens of a layer's busiest expert as a multiple of the mean of its experts, in the layer "
    "where it is highest, over 10 s or more; 0 without experts, and until there were enough "
    "tokens to tell.",
    {"model"}};
inline constexpr GaugeSpec<0> kWorkerAdapters{"pingti_worker_adapters",
                                              "LoRA adapters that requests may name."};
inline constexpr CounterSpec<0> kWorkerAdapterSlotLoads{
    "pingti_worker_adapter_slot_loads_total",
    "Adapters that were put into one of the model's slots."};
inline constexpr CounterSpec<0> kWorkerAdapterEvictions{
    "pingti_worker_adapter_evictions_total", "Adapters that gave up their slot to another."};
inline constexpr CounterSpec<0> kWorkerAdaptersDropped{
    "pingti_worker_adapters_dropped_total",
    "Adapters that gave up their place in host memory, to be read again when they are asked for."};
inline constexpr HistogramSpec<0> kWorkerAdapterLoad{
    "pingti_worker_adapter_load_seconds",
    "Time to read an adapter's files, check them and bring them into the form of a slot.",
    kRequestBuckets};
inline constexpr CounterSpec<0> kWorkerPreemptions{
    "pingti_worker_preemptions_total", "Sequences put back to wait because KV blocks ran out."};
inline constexpr CounterSpec<1> kWorkerSequencesFinished{
    "pingti_worker_sequences_finished_total", "Sequences that ended, by reason.", {"reason"}};
inline constexpr GaugeSpec<1> kWorkerLoading{
    "pingti_worker_loading", "1 while the worker loads its model, 0 afterwards.", {"model"}};
inline constexpr GaugeSpec<1> kWorkerRanks{
    "pingti_worker_ranks",
    "Ranks that compute the model together; 1 without tensor parallelism.",
    {"model"}};
inline constexpr CounterSpec<0> kWorkerLateRankSigns{
    "pingti_worker_late_rank_signs_total",
    "Signs of life of other processes of the tensor-parallel group that came so late that half of "
    "what they would be lost after had passed."};
inline constexpr GaugeSpec<0> kWorkerModelLoad{"pingti_worker_model_load_seconds",
                                               "Time it took to load the model."};
inline constexpr GaugeSpec<3> kWorkerModelInfo{
    "pingti_worker_model_info",
    "Always 1; the labels tell model, weight type and backend.",
    {"model", "weights", "backend"}};

}  // namespace pingti::metrics
