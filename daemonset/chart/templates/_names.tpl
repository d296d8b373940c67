{{/* The names do not contain the release: a cluster has one agent per node, whatever the release. */}}

{{- define "labels" -}}
app.kubernetes.io/name: pointsman
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Labels of pods, and of what selects them. They must not change with the chart's version. */}}
{{- define "agent" -}}
{app.kubernetes.io/name: pointsman, app.kubernetes.io/component: agent}
{{- end }}

{{- define "csi" -}}
{app.kubernetes.io/name: pointsman, app.kubernetes.io/component: csi}
{{- end }}

{{- define "image" -}}
image: {{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- with .Values.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- end }}

{{/*
The agent's configuration, and the name of its ConfigMap, which depends on the content. So a change rolls
the agents out again, and running agents keep the configuration that they started with.
*/}}
{{- define "config" -}}
{{ toYaml .Values.config }}
{{- end }}

{{- define "config.name" -}}
pointsman-agent-{{ include "config" . | sha256sum | trunc 10 }}
{{- end }}

{{/* The nodes on which a pod may run, and the secrets to pull its image. */}}
{{- define "placement" -}}
priorityClassName: {{ .Values.priorityClassName }}
tolerations: {{- toYaml .Values.tolerations | nindent 2 }}
nodeSelector: {{- toYaml .Values.nodeSelector | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
