{{/* Name of the jobs' namespace. Every chart of the release may call it: the value is global. */}}
{{- define "fti.jobsNamespace" -}}
{{- $apart := eq .Release.Name .Release.Namespace | ternary .Release.Name (printf "%s-%s" .Release.Namespace .Release.Name) }}
{{- if gt (len $apart) 45 }}
{{- $apart = printf "%s-%s" ($apart | trunc 36 | trimSuffix "-") (sha256sum $apart | trunc 8) }}
{{- end }}
{{- .Values.global.jobsNamespace | default (printf "%s-jobs" ($apart | replace "." "-")) }}
{{- end }}

{{/* Name of the release's MinIO, whichever chart asks. */}}
{{- define "fti.minio" -}}
{{- include "common.fullname" (dict "Chart" (dict "Name" "minio") "Release" .Release "Values" (dict "fullnameOverride" "")) }}
{{- end }}

{{/* The Secret with the online store's URL for Airflow's smoke test. */}}
{{- define "fti.onlineStoreSecret" -}}
{{- include "common.fullname" (dict "Chart" (dict "Name" "online-store") "Release" .Release "Values" (dict "fullnameOverride" "")) }}
{{- end }}

{{/* Metadata of an object in the jobs' namespace: (dict "root" $ "name" NAME "component" "jobs"). */}}
{{- define "fti.inJobs" -}}
name: {{ .name }}
namespace: {{ include "fti.jobsNamespace" .root }}
labels:
  {{- include "common.labels" . | nindent 2 }}
{{- end }}

{{/* What common.pod and common.serviceAccountName look for, for a pod with an account of another name. */}}
{{- define "fti.pod" -}}
{{- $account := dict "create" true "name" .account }}
{{- $values := dict "serviceAccount" $account "global" .root.Values.global "fullnameOverride" "" "commonLabels" dict }}
{{- include "common.pod" (dict "uid" .uid "values" dict "root" (dict "Chart" .root.Chart "Release" .root.Release "Values" $values)) }}
{{- end }}

{{/* URLs with the passwords that the release generated. */}}
{{- define "fti.redisUrl" -}}
{{- $redis := .Subcharts.redis }}
{{- printf "redis://:%s@%s.%s:%v/0" (include "redis.password" $redis) (include "common.fullname" $redis) .Release.Namespace $redis.Values.service.port }}
{{- end }}
{{- define "fti.registryUrl" -}}
{{- $airflow := .Subcharts.airflow }}
{{- printf "postgresql+psycopg://feast:%s@%s-database.%s:5432/feast" (include "airflow.extraPassword" (dict "root" $airflow "name" "feast")) (include "common.fullname" $airflow) .Release.Namespace }}
{{- end }}
