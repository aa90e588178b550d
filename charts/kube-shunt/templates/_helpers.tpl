{{/* Names and labels that several objects share. */}}

{{- define "kube-shunt.name" -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- end }}

{{- define "kube-shunt.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "kube-shunt.name" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "kube-shunt.selector" -}}
app.kubernetes.io/name: kube-shunt
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "kube-shunt.labels" -}}
{{ include "kube-shunt.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: kube-proxy
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* The agent's settings: our document, and kube-proxy's unless an existing ConfigMap has that. */}}
{{- define "kube-shunt.settings" -}}
apiVersion: kubeshunt.io/v1alpha1
kind: KubeShuntConfiguration
{{- with .Values.apiServer }}
apiServers:
  {{- range splitList "," . }}
  - {{ . | quote }}
  {{- end }}
{{- end }}
sourceIP: {{ .Values.sourceIP }}
hostRouting: {{ .Values.hostRouting }}
algorithm: {{ .Values.algorithm | quote }}
localDetector: {{ .Values.localDetector }}
cgroupRoot: /host/cgroup
xdp: {{ .Values.xdp | quote }}
devices:
  include: {{ toJson .Values.devices.include }}
  exclude: {{ toJson .Values.devices.exclude }}
maps:
{{- range $map, $entries := .Values.maps }}
  {{ $map }}: {{ if $entries }}{{ int64 $entries }}{{ else }}null{{ end }}
{{- end }}
{{- range $name, $value := .Values.tuning }}
{{ $name }}: {{ if kindIs "invalid" $value }}null{{ else }}{{ int64 $value }}{{ end }}
{{- end }}
{{- if not .Values.existingKubeProxyConfigMap }}
---
{{- $healthz := printf "0.0.0.0:%d" (int .Values.healthz.port) }}
{{- $ours := dict "apiVersion" "kubeproxy.config.k8s.io/v1alpha1" "kind" "KubeProxyConfiguration" }}
{{- $ours = merge $ours (dict "nodePortAddresses" (splitList "," .Values.nodePortAddresses)) }}
{{- $ours = merge $ours (dict "healthzBindAddress" $healthz "metricsBindAddress" .Values.metrics.bindAddress) }}
{{ toYaml (merge (deepCopy .Values.kubeProxyConfiguration) $ours) }}
{{- end }}
{{- end }}
