{{/* Names and labels. */}}

{{- define "pingti.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "pingti.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains (include "pingti.name" .) .Release.Name -}}
{{- .Release.Name | trunc 30 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" (.Release.Name | trunc 30 | trimSuffix "-") (include "pingti.name" .) | trunc 30 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "pingti.router" -}}{{ include "pingti.fullname" . }}-router{{- end -}}

{{/* Of a worker group: (dict "root" $ "group" GROUP). */}}
{{- define "pingti.worker" -}}{{ include "pingti.fullname" .root }}-worker-{{ .group.name }}{{- end -}}

{{- define "pingti.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "pingti.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* What selects pods: never anything that changes with a version. */}}
{{- define "pingti.selector" -}}
app.kubernetes.io/name: {{ include "pingti.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "pingti.routerSelector" -}}
{{ include "pingti.selector" . }}
app.kubernetes.io/component: router
{{- end -}}

{{- define "pingti.workerSelector" -}}
{{ include "pingti.selector" .root }}
app.kubernetes.io/component: worker
pingti/group: {{ .group.name }}
{{- end -}}

{{- define "pingti.labels" -}}
{{ include "pingti.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* (dict "root" $ "image" IMAGE) */}}
{{- define "pingti.image" -}}
{{- $name := .image.repository -}}
{{- if .root.Values.image.registry -}}
{{- $name = printf "%s/%s" (trimSuffix "/" .root.Values.image.registry) $name -}}
{{- end -}}
{{- if .image.digest -}}
{{ $name }}@{{ .image.digest }}
{{- else -}}
{{ $name }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "pingti.apiKeysSecret" -}}
{{- if and .Values.apiKeys.keys .Values.apiKeys.existingSecret -}}
{{- fail "apiKeys: give either keys or existingSecret" -}}
{{- end -}}
{{- if .Values.apiKeys.keys -}}
{{ include "pingti.fullname" . }}-api-keys
{{- else -}}
{{ .Values.apiKeys.existingSecret }}
{{- end -}}
{{- end -}}

{{/* (dict "root" $ "tls" TLS "name" SUFFIX "path" KEY): the Secret with a certificate. */}}
{{- define "pingti.tlsSecret" -}}
{{- if and .tls.existingSecret .tls.issuerRef -}}
{{- fail (printf "%s: give either existingSecret or issuerRef" .path) -}}
{{- else if .tls.existingSecret -}}
{{ .tls.existingSecret }}
{{- else if .tls.issuerRef -}}
{{ include "pingti.fullname" .root }}-{{ .name }}
{{- else -}}
{{- fail (printf "%s.enabled needs existingSecret or issuerRef" .path) -}}
{{- end -}}
{{- end -}}
