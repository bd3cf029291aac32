// Package apis contains the API groups of Flagship, one directory for each group, with one directory for each version.
// The packages named v1beta1 are written by hand. "go generate ./apis" derives the rest from them: the other served
// versions, deep copies, and the CRDs in the charts. Members of the fleet have only the CRD of AppliedWork; the hub
// has all others.
package apis

//go:generate go run ./internal/derive .
//go:generate go tool -C .. controller-gen object paths=./apis/...
//go:generate rm -rf ../charts/hub-agent/files/crds ../charts/member-agent/files/crds
//go:generate mkdir -p ../charts/member-agent/files/crds
//go:generate go tool -C .. controller-gen crd paths=./apis/... output:crd:dir=charts/hub-agent/files/crds
//go:generate mv ../charts/hub-agent/files/crds/placement.kubernetes-fleet.io_appliedworks.yaml ../charts/member-agent/files/crds/
//go:generate go run ./internal/bound ../charts/hub-agent/files/crds ../charts/member-agent/files/crds
//go:generate go tool -C .. controller-gen crd paths=sigs.k8s.io/cluster-inventory-api/apis/v1alpha1 output:crd:dir=charts/hub-agent/files/inventory
//go:generate rm -f ../charts/hub-agent/files/inventory/_.yaml
