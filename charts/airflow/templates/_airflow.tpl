{{/* The parts of Airflow by their component's label; the name of their values. */}}
{{- define "airflow.valuesOf" -}}
{{- get (dict "api-server" "apiServer" "scheduler" "scheduler" "dag-processor" "dagProcessor" "triggerer" "triggerer" "migrations" "migrations" "database" "database") . }}
{{- end }}

{{- define "airflow.image" -}}
image: {{ include "common.image" (dict "root" . "key" "image" "image" .Values.image "own" true) | quote }}
imagePullPolicy: IfNotPresent
{{- end }}

{{/* Secrets: their names, and what is generated. An umbrella chart calls these with .Subcharts.airflow. */}}
{{- define "airflow.fernetSecret" -}}
{{- tpl .Values.fernet.existingSecret . | default (printf "%s-fernet" (include "common.fullname" .)) }}
{{- end }}
{{- define "airflow.keysSecret" -}}
{{- tpl .Values.keys.existingSecret . | default (printf "%s-keys" (include "common.fullname" .)) }}
{{- end }}
{{- define "airflow.adminSecret" -}}
{{- tpl .Values.admin.existingSecret . | default (printf "%s-admin" (include "common.fullname" .)) }}
{{- end }}
{{- define "airflow.databaseSecret" -}}
{{- if .Values.database.external.existingSecret }}
{{- tpl .Values.database.external.existingSecret . }}
{{- else }}
{{- tpl .Values.database.auth.existingSecret . | default (printf "%s-database" (include "common.fullname" .)) }}
{{- end }}
{{- end }}

{{/* 32 bytes in base64, as Fernet wants them. It is never rotated by the chart: what is encrypted with it would be lost. */}}
{{- define "airflow.fernetKey" -}}
{{- $_ := set .Values.fernet "rotation" 1 }}
{{- include "common.generated" (dict "root" . "store" .Values.fernet "secret" (include "airflow.fernetSecret" .) "key" .Values.fernet.key "fresh" (randAlphaNum 32 | b64enc)) }}
{{- end }}
{{- define "airflow.apiKey" -}}
{{- include "common.generated" (dict "root" . "store" .Values.keys "secret" (include "airflow.keysSecret" .) "key" .Values.keys.apiKey "fresh" (randAlphaNum 64)) }}
{{- end }}
{{- define "airflow.jwtKey" -}}
{{- include "common.generated" (dict "root" . "store" .Values.keys "secret" (include "airflow.keysSecret" .) "key" .Values.keys.jwtKey "fresh" (randAlphaNum 64)) }}
{{- end }}
{{- define "airflow.adminPassword" -}}
{{- include "common.generated" (dict "root" . "store" .Values.admin "secret" (include "airflow.adminSecret" .) "key" .Values.admin.key "fresh" (randAlphaNum 32)) }}
{{- end }}
{{- define "airflow.databasePassword" -}}
{{- include "common.generated" (dict "root" . "store" .Values.database.auth "secret" (include "airflow.databaseSecret" .) "key" .Values.database.auth.key "fresh" (randAlphaNum 32)) }}
{{- end }}

{{/* The password of a database beside Airflow's: (dict "root" $ "name" "feast"). */}}
{{- define "airflow.extraPassword" -}}
{{- include "common.generated" (dict "root" .root "store" .root.Values.database.auth "secret" (include "airflow.databaseSecret" .root) "key" .name "fresh" (randAlphaNum 32)) }}
{{- end }}

{{/* What changes with the database's Secret. */}}
{{- define "airflow.databaseChecksum" -}}
{{- $database := .Values.database }}
{{- $secret := include "airflow.databaseSecret" . }}
{{- if $database.external.existingSecret }}
{{- include "common.foreignChecksum" (dict "root" . "secret" $secret "rotation" $database.external.rotation) }}
{{- else if $database.auth.existingSecret }}
{{- include "common.foreignChecksum" (dict "root" . "secret" $secret "rotation" $database.auth.rotation) }}
{{- else }}
{{- $passwords := list (include "airflow.databasePassword" .) }}
{{- range $database.extraDatabases }}
{{- $passwords = append $passwords (include "airflow.extraPassword" (dict "root" $ "name" .)) }}
{{- end }}
{{- toJson $passwords | sha256sum }}
{{- end }}
{{- end }}

