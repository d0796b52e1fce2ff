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

{{/* The Service by whose name routers find the workers of all groups. */}}
{{- define "pingti.workers" -}}{{ include "pingti.fullname" . }}-workers{{- end -}}

{{/* Of a worker group: (dict "root" $ "group" GROUP). */}}
{{- define "pingti.worker" -}}{{ include "pingti.fullname" .root }}-worker-{{ .group.name }}{{- end -}}

{{/* Names that Kubernetes would refuse, told before anything is installed. Services must begin with a
letter, and release names need not; 63 characters are what a Service's name may have, and a LeaderWorkerSet's
pods have numbers after it and labels with more. */}}
{{- define "pingti.checkNames" -}}
{{- $full := include "pingti.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $full) -}}
{{- fail (printf "objects would be called %s-router: a name has small letters, digits and hyphens and begins with a letter; set fullnameOverride" $full) -}}
{{- end -}}
{{- $names := dict -}}
{{- range .Values.workers -}}
{{- if hasKey $names .name -}}
{{- fail (printf "workers: two groups are called %s" .name) -}}
{{- end -}}
{{- $_ := set $names .name true -}}
{{- $name := include "pingti.worker" (dict "root" $ "group" .) -}}
{{- $most := ternary 46 63 (include "pingti.pods" . | int | lt 1) -}}
{{- if gt (len $name) $most -}}
{{- fail (printf "workers[%s]: its objects would be called %s, which has %d characters: expected at most %d; set a shorter fullnameOverride" .name $name (len $name) $most) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The replicas of what something else scales: those that run, where Helm can ask the cluster, and never
fewer than the scaler's least. Leaving the field out would set a Deployment that had it to one pod.
(dict "root" $ "apiVersion" VERSION "kind" KIND "name" NAME "least" N) */}}
{{- define "pingti.scaledReplicas" -}}
{{- with lookup .apiVersion .kind .root.Release.Namespace .name }}
replicas: {{ max (int .spec.replicas) (int $.least) }}
{{- end }}
{{- end -}}

{{- define "pingti.checkScaling" -}}
{{- if gt (int .least) (int .most) -}}
{{- fail (printf "%s.autoscaling: minReplicas %d is more than maxReplicas %d" .path (int .least) (int .most)) -}}
{{- end -}}
{{- end -}}

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

{{/* The pods that routers talk to: all of a group, or the leaders where several share a model. */}}
{{- define "pingti.workerSelector" -}}
{{ include "pingti.selector" .root }}
app.kubernetes.io/component: worker
pingti/group: {{ .group.name }}
{{- end -}}

{{/* All pods of a group, with those that follow a leader. */}}
{{- define "pingti.groupSelector" -}}
{{ include "pingti.selector" .root }}
pingti/group: {{ .group.name }}
{{- end -}}

{{- define "pingti.labels" -}}
{{ include "pingti.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | replace "+" "_" | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
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
