{{/*
A file of files/, which has to have this text in it. What copies a chart may lose a file or empty it, and
half a chart is worse than none: a right without the policy that holds it in bounds.
*/}}
{{- define "file" -}}
{{- $text := .root.Files.Get .path -}}
{{- if not (contains .has $text) -}}
{{- $size := ternary "missing or empty" (printf "without \"%s\"" .has) (eq (trim $text) "") -}}
{{- fail (printf "%s is %s: copy the chart again, with all its files" .path $size) -}}
{{- end -}}
{{- $text -}}
{{- end }}