{{/* The annotations that restart a part of Airflow: (dict "root" $ "s3" NAME "redis" NAME), the names of the Secrets that not
     all parts read, or empty. One Secret of the user's may hold several of them. */}}
{{- define "airflow.checksums" -}}
{{- $root := .root }}
{{- $values := .root.Values }}
{{- $name := include "common.fullname" .root }}
{{- $sums := list
  (list (printf "%s-config" $name) (include "airflow.config" .root | sha256sum))
  (list (printf "%s-scripts" $name) (include "airflow.scripts" .root | sha256sum))
  (list (include "airflow.databaseSecret" .root) (include "airflow.databaseChecksum" .root))
}}
{{- if not $values.fernet.existingSecret }}
{{- $sums = append $sums (list (include "airflow.fernetSecret" .root) (include "airflow.fernetKey" .root | sha256sum)) }}
{{- end }}
{{- if not $values.keys.existingSecret }}
{{- $sums = append $sums (list (include "airflow.keysSecret" .root) (list (include "airflow.apiKey" .root) (include "airflow.jwtKey" .root) | toJson | sha256sum)) }}
{{- end }}
{{- range list
  (list (tpl $values.fernet.existingSecret .root) 1)
  (list (tpl $values.keys.existingSecret .root) $values.keys.rotation)
  (list .s3 $values.s3.rotation)
  (list .redis $values.redis.rotation)
}}
{{- if index . 0 }}
{{- $sums = append $sums (list (index . 0) (include "common.foreignChecksum" (dict "root" $root "secret" (index . 0) "rotation" (index . 1)))) }}
{{- end }}
{{- end }}
{{- range $values.extraSecrets }}
{{- $sums = append $sums (list . (include "common.foreignChecksum" (dict "root" $root "secret" . "rotation" 1))) }}
{{- end }}
{{- $annotations := dict }}
{{- range $sums }}
{{- $key := printf "checksum/%s" (index . 0) }}
{{- $_ := set $annotations $key (hasKey $annotations $key | ternary (printf "%s %s" (get $annotations $key) (index . 1) | sha256sum) (index . 1)) }}
{{- end }}
{{- toYaml $annotations }}
{{- end }}

