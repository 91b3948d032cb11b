{{/* Stops at values that contradict each other across the charts. */}}
{{- define "fti.validate" -}}
{{- $airflow := .Values.airflow }}
{{- $jobs := include "fti.jobsNamespace" . }}
{{- if eq $jobs .Release.Namespace }}
{{- fail "global.jobsNamespace is the release's own namespace: give the jobs one apart." }}
{{- end }}
{{- if ne $jobs (include "airflow.jobsNamespace" .Subcharts.airflow) }}
{{- fail "airflow.jobs.namespace is not the namespace that the release makes: leave it, and set global.jobsNamespace." }}
{{- end }}
{{- $endpoint := tpl $airflow.s3.endpoint . }}
{{- $login := tpl $airflow.s3.existingSecret . }}
{{- if .Values.components.minio }}
{{- $minio := .Subcharts.minio }}
{{- $server := printf "http://%s.%s:%v" (include "common.fullname" $minio) .Release.Namespace $minio.Values.service.port }}
{{- if ne $endpoint $server }}
{{- fail (printf "airflow.s3.endpoint is %q, but components.minio puts the store at %s: set it to that, or components.minio to false." $endpoint $server) }}
{{- end }}
{{- if ne $login (include "minio.secretName" $minio) }}
{{- fail (printf "airflow.s3.existingSecret is %q, but minio.auth keeps the login in %s: name the same Secret in both." $login (include "minio.secretName" $minio)) }}
{{- end }}
{{- if or (ne $airflow.s3.accessKey $minio.Values.auth.userKey) (ne $airflow.s3.secretKey $minio.Values.auth.passwordKey) }}
{{- fail (printf "airflow.s3.accessKey and airflow.s3.secretKey are not minio.auth.userKey and minio.auth.passwordKey, which are %s and %s: set both to these." $minio.Values.auth.userKey $minio.Values.auth.passwordKey) }}
{{- end }}
{{- if ne (int64 $airflow.s3.rotation) (int64 $minio.Values.auth.rotation) }}
{{- fail "minio.auth.rotation and airflow.s3.rotation differ: count up both, so that Airflow restarts with MinIO's new password." }}
{{- end }}
{{- range list (regexReplaceAll "^s3://([^/]+).*" .Values.jobs.lake "${1}") $airflow.logs.bucket }}
{{- if and . (not (has . $minio.Values.buckets)) }}
{{- fail (printf "minio.buckets lacks %s, which jobs.lake or airflow.logs.bucket names: add it." .) }}
{{- end }}
{{- end }}
{{- else if hasPrefix (printf "http://%s." (include "fti.minio" .)) $endpoint }}
{{- fail "components.minio is false, but airflow.s3.endpoint is still that of the release's MinIO: set it to your store's URL, or to \"\" on AWS." }}
{{- end }}
{{- if .Values.components.redis }}
{{- if ne (int64 $airflow.redis.rotation) (int64 .Subcharts.redis.Values.auth.rotation) }}
{{- fail "redis.auth.rotation and airflow.redis.rotation differ: count up both, so that Airflow restarts with Redis's new password." }}
{{- end }}
{{- if and .Subcharts.redis.Values.auth.existingSecret (eq (tpl $airflow.redis.existingSecret .) (include "fti.onlineStoreSecret" .)) }}
{{- fail "redis.auth.existingSecret keeps the password, but airflow.redis.existingSecret is still the release's own: name a Secret with the store's URL, or \"\"." }}
{{- end }}
{{- else if eq (tpl $airflow.redis.existingSecret .) (include "fti.onlineStoreSecret" .) }}
{{- fail "components.redis is false, but airflow.redis.existingSecret is still the release's own: name a Secret with your store's URL, or \"\"." }}
{{- end }}
{{- if .Values.components.serve }}
{{- $redis := .Values.serve.redis }}
{{- if eq (tpl $redis.existingSecret .) (include "fti.onlineStoreSecret" .) }}
{{- if not .Values.components.redis }}
{{- fail "components.redis is false, but serve.redis.existingSecret is still the release's own: name a Secret with your store's URL." }}
{{- end }}
{{- if .Subcharts.redis.Values.auth.existingSecret }}
{{- fail "redis.auth.existingSecret keeps the password, but serve.redis.existingSecret is still the release's own: name a Secret with the store's URL." }}
{{- end }}
{{- if ne $redis.key $airflow.redis.key }}
{{- fail (printf "serve.redis.key is %q, but the release's own Secret has the URL under airflow.redis.key, %q: set both to the same." $redis.key $airflow.redis.key) }}
{{- end }}
{{- end }}
{{- if and .Values.components.redis (ne (int64 $redis.rotation) (int64 .Subcharts.redis.Values.auth.rotation)) }}
{{- fail "redis.auth.rotation and serve.redis.rotation differ: count up both, so that the service restarts with Redis's new password." }}
{{- end }}
{{- end }}
{{- if .Values.jobs.secret.create }}
{{- $kept := "Make the jobs' Secret yourself and set jobs.secret.create to false." }}
{{- if not .Values.components.redis }}
{{- fail (printf "jobs.secret.create is true, but components.redis is false: the release does not know your store's URL. %s" $kept) }}
{{- end }}
{{- if .Subcharts.redis.Values.auth.existingSecret }}
{{- fail (printf "jobs.secret.create is true, but redis.auth.existingSecret keeps the password. %s" $kept) }}
{{- end }}
{{- if and .Values.components.minio .Subcharts.minio.Values.auth.existingSecret }}
{{- fail (printf "jobs.secret.create is true, but minio.auth.existingSecret keeps the login. %s" $kept) }}
{{- end }}
{{- if and (not .Values.components.minio) $login }}
{{- fail (printf "jobs.secret.create is true, but airflow.s3.existingSecret keeps the login. %s" $kept) }}
{{- end }}
{{- if or $airflow.database.external.existingSecret $airflow.database.auth.existingSecret }}
{{- fail (printf "jobs.secret.create is true, but airflow.database keeps its login in a Secret of yours: the release cannot make the registry's URL. %s" $kept) }}
{{- end }}
{{- if not (has "feast" $airflow.database.extraDatabases) }}
{{- fail (printf "jobs.secret.create is true, but airflow.database.extraDatabases lacks feast, the registry of the features: add it. Or: %s" $kept) }}
{{- end }}
{{- end }}
{{- range $name, $_ := .Values.jobs.settings }}
{{- if has $name (list "LAKE_URI" "AWS_ENDPOINT_URL" "AWS_REGION" "S3_PATH_STYLE" "REDIS_URL" "FEAST_REGISTRY_URL" "ONLINE_LOADER" "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" "LOG_FORMAT" "SPARK_MASTER" "SPARK_CONF") }}
{{- fail (printf "jobs.settings.%s cannot be set: jobs.lake, jobs.onlineLoader, airflow.s3, airflow.jobs.spark or the Secret of the jobs says it." $name) }}
{{- end }}
{{- end }}
{{- end }}
