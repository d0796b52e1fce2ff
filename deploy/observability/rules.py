"""Recording rules and alerts. Objectives: 99.9 % of requests do not fail, 99 % of first tokens come
within 2.5 s. Their alerts are multi-window burn rates (Google, Site Reliability Workbook, chapter 5):
a long window says that it matters, a short one that it is still going on, and a least number of bad
requests that a ratio of few requests is no alarm.

Everything is told apart by namespace and release, the label that the chart's monitors set. Every
selector begins with ALL, which the chart replaces by its own namespace and release."""

from dashboards import FAILED, REFUSED

RUNBOOKS = "docs/operations.md"
ALL = 'namespace=~".*"'
WINDOWS = ("5m", "30m", "1h", "6h")
ERROR_BUDGET = 0.001
FIRST_TOKEN_S = "2.5"  # a bucket of pingti_router_time_to_first_token_seconds
FIRST_TOKEN_BUDGET = 0.01
FAST_BURN, SLOW_BURN = 14.4, 6  # 2 % of a month's budget in an hour, 5 % in six
LEAST_BAD = 10  # requests in the long window, or in what is looked at


def _by(labels, aggregate, expression):
    return f"{aggregate} by ({labels}) ({expression})"


def _release(aggregate, expression):
    return _by("namespace, release", aggregate, expression)


def _rate(metric, window, part=""):
    return _release("sum", f"rate({metric}{{{ALL}{',' if part else ''}{part}}}[{window}])")


def recording_rules():
    rules = []

    def record(name, expression):
        rules.append({"record": name, "expr": expression})

    first = "pingti_router_time_to_first_token_seconds"
    late = f'le="{FIRST_TOKEN_S}"'
    for window in WINDOWS:
        requests = _rate("pingti_router_requests_total", window)
        record(f"release:pingti_router_requests:rate{window}", requests)
        record(f"release:pingti_router_failed_requests:rate{window}",
               f"{_rate('pingti_router_requests_total', window, FAILED)} or 0 * {requests}")
        record(f"release:pingti_router_failed_requests:ratio_rate{window}",
               f"{_own(f'release:pingti_router_failed_requests:rate{window}')} / "
               f"({_own(f'release:pingti_router_requests:rate{window}')} > 0)")
        firsts = _rate(first + "_count", window)
        record(f"release:pingti_router_late_first_tokens:rate{window}",
               f"{firsts} - {_rate(first + '_bucket', window, late)}")
        record(f"release:pingti_router_late_first_tokens:ratio_rate{window}",
               f"{_own(f'release:pingti_router_late_first_tokens:rate{window}')} / ({firsts} > 0)")
    record("release:pingti_router_refused_requests:rate5m",
           f"{_rate('pingti_router_requests_total', '5m', REFUSED)} or "
           f"0 * {_own('release:pingti_router_requests:rate5m')}")
    record("release:pingti_router_refused_requests:ratio_rate5m",
           f"{_own('release:pingti_router_refused_requests:rate5m')} / "
           f"({_own('release:pingti_router_requests:rate5m')} > 0)")
    record("pod:pingti_worker_kv_cache:ratio",
           f"pingti_worker_kv_blocks_leased{{{ALL}}} / (pingti_worker_kv_blocks{{{ALL}}} > 0)")
    return rules


def _alert(name, severity, expression, wait, summary, description):
    return {"alert": name, "expr": expression, "for": wait, "labels": {"severity": severity},
            "annotations": {"summary": summary, "description": description,
                            "runbook": f"{RUNBOOKS}#{name.lower()}"}}


def _burn(kind, budget, factor, long, short):
    limit = f"{factor * budget:.6g}"
    seconds = {"1h": 3600, "6h": 21600}[long]
    return (f"{_own(f'release:pingti_router_{kind}:ratio_rate{long}')} > {limit} and "
            f"{_own(f'release:pingti_router_{kind}:ratio_rate{short}')} > {limit} and "
            f"{_own(f'release:pingti_router_{kind}:rate{long}')} * {seconds} >= {LEAST_BAD}")


def _own(series):
    return f"{series}{{{ALL}}}"


def _none_ready(labels, ready):
    """No worker is ready, and none is on the way: those that load count as if they were."""
    ready = _by(labels, "max", ready)
    loading = _by(labels, "max", _own("pingti_worker_loading"))
    return f"{ready} + ({loading} or 0 * {ready}) == 0"


def _away():
    """Workers that routers do not reach, less those that load their model and do not listen yet."""
    known = _own("pingti_router_workers")
    away = f'pingti_router_workers{{{ALL},state=~"connecting|dead"}}'
    away = _release("max", _by("namespace, release, pod", "sum", away))
    loading = _release("sum", _own("pingti_worker_loading"))
    return f"{away} - ({loading} or 0 * {_release('max', known)}) > 0"


OF_OURS = f"and on (namespace, pod, instance) {_own('pingti_build_info')}"


def _class_misses():
    """The share of a class's first tokens that came after its objective."""
    def rate(part):
        return _by("namespace, release, tenant_class", "sum",
                   f"rate(pingti_router_class_first_tokens_total{{{ALL}{part}}}[10m])")

    missed = rate(',objective="missed"')
    return f"{missed} / ({rate('')} > 0) > 0.05 and {missed} * 600 >= {LEAST_BAD}"