{{/* All settings, in environment style. */}}
{{- define "airflow.config" -}}
{{- $values := .Values }}
{{- $name := include "common.fullname" . }}
{{- $global := $values.global }}
{{- $jobsTag := $values.jobs.imageTag | default $global.imageTag | default (regexReplaceAll "@.*" $values.image.tag "") }}
{{- if hasPrefix "latest" $jobsTag }}
{{- fail "Set jobs.imageTag to a version: latest changes between two runs of the pipeline." }}
{{- end }}
{{- $ours := dict
  "AIRFLOW__CORE__EXECUTOR" "LocalExecutor"
  "AIRFLOW__CORE__AUTH_MANAGER" "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
  "AIRFLOW__CORE__EXECUTION_API_SERVER_URL" (printf "http://%s-api-server:%v/execution/" $name $values.service.port)
  "AIRFLOW__CORE__HOSTNAME_CALLABLE" "airflow.utils.net.get_host_ip_address"
  "AIRFLOW__CORE__FERNET_KEY_CMD" "cat /opt/airflow/keys/fernet"
  "AIRFLOW__API__BASE_URL" (include "airflow.baseUrl" .)
  "AIRFLOW__API__SECRET_KEY_CMD" "cat /opt/airflow/keys/api"
  "AIRFLOW__API_AUTH__JWT_SECRET_CMD" "cat /opt/airflow/keys/jwt"
  "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD" (empty $values.database.external.existingSecret | ternary (printf "python /opt/airflow/chart/database.py url %s-database" $name) "cat /opt/airflow/database/connection")
  "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK" "True"
  "FTI_LAUNCHER" "kubernetes"
  "FTI_INSTANCE" .Release.Name
  "FTI_SCHEDULE" $values.schedule
  "FTI_GENERATE" (toString $values.generate)
  "FTI_TASK_RETRIES" (toString $values.jobs.retries)
  "FTI_IMAGE_PREFIX" (printf "%s%s" (empty $global.imageRegistry | ternary "" (printf "%s/" (trimSuffix "/" $global.imageRegistry))) $global.imagePrefix)
  "FTI_IMAGE_TAG" $jobsTag
  "FTI_JOB_NAMESPACE" (include "airflow.jobsNamespace" .)
  "FTI_JOB_SERVICE_ACCOUNT" $values.jobs.serviceAccount
  "FTI_JOB_CONFIG_MAP" $values.jobs.configMap
  "FTI_JOB_SECRET" $values.jobs.secret
  "FTI_IMAGE_PULL_SECRET" ($values.jobs.imagePullSecret | default (first $global.imagePullSecrets) | default "")
  "AWS_REGION" $values.s3.region
}}
{{- with $values.jobs.resources }}
{{- $_ := set $ours "FTI_JOB_RESOURCES" (toJson .) }}
{{- end }}
{{- with $values.jobs.spark }}
{{- if .executors }}
{{- $_ := set $ours "FTI_SPARK_EXECUTORS" (toString .executors) }}
{{- $_ := set $ours "FTI_SPARK_EXECUTOR_CORES" (toString .executorCores) }}
{{- with .executorCpu }}
{{- $_ := set $ours "FTI_SPARK_EXECUTOR_CPU" . }}
{{- end }}
{{- $_ := set $ours "FTI_SPARK_EXECUTOR_MEMORY" .executorMemory }}
{{- $_ := set $ours "FTI_SPARK_SERVICE_ACCOUNT" .serviceAccount }}
{{- $_ := set $ours "FTI_SPARK_EXECUTOR_TEMPLATE" .executorTemplate }}
{{- end }}
{{- end }}
{{- $endpoint := tpl $values.s3.endpoint . }}
{{- with $endpoint }}
{{- $_ := set $ours "AWS_ENDPOINT_URL" . }}
{{- end }}
{{- /* Lines that a trigger wrote lie in the triggerer's pod, those of the task in the scheduler's. Once the task ended the
       API server asks the scheduler alone, so the trigger's would be lost. In the bucket both are put together; a folder
       that the pods share holds both. Lines of what still runs come straight from the pods (8793, 8794), at the address
       that HOSTNAME_CALLABLE noted: nobody resolves the name of a Deployment's pod. */}}
{{- with $values.logs.bucket }}
{{- $extra := dict "region_name" $values.s3.region }}
{{- with $endpoint }}
{{- $_ := set $extra "endpoint_url" . }}
{{- end }}
{{- if $values.s3.pathStyle }}
{{- $_ := set $extra "config_kwargs" (dict "s3" (dict "addressing_style" "path")) }}
{{- end }}
{{- $_ := set $ours "AIRFLOW__LOGGING__REMOTE_LOGGING" "True" }}
{{- $_ := set $ours "AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER" (printf "s3://%s/%s" . $values.logs.prefix) }}
{{- $_ := set $ours "AIRFLOW__LOGGING__REMOTE_LOG_CONN_ID" "fti_logs" }}
{{- /* The pods' folders are apart, so what is uploaded may go. In a shared one this would delete lines of the triggerer. */}}
{{- $_ := set $ours "AIRFLOW__LOGGING__DELETE_LOCAL_LOGS" "True" }}
{{- /* Without a login: boto3 finds it in the environment, or by the pod's service account. */}}
{{- $_ := set $ours "AIRFLOW_CONN_FTI_LOGS" (dict "conn_type" "aws" "extra" $extra | toJson) }}
{{- end }}
{{- $keys := dict
  "AIRFLOW__CORE__FERNET_KEY" "fernet" "AIRFLOW__API__SECRET_KEY" "keys" "AIRFLOW__API_AUTH__JWT_SECRET" "keys"
  "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN" "database" "AWS_ACCESS_KEY_ID" "s3.existingSecret" "AWS_SECRET_ACCESS_KEY" "s3.existingSecret"
  "REDIS_URL" "redis.existingSecret" "AWS_ENDPOINT_URL" "s3.endpoint"
  "AIRFLOW__LOGGING__REMOTE_LOGGING" "logs.bucket" "AIRFLOW__LOGGING__DELETE_LOCAL_LOGS" "logs.bucket"
}}
{{- range $key, $value := $values.config }}
{{- if or (hasKey $ours $key) (hasKey $keys $key) (hasPrefix "FTI_" $key) }}
{{- fail (printf "config.%s cannot be set: %s says it." $key (get $keys $key | default "another value of the chart")) }}
{{- end }}
{{- $_ := set $ours $key (kindIs "bool" $value | ternary (toString $value | title) (kindIs "string" $value | ternary $value (toJson $value))) }}
{{- end }}
{{- range $key, $value := $ours }}
{{ $key }}: {{ toString $value | quote }}
{{- end }}
{{- end }}

