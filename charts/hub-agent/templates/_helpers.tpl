{{- define "hub-agent.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "hub-agent.fullname" -}}
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

{{- define "hub-agent.selectorLabels" -}}
app.kubernetes.io/name: {{ include "hub-agent.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "hub-agent.image" -}}
{{- if .Values.image.digest -}}
{{- if not (regexMatch "^sha256:[0-9a-f]{64}$" .Values.image.digest) -}}
{{- fail (printf "image.digest %q: must be sha256: and 64 hexadecimal digits" .Values.image.digest) -}}
{{- end -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "hub-agent.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "hub-agent.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: flagship
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "hub-agent.leaderElectionNamespace" -}}
{{- default .Values.namespace .Values.leaderElectionNamespace -}}
{{- end -}}

{{/* Fails for values that contradict each other, and for a missing configuration. */}}
{{- define "hub-agent.refuse" -}}
{{- if and (.Values.tracing).endpoint (not (regexMatch "^(https?://)?[^/@]+:[0-9]+$" (.Values.tracing).endpoint)) -}}
{{- fail (printf "tracing.endpoint %q: must be host:port, or https://host:port" (.Values.tracing).endpoint) -}}
{{- end -}}
{{- if and .Values.useCertManager (not .Values.enableWebhook) -}}
{{- fail "useCertManager: only the admission webhooks need its certificate; set enableWebhook: true, or useCertManager: false" -}}
{{- end -}}
{{- if and .Values.useCertManager (not .Values.enableWorkload) -}}
{{- fail "useCertManager: cert-manager's pods run on the hub; set enableWorkload: true" -}}
{{- end -}}
{{- if and .Values.useCertManager (not .Values.webhookCertSecretName) -}}
{{- fail "webhookCertSecretName: with useCertManager it must name the Secret that cert-manager writes, for example fleet-webhook-server-cert" -}}
{{- end -}}
{{- if and .Values.enableGuardRail (not .Values.enableWebhook) -}}
{{- fail "enableGuardRail: the guard rail is an admission webhook; set enableWebhook: true, or enableGuardRail: false" -}}
{{- end -}}
{{- if not (has (lower .Values.webhookClientConnectionType) (list "url" "service")) -}}
{{- fail (printf "webhookClientConnectionType %q: must be service or url" .Values.webhookClientConnectionType) -}}
{{- end -}}
{{- if and .Values.enableAdmissionPolicyManager (not .Values.admissionPolicyManagerConfigName) (not (or (hasPrefix "fleet-" .Values.namespace) (hasPrefix "kube-" .Values.namespace))) -}}
{{- fail (printf "enableAdmissionPolicyManager: the default policies refuse pods in namespace %q, the agent's own; use a namespace that begins with fleet- or kube-, or configure ReservedNamespacePrefixes in admissionPolicyManagerConfigName" .Values.namespace) -}}
{{- end -}}
{{- if and .Values.enableAdmissionPolicyManager .Values.admissionPolicyManagerConfigName (not (hasKey .Values.additionalConfigData .Values.admissionPolicyManagerConfigName)) -}}
{{- fail (printf "admissionPolicyManagerConfigName %q: not a key of additionalConfigData; add the configuration there, or leave the name empty for the default policies" .Values.admissionPolicyManagerConfigName) -}}
{{- end -}}
{{- end -}}

{{/* The folder of the certificate that cert-manager makes. */}}
{{- define "hub-agent.certificates" -}}
/tmp/k8s-webhook-server/serving-certs
{{- end -}}

{{/* The agent's flags as a JSON map, for other templates to read. extraArgs override them. */}}
{{- define "hub-agent.flags" -}}
{{- $flags := dict
  "leader-elect" true
  "leader-election-namespace" (include "hub-agent.leaderElectionNamespace" .)
  "health-probe-bind-address" (printf ":%v" .Values.healthProbePort)
  "metrics-bind-address" (printf ":%v" .Values.metricsPort)
  "metrics-secure" .Values.metricsSecure
  "enable-pprof" .Values.enablePprof
  "pprof-port" .Values.pprofPort
  "enable-webhook" .Values.enableWebhook
  "enable-guard-rail" .Values.enableGuardRail
  "enable-pdbs" .Values.enablePDBs
  "whitelisted-users" (concat (list (printf "system:serviceaccount:%s:%s-sa" .Values.namespace (include "hub-agent.fullname" .))) .Values.guardRailAdmins | join ",")
  "enable-workload" .Values.enableWorkload
  "enable-cluster-inventory-apis" .Values.enableClusterInventoryAPI
  "enable-staged-update-run-apis" .Values.enableStagedUpdateRunAPIs
  "enable-eviction-apis" .Values.enableEvictionAPIs
  "force-delete-wait-time" .Values.forceDeleteWaitTime
  "cluster-unhealthy-threshold" .Values.clusterUnhealthyThreshold
  "failover-domain-label" .Values.failoverDomainLabel
  "removal-max" (.Values.removal).max
  "removal-protect" ((.Values.removal).protect | default list | join ",")
  "resource-snapshot-creation-minimum-interval" .Values.resourceSnapshotCreationMinimumInterval
  "resource-changes-collection-duration" .Values.resourceChangesCollectionDuration
  "hub-api-qps" .Values.hubAPIQPS
  "hub-api-burst" .Values.hubAPIBurst
  "max-concurrent-cluster-placement" .Values.MaxConcurrentClusterPlacement
  "concurrent-resource-change-syncs" .Values.ConcurrentResourceChangeSyncs
  "max-fleet-size" .Values.MaxFleetSizeSupported
  "v" .Values.logVerbosity
  "log_file_max_size" .Values.logFileMaxSize
-}}
{{- if .Values.enableWebhook -}}
{{- $_ := set $flags "webhook-service-name" .Values.webhookServiceName -}}
{{- $_ := set $flags "webhook-client-connection-type" .Values.webhookClientConnectionType -}}
{{- $_ := set $flags "webhook-port" .Values.webhookPort -}}
{{- $_ := set $flags "webhook-owner" (printf "%s-webhooks" (include "hub-agent.fullname" .)) -}}
{{- $_ := set $flags "deny-workloads" .Values.denyWorkloads -}}
{{- $_ := set $flags "use-cert-manager" .Values.useCertManager -}}
{{- if .Values.useCertManager -}}
{{- $_ := set $flags "webhook-cert-dir" (include "hub-agent.certificates" .) -}}
{{- end -}}
{{- end -}}
{{- if .Values.enableAdmissionPolicyManager -}}
{{- $_ := set $flags "enable-admission-policy-manager" true -}}
{{- with .Values.admissionPolicyManagerConfigName -}}
{{- $_ := set $flags "admission-policy-manager-config" (printf "%s/%s" $.Values.additionalConfigDataMountPath .) -}}
{{- end -}}
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

{{/*
  The flags as arguments in the order of their names. Unset and empty values are omitted, except an empty failover-domain-label: it has a
  default that is not empty.
*/}}
{{- define "hub-agent.args" -}}
{{- range $name, $value := include "hub-agent.flags" . | fromJson }}
{{- if and (kindIs "float64" $value) (eq (floor $value) $value) }}
{{- $value = int64 $value }}
{{- end }}
{{- if not (or (kindIs "invalid" $value) (and (eq (toString $value) "") (ne $name "failover-domain-label"))) }}
- {{ printf "--%s=%v" $name $value | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The users that may write the internal objects of the fleet: the agent, and the controllers of Kubernetes that delete or migrate objects. */}}
{{- define "hub-agent.writers" -}}
{{- $writers := list
  (printf "system:serviceaccount:%s:%s-sa" .Values.namespace (include "hub-agent.fullname" .))
  "system:serviceaccount:kube-system:generic-garbage-collector"
  "system:serviceaccount:kube-system:namespace-controller"
  "system:serviceaccount:kube-system:storage-version-migrator-controller"
  "system:kube-controller-manager"
-}}
{{- toJson (concat $writers .Values.admissionPolicies.writers) -}}
{{- end -}}

{{/*
  Variables that are true if an author has a verb that no built-in role grants. A role that grants every verb on a kind, or on all kinds of
  the fleet, does not count, because such roles were written for tenants before the verb existed. The author needs a role that grants the
  verb by name, or everything (as cluster-admins have). An authorizer check costs 350,000 of the 1,000,000 that an expression may cost, so
  each pair of checks has its own variable.
  Arguments: resource, a CEL expression for the resource of the verb; verbs, a map from variable names to verbs.
*/}}
{{- define "hub-agent.verbs" -}}
- name: within
  expression: "has(request.namespace) ? request.namespace : ''"
- name: everything
  expression: "authorizer.group('*').resource('*').namespace(variables.within).check('*').allowed()"
{{- $resource := .resource }}
{{- range $name, $verb := .verbs }}
- name: {{ $name }}
  expression: >-
    authorizer.group('placement.kubernetes-fleet.io').resource({{ $resource }}).namespace(variables.within).check('{{ $verb }}').allowed() &&
    !authorizer.group('placement.kubernetes-fleet.io').resource({{ $resource }}).namespace(variables.within).check('*').allowed()
{{- end }}
{{- end -}}

{{/* Groups whose kinds determine what users may do on a cluster, as a CEL list; pkg/selection has the same list. */}}
{{- define "hub-agent.privilegedGroups" -}}
['rbac.authorization.k8s.io', 'authorization.openshift.io', 'admissionregistration.k8s.io', 'apiregistration.k8s.io']
{{- end -}}

{{- define "hub-agent.placementsResource" -}}
variables.within == '' ? 'clusterresourceplacements' : 'resourceplacements'
{{- end -}}

{{/* A CEL expression that is true if the list of selectors in the argument contains one that selects whole namespaces. */}}
{{- define "hub-agent.wide" -}}
{{ . }}.exists(s, dyn(s).?group.orValue('') == '' && dyn(s).?kind.orValue('') == 'Namespace' &&
dyn(s).?selectionScope.orValue('NamespaceWithResources') in ['', 'NamespaceWithResources'])
{{- end -}}
