"""The three dashboards: what whoever is on call looks at first, the router, the engine with its KV
cache. Only metrics of common/metrics/metrics.h may be named; make_observability.py checks that, and the tests run
every query against a Prometheus that scrapes the real programs."""

from panels import RED, YELLOW, dashboard, graph, heatmap, row, stat, table, variable

FAILED = 'code=~"5..|INTERNAL|UNAVAILABLE|UNKNOWN|DATA_LOSS|DEADLINE_EXCEEDED"'
REFUSED = 'code=~"429|RESOURCE_EXHAUSTED"'

NAMESPACE = variable("namespace", "Namespace", "label_values(pingti_build_info, namespace)")
MODEL = variable("model", "Model", "label_values(pingti_router_requests_total, model)")
ROUTER_POD = variable("pod", "Router", 'label_values(pingti_build_info{process="pingti-router"}, pod)')
WORKER_POD = variable("pod", "Worker", 'label_values(pingti_build_info{process="pingti-worker"}, pod)')


def quantiles(metric, labels, by="le"):
    """p50, p95 and p99 of a histogram over all series that `labels` select."""
    return [(f"p{q}", f"histogram_quantile(0.{q}, sum by ({by}) (rate({metric}_bucket{{{labels}}}"
                      f"[$__rate_interval])))") for q in (50, 95, 99)]


def rate(metric, labels, by=""):
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({metric}{{{labels}}}[$__rate_interval]))"


def ratio(metric, part, labels):
    """Share of `metric` that `part` selects too; 0 rather than nothing when none is selected."""
    return f"({rate(metric, labels + ',' + part)} or vector(0)) / ({rate(metric, labels)} > 0)"


def of_process(metric, process, labels):
    """A process_ metric of the router's or the workers' pods only."""
    return (f'{metric}{{{labels}}} and on (namespace, pod, instance) '
            f'pingti_build_info{{process="{process}"}}')


def process_row(process, labels):
    cpu = of_process("process_cpu_seconds_total", process, labels)
    cpu = cpu.replace("process_cpu_seconds_total{" + labels + "}",
                      "rate(process_cpu_seconds_total{" + labels + "}[$__rate_interval])")
    fds = (f"process_open_fds{{{labels}}} / process_max_fds{{{labels}}} and on (namespace, pod, "
           f'instance) pingti_build_info{{process="{process}"}}')
    name = "{{pod}} {{instance}}"
    return row("Processes", [
        graph("Processors in use", "CPU seconds per second, by pod.", [(name, cpu)], "short", width=6),
        graph("Memory", "Resident and reserved address space of each pod.",
              [(name, of_process("process_resident_memory_bytes", process, labels)),
               (name + " virtual", of_process("process_virtual_memory_bytes", process, labels))],
              "bytes", width=6),
        graph("File descriptors", "Share of the allowed file descriptors that are open.",
              [(name, fds)], "percentunit", [(0.8, RED)], width=6, most=1),
        graph("Threads", "Threads of each process.",
              [(name, of_process("process_threads", process, labels))], "short", width=3),
        graph("Up for", "Time since the process started.",
              [(name, "time() - (" + of_process("process_start_time_seconds", process, labels) + ")")],
              "s", width=3),
        graph("Log lines dropped", "Per second; above zero, nobody reads what the process writes.",
              [(name, of_process("pingti_log_lines_dropped_total", process, labels).replace(
                  "pingti_log_lines_dropped_total{" + labels + "}",
                  "rate(pingti_log_lines_dropped_total{" + labels + "}[$__rate_interval])"))],
              "cps", width=6),
    ])