{{- define "airflow.scripts" -}}
{{- range $file := list "database.py" "migrate.py" "test.py" }}
{{ $file }}: |
  {{- $.Files.Get (printf "files/%s" $file) | nindent 2 }}
{{- end }}
{{- end }}

{{- define "airflow.baseUrl" -}}
{{- if .Values.apiServer.baseUrl }}
{{- .Values.apiServer.baseUrl }}
{{- else if .Values.ingress.enabled }}
{{- .Values.ingress.tlsSecret | empty | ternary "http" "https" }}://{{ .Values.ingress.host }}
{{- else }}
{{- print "http://localhost:8080" }}
{{- end }}
{{- end }}

{{- define "airflow.jobsNamespace" -}}
{{- $name := tpl .Values.jobs.namespace . | default .Release.Namespace }}
{{- if not (regexMatch "^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$" $name) }}
{{- fail (printf "jobs.namespace is %q: the name of a namespace has at most 63 letters a to z, digits and hyphens." $name) }}
{{- end }}
{{- $name }}
{{- end }}

{{/* The pod label that opens the way to the API server. */}}
{{- define "airflow.clientLabel" -}}
{{ include "common.fullname" . }}-client: "true"
{{- end }}

{{/* (dict "root" $ "component" "scheduler") */}}
{{- define "airflow.serviceAccountName" -}}
{{- $account := (index .root.Values (include "airflow.valuesOf" .component)).serviceAccount }}
{{- if $account.create }}
{{- $account.name | default (printf "%s-%s" (include "common.fullname" .root) .component) }}
{{- else }}
{{- $account.name | default "default" }}
{{- end }}
{{- end }}

{{/* common.pod with an account for each component: (dict "root" $ "component" "scheduler" "uid" 50000 "gid" 0 "token" true). */}}
{{- define "airflow.pod" -}}
serviceAccountName: {{ include "airflow.serviceAccountName" . }}
automountServiceAccountToken: {{ .token | default false }}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .uid }}
  runAsGroup: {{ .gid }}
  fsGroup: {{ .gid }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .root.Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- range $key := list "nodeSelector" "tolerations" "topologySpreadConstraints" }}
{{- with index $.root.Values $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- $affinity := deepCopy .root.Values.affinity }}
{{- if and (has .component (list "api-server" "scheduler" "triggerer")) (include "airflow.sharedLogs" .root) (eq .root.Values.logs.persistence.accessMode "ReadWriteOnce") }}
{{- if hasKey $affinity "podAffinity" }}
{{- fail "affinity.podAffinity is set, but logs.persistence.accessMode is ReadWriteOnce, which needs one of its own: set logs.bucket, or ReadWriteMany." }}
{{- end }}
{{- $affinity = merge $affinity (include "airflow.together" .root | fromYaml) }}
{{- end }}
{{- with $affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "airflow.mounts" -}}
- { name: keys, mountPath: /opt/airflow/keys, readOnly: true }
- { name: database, mountPath: /opt/airflow/database, readOnly: true }
- { name: scripts, mountPath: /opt/airflow/chart, readOnly: true }
- { name: tmp, mountPath: /tmp }
{{- end }}

{{/* (dict "root" $ "logs" true): the second where the pod may share its logs. */}}
{{- define "airflow.volumes" -}}
{{- $values := .root.Values -}}
- name: keys
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ include "airflow.fernetSecret" .root }}
          items: [{ key: {{ $values.fernet.key | quote }}, path: fernet }]
      - secret:
          name: {{ include "airflow.keysSecret" .root }}
          items:
            - { key: {{ $values.keys.apiKey | quote }}, path: api }
            - { key: {{ $values.keys.jwtKey | quote }}, path: jwt }
