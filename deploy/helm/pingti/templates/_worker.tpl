{{/* Where the model is inside the pod, from a group's source. */}}
{{- define "pingti.modelPath" -}}
{{- $source := .source -}}
{{- $inner := "" -}}
{{- with $source.persistentVolumeClaim }}{{ $inner = .path | default "" }}{{ end -}}
{{- with $source.hostPath }}{{ $inner = .file | default "" }}{{ end -}}
{{- with .source.image }}{{ $inner = .path | default "" }}{{ end -}}
{{- with $source.download }}{{ $inner = .path | default "" }}{{ end -}}
{{- if $inner -}}/models/{{ $inner }}{{- else -}}/models{{- end -}}
{{- end -}}

{{/* Whether a group runs on a GPU: "true", or nothing. */}}
{{- define "pingti.onGpu" -}}
{{- if eq (.device | default "cpu") "cuda" }}true{{ end -}}
{{- end -}}

{{/* The pods that share one copy of a group's model: more than 1 make a LeaderWorkerSet. */}}
{{- define "pingti.pods" -}}
{{- $pods := .podsPerReplica | default 1 | int -}}
{{- $ranks := .tensorParallel | default 1 | int -}}
{{- if mod $ranks $pods -}}
{{- fail (printf "workers[%s]: tensorParallel is %d; expected a multiple of podsPerReplica, %d, so that each pod has as many" .name $ranks $pods) -}}
{{- end -}}
{{ $pods }}
{{- end -}}

{{- define "pingti.workerApiVersion" -}}
{{ ternary "leaderworkerset.x-k8s.io/v1" "apps/v1" (include "pingti.pods" . | int | lt 1) }}
{{- end -}}

{{- define "pingti.workerKind" -}}
{{ ternary "LeaderWorkerSet" "Deployment" (include "pingti.pods" . | int | lt 1) }}
{{- end -}}

{{/* The names of the pods that serve, as a pattern. A Deployment's have two words more than it, of which the
last has five letters, a LeaderWorkerSet's leaders a number: a group called "big" has no pod of "big-long".
(dict "root" $ "group" GROUP) */}}
{{- define "pingti.workerPods" -}}
{{ include "pingti.worker" . }}-{{ ternary "[0-9]+" "[a-z0-9]+-[a-z0-9]{5}" (include "pingti.pods" .group | int | lt 1) }}
{{- end -}}

{{- define "pingti.workerGrace" -}}
{{ include "pingti.grace" (dict "drain" (dig "drainTimeoutSeconds" 30 .) "grace" .terminationGracePeriodSeconds "path" (printf "workers[%s]" .name)) }}
{{- end -}}

{{/* The seconds that a container has until its model is loaded. Pods that share one wait for the last of
them, which may still be fetching it. */}}
{{- define "pingti.meetingSeconds" -}}
{{- if gt (include "pingti.pods" . | int) 1 -}}
{{ include "pingti.startSeconds" . }}
{{- else -}}
{{ .startupSeconds | default 900 }}
{{- end -}}
{{- end -}}

{{/* The seconds from a group's new pod to one that serves: fetching the model, then loading it. */}}
{{- define "pingti.startSeconds" -}}
{{- $download := 0 -}}
{{- with .source.download }}{{ $download = .timeoutSeconds | default 3600 }}{{ end -}}
{{ add (.startupSeconds | default 900) $download }}
{{- end -}}

{{/* The longest of them: a router is ready when a worker is. */}}
{{- define "pingti.longestStart" -}}
{{- $longest := 0 -}}
{{- range .Values.workers }}{{ $longest = max $longest (include "pingti.startSeconds" . | int) }}{{ end -}}
{{ $longest }}
{{- end -}}

