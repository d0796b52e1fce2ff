"""Recording rules and alerts. Objectives: 99.9 % of requests do not fail, 99 % of first tokens come
within 2.5 s. Their alerts are multi-window burn rates (Google, Site Reliability Workbook, chapter 5):
a long window says that it matters, a short one that it is still going on."""

from dashboards import FAILED, REFUSED

RUNBOOKS = "docs/operations.md"
WINDOWS = ("5m", "30m", "1h", "6h")
ERROR_BUDGET = 0.001
FIRST_TOKEN_S = "2.5"  # a bucket of pingti_router_time_to_first_token_seconds
FIRST_TOKEN_BUDGET = 0.01
FAST_BURN, SLOW_BURN = 14.4, 6  # 2 % of a month's budget in an hour, 5 % in six


def recording_rules():
    rules = []

    def record(name, expression):
        rules.append({"record": name, "expr": expression})

    for window in WINDOWS:
        requests = f"sum by (namespace) (rate(pingti_router_requests_total[{window}]))"
        record(f"namespace:pingti_router_requests:rate{window}", requests)
        record(f"namespace:pingti_router_failed_requests:ratio_rate{window}",
               f"(sum by (namespace) (rate(pingti_router_requests_total{{{FAILED}}}[{window}])) or "
               f"0 * {requests}) / ({requests} > 0)")
        first = "pingti_router_time_to_first_token_seconds"
        record(f"namespace:pingti_router_late_first_tokens:ratio_rate{window}",
               f'1 - sum by (namespace) (rate({first}_bucket{{le="{FIRST_TOKEN_S}"}}[{window}])) / '
               f"(sum by (namespace) (rate({first}_count[{window}])) > 0)")
    refused = f"sum by (namespace) (rate(pingti_router_requests_total{{{REFUSED}}}[5m]))"
    record("namespace:pingti_router_refused_requests:ratio_rate5m",
           f"({refused} or 0 * namespace:pingti_router_requests:rate5m) / "
           "(namespace:pingti_router_requests:rate5m > 0)")
    record("namespace_pod:pingti_worker_kv_cache:ratio",
           "pingti_worker_kv_blocks_leased / (pingti_worker_kv_blocks > 0)")
    return rules


def _alert(name, severity, expression, wait, summary, description):
    return {"alert": name, "expr": expression, "for": wait, "labels": {"severity": severity},
            "annotations": {"summary": summary, "description": description,
                            "runbook_url": f"{RUNBOOKS}#{name.lower()}"}}


def _burn(ratio, budget, factor, long, short):
    limit = f"{factor * budget:.6g}"
    return (f"namespace:pingti_router_{ratio}:ratio_rate{long} > {limit} and "
            f"namespace:pingti_router_{ratio}:ratio_rate{short} > {limit}")


def alerts():
    percent = "{{ $value | humanizePercentage }}"
    return [
        _alert("PingtiErrorsFastBurn", "critical",
               _burn("failed_requests", ERROR_BUDGET, FAST_BURN, "1h", "5m"), "2m",
               "Requests fail", f"{percent} of the last hour's requests failed: at this rate the "
               "month's error budget is gone within two days."),
        _alert("PingtiErrorsSlowBurn", "warning",
               _burn("failed_requests", ERROR_BUDGET, SLOW_BURN, "6h", "30m"), "15m",
               "Some requests fail, for hours", f"{percent} of the last six hours' requests failed."),
        _alert("PingtiFirstTokenFastBurn", "critical",
               _burn("late_first_tokens", FIRST_TOKEN_BUDGET, FAST_BURN, "1h", "5m"), "2m",
               f"First tokens take longer than {FIRST_TOKEN_S} s",
               f"{percent} of the last hour's answers began late."),
        _alert("PingtiFirstTokenSlowBurn", "warning",
               _burn("late_first_tokens", FIRST_TOKEN_BUDGET, SLOW_BURN, "6h", "30m"), "15m",
               f"Some first tokens take longer than {FIRST_TOKEN_S} s",
               f"{percent} of the last six hours' answers began late."),
        _alert("PingtiNoReadyWorker", "critical",
               'max by (namespace) (pingti_router_workers{state="ready"}) == 0', "1m",
               "No worker is ready", "No router in {{ $labels.namespace }} has a ready worker: every "
               "request waits, then fails."),
        _alert("PingtiWorkersNotReady", "warning",
               'max by (namespace, state) (pingti_router_workers{state!="ready"}) > 0', "15m",
               "Workers stay {{ $labels.state }}",
               "{{ $value }} workers have been {{ $labels.state }} for a quarter of an hour."),
        _alert("PingtiRouterAbsent", "critical", "absent(pingti_router_requests_in_flight)", "5m",
               "No router is scraped", "Prometheus has no router's metrics: the routers are down, or "
               "the scrape is."),
        _alert("PingtiStalledWorker", "critical",
               "pingti_worker_running_sequences > 0 and rate(pingti_worker_steps_total[1m]) == 0",
               "1m", "A worker has sequences and runs no step",
               "{{ $labels.pod }} holds {{ $value }} sequences and has run no step for two minutes."),
        _alert("PingtiKvPressure", "warning",
               "namespace_pod:pingti_worker_kv_cache:ratio > 0.9 and "
               "pingti_worker_waiting_sequences > 0", "10m", "A worker's KV cache is full",
               f"{percent} of the KV blocks of {{{{ $labels.pod }}}} are held, and sequences wait."),
        _alert("PingtiPreemptions", "warning",
               "rate(pingti_worker_preemptions_total[10m]) > 0.1", "10m",
               "A worker keeps putting sequences back",
               "{{ $labels.pod }} puts {{ $value | printf \"%.2f\" }} sequences a second back to wait, and "
               "computes them again later."),
        _alert("PingtiQueueGrowth", "warning",
               "sum by (namespace) (pingti_router_queued_requests) > 10 and "
               "sum by (namespace) (deriv(pingti_router_queued_requests[10m])) > 0", "10m",
               "The queue grows", "{{ $value }} sequences wait in the routers of "
               "{{ $labels.namespace }}, and their number rises."),
        _alert("PingtiRefusals", "warning",
               "namespace:pingti_router_refused_requests:ratio_rate5m > 0.05", "10m",
               "Requests are refused", f"{percent} of the requests are answered 429."),
        _alert("PingtiSequencesResumed", "warning",
               "sum by (namespace) (rate(pingti_router_resumed_sequences_total[15m])) > 0.05", "15m",
               "Sequences keep losing their worker",
               "{{ $value | printf \"%.2f\" }} sequences a second go on at another worker: workers die, "
               "stall or are unreachable."),
        _alert("PingtiRestarts", "warning",
               "resets(process_cpu_seconds_total[1h]) > 2 and on (namespace, pod, instance) "
               "pingti_build_info", "0m", "A process keeps restarting",
               "{{ $labels.pod }} has started {{ $value }} times within an hour."),
        _alert("PingtiFileDescriptors", "warning",
               "process_open_fds / process_max_fds > 0.8 and on (namespace, pod, instance) "
               "pingti_build_info", "10m", "File descriptors run out",
               f"{percent} of the file descriptors of {{{{ $labels.pod }}}} are open."),
    ]


def rule_file():
    """What Prometheus loads, and the spec of the chart's PrometheusRule."""
    return {"groups": [{"name": "pingti.recording", "interval": "30s", "rules": recording_rules()},
                       {"name": "pingti.alerts", "rules": alerts()}]}
