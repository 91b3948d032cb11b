{{/* Name of the Secret with the login. */}}
{{- define "minio.secretName" -}}
{{- tpl .Values.auth.existingSecret . | default (printf "%s-auth" (include "common.fullname" .)) }}
{{- end }}

{{/* The generated password. An umbrella chart that hands it on calls this with .Subcharts.minio. */}}
{{- define "minio.password" -}}
{{- include "common.generated" (dict "root" . "store" .Values.auth "secret" (include "minio.secretName" .) "key" .Values.auth.passwordKey "fresh" (randAlphaNum 32)) }}
{{- end }}

{{/* The pod label that opens the network policy. */}}
{{- define "minio.clientLabel" -}}
{{ include "common.fullname" . }}-client: "true"
{{- end }}

{{/* The login under two names: (dict "root" $ "user" "AWS_ACCESS_KEY_ID" "password" "AWS_SECRET_ACCESS_KEY"). */}}
{{- define "minio.login" -}}
- name: {{ .user }}
  valueFrom:
    secretKeyRef:
      name: {{ include "minio.secretName" .root }}
      key: {{ .root.Values.auth.userKey }}
- name: {{ .password }}
  valueFrom:
    secretKeyRef:
      name: {{ include "minio.secretName" .root }}
      key: {{ .root.Values.auth.passwordKey }}
{{- end }}

{{- define "minio.image" -}}
image: {{ include "common.image" (dict "root" . "key" "image" "image" .Values.image "own" true) | quote }}
imagePullPolicy: IfNotPresent
{{- end }}

{{/* The container that makes the buckets that are not there yet. It waits a minute for the server. */}}
{{- define "minio.bucketContainer" -}}
name: buckets
image: {{ include "common.image" (dict "root" . "key" "bucketJob.image" "image" .Values.bucketJob.image "own" true) | quote }}
imagePullPolicy: IfNotPresent
args:
  {{- toYaml .Values.buckets | nindent 2 }}
env:
  - name: AWS_ENDPOINT_URL
    value: http://{{ include "common.fullname" . }}:{{ .Values.service.port }}
  {{- include "minio.login" (dict "root" . "user" "AWS_ACCESS_KEY_ID" "password" "AWS_SECRET_ACCESS_KEY") | nindent 2 }}
resources:
  {{- toYaml .Values.bucketJob.resources | nindent 2 }}
securityContext:
  {{- include "common.containerSecurity" . | nindent 2 }}
{{- end }}

{{- define "minio.bucketPod" -}}
metadata:
  labels:
    {{- include "common.podLabels" (dict "root" . "component" "buckets") | nindent 4 }}
    {{- include "minio.clientLabel" . | nindent 4 }}
spec:
  restartPolicy: Never
  {{- include "common.pod" (dict "root" . "uid" 10001 "values" .Values) | nindent 2 }}
  containers:
    - {{- include "minio.bucketContainer" . | nindent 6 }}
{{- end }}
