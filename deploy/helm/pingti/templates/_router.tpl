{{/* pingti-router's settings, as a dictionary in YAML. */}}
{{- define "pingti.routerSettings" -}}
{{- $set := dict
  "address" "*"
  "workers" (list (ternary (printf "kubernetes:%s:worker" (include "pingti.workers" .)) (printf "dns:%s.%s.svc:9001" (include "pingti.workers" .) .Release.Namespace) (eq .Values.router.discovery "kubernetes")))
  "grpc_max_message_length" .Values.grpcMaxMessageLength
  "drain_delay" (printf "%ds" (int .Values.router.drainDelaySeconds))
  "drain_timeout" (printf "%ds" (int .Values.router.drainTimeoutSeconds)) -}}
{{- if include "pingti.apiKeysSecret" . -}}
{{- $_ := set $set "api_keys_file" "/etc/pingti/api-keys/keys" -}}
{{- end -}}
{{- if .Values.tls.enabled -}}
{{- $_ := set $set "tls_cert_file" "/etc/pingti/tls/tls.crt" -}}
{{- $_ := set $set "tls_key_file" "/etc/pingti/tls/tls.key" -}}
{{- end -}}
{{- if .Values.workerTls.enabled -}}
{{- $_ := set $set "worker_tls" true -}}
{{- $_ := set $set "worker_tls_ca_file" "/etc/pingti/worker-tls/ca.crt" -}}
{{- $_ := set $set "worker_tls_cert_file" "/etc/pingti/worker-tls/tls.crt" -}}
{{- $_ := set $set "worker_tls_key_file" "/etc/pingti/worker-tls/tls.key" -}}
{{- $_ := set $set "worker_tls_server_name" .Values.workerTls.serverName -}}
{{- end -}}
{{ toYaml (merge $set .Values.router.config) }}
{{- end -}}

{{/* Secrets that routers mount: a list of name, path and Secret. */}}
{{- define "pingti.routerMounts" -}}
{{- if include "pingti.apiKeysSecret" . }}
- name: api-keys
  path: /etc/pingti/api-keys
  secret: {{ include "pingti.apiKeysSecret" . }}
  items: [{key: {{ ternary "keys" .Values.apiKeys.existingSecretKey (not (empty .Values.apiKeys.keys)) }}, path: keys}]
{{- end }}
{{- if .Values.tls.enabled }}
- name: tls
  path: /etc/pingti/tls
  secret: {{ include "pingti.tlsSecret" (dict "root" . "tls" .Values.tls "name" "tls" "path" "tls") }}
{{- end }}
{{- if .Values.workerTls.enabled }}
- name: worker-tls
  path: /etc/pingti/worker-tls
  secret: {{ include "pingti.tlsSecret" (dict "root" . "tls" .Values.workerTls "name" "worker-tls" "path" "workerTls") }}
{{- end }}
{{- end -}}
