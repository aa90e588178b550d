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

{{/* The agent's settings, in the form in which it reads them from its environment. */}}
{{- define "kube-shunt.settings" -}}
KUBE_SHUNT_LOG_LEVEL: {{ .Values.log.level | quote }}
KUBE_SHUNT_LOG_FORMAT: {{ .Values.log.format | quote }}
KUBE_SHUNT_NODEPORT_ADDRESSES: {{ .Values.nodePortAddresses | quote }}
KUBE_SHUNT_XDP: {{ .Values.xdp | quote }}
KUBE_SHUNT_HEALTHZ_BIND_ADDRESS: {{ printf "0.0.0.0:%d" (int .Values.healthz.port) | quote }}
KUBE_SHUNT_METRICS_BIND_ADDRESS: {{ .Values.metrics.bindAddress | quote }}
KUBE_SHUNT_BPF_ROOT: /sys/fs/bpf/kube-shunt
KUBE_SHUNT_CGROUP_ROOT: /host/cgroup
KUBE_SHUNT_RUN_DIR: /run/kube-shunt
KUBE_SHUNT_STATE_DIR: /var/lib/kube-shunt
{{- with .Values.apiServer }}
KUBE_SHUNT_APISERVER: {{ . | quote }}
{{- end }}
{{- with .Values.devices.include }}
KUBE_SHUNT_DEVICE_INCLUDE: {{ join "," . | quote }}
{{- end }}
{{- with .Values.devices.exclude }}
KUBE_SHUNT_DEVICE_EXCLUDE: {{ join "," . | quote }}
{{- end }}
{{- range $map, $entries := .Values.maps }}
{{- if $entries }}
KUBE_SHUNT_MAP_{{ upper $map }}_ENTRIES: {{ int64 $entries | quote }}
{{- end }}
{{- end }}
{{- end }}