{{/* Refuses resources of nvidia.com that the worker would not use, or Kubernetes not take. */}}
{{- define "pingti.checkGpus" -}}
{{- $group := . -}}
{{- $limits := dig "pod" "resources" "limits" dict . -}}
{{- $count := 0 -}}
{{- range $key, $value := dig "pod" "resources" "requests" dict . -}}
{{- if and (hasPrefix "nvidia.com/" $key) (ne (toString $value) (toString (get $limits $key))) -}}
{{- fail (printf "workers[%s].pod.resources: requests has %s: %v; expected the same under limits, which Kubernetes takes for the request too" $group.name $key $value) -}}
{{- end -}}
{{- end -}}
{{- range $key, $value := $limits -}}
{{- if hasPrefix "nvidia.com/" $key -}}
{{- if not (include "pingti.onGpu" $group) -}}
{{- fail (printf "workers[%s].pod.resources: limits has %s, but device is cpu: expected device cuda" $group.name $key) -}}
{{- end -}}
{{- if and (hasPrefix "nvidia.com/mig-" $key) (gt ($group.tensorParallel | default 1 | int) 1) -}}
{{- fail (printf "workers[%s].pod.resources: limits has %s, but tensorParallel is %d: MIG instances do not reach each other's memory; expected nvidia.com/gpu" $group.name $key (int $group.tensorParallel)) -}}
{{- end -}}
{{- $count = add $count (int $value) -}}
{{- end -}}
{{- end -}}
{{- $used := include "pingti.gpusPerPod" $group | int -}}
{{- if and $count (ne (int $count) $used) -}}
{{- fail (printf "workers[%s].pod.resources: limits has %d devices of nvidia.com, but a worker uses tensorParallel of them, %d%s" $group.name (int $count) $used (ternary "" " in each of podsPerReplica" (include "pingti.pods" $group | int | ge 1))) -}}
{{- end -}}
{{- end -}}

{{- define "pingti.gpusPerPod" -}}
{{ div (.tensorParallel | default 1 | int) (include "pingti.pods" . | int) }}
{{- end -}}

{{/* Whether a group's GPUs exchange anything: "true", or nothing. */}}
{{- define "pingti.sharesGpus" -}}
{{- if and (include "pingti.onGpu" .) (gt (.tensorParallel | default 1 | int) 1) }}true{{ end -}}
{{- end -}}

{{/* A group's resources. A GPU is a limit, which Kubernetes takes for the request too. */}}
{{- define "pingti.workerResources" -}}
{{- include "pingti.checkGpus" . -}}
{{- $resources := dig "pod" "resources" dict . -}}
{{- if not (or $resources.requests $resources.limits) -}}
{{- $least := ternary (dict "cpu" "4" "memory" "16Gi") (dict "cpu" "2" "memory" "4Gi") (not (empty (include "pingti.onGpu" .))) -}}
{{- $resources = dict "requests" $least -}}
{{- end -}}
{{- $limits := $resources.limits | default dict -}}
{{- if and (include "pingti.onGpu" .) (not (contains "nvidia.com/" (keys $limits | join " "))) -}}
{{- $gpus := include "pingti.gpusPerPod" . | int -}}
{{- $resources = merge (dict "limits" (merge (dict "nvidia.com/gpu" $gpus) $limits)) $resources -}}
{{- end -}}
{{ toYaml $resources }}
{{- end -}}

{{/* pingti-worker's settings: (dict "root" $ "group" GROUP). */}}
{{- define "pingti.workerSettings" -}}
{{- $values := .root.Values -}}
{{- $set := dict
  "address" "*"
  "model" (include "pingti.modelPath" .group)
  "device" (.group.device | default "cpu")
  "grpc_max_message_length" $values.grpcMaxMessageLength
  "drain_timeout" (printf "%ds" (int (dig "drainTimeoutSeconds" 30 .group))) -}}
{{- with .group.model }}{{ $_ := set $set "model_id" . }}{{ end -}}
{{- with .group.aliases }}{{ $_ := set $set "model_aliases" . }}{{ end -}}
{{- with .group.quantization }}{{ $_ := set $set "dtype" . }}{{ end -}}
{{- with .group.tensorParallel }}{{ $_ := set $set "tensor_parallel" (int .) }}{{ end -}}
{{- if gt (include "pingti.pods" .group | int) 1 -}}
{{- $_ := set $set "world_size" (include "pingti.pods" .group | int) -}}
{{- $_ := set $set "group_timeout" (printf "%ss" (include "pingti.meetingSeconds" .group)) -}}
{{- end -}}
{{- if $values.workerTls.enabled -}}
{{- $_ := set $set "tls_cert_file" "/etc/pingti/worker-tls/tls.crt" -}}
{{- $_ := set $set "tls_key_file" "/etc/pingti/worker-tls/tls.key" -}}
{{- $_ := set $set "tls_client_ca_file" "/etc/pingti/worker-tls/ca.crt" -}}
{{- $_ := set $set "tls_client_names" (list $values.workerTls.serverName) -}}
{{- end -}}
{{ toYaml (merge $set (.group.config | default dict)) }}
{{- end -}}

