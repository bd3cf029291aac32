{{- define "member-agent.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "member-agent.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "member-agent.selectorLabels" -}}
app.kubernetes.io/name: {{ include "member-agent.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "member-agent.image" -}}
{{- if .Values.image.digest -}}
{{- if not (regexMatch "^sha256:[0-9a-f]{64}$" .Values.image.digest) -}}
{{- fail (printf "image.digest %q: must be sha256: and 64 hexadecimal digits" .Values.image.digest) -}}
{{- end -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "member-agent.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "member-agent.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: flagship
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* Fails for values with which the agent would only crash loop. */}}
{{- define "member-agent.refuse" -}}
{{- if and (.Values.tracing).endpoint (not (regexMatch "^(https?://)?[^/@]+:[0-9]+$" (.Values.tracing).endpoint)) -}}
{{- fail (printf "tracing.endpoint %q: must be host:port, or https://host:port" (.Values.tracing).endpoint) -}}
{{- end -}}
{{- if and .Values.config.hubURL (not (hasPrefix "https://" .Values.config.hubURL)) -}}
{{- fail (printf "config.hubURL %q: must begin with https://; over plain http an attacker could read the agent's token, or impersonate the hub and decide what runs on this cluster" .Values.config.hubURL) -}}
{{- end -}}
{{- if not (has .Values.config.provider (list "secret" "file")) -}}
{{- fail (printf "config.provider %q: must be \"secret\" or \"file\"" .Values.config.provider) -}}
{{- end -}}
{{- if and (eq .Values.config.provider "file") (not .Values.useCAAuth) -}}
{{- $_ := required "config.tokenPath: the path of the token's file is required with config.provider: file" .Values.config.tokenPath -}}
{{- end -}}
{{- if .Values.useCAAuth -}}
{{- $_ := required "config.identityKey: the path of the client key is required with useCAAuth: true" .Values.config.identityKey -}}
{{- $_ := required "config.identityCert: the path of the client certificate is required with useCAAuth: true" .Values.config.identityCert -}}
{{- end -}}
{{- end -}}

{{/* "true" if the agent reads its token from a Secret, otherwise empty. */}}
{{- define "member-agent.readsSecret" -}}
{{- if and (eq .Values.config.provider "secret") (not .Values.useCAAuth) }}true{{ end -}}
{{- end -}}

{{/* The agent's flags as a JSON map, for other templates to read. extraArgs override them. */}}
{{- define "member-agent.flags" -}}
{{- $flags := dict
  "leader-elect" true
  "leader-election-namespace" .Values.leaderElectionNamespace
  "hub-health-probe-bind-address" (printf ":%v" .Values.hubHealthProbePort)
  "hub-metrics-bind-address" (printf ":%v" .Values.hubMetricsPort)
  "health-probe-bind-address" (printf ":%v" .Values.healthProbePort)
  "metrics-bind-address" (printf ":%v" .Values.metricsPort)
  "metrics-secure" .Values.metricsSecure
  "enable-pprof" .Values.enablePprof
  "pprof-port" .Values.pprofPort
  "hub-pprof-port" .Values.hubPprofPort
  "use-ca-auth" .Values.useCAAuth
  "tls-insecure" .Values.tlsClientInsecure
  "open-namespaces" (join "," .Values.rbac.openNamespaces)
  "removal-max" (.Values.removal).max
  "removal-protect" ((.Values.removal).protect | default list | join ",")
  "removal-window" (.Values.removal).window
  "property-provider" .Values.propertyProvider
  "region" .Values.region
  "enable-namespace-collection-in-property-provider" .Values.enableNamespaceCollectionInPropertyProvider
  "work-applier-requeue-rate-limiter-attempts-with-fixed-delay" .Values.workApplierRequeueRateLimiterAttemptsWithFixedDelay
  "work-applier-requeue-rate-limiter-fixed-delay-seconds" .Values.workApplierRequeueRateLimiterFixedDelaySeconds
  "work-applier-requeue-rate-limiter-exponential-base-for-slow-backoff" .Values.workApplierRequeueRateLimiterExponentialBaseForSlowBackoff
  "work-applier-requeue-rate-limiter-initial-slow-backoff-delay-seconds" .Values.workApplierRequeueRateLimiterInitialSlowBackoffDelaySeconds
  "work-applier-requeue-rate-limiter-max-slow-backoff-delay-seconds" .Values.workApplierRequeueRateLimiterMaxSlowBackoffDelaySeconds
  "work-applier-requeue-rate-limiter-exponential-base-for-fast-backoff" .Values.workApplierRequeueRateLimiterExponentialBaseForFastBackoff
  "work-applier-requeue-rate-limiter-max-fast-backoff-delay-seconds" .Values.workApplierRequeueRateLimiterMaxFastBackoffDelaySeconds
  "work-applier-requeue-rate-limiter-skip-to-fast-backoff-for-available-or-diff-reported-work-objs" .Values.workApplierRequeueRateLimiterSkipToFastBackoffForAvailableOrDiffReportedWorkObjs
  "v" .Values.logVerbosity
-}}
{{- if .Values.priorityQueue.enabled -}}
{{- $_ := set $flags "enable-work-applier-priority-queue" true -}}
{{- $_ := set $flags "work-applier-priority-linear-equation-coeff-a" .Values.priorityQueue.priorityLinearEquationCoeffA -}}
{{- $_ := set $flags "work-applier-priority-linear-equation-coeff-b" .Values.priorityQueue.priorityLinearEquationCoeffB -}}
{{- end -}}
{{- if .Values.hubCopy -}}
{{- $_ := set $flags "hub-copy-dir" "/var/run/flagship/hub" -}}
{{- end -}}
{{- if .Values.prices -}}
{{- $_ := set $flags "price-file" "/etc/flagship/prices/prices.yaml" -}}
{{- end -}}
{{- if (.Values.tracing).endpoint -}}
{{- $_ := set $flags "trace-endpoint" (.Values.tracing).endpoint -}}
{{- $_ := set $flags "trace-sample" (.Values.tracing).sample -}}
{{- end -}}
{{- range $name, $value := .Values.extraArgs -}}
{{- $_ := set $flags $name $value -}}
{{- end -}}
{{- toJson $flags -}}
{{- end -}}

{{/* The flags as arguments in the order of their names. Unset and empty values are omitted. */}}
{{- define "member-agent.args" -}}
{{- range $name, $value := include "member-agent.flags" . | fromJson }}
{{- if and (kindIs "float64" $value) (eq (floor $value) $value) }}
{{- $value = int64 $value }}
{{- end }}
{{- if not (or (kindIs "invalid" $value) (eq (toString $value) "")) }}
- {{ printf "--%s=%v" $name $value | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The agent's environment. The agent does not start with two certificate authorities, or with an empty one. */}}
{{- define "member-agent.env" -}}
- name: HUB_SERVER_URL
  value: {{ required "config.hubURL: the URL of the hub's API server is required" .Values.config.hubURL | quote }}
- name: MEMBER_CLUSTER_NAME
  value: {{ required "config.memberClusterName: the name of this cluster's MemberCluster on the hub is required" .Values.config.memberClusterName | quote }}
{{- if .Values.useCAAuth }}
- name: IDENTITY_KEY
  value: {{ .Values.config.identityKey | quote }}
- name: IDENTITY_CERT
  value: {{ .Values.config.identityCert | quote }}
{{- else if include "member-agent.readsSecret" . }}
- name: HUB_TOKEN_SECRET
  value: {{ printf "%s/%s" .Values.secret.namespace .Values.secret.name | quote }}
{{- else }}
- name: CONFIG_PATH
  value: {{ .Values.config.tokenPath | quote }}
{{- end }}
{{- if and .Values.useCAAuth .Values.config.CABundle }}
- name: CA_BUNDLE
  value: {{ .Values.config.CABundle | quote }}
{{- else if .Values.config.hubCA }}
- name: HUB_CERTIFICATE_AUTHORITY
  value: {{ .Values.config.hubCA | quote }}
{{- end }}
{{- with .Values.config.hubKubeHeader }}
- name: HUB_KUBE_HEADER
  value: {{ . | quote }}
{{- end }}
{{- end -}}