def overview():
    ns = 'namespace=~"$namespace"'
    r = ns + ',model=~"$model"'
    requests = "pingti_router_requests_total"
    kv = (f"pingti_worker_kv_blocks_leased{{{ns}}} / (pingti_worker_kv_blocks{{{ns}}} > 0)")
    ttft = quantiles("pingti_router_time_to_first_token_seconds", r)
    itl = quantiles("pingti_router_inter_token_latency_seconds", r)
    e2e = quantiles("pingti_router_request_duration_seconds", r)
    return dashboard(
        "pingti-overview", "pingti / Overview",
        "Is it well, and if not, where: rate, errors, latency, saturation.", [NAMESPACE, MODEL], [
            row("Now", [
                stat("Requests", "Requests answered per second.", rate(requests, r), "reqps"),
                stat("Failed", "Share of requests that failed for a reason of ours (5xx).",
                     ratio(requests, FAILED, r), "percentunit", [(0.001, YELLOW), (0.01, RED)], 2),
                stat("Refused", "Share of requests refused because the queue was full (429).",
                     ratio(requests, REFUSED, r), "percentunit", [(0.01, YELLOW), (0.05, RED)], 2),
                stat("First token, p95", "Time from a request's arrival to its first token.",
                     ttft[1][1], "s", [(1, YELLOW), (2.5, RED)]),
                stat("Ready workers", "Of the model that has fewest; the least that any router sees.",
                     f"min(pingti_router_ready_workers{{{ns}}})", "short"),
                stat("KV cache, fullest", "Share of KV blocks held by sequences in the fullest worker.",
                     f"max({kv})", "percentunit", [(0.8, YELLOW), (0.95, RED)], 0),
            ]),
            row("Rate and errors", [
                graph("Requests by code", "Answers per second by HTTP or gRPC status.",
                      [("{{code}}", rate(requests, r, "code"))], "reqps", stacked=True),
                graph("Failed and refused", "Shares of all requests.",
                      [("failed", ratio(requests, FAILED, r)), ("refused", ratio(requests, REFUSED, r))],
                      "percentunit", [(0.01, RED)]),
                graph("Tokens", "Prompt tokens taken in and output tokens sent, per second.",
                      [("prompt {{model}}", rate("pingti_router_prompt_tokens_total", r, "model")),
                       ("output {{model}}", rate("pingti_router_output_tokens_total", r, "model"))],
                      "short"),
            ]),
            row("Latency", [
                graph("Time to first token", "From arrival to the first token.", ttft, "s",
                      [(2.5, RED)]),
                graph("Between tokens", "Between two tokens of one sequence.", itl, "s"),
                graph("Whole request", "From arrival to the last byte.", e2e, "s"),
            ]),
            row("Saturation", [
                graph("Waiting in the routers", "Sequences that no worker has room for yet, by model.",
                      [("{{model}}", f"sum by (model) (pingti_router_queued_requests{{{ns}}})")], "short",
                      stacked=True, width=6),
                graph("Waiting in the workers", "Sequences at a worker that are not in its batch yet.",
                      [("{{model}} {{pod}}", f"pingti_worker_waiting_sequences{{{ns}}}")], "short",
                      stacked=True, width=6),
                graph("Running", "Sequences in the batch of each worker.",
                      [("{{model}} {{pod}}", f"pingti_worker_running_sequences{{{ns}}}")], "short",
                      stacked=True, width=6),
                graph("KV cache in use", "Share of the blocks that running sequences hold.",
                      [("{{model}} {{pod}}", kv)], "percentunit", [(0.95, RED)], width=6, most=1),
            ]),
        ])