{{/* The volume with the model: (dict "root" $ "group" GROUP). */}}
{{- define "pingti.modelVolume" -}}
- name: model
{{- with .group.source.persistentVolumeClaim }}
  persistentVolumeClaim: {claimName: {{ .claimName }}, readOnly: true}
{{- end }}
{{- with .group.source.hostPath }}
  hostPath: {path: {{ .path }}, type: Directory}
{{- end }}
{{- with .group.source.image }}
{{- if semverCompare "<1.33.0-0" $.root.Capabilities.KubeVersion.Version }}
{{- fail (printf "workers[%s].source.image needs Kubernetes 1.33 or later; this is %s" $.group.name $.root.Capabilities.KubeVersion.Version) }}
{{- end }}
  image:
    reference: {{ .reference }}
    pullPolicy: {{ .pullPolicy | default "IfNotPresent" }}
{{- end }}
{{- with .group.source.download }}
{{- if .claimName }}
  persistentVolumeClaim: {claimName: {{ .claimName }}}
{{- else }}
  emptyDir: {sizeLimit: {{ .size | default "64Gi" }}}
{{- end }}
{{- with .caConfigMap }}
- name: download-ca
  configMap:
    name: {{ .name }}
    items: [{key: {{ .key | default "ca.crt" }}, path: ca.crt}]
{{- end }}
{{- end }}
{{- end -}}

{{/* Where a file is fetched from: (dict "url" URL "download" DOWNLOAD). hf://OWNER/REPO[@REVISION]/PATH is
a file of a repository of the Hugging Face hub. */}}
{{- define "pingti.downloadUrl" -}}
{{- $hub := .download.hubEndpoint | default "https://huggingface.co" | trimSuffix "/" -}}
{{- if regexMatch "^hf://[^/]+/[^/@]+@" .url -}}
{{ regexReplaceAll "^hf://([^/]+/[^/@]+)@([^/]+)/(.+)$" .url (printf "%s/${1}/resolve/${2}/${3}" $hub) }}
{{- else -}}
{{ regexReplaceAll "^hf://([^/]+/[^/@]+)/(.+)$" .url (printf "%s/${1}/resolve/main/${2}" $hub) }}
{{- end -}}
{{- end -}}

{{/* The port of a URL. */}}
{{- define "pingti.urlPort" -}}
{{- $host := (urlParse .).host -}}
{{- if regexMatch ":[0-9]+$" $host -}}
{{ regexFind "[0-9]+$" $host }}
{{- else -}}
{{ ternary "443" "80" (hasPrefix "https:" .) }}
{{- end -}}
{{- end -}}

{{/* (dict "root" $ "download" DOWNLOAD): the script in files/download.sh says what it promises. */}}
{{- define "pingti.downloadContainer" -}}
- name: download
  image: {{ .download.image }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command: [sh, -c]
  args:
    - |
      {{- .root.Files.Get "files/download.sh" | nindent 6 }}
    - download
    {{- range .download.files }}
    - {{ include "pingti.downloadUrl" (dict "url" .url "download" $.download) | quote }}
    - {{ .sha256 }}
    - {{ printf "/models/%s" .path }}
    {{- end }}
  {{- if or .download.tokenSecret .download.proxy .download.caConfigMap }}
  env:
    {{- with .download.tokenSecret }}
    - name: TOKEN
      valueFrom:
        secretKeyRef: {name: {{ .name }}, key: {{ .key }}}
    {{- end }}
    {{- with .download.proxy }}
    - {name: http_proxy, value: {{ .url | quote }}}
    - {name: https_proxy, value: {{ .url | quote }}}
    - {name: no_proxy, value: {{ .noProxy | default "" | quote }}}
    {{- end }}
    {{- if .download.caConfigMap }}
    - {name: CURL_CA_BUNDLE, value: /etc/pingti/download-ca/ca.crt}
    {{- end }}
  {{- end }}
  securityContext:
    {{- include "pingti.containerSecurity" .root | nindent 4 }}
  resources:
    requests: {cpu: 200m, memory: 64Mi}
    limits: {memory: 256Mi}
  volumeMounts:
    - {name: model, mountPath: /models}
    {{- if .download.caConfigMap }}
    - {name: download-ca, mountPath: /etc/pingti/download-ca, readOnly: true}
    {{- end }}
{{- end -}}
