{{/* A pod of a worker group, as a template: (dict "root" $ "group" GROUP "component" COMPONENT), where
COMPONENT is worker, or follower in a pod that lends its GPUs to the leader of a group of several. */}}
{{- define "pingti.workerPod" -}}
{{- $root := .root -}}
{{- $group := .group -}}
{{- $of := dict "root" $root "group" $group -}}
{{- $pod := $group.pod | default dict -}}
{{- $source := $group.source -}}
{{- $leads := eq .component "worker" -}}
{{- $spread := include (ternary "pingti.groupSelector" "pingti.workerSelector" (include "pingti.pods" $group | int | lt 1)) $of -}}
metadata:
  labels:
    {{- include "pingti.selector" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
    pingti/group: {{ $group.name }}
    {{- with $pod.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/settings: {{ include "pingti.workerSettings" $of | sha256sum }}
    {{- with $pod.annotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- include "pingti.placement" (dict "root" $root "pod" $pod "selector" $spread) | nindent 2 }}
  terminationGracePeriodSeconds: {{ include "pingti.workerGrace" $group }}
  {{- with $source.download }}
  initContainers:
    {{- include "pingti.downloadContainer" (dict "root" $root "download" .) | nindent 4 }}
  {{- end }}
  containers:
    - name: worker
      image: {{ include "pingti.image" (dict "root" $root "image" (ternary $root.Values.image.cudaWorker $root.Values.image.worker (not (empty (include "pingti.onGpu" $group))))) }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args:
        - --config=/etc/pingti/worker/worker.yaml
        {{- range $pod.extraArgs }}
        - {{ . | quote }}
        {{- end }}
      env:
        - name: PINGTI_WORKER_ID
          valueFrom:
            fieldRef: {fieldPath: metadata.name}
        {{- with $group.batchSize }}
        - {name: BATCH_SIZE, value: {{ . | quote }}}
        {{- end }}
        {{- with $group.gpuMemoryFraction }}
        - {name: GPU_MEMORY_FRACTION, value: {{ . | quote }}}
        {{- end }}
        {{- with $pod.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        {{- if $leads }}
        - {name: worker, containerPort: 9001}
        {{- end }}
        - {name: admin, containerPort: 9091}
      {{- include "pingti.probes" (dict "startupSeconds" (include "pingti.meetingSeconds" $group) "started" "/readyz") | nindent 6 }}
      securityContext:
        {{- include "pingti.containerSecurity" $root | nindent 8 }}
      resources:
        {{- include "pingti.workerResources" $group | nindent 8 }}
      volumeMounts:
        - {name: settings, mountPath: /etc/pingti/worker, readOnly: true}
        - {name: model, mountPath: /models, readOnly: true}
        {{- if $root.Values.workerTls.enabled }}
        - {name: worker-tls, mountPath: /etc/pingti/worker-tls, readOnly: true}
        {{- end }}
        {{- if include "pingti.sharesGpus" $group }}
        - {name: shm, mountPath: /dev/shm}
        {{- end }}
        {{- with $pod.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: settings
      configMap: {name: {{ include "pingti.worker" $of }}}
    {{- include "pingti.modelVolume" $of | nindent 4 }}
    {{- if $root.Values.workerTls.enabled }}
    - name: worker-tls
      secret:
        secretName: {{ include "pingti.tlsSecret" (dict "root" $root "tls" $root.Values.workerTls "name" "worker-tls" "path" "workerTls") }}
        defaultMode: 0440
    {{- end }}
    {{- if include "pingti.sharesGpus" $group }}
    - name: shm
      emptyDir: {medium: Memory, sizeLimit: 1Gi}
    {{- end }}
    {{- with $pod.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
