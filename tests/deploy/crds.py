"""Schemas for the custom objects the chart makes, as far as it uses them, written from each project's
API reference: prometheus-operator, cert-manager, KEDA, Gateway API, LeaderWorkerSet."""

import jsonschema


def _object(required, **properties):
    return {"type": "object", "required": list(required), "properties": properties,
            "additionalProperties": False}


def _list(items):
    return {"type": "array", "minItems": 1, "items": items}


TEXT, COUNT, FLAG = {"type": "string", "minLength": 1}, {"type": "integer"}, {"type": "boolean"}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
DURATION = {"type": "string", "pattern": r"^[0-9]+(ms|s|m|h|d)$"}
SELECTOR = _object((), matchLabels=TEXTS, matchExpressions=_list(
    _object(("key", "operator"), key=TEXT, operator={"enum": ["In", "NotIn", "Exists", "DoesNotExist"]},
            values=_list(TEXT))))
RELABELING = _object(("targetLabel",), action={"enum": ["replace"]}, targetLabel=TEXT, replacement=TEXT,
                     sourceLabels=_list(TEXT))
ENDPOINT = _object(("port",), port=TEXT, path=TEXT, interval=DURATION, relabelings=_list(RELABELING))

RULE = _object(("expr",), record=TEXT, alert=TEXT, expr=TEXT, labels=TEXTS, annotations=TEXTS,
               **{"for": DURATION})
RULE["oneOf"] = [{"required": ["record"], "not": {"required": ["for"]}}, {"required": ["alert"]}]

CUSTOM_OBJECTS = {
    ("monitoring.coreos.com/v1", "ServiceMonitor"):
        _object(("selector", "endpoints"), selector=SELECTOR, endpoints=_list(ENDPOINT)),
    ("monitoring.coreos.com/v1", "PodMonitor"):
        _object(("selector", "podMetricsEndpoints"), selector=SELECTOR, podMetricsEndpoints=_list(ENDPOINT)),
    ("monitoring.coreos.com/v1", "PrometheusRule"):
        _object(("groups",), groups=_list(_object(("name", "rules"), name=TEXT, interval=DURATION,
                                                  rules=_list(RULE)))),
    ("cert-manager.io/v1", "Certificate"):
        _object(("secretName", "issuerRef"), secretName=TEXT, dnsNames=_list(TEXT), usages=_list(TEXT),
                issuerRef=_object(("name",), name=TEXT, kind=TEXT, group=TEXT)),
    ("keda.sh/v1alpha1", "ScaledObject"):
        _object(("scaleTargetRef", "triggers"), minReplicaCount=COUNT, maxReplicaCount=COUNT,
                cooldownPeriod=COUNT,
                scaleTargetRef=_object(("name",), apiVersion=TEXT, kind=TEXT, name=TEXT),
                triggers=_list(_object(("type", "metadata"), type=TEXT, name=TEXT, metadata=_object(
                    ("serverAddress", "query", "threshold"), serverAddress=TEXT, query=TEXT,
                    threshold=TEXT, ignoreNullValues=TEXT)))),
    ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet"):
        _object(("leaderWorkerTemplate",), replicas=COUNT, startupPolicy={"enum": ["LeaderCreated", "LeaderReady"]},
                rolloutStrategy=_object(("type",), type={"const": "RollingUpdate"}, rollingUpdateConfiguration=_object(
                    (), maxSurge=COUNT, maxUnavailable=COUNT, partition=COUNT)),
                networkConfig=_object(("subdomainPolicy",), subdomainPolicy={"enum": ["Shared", "UniquePerReplica"]}),
                leaderWorkerTemplate=_object(
                    ("workerTemplate",), size={"type": "integer", "minimum": 1},
                    restartPolicy={"enum": ["Default", "RecreateGroupOnPodRestart", "None"]},
                    leaderTemplate={"type": "object"}, workerTemplate={"type": "object"})),
    ("gateway.networking.k8s.io/v1", "BackendTLSPolicy"):
        _object(("targetRefs", "validation"),
                targetRefs=_list(_object(("group", "kind", "name"), group={"type": "string"}, kind=TEXT, name=TEXT,
                                         sectionName=TEXT)),
                validation=_object(("hostname",), hostname=TEXT, wellKnownCACertificates={"const": "System"},
                                   caCertificateRefs=_list(_object(("group", "kind", "name"), kind=TEXT, name=TEXT,
                                                                   group={"type": "string"})))),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"):
        _object(("parentRefs", "rules"), hostnames=_list(TEXT),
                parentRefs=_list(_object(("name",), name=TEXT, namespace=TEXT, sectionName=TEXT)),
                rules=_list(_object(("backendRefs",), timeouts=_object((), request=DURATION),
                                    backendRefs=_list(_object(("name", "port"), name=TEXT, port=COUNT))))),
}


def check_custom_object(thing):
    """Raises when `thing` is not what its custom resource definition takes."""
    spec = CUSTOM_OBJECTS[thing["apiVersion"], thing["kind"]]
    jsonschema.validate(thing, _object(
        ("apiVersion", "kind", "metadata", "spec"), apiVersion=TEXT, kind=TEXT,
        metadata=_object(("name",), name=TEXT, labels=TEXTS, annotations=TEXTS), spec=spec))
