{{/*
What all charts share. The source is charts/common.tpl; `python -m charts.build` copies it into each chart, so that each
is installed alone, from a clone, without a dependency to fetch. Under an umbrella the copies fall together: they are
equal, and each template works by the chart that calls it.
*/}}

{{/* The name of the chart's objects. Of a long one the end is a digest, so that two releases never meet. At most 45
     characters: a StatefulSet's name may have 52, and suffixes follow. */}}
{{- define "common.fullname" -}}
{{- $name := .Values.fullnameOverride | default (contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name)) | replace "." "-" }}
{{- if gt (len $name) 45 }}
{{- $name = printf "%s-%s" ($name | trunc 36 | trimSuffix "-") (sha256sum $name | trunc 8) }}
{{- end }}
{{- $name }}
{{- end }}

{{/* What selects the pods of a component: (dict "root" $ "component" "server"). It never changes between versions. */}}
{{- define "common.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* The labels of a pod: (dict "root" $ "component" "server" "more" .Values.podLabels), the last if there are any. Without
     the chart's version, which would restart it. */}}
{{- define "common.podLabels" -}}
{{ include "common.selector" . }}
app.kubernetes.io/part-of: fti
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- with merge dict (.more | default dict) .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The labels of every other object: (dict "root" $ "component" "server"). */}}
{{- define "common.labels" -}}
{{ include "common.podLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* An image's full name: (dict "root" $ "key" "image" "image" .Values.image "own" true). "own": built by this project,
     so its prefix and tag may be given once, for all of them. */}}
{{- define "common.image" -}}
{{- $global := .root.Values.global }}
{{- $tag := .image.tag | default (.own | ternary $global.imageTag "") }}
{{- if not $tag }}
{{- fail (printf "Set %s.tag%s: an image without a tag could change under a running release." .key (.own | ternary " or global.imageTag, to the tag that `make images` gave its images" "")) }}
{{- end }}
{{- if hasPrefix "latest" $tag }}
{{- fail (printf "Set %s.tag to a version or a digest: latest changes under a running release." .key) }}
{{- end }}
{{- with $global.imageRegistry }}{{ trimSuffix "/" . }}/{{ end }}
{{- if .own }}{{ $global.imagePrefix }}{{ end }}
{{- .image.repository }}:{{ $tag }}
{{- end }}

{{/* The pod's part of the restricted Pod Security standard, and where it runs: (dict "root" $ "uid" 999 "values" .Values). */}}
{{- define "common.pod" -}}
serviceAccountName: {{ include "common.serviceAccountName" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .uid }}
  runAsGroup: {{ .uid }}
  fsGroup: {{ .uid }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .root.Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" }}
{{- with index $.values $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* A container's part of it. There is no value to soften it. */}}
{{- define "common.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "common.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "common.fullname" .) }}
{{- else }}
{{- .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{- define "common.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "common.serviceAccountName" . }}
  labels:
    {{- include "common.labels" (dict "root" . "component" "server") | nindent 4 }}
  {{- with .Values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}
{{- end }}

{{/* A secret value that is made once: (dict "root" $ "store" .Values.auth "secret" NAME "key" KEY "fresh" (randAlphaNum 32)).
     The one in the cluster stays as long as the store's `rotation` is the one it was made for. The store remembers the
     value, so all templates of one rendering see the same, those of an umbrella chart by .Subcharts included. */}}
{{- define "common.generated" -}}
{{- $memory := printf "_%s" .key }}
{{- if not (hasKey .store $memory) }}
{{- $secret := lookup "v1" "Secret" .root.Release.Namespace .secret | default dict }}
{{- $kept := dig "data" .key "" $secret }}
{{- $rotation := int64 .store.rotation | toString }}
{{- $same := eq $rotation (dig "metadata" "annotations" "fti/rotation" $rotation $secret) }}
{{- $_ := set .store $memory (ternary (b64dec $kept) .fresh (and (ne $kept "") $same)) }}
{{- end }}
{{- index .store $memory }}
{{- end }}

{{/* What changes whenever a Secret that someone else keeps does: (dict "root" $ "secret" NAME "rotation" NUMBER). Of one
     that another chart of the same release makes, just the number counts: what is in the cluster is what it was before. */}}
{{- define "common.foreignChecksum" -}}
{{- $secret := lookup "v1" "Secret" .root.Release.Namespace .secret | default dict }}
{{- $ours := eq .root.Release.Name (dig "metadata" "annotations" "meta.helm.sh/release-name" "" $secret) }}
{{- list (int64 .rotation) ($ours | ternary dict (dig "data" dict $secret)) | toJson | sha256sum }}
{{- end }}

{{/* The claim of a StatefulSet's one pod. Not a volumeClaimTemplate, whose size no upgrade can change. */}}
{{- define "common.claim" -}}
{{- $storage := .Values.persistence }}
{{- if not $storage.enabled }}
{{- if $storage.existingClaim }}
{{- fail "persistence.existingClaim is set, but persistence.enabled is false: enable it, or leave the claim out." }}
{{- end }}
{{- else if $storage.existingClaim }}
{{- if $storage.storageClass }}
{{- fail "persistence.existingClaim and persistence.storageClass are both set: an existing claim has its storage class already." }}
{{- end }}
{{- else }}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ include "common.fullname" . }}
  labels:
    {{- include "common.labels" (dict "root" . "component" "server") | nindent 4 }}
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
  accessModes: [ReadWriteOnce]
  {{- with $storage.storageClass | default .Values.global.storageClass }}
  storageClassName: {{ . }}
  {{- end }}
  resources:
    requests:
      storage: {{ $storage.size }}
{{- end }}
{{- end }}

{{/* Where that pod's data is. */}}
{{- define "common.dataVolume" -}}
name: data
{{- if .Values.persistence.enabled }}
persistentVolumeClaim:
  claimName: {{ .Values.persistence.existingClaim | default (include "common.fullname" .) }}
{{- else }}
emptyDir: {}
{{- end }}
{{- end }}

{{/* The policy of a pod of the chart's own that asks the server, and nobody else but for its address:
     (dict "root" $ "component" "test" "port" "redis"). */}}
{{- define "common.clientPolicy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "common.fullname" .root }}-{{ .component }}
  labels:
    {{- include "common.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "common.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress: []
  egress:
    - to:
        - podSelector:
            matchLabels:
              {{- include "common.selector" (dict "root" .root "component" "server") | nindent 14 }}
      ports:
        - { protocol: TCP, port: {{ .port }} }
    - {{- include "common.dnsEgress" . | nindent 6 }}
{{- end }}

{{- define "common.dnsEgress" -}}
to:
  - namespaceSelector:
      matchLabels:
        kubernetes.io/metadata.name: kube-system
ports:
  - { protocol: UDP, port: 53 }
  - { protocol: TCP, port: 53 }
{{- end }}

{{/* A quantity of memory in MiB: (dict "key" "maxmemory" "value" "256Mi"). */}}
{{- define "common.mebibytes" -}}
{{- $value := toString .value }}
{{- if not (regexMatch "^[0-9]+[MG]i$" $value) }}
{{- fail (printf "Write %s in whole Mi or Gi, not %s: it is compared with another." .key $value) }}
{{- end }}
{{- regexFind "^[0-9]+" $value | int64 | mul (hasSuffix "Gi" $value | ternary 1024 1) }}
{{- end }}
