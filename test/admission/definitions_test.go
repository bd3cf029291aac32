package admission

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// definition is a CustomResourceDefinition of a group.
func definition(group string) *unstructured.Unstructured {
	return object(`{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: guarded.` + group + `,
		annotations: {api-approved.kubernetes.io: unapproved}}, spec: {group: ` + group + `, scope: Cluster, names: {kind: Guarded, plural: guarded},
		versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}}`)
}

const definitionKind = "apiextensions.k8s.io/v1, Kind=CustomResourceDefinition"

func TestGuardRailOfDefinitions(t *testing.T) {
	works := named("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "works.placement.kubernetes-fleet.io")
	deny := func(who actor, operation, subresource, name string) string {
		return standard(who, operation, definitionKind, subresource, "", name)
	}
	rows := []row{
		{"the identity of a member changes one of the fleet", identity, patches(works, labelsOfUsers), deny(identity, "UPDATE", "", works.GetName())},
		{"a user changes the status of one of the fleet", user, patchesStatus(works, `{"status": {"storedVersions": ["v1beta1", "v2"]}}`),
			deny(user, "UPDATE", "status", works.GetName())},
		{"a master changes one of the fleet", master, patches(works, labelsOfUsers), ""},
		{"a user creates, changes and deletes one of others", user,
			all(creates(definition("example.com")), patches(definition("example.com"), labelsOfUsers), deletes(definition("example.com"))), ""},
		{"a user creates and deletes one whose group only ends like the fleet's", user,
			all(creates(definition("not-placement.kubernetes-fleet.io")), deletes(definition("not-placement.kubernetes-fleet.io"))), ""},
	}
	for _, group := range []string{
		"networking.fleet.azure.com", "cluster.kubernetes-fleet.io", "placement.kubernetes-fleet.io", "multicluster.x-k8s.io",
	} {
		rows = append(rows, row{"a user creates one in " + group, user, creates(definition(group)), deny(user, "CREATE", "", "guarded."+group)})
	}
	play(t, rows)
}

func TestGuardRailOfNamespaces(t *testing.T) {
	const kind = "/v1, Kind=Namespace"
	namespace := func(name string) *unstructured.Unstructured { return named("v1", "Namespace", "", name) }
	of := namespaceOf(fleetCluster(t))
	theirs := given(t, namespace("of-users"))
	play(t, []row{
		{"a user changes kube-system", user, patches(namespace("kube-system"), labelsOfUsers), standard(user, "UPDATE", kind, "", "kube-system", "kube-system")},
		{"a user changes a member's namespace", user, patches(namespace(of), labelsOfUsers), standard(user, "UPDATE", kind, "", of, of)},
		{"the identity of a member changes its namespace", identity, patches(namespace(of), labelsOfUsers), standard(identity, "UPDATE", kind, "", of, of)},
		{"a user changes the status of fleet-system", user, patchesStatus(namespace("fleet-system"), `{"status": {"conditions": [{"type": "a", "status": "True"}]}}`),
			standard(user, "UPDATE", kind, "status", "fleet-system", "fleet-system")},
		{"a user deletes fleet-system", user, deletes(namespace("fleet-system")), standard(user, "DELETE", kind, "", "fleet-system", "fleet-system")},
		{"a user deletes a member's namespace", user, deletes(namespace(of)), standard(user, "DELETE", kind, "", of, of)},
		{"a master changes a member's namespace", master, patches(namespace(of), labelsOfUsers), ""},
		{"a master creates and deletes a reserved namespace", master, all(creates(namespace("fleet-of-master")), deletes(namespace("fleet-of-master"))), ""},
		{"a user changes a namespace of users", user, patches(theirs, labelsOfUsers), ""},
		{"a user creates one whose name has a reserved prefix without its end", user, all(creates(namespace("fleetly")), deletes(namespace("fleetly"))), ""},
	})
}

func TestLabelsOfMemberClustersAreProtected(t *testing.T) {
	t.Cleanup(func() { restart(t, hubAgent(nil), inForce) })
	protecting := hubAgent(nil)
	protecting.Flags = map[string]string{"deny-modify-member-cluster-labels": "true"}
	restart(t, protecting, inForce)
	ofTheFleet, upstream := fleetCluster(t), upstreamCluster(t)
	const theirs, ours = `{"metadata": {"labels": {"protected": "yes"}}}`, `{"metadata": {"labels": {"kubernetes-fleet.io/protected": "yes"}}}`
	play(t, []row{
		{"a user changes labels", user, patches(ofTheFleet, theirs),
			standard(user, "UPDATE", "cluster.kubernetes-fleet.io/v1beta1, Kind=MemberCluster", "", "", ofTheFleet.GetName())},
		{"a user changes labels of the fleet", user, patches(ofTheFleet, ours), ""},
		{"a user adds a taint", user, patches(ofTheFleet, `{"spec": {"taints": [{"key": "p", "value": "q", "effect": "NoSchedule"}]}}`), ""},
		{"a user changes labels of an upstream cluster", user, patches(upstream, theirs), ""},
		{"a master changes labels", master, patches(ofTheFleet, theirs), ""},
		{"a master removes them", master, patches(ofTheFleet, `{"metadata": {"labels": {"protected": null}}}`), ""},
	})
}
