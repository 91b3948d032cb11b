{{- define "serve.image" -}}
image: {{ include "common.image" (dict "root" . "key" "image" "image" .Values.image "own" true) | quote }}
imagePullPolicy: IfNotPresent
{{- end }}

{{- define "serve.redisSecret" -}}
{{- tpl .Values.redis.existingSecret . }}
{{- end }}

{{/* A container's way to Redis. */}}
{{- define "serve.redisEnv" -}}
- name: REDIS_URL
  valueFrom:
    secretKeyRef: { name: {{ include "serve.redisSecret" . | quote }}, key: {{ .Values.redis.key | quote }} }
{{- end }}

{{/* The pod label that opens the network policy. */}}
{{- define "serve.clientLabel" -}}
{{ include "common.fullname" . }}-client: "true"
{{- end }}

{{/* The least number of pods. */}}
{{- define "serve.pods" -}}
{{- .Values.autoscaling.enabled | ternary .Values.autoscaling.minReplicas .Values.replicas }}
{{- end }}

{{/* What common.pod places a pod by. Several pods of nobody's choice spread over nodes and zones, those of one version each. */}}
{{- define "serve.placement" -}}
{{- $placed := pick .Values "priorityClassName" "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" }}
{{- if and (not .Values.topologySpreadConstraints) (gt (include "serve.pods" . | int) 1) }}
{{- $spread := list }}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
{{- $selector := dict "matchLabels" (include "common.selector" (dict "root" $ "component" "server") | fromYaml) }}
{{- $spread = append $spread (dict "maxSkew" 1 "topologyKey" . "whenUnsatisfiable" "ScheduleAnyway" "labelSelector" $selector "matchLabelKeys" (list "pod-template-hash")) }}
{{- end }}
{{- $_ := set $placed "topologySpreadConstraints" $spread }}
{{- end }}
{{- toYaml $placed }}
{{- end }}

{{/* A quantity of CPU in thousandths of one: "250m" is 250. */}}
{{- define "serve.millicpu" -}}
{{- $value := toString . }}
{{- if not (regexMatch "^[0-9.]+m?$" $value) }}
{{- fail (printf "Write resources.requests.cpu in CPUs or thousandths of one, such as 1 or 500m, not %s." $value) }}
{{- end }}
{{- mulf (trimSuffix "m" $value | float64) (hasSuffix "m" $value | ternary 1 1000) }}
{{- end }}

{{/* Stops at values that contradict each other. */}}
{{- define "serve.validate" -}}
{{- if not (include "serve.redisSecret" .) }}
{{- fail "redis.existingSecret is empty: name a Secret with the URL of Redis, where the features are." }}
{{- end }}
{{- $scaling := .Values.autoscaling }}
{{- if and $scaling.enabled (gt (int .Values.replicas) 1) }}
{{- fail (printf "replicas is %d, but autoscaling.enabled is true: set autoscaling.minReplicas instead." (int .Values.replicas)) }}
{{- end }}
{{- if and $scaling.enabled (gt (int $scaling.minReplicas) (int $scaling.maxReplicas)) }}
{{- fail (printf "autoscaling.minReplicas (%d) is more than autoscaling.maxReplicas (%d): it is the least." (int $scaling.minReplicas) (int $scaling.maxReplicas)) }}
{{- end }}
{{- if $scaling.enabled }}
{{- $asked := .Values.resources.requests.cpu }}
{{- $cpu := include "serve.millicpu" $asked | float64 }}
{{- if lt $cpu 250.0 }}
{{- fail (printf "resources.requests.cpu is %v, but autoscaling.enabled is true: set it to 250m or more, or the service at rest counts as loaded." $asked) }}
{{- end }}
{{- if ge (divf (mulf $cpu $scaling.cpuPercent) 100) 1000.0 }}
{{- fail (printf "autoscaling.cpuPercent (%d) of resources.requests.cpu (%v) is a whole CPU or more, which a pod of one process never takes: set either to less." (int $scaling.cpuPercent) $asked) }}
{{- end }}
{{- end }}
{{- /* Two seconds are what the service takes to close its connections: LEAVING_SECONDS. */}}
{{- $leaving := add .Values.shutdown.drainSeconds 2 (divf .Values.deadlineMs 1000 | ceil | int) }}
{{- if le (int64 .Values.shutdown.graceSeconds) $leaving }}
{{- fail (printf "shutdown.graceSeconds (%d) is not more than shutdown.drainSeconds, two seconds and deadlineMs together (%d s): requests would be cut off." (int64 .Values.shutdown.graceSeconds) $leaving) }}
{{- end }}
{{- $policy := .Values.networkPolicy }}
{{- if $policy.enabled }}
{{- if not $policy.redis.to }}
{{- fail "networkPolicy.redis.to is empty: say where Redis is, or the service does not reach it." }}
{{- end }}
{{- else if or $policy.clientNamespaces $policy.ingressFrom $policy.externalFrom $policy.redis.to }}
{{- fail "networkPolicy.clientNamespaces or another list of networkPolicy is set, but networkPolicy.enabled is false: enable it, or leave them out." }}
{{- end }}
{{- end }}
