{{/* Name of the Secret with the password. */}}
{{- define "redis.secretName" -}}
{{- tpl .Values.auth.existingSecret . | default (printf "%s-auth" (include "common.fullname" .)) }}
{{- end }}

{{/* The generated password. An umbrella chart that hands it on calls this with .Subcharts.redis. */}}
{{- define "redis.password" -}}
{{- include "common.generated" (dict "root" . "store" .Values.auth "secret" (include "redis.secretName" .) "key" .Values.auth.key "fresh" (randAlphaNum 32)) }}
{{- end }}

{{/* The pod label that opens the network policy. */}}
{{- define "redis.clientLabel" -}}
{{ include "common.fullname" . }}-client: "true"
{{- end }}

{{/* A container's share of the password: redis-cli reads it there. */}}
{{- define "redis.env" -}}
- name: REDISCLI_AUTH
  valueFrom:
    secretKeyRef:
      name: {{ include "redis.secretName" . }}
      key: {{ .Values.auth.key }}
{{- end }}

{{- define "redis.image" -}}
image: {{ include "common.image" (dict "root" . "key" "image" "image" .Values.image "own" false) | quote }}
imagePullPolicy: IfNotPresent
{{- end }}

{{/* redis.conf without the password, which the container's start adds. */}}
{{- define "redis.conf" -}}
{{- $maxmemory := include "common.mebibytes" (dict "key" "maxmemory" "value" .Values.maxmemory) | int }}
{{- $limit := include "common.mebibytes" (dict "key" "resources.limits.memory" "value" .Values.resources.limits.memory) | int }}
{{- if gt (mul 4 $maxmemory) (mul 3 $limit) }}
{{- fail (printf "maxmemory (%s) is more than 75 %% of resources.limits.memory (%s): the rest is needed for buffers and while the log is rewritten." .Values.maxmemory .Values.resources.limits.memory) }}
{{- end }}
{{- $ours := dict "maxmemory" "maxmemory" "appendonly" "persistence.enabled" "dir" "persistence" "port" "service.port" "requirepass" "auth" "masterauth" "auth" "user" "auth" "aclfile" "auth" "include" "config" }}
{{- range $line, $_ := .Values.config }}
{{- if hasKey $ours (lower $line) }}
{{- fail (printf "config.%s cannot be set: %s says it." $line (get $ours (lower $line))) }}
{{- end }}
{{- end -}}
include /run/redis/password.conf
dir /data
appendonly {{ .Values.persistence.enabled | ternary "yes" "no" }}
maxmemory {{ $maxmemory }}mb
{{- range $line, $value := .Values.config }}
{{ $line }} {{ kindIs "string" $value | ternary $value (toJson $value) }}
{{- end }}
{{- end }}
