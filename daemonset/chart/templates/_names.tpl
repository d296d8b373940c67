{{/* What a cluster has once has a name that is no release's: there is one agent a node. */}}

{{- define "labels" -}}
app.kubernetes.io/name: pointsman
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Of pods, and what selects them: nothing that a new version of the chart would change. */}}
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
The agent's configuration, and its ConfigMap's name: another one for another content. So a change rolls
the agents, and those that run keep what they were started with.
*/}}
{{- define "config" -}}
{{ toYaml .Values.config }}
{{- end }}

{{- define "config.name" -}}
pointsman-agent-{{ include "config" . | sha256sum | trunc 10 }}
{{- end }}

{{/* Where a pod may run, and by whose images. */}}
{{- define "placement" -}}
priorityClassName: {{ .Values.priorityClassName }}
tolerations: {{- toYaml .Values.tolerations | nindent 2 }}
nodeSelector: {{- toYaml .Values.nodeSelector | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
