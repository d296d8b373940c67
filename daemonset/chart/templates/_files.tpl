{{/*
A file of files/, which must contain this text. A copy of the chart may lose or empty a file. Half a chart
is worse than none: it would give a right without the policy that limits it.
*/}}
{{- define "file" -}}
{{- $text := .root.Files.Get .path -}}
{{- if not (contains .has $text) -}}
{{- $size := ternary "missing or empty" (printf "without \"%s\"" .has) (eq (trim $text) "") -}}
{{- fail (printf "%s is %s: copy the chart again, with all its files" .path $size) -}}
{{- end -}}
{{- $text -}}
{{- end }}
