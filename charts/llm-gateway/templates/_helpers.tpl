{{- define "gw.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "gw.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "gw.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "gw.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "gw.selector" -}}
app.kubernetes.io/name: {{ include "gw.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "gw.labels" -}}
{{ include "gw.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "gw.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "gw.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "gw.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{- /* The Secret with the gateway's own secrets. */ -}}
{{- define "gw.secret" -}}
{{ .Values.secrets.existingSecret | default (include "gw.fullname" .) }}
{{- end -}}

{{- define "gw.hasDatabase" -}}
{{- if .Values.secrets.existingSecret }}{{ if .Values.secrets.existing.databaseUrl }}yes{{ end }}{{ else if .Values.secrets.databaseUrl }}yes{{ end -}}
{{- end -}}

{{- define "gw.hasRedis" -}}
{{- if .Values.secrets.existingSecret }}{{ if .Values.secrets.existing.redisUrl }}yes{{ end }}{{ else if .Values.secrets.redisUrl }}yes{{ end -}}
{{- end -}}

{{- /* The variable that carries the key of the provider named by the argument. */ -}}
{{- define "gw.keyVariable" -}}
{{- if eq . "bedrock" -}}AWS_BEARER_TOKEN_BEDROCK{{- else -}}{{ . | upper | replace "-" "_" }}_API_KEY{{- end -}}
{{- end -}}

{{- define "gw.keyEntry" -}}
{{ . | lower | replace "_" "-" }}-api-key
{{- end -}}

{{- /* The configuration file: the sections of the values, with secrets as variables. */ -}}
{{- define "gw.config" -}}
{{- $config := dict -}}
{{- range $name := list "server" "routing" "resilience" "cache" "security" "telemetry" "database" "state" "plugins" -}}
{{- with index $.Values $name }}{{ $_ := set $config $name (deepCopy .) }}{{ end -}}
{{- end -}}
{{- $listed := false -}}
{{- range $name, $given := .Values.providers -}}
{{- if omit ($given | default dict) "apiKey" }}{{ $listed = true }}{{ end -}}
{{- end -}}
{{- if $listed -}}
{{- $providers := dict -}}
{{- range $name, $given := .Values.providers -}}
{{- if not (kindIs "invalid" $given) -}}
{{- $settings := omit $given "apiKey" -}}
{{- if or $settings $given.apiKey (not (has $name (list "bedrock" "azure_openai"))) -}}
{{- if eq $name "bedrock" }}{{ $_ := set $settings "enabled" (ne (toString $settings.enabled) "false") -}}
{{- else if not (hasKey $settings "api_key") }}{{ $_ := set $settings "api_key" (printf "${%s:-}" (include "gw.keyVariable" $name)) }}{{ end -}}
{{- $_ := set $providers $name $settings -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $_ := set $config "providers" $providers -}}
{{- end -}}
{{- if include "gw.hasDatabase" . -}}
{{- $database := merge (dict "url" "${DATABASE_URL}") (index $config "database" | default dict) -}}
{{- if .Values.migration.enabled }}{{ $_ := set $database "auto_migrate" false }}{{ end -}}
{{- $_ := set $config "database" $database -}}
{{- end -}}
{{- if include "gw.hasRedis" . -}}
{{- $_ := set $config "state" (merge (index $config "state" | default dict) (dict "redis_url" "${REDIS_URL}")) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{- /* What a pod of so many workers asks for, under what the values say. */ -}}
{{- define "gw.resources" -}}
{{- $workers := int .Values.workers -}}
{{- $requests := dict "cpu" (printf "%dm" (mul 500 $workers)) "memory" (printf "%dMi" (mul 256 $workers)) -}}
{{- $limits := dict "memory" (printf "%dGi" $workers) -}}
{{- toYaml (mergeOverwrite (dict "requests" $requests "limits" $limits) (deepCopy .Values.resources)) -}}
{{- end -}}

{{- define "gw.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "gw.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
seccompProfile: {type: RuntimeDefault}
{{- end -}}
