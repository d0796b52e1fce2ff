{{/* What the pods of both programs have in common. */}}

{{/* The seconds Kubernetes waits after SIGTERM: (dict "drain" N "grace" N-or-nil "path" KEY). */}}
{{- define "pingti.grace" -}}
{{- $drain := int .drain -}}
{{- if .grace -}}
{{- if le (int .grace) $drain -}}
{{- fail (printf "%s.terminationGracePeriodSeconds is %d: it must be longer than draining, which may take %d s" .path (int .grace) $drain) -}}
{{- end -}}
{{ int .grace }}
{{- else -}}
{{ add $drain 10 }}
{{- end -}}
{{- end -}}

{{- define "pingti.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .Values.podSecurity.runAsUser }}
runAsGroup: {{ .Values.podSecurity.runAsGroup }}
fsGroup: {{ .Values.podSecurity.fsGroup }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "pingti.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Nodes that the images run on, unless a pod's own nodeSelector says otherwise. */}}
{{- define "pingti.nodeSelector" -}}
{{- toYaml (merge (dict) (.nodeSelector | default dict) (dict "kubernetes.io/os" "linux" "kubernetes.io/arch" "amd64")) -}}
{{- end -}}

{{/* Placement: (dict "root" $ "pod" POD "selector" TEXT "token" BOOL-or-nil): whether the pod talks to Kubernetes. */}}
{{- define "pingti.placement" -}}
serviceAccountName: {{ include "pingti.serviceAccount" .root }}
automountServiceAccountToken: {{ .token | default false }}
# Kubernetes' variables about Services begin like our settings when a Service is called pingti.
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  {{- include "pingti.podSecurity" .root | nindent 2 }}
nodeSelector:
  {{- include "pingti.nodeSelector" .pod | nindent 2 }}
{{- with .pod.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .pod.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .pod.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .pod.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
topologySpreadConstraints:
{{- if .pod.topologySpreadConstraints }}
  {{- toYaml .pod.topologySpreadConstraints | nindent 2 }}
{{- else }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- .selector | nindent 8 }}
{{- end }}
{{- end -}}

{{/* Probes against the admin port: (dict "startupSeconds" N "started" PATH). A worker has started when its
model is loaded; a router, whose readiness is that of its workers, when it answers. */}}
{{- define "pingti.probes" -}}
startupProbe:
  httpGet: {path: {{ .started }}, port: admin}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: {{ divf .startupSeconds 5 | ceil | int }}
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 2
  timeoutSeconds: 3
  failureThreshold: 2
livenessProbe:
  httpGet: {path: /healthz, port: admin}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
{{- end -}}

{{/* Where names are asked for, as a NetworkPolicy's ports. */}}
{{- define "pingti.dnsPorts" -}}
{{- range .Values.networkPolicy.dnsPorts }}
- {port: {{ . }}, protocol: UDP}
- {port: {{ . }}, protocol: TCP}
{{- end }}
{{- end -}}

{{/* A settings file: a dictionary as YAML, with a line that says where it is from. */}}
{{- define "pingti.settings" -}}
# Made by the chart; every key is explained by --print-config.
{{ toYaml . }}
{{- end -}}