def router():
    ns = 'namespace=~"$namespace",pod=~"$pod"'
    r = ns + ',model=~"$model"'
    return dashboard(
        "pingti-router", "pingti / Router", "Queues, workers as the router sees them, its own process.",
        [NAMESPACE, ROUTER_POD, MODEL], [
            row("Requests", [
                graph("By endpoint", "Answers per second.",
                      [("{{endpoint}}", rate("pingti_router_requests_total", r, "endpoint"))], "reqps",
                      stacked=True),
                heatmap("Duration", "Requests by how long they took, from arrival to the last byte.",
                        f"sum by (le) (increase(pingti_router_request_duration_seconds_bucket{{{r}}}"
                        "[$__rate_interval]))", "s"),
                graph("Clients that went away", "Requests per second whose client did not wait.",
                      [("{{pod}}", rate("pingti_router_client_disconnects_total", ns, "pod"))],
                      "reqps"),
            ]),
            row("Queue", [
                graph("Under way", "Requests accepted and not yet answered.",
                      [("{{pod}}", f"pingti_router_requests_in_flight{{{ns}}}")], "short", width=6),
                graph("Waiting", "Sequences that wait for a worker with room.",
                      [("{{pod}} {{model}}", f"pingti_router_queued_requests{{{ns}}}")], "short", width=6),
                graph("Waiting tokens", "Prompt tokens of the sequences that wait.",
                      [("{{pod}}", f"pingti_router_queued_tokens{{{ns}}}")], "short", width=6),
                graph("Time in the queue", "Until a sequence was sent to a worker.",
                      quantiles("pingti_router_queue_time_seconds", r), "s", [(1, YELLOW)], width=6),
                graph("Files that are not taken", "1 while changed settings or keys have an error.",
                      [("{{pod}} {{source}}", f"pingti_router_config_reload_failed{{{ns}}}")], "short", [(1, RED)],
                      width=6),
                graph("Memory for bodies", "Set aside for requests' bodies; max_bodies_bytes bounds it.",
                      [("{{pod}}", f"pingti_router_body_bytes{{{ns}}}")], "bytes", width=6),
            ]),
            row("Classes of keys", [
                graph("Requests by class", "Answers per second, by class of the API key and code.",
                      [("{{tenant_class}} {{code}}",
                        rate("pingti_router_class_requests_total", ns, "tenant_class, code"))], "reqps"),
                graph("Tokens by class", "Prompt tokens taken in and output tokens sent, per second.",
                      [("{{tenant_class}} {{direction}}",
                        rate("pingti_router_class_tokens_total", ns, "tenant_class, direction"))], "short"),
                graph("First token by class, p95", "From arrival to the first token.",
                      [("{{tenant_class}}", quantiles("pingti_router_class_time_to_first_token_seconds", ns,
                                                      "le, tenant_class")[1][1])], "s", [(2.5, RED)]),
                graph("First tokens in time, by class", "Share of the class's requests that met its objective.",
                      [("{{tenant_class}}",
                        "sum by (tenant_class) (rate(pingti_router_class_first_tokens_total{" + ns +
                        ",objective=\"met\"}[$__rate_interval])) / " +
                        rate("pingti_router_class_first_tokens_total", ns, "tenant_class"))], "percentunit"),
            ]),
            row("Workers", [
                graph("By state", "Workers this router knows: ready ones take sequences.",
                      [("{{pod}} {{state}}", f"sum by (pod, state) (pingti_router_workers{{{ns}}})")],
                      "short", width=6),
                graph("Ready, by model", "The least that any router sees; at zero nobody answers for the model.",
                      [("{{model}}", f"min by (model) (pingti_router_ready_workers{{{ns}}})")], "short", width=6),
                graph("Sources that do not answer", "1 while addresses of workers cannot be asked for.",
                      [("{{pod}} {{source}}", f"pingti_router_discovery_failed{{{ns}}}")], "short", [(1, RED)],
                      width=6),
                graph("Sequences sent", "Per second, to each worker: level when balanced.",
                      [("{{worker}}", rate("pingti_router_worker_dispatch_total", ns, "worker"))],
                      "short", width=6),
                graph("Resumed elsewhere", "Sequences per second that lost their worker and went on, and beam "
                      "searches that began again.",
                      [("{{pod}}", rate("pingti_router_resumed_sequences_total", ns, "pod")),
                       ("{{pod}}: searches", rate("pingti_router_restarted_searches_total", ns, "pod"))],
                      "short", width=6),
            ]),
            process_row("pingti-router", ns),
        ])