def _traffic_alerts():
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
        _alert("PingtiQueueGrowth", "warning",
               _by("namespace, release, model", "sum", _own("pingti_router_queued_requests")) + " > 10 and " +
               _by("namespace, release, model", "sum",
                   f"deriv({_own('pingti_router_queued_requests')}[10m])") + " > 0", "10m",
               "The queue of {{ $labels.model }} grows", "{{ $value }} sequences wait in the routers of "
               "{{ $labels.namespace }} for {{ $labels.model }}, and their number rises."),
        _alert("PingtiRefusals", "warning",
               f"{_own('release:pingti_router_refused_requests:ratio_rate5m')} > 0.05 and "
               f"{_own('release:pingti_router_refused_requests:rate5m')} * 300 >= {LEAST_BAD}", "10m",
               "Requests are refused", f"{percent} of the requests are answered 429."),
        _alert("PingtiClassObjectiveMissed", "warning", _class_misses(), "10m",
               "First tokens of class {{ $labels.tenant_class }} come late",
               f"{percent} of the first tokens of {{{{ $labels.tenant_class }}}} missed the class's objective."),
        _alert("PingtiSequencesResumed", "warning",
               _rate("pingti_router_resumed_sequences_total", "15m") + " > 0.05", "15m",
               "Sequences keep losing their worker",
               "{{ $value | printf \"%.2f\" }} sequences a second go on at another worker: workers die, "
               "stall or are unreachable."),
    ]


def _worker_alerts():
    percent = "{{ $value | humanizePercentage }}"
    return [
        _alert("PingtiNoReadyWorker", "critical",
               _none_ready("namespace, release", f'pingti_router_workers{{{ALL},state="ready"}}'), "1m",
               "No worker is ready", "No router in {{ $labels.namespace }} has a ready worker, and none "
               "is loading: every request waits, then fails."),
        _alert("PingtiModelNotReady", "critical",
               _none_ready("namespace, release, model", _own("pingti_router_ready_workers")), "1m",
               "No worker of {{ $labels.model }} is ready", "No router in {{ $labels.namespace }} has a "
               "ready worker of {{ $labels.model }}, and none is loading it."),
        _alert("PingtiStillLoading", "warning", f"{_own('pingti_worker_loading')} == 1", "1h",
               "A worker has been loading for an hour",
               "{{ $labels.pod }} has been loading {{ $labels.model }} for an hour."),
        _alert("PingtiWorkersNotReady", "warning", _away(), "15m", "Workers stay away",
               "{{ $value }} workers have been connecting or dead for a quarter of an hour, and are not "
               "loading."),
        _alert("PingtiWorkersDraining", "warning",
               _release("max", f'pingti_router_workers{{{ALL},state="draining"}}') + " > 0", "15m",
               "Workers stay draining",
               "{{ $value }} workers have been draining for a quarter of an hour."),
        _alert("PingtiStalledWorker", "critical",
               f"{_own('pingti_worker_running_sequences')} > 0 and on (namespace, pod, instance) "
               f"rate({_own('pingti_worker_steps_total')}[1m]) == 0",
               "1m", "A worker has sequences and runs no step",
               "{{ $labels.pod }} holds {{ $value }} sequences and has run no step for two minutes."),
        _alert("PingtiKvPressure", "warning",
               f"{_own('pod:pingti_worker_kv_cache:ratio')} > 0.9 and "
               f"{_own('pingti_worker_waiting_sequences')} > 0", "10m", "A worker's KV cache is full",
               f"{percent} of the KV blocks of {{{{ $labels.pod }}}} are held, and sequences wait."),
        _alert("PingtiRankLate", "warning",
               f"increase({_own('pingti_worker_late_rank_signs_total')}[10m]) > 2", "0m",
               "A rank is near to being lost",
               "{{ $value | printf \"%.0f\" }} signs of life of other processes of the group of {{ $labels.pod }} came "
               "late within ten minutes; one that is later still ends the group."),
        _alert("PingtiPreemptions", "warning",
               f"rate({_own('pingti_worker_preemptions_total')}[10m]) > 0.1", "10m",
               "A worker keeps putting sequences back",
               "{{ $labels.pod }} puts {{ $value | printf \"%.2f\" }} sequences a second back to wait, and "
               "computes them again later."),
    ]


def _process_alerts():
    percent = "{{ $value | humanizePercentage }}"
    return [
        _alert("PingtiRouterAbsent", "critical", f"absent({_own('pingti_router_requests_in_flight')})", "5m",
               "No router is scraped", "Prometheus has no router's metrics: the routers are down, or "
               "the scrape is."),
        _alert("PingtiReloadFailed", "warning", f"{_own('pingti_router_config_reload_failed')} > 0", "5m",
               "A router cannot take up changed {{ $labels.source }}",
               "{{ $labels.pod }} goes on with the {{ $labels.source }} of before: the file has an error, which its "
               "log names."),
        _alert("PingtiDiscoveryFailed", "warning", f"{_own('pingti_router_discovery_failed')} > 0", "5m",
               "A router does not hear of workers from {{ $labels.source }}",
               "{{ $labels.source }} does not answer {{ $labels.pod }}, which goes on with the workers that it knows; "
               "its log says why."),
        _alert("PingtiRestarts", "warning",
               f"resets({_own('process_cpu_seconds_total')}[1h]) > 2 {OF_OURS}", "0m",
               "A process keeps restarting",
               "{{ $labels.pod }} has started {{ $value }} times within an hour."),
        _alert("PingtiFileDescriptors", "warning",
               f"{_own('process_open_fds')} / {_own('process_max_fds')} > 0.8 {OF_OURS}", "10m",
               "File descriptors run out",
               f"{percent} of the file descriptors of {{{{ $labels.pod }}}} are open."),
    ]


def alerts():
    return _traffic_alerts() + _worker_alerts() + _process_alerts()


def rule_file():
    """What Prometheus loads, and the spec of the chart's PrometheusRule."""
    return {"groups": [{"name": "pingti.recording", "interval": "30s", "rules": recording_rules()},
                       {"name": "pingti.alerts", "rules": alerts()}]}