- name: database
  secret:
    secretName: {{ include "airflow.databaseSecret" .root }}
    defaultMode: 0440
    items:
      {{- if $values.database.external.existingSecret }}
      - { key: {{ $values.database.external.key | quote }}, path: connection }
      {{- else }}
      - { key: {{ $values.database.auth.key | quote }}, path: password }
      {{- end }}
- name: scripts
  configMap:
    name: {{ include "common.fullname" .root }}-scripts
- name: tmp
  emptyDir: { sizeLimit: 1Gi }
- name: logs
  {{- if and .logs (include "airflow.sharedLogs" .root) }}
  persistentVolumeClaim:
    claimName: {{ $values.logs.persistence.existingClaim | default (printf "%s-logs" (include "common.fullname" .root)) }}
  {{- else }}
  emptyDir: { sizeLimit: 2Gi }
  {{- end }}
{{- end }}

{{- define "airflow.envFrom" -}}
- configMapRef:
    name: {{ include "common.fullname" . }}-config
{{- end }}

{{/* Not empty where the logs are on a claim. */}}
{{- define "airflow.sharedLogs" -}}
{{- if and .Values.logs.persistence.enabled (not .Values.logs.bucket) }}yes{{ end }}
{{- end }}

{{/* The pods that share a claim which one node can mount: on the same node, or all but the first would wait for it. */}}
{{- define "airflow.together" -}}
podAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    - topologyKey: kubernetes.io/hostname
      labelSelector:
        matchExpressions:
          - { key: app.kubernetes.io/name, operator: In, values: [{{ .Chart.Name }}] }
          - { key: app.kubernetes.io/instance, operator: In, values: [{{ .Release.Name }}] }
          - { key: app.kubernetes.io/component, operator: In, values: [api-server, scheduler, triggerer] }
{{- end }}

{{/* Waits for the Job's work, in a tenth of a second of CPU: (dict "root" $ "args" (list "server")). */}}
{{- define "airflow.wait" -}}
name: wait
{{ include "airflow.image" .root }}
command: [python, /opt/airflow/chart/database.py]
args:
  {{- toYaml .args | nindent 2 }}
envFrom:
  {{- include "airflow.envFrom" .root | nindent 2 }}
resources:
  requests: { cpu: 10m, memory: 32Mi }
  limits: { memory: 96Mi }
securityContext:
  {{- include "common.containerSecurity" . | nindent 2 }}
volumeMounts:
  {{- include "airflow.mounts" .root | nindent 2 }}
{{- end }}

{{- define "airflow.adminEnv" -}}
- name: ADMIN_USERNAME
  value: {{ .Values.admin.username | quote }}
- name: ADMIN_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ include "airflow.adminSecret" . }}
      key: {{ .Values.admin.key }}
{{- end }}

{{/* A lasting part of Airflow: (dict "root" $ "component" "scheduler" "ports" (dict "health" 8974) "token" true "s3" true
     "redis" true "probes" YAML). */}}
{{- define "airflow.deployment" -}}
{{- $root := .root }}
{{- $name := include "common.fullname" .root }}
{{- $values := index .root.Values (include "airflow.valuesOf" .component) }}
{{- $s3 := .s3 | default false | ternary (tpl .root.Values.s3.existingSecret .root) "" }}
{{- $redis := .redis | default false | ternary (tpl .root.Values.redis.existingSecret .root) "" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $name }}-{{ .component }}
  labels:
    {{- include "common.labels" . | nindent 4 }}