def worker():
    ns = 'namespace=~"$namespace",pod=~"$pod"'

    def per_pod(metric):
        return [("{{pod}}", rate(metric, ns, "pod"))]

    prompt = rate("pingti_worker_prompt_tokens_total", ns, "pod")
    free = (f"pingti_worker_kv_blocks{{{ns}}} - pingti_worker_kv_blocks_leased{{{ns}}} - "
            f"pingti_worker_kv_blocks_cached{{{ns}}}")
    return dashboard(
        "pingti-engine", "pingti / Engine and KV cache", "What each worker computes and what it holds.",
        [NAMESPACE, WORKER_POD], [
            row("Engine", [
                graph("Running and waiting", "Sequences in the batch, and those waiting for a place.",
                      [("{{pod}} running", f"pingti_worker_running_sequences{{{ns}}}"),
                       ("{{pod}} waiting", f"pingti_worker_waiting_sequences{{{ns}}}")], "short"),
                graph("Tokens out", "Tokens sampled per second.",
                      per_pod("pingti_worker_output_tokens_total"), "short"),
                graph("Prompt tokens in", "Per second; those from the prefix cache cost no computing.",
                      [("{{pod}}", prompt),
                       ("{{pod}} cached", rate("pingti_worker_cached_tokens_total", ns, "pod"))],
                      "short"),
            ]),
            row("Steps", [
                graph("Step duration", "Of all workers: what bounds the time between tokens.",
                      quantiles("pingti_worker_step_duration_seconds", ns), "s"),
                graph("Steps", "Per second: none while sequences run means a stall.",
                      per_pod("pingti_worker_steps_total"), "short"),
                heatmap("Tokens in a step", "Steps by how many tokens they computed.",
                        f"sum by (le) (increase(pingti_worker_batch_tokens_bucket{{{ns}}}"
                        "[$__rate_interval]))", "short"),
                graph("Sequences in a step", "The batch as it was really run.",
                      quantiles("pingti_worker_batch_sequences", ns), "short", width=12),
                graph("Sequences ended", "Per second, by reason.",
                      [("{{reason}}", rate("pingti_worker_sequences_finished_total", ns, "reason"))],
                      "short", width=12),
            ]),
            row("Speculation", [
                graph("Proposed tokens", "Checked per second, and those that the model would have drawn.",
                      [("{{pod}} checked", rate("pingti_worker_drafts_total", ns, "pod")),
                       ("{{pod}} stood", rate("pingti_worker_drafts_accepted_total", ns, "pod"))],
                      "short"),
                heatmap("Tokens that stood", "Of a sequence's proposed tokens in one step.",
                        f"sum by (le) (increase(pingti_worker_drafts_accepted_length_bucket{{{ns}}}"
                        "[$__rate_interval]))", "short"),
                graph("Time of proposing", "Share of a worker's time.",
                      per_pod("pingti_worker_draft_seconds_total"), "percentunit"),
                graph("Tokens that draft heads read", "Per second, many at once, where no draft follows.",
                      per_pod("pingti_worker_draft_reads_total"), "short", width=24),
            ]),
            row("Experts", [
                graph("Busiest expert over the mean", "Tokens, in the layer where it is highest: 1 is even. Stays 0 for models without experts.",
                      [("{{pod}}", f"pingti_worker_expert_imbalance{{{ns}}}")], "short", width=24),
            ]),
            row("Adapters", [
                graph("Adapters", "LoRA adapters that requests may name.",
                      [("{{pod}}", f"pingti_worker_adapters{{{ns}}}")], "short"),
                graph("Put into slots", "Per second, and those that gave up theirs: with many, max_loras is too low.",
                      [("{{pod}} put", rate("pingti_worker_adapter_slot_loads_total", ns, "pod")),
                       ("{{pod}} gave up", rate("pingti_worker_adapter_evictions_total", ns, "pod")),
                       ("{{pod}} dropped from memory", rate("pingti_worker_adapters_dropped_total", ns, "pod"))],
                      "short"),
                heatmap("Reading one took", "Adapters that were loaded, or read again, while the worker serves.",
                        f"sum by (le) (increase(pingti_worker_adapter_load_seconds_bucket{{{ns}}}"
                        "[$__rate_interval]))", "s"),
            ]),
            row("KV cache", [
                graph("Blocks", "Held by sequences, kept for reuse, free.",
                      [("{{pod}} held", f"pingti_worker_kv_blocks_leased{{{ns}}}"),
                       ("{{pod}} kept", f"pingti_worker_kv_blocks_cached{{{ns}}}"),
                       ("{{pod}} free", free)], "short", stacked=True),
                graph("Prefix cache hits", "Share of prompt tokens taken from the cache.",
                      [("{{pod}}", f'{rate("pingti_worker_cached_tokens_total", ns, "pod")} / '
                                   f"({prompt} > 0)")], "percentunit", most=1),
                graph("Put back to wait", "Sequences per second whose blocks were taken for others.",
                      per_pod("pingti_worker_preemptions_total"), "short", [(1, RED)]),
            ]),
            row("Tensor parallelism", [
                graph("Ranks", "That compute a model together; 1 without tensor parallelism.",
                      [("{{pod}} {{model}}", f"pingti_worker_ranks{{{ns}}}")], "short", width=12),
                graph("Late signs of life", "Per second, of other processes of a group; a sign later than rank_timeout "
                      "ends the group.",
                      per_pod("pingti_worker_late_rank_signs_total"), "short", [(0.01, YELLOW)], width=12),
            ]),
            row("Models", [
                table("Loaded", "What each worker serves.", f"pingti_worker_model_info{{{ns}}}",
                      ["pod", "model", "weights", "backend"], width=12),
                graph("Loading took", "Time from the start to a model that can compute.",
                      [("{{pod}}", f"pingti_worker_model_load_seconds{{{ns}}}")], "s", width=6),
                graph("Loading now", "1 while a worker loads its model.",
                      [("{{pod}} {{model}}", f"pingti_worker_loading{{{ns}}}")], "short", width=6),
            ]),
            process_row("pingti-worker", ns),
        ])


def all_dashboards():
    """Dashboards by file name."""
    return {"overview": overview(), "router": router(), "engine": worker()}
