{{- define "bedrock-meter.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "bedrock-meter.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "bedrock-meter.labels" -}}
{{ include "bedrock-meter.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "bedrock-meter.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "bedrock-meter.name" .) }}
{{- end }}

{{- define "bedrock-meter.config" -}}
[listener]
listen = "0.0.0.0:8080"
{{- if .Values.trustedNetworks }}
# The network policy and trusted_networks below say whose word is taken.
allow_unproven_callers_off_loopback = true
{{- end }}
trusted_proxies = {{ .Values.trustedProxies | toJson }}
proxy_protocol = {{ .Values.proxyProtocol }}
{{- if .Values.tls.secretName }}

[listener.tls]
certificate_file = "/etc/bedrock-meter/tls/tls.crt"
key_file = "/etc/bedrock-meter/tls/tls.key"
{{- end }}

[admin]
listen = "0.0.0.0:8081"
token = "${BEDROCK_METER_ADMIN_TOKEN}"
metrics_token = "${BEDROCK_METER_METRICS_TOKEN}"

[identity]
{{- if .Values.trustedNetworks }}
trusted_networks = {{ .Values.trustedNetworks | toJson }}
{{- else }}
mode = "proven"
{{- end }}
{{- if .Values.auth.masterKey }}

[keys]
master_key = "${BEDROCK_METER_MASTER_KEY}"
{{- end }}

[upstream]
default_region = {{ .Values.region | toJson }}
{{- if .Values.regions }}
regions = {{ .Values.regions | toJson }}
{{- end }}

[ledger]
directory = "/var/lib/bedrock-meter"

[shutdown]
drain_delay = "{{ .Values.shutdown.drainDelaySeconds }}s"
drain_timeout = "{{ .Values.shutdown.drainTimeoutSeconds }}s"

[log]
format = "json"
{{- with .Values.extraConfig }}

{{ . }}
{{- end }}
{{- end }}