spec:
  replicas: {{ .replicas | default 1 }}
  {{- if .rolling }}
  strategy:
    type: RollingUpdate
    rollingUpdate: { maxUnavailable: 0, maxSurge: 1 }
  {{- else }}
  strategy:
    type: Recreate
  {{- end }}
  selector:
    matchLabels:
      {{- include "common.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- $more := deepCopy $values.podLabels }}
        {{- if .s3 }}
        {{- $more = merge $more $root.Values.s3.podLabels }}
        {{- end }}
        {{- if .redis }}
        {{- $more = merge $more $root.Values.redis.podLabels }}
        {{- end }}
        {{- include "common.podLabels" (dict "root" $root "component" .component "more" $more) | nindent 8 }}
      annotations:
        {{- include "airflow.checksums" (dict "root" $root "s3" $s3 "redis" $redis) | nindent 8 }}
        {{- with $values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      {{- include "airflow.pod" (merge (dict "uid" 50000 "gid" 0) .) | nindent 6 }}
      terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
      initContainers:
        - {{- include "airflow.wait" (dict "root" $root "args" (list "schema" $root.Values.admin.username "--seconds" (toString $root.Values.migrations.waitSeconds) "--see" (printf "the log of the Job %s-migrate" $name))) | nindent 10 }}
      containers:
        - name: {{ .component }}
          {{- include "airflow.image" $root | nindent 10 }}
          args: [{{ .component }}]
          envFrom:
            {{- include "airflow.envFrom" $root | nindent 12 }}
            {{- range $root.Values.extraSecrets }}
            - secretRef:
                name: {{ . }}
            {{- end }}
          {{- if or $s3 $redis }}
          env:
            {{- if $s3 }}
            - name: AWS_ACCESS_KEY_ID
              valueFrom:
                secretKeyRef: { name: {{ $s3 | quote }}, key: {{ $root.Values.s3.accessKey | quote }} }
            - name: AWS_SECRET_ACCESS_KEY
              valueFrom:
                secretKeyRef: { name: {{ $s3 | quote }}, key: {{ $root.Values.s3.secretKey | quote }} }
            {{- end }}
            {{- if $redis }}
            - name: REDIS_URL
              valueFrom:
                secretKeyRef: { name: {{ $redis | quote }}, key: {{ $root.Values.redis.key | quote }} }
            {{- end }}
          {{- end }}
          {{- with .ports }}
          ports:
            {{- range $port, $number := . }}
            - name: {{ $port }}
              containerPort: {{ $number }}
            {{- end }}
          {{- end }}
          {{- .probes | nindent 10 }}
          resources:
            {{- toYaml $values.resources | nindent 12 }}
          securityContext:
            {{- include "common.containerSecurity" . | nindent 12 }}
          volumeMounts:
            {{- include "airflow.mounts" $root | nindent 12 }}
            - { name: logs, mountPath: /opt/airflow/logs }
      volumes:
        {{- include "airflow.volumes" (dict "root" $root "logs" (ne .component "dag-processor")) | nindent 8 }}
{{- end }}

{{/* Probes of a process without an HTTP server: its heartbeat in the database. `airflow jobs check` would take 2.5 s of CPU
     each time. */}}
{{- define "airflow.heartbeatProbes" -}}
startupProbe:
  exec: { command: [python, /opt/airflow/heartbeat.py, {{ . }}] }
  periodSeconds: 5
  timeoutSeconds: 10
  failureThreshold: 60
livenessProbe:
  exec: { command: [python, /opt/airflow/heartbeat.py, {{ . }}, --seconds, "300"] }
  periodSeconds: 60
  timeoutSeconds: 15
  failureThreshold: 5
readinessProbe:
  exec: { command: [python, /opt/airflow/heartbeat.py, {{ . }}] }
  periodSeconds: 30
  timeoutSeconds: 15
  failureThreshold: 3
{{- end }}

{{/* A claim: (dict "root" $ "component" "database" "key" "database.persistence" "storage" .Values.database.persistence). */}}
{{- define "airflow.claim" -}}
{{- $storage := .storage }}
{{- if not $storage.enabled }}
{{- if $storage.existingClaim }}
{{- fail (printf "%s.existingClaim is set, but %s.enabled is false: enable it, or leave the claim out." .key .key) }}
{{- end }}
{{- else if $storage.existingClaim }}
{{- if $storage.storageClass }}
{{- fail (printf "%s.existingClaim and %s.storageClass are both set: an existing claim has its storage class already." .key .key) }}
{{- end }}
{{- else -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ include "common.fullname" .root }}-{{ .name }}
  labels:
    {{- include "common.labels" . | nindent 4 }}
  {{- if or $storage.keep $storage.annotations }}
  annotations:
    {{- if $storage.keep }}
    helm.sh/resource-policy: keep
    {{- end }}
    {{- with $storage.annotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
spec:
  accessModes: [{{ $storage.accessMode | default "ReadWriteOnce" }}]
  {{- with $storage.storageClass | default .root.Values.global.storageClass }}
  storageClassName: {{ . }}
  {{- end }}
  resources:
    requests:
      storage: {{ $storage.size }}
{{- end }}
{{- end }}
