package applier

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/selection"
)

// onHub creates an object on the hub, and removes it at the end of the test.
func (w *world) onHub(text string) *unstructured.Unstructured {
	w.Helper()
	obj := &unstructured.Unstructured{}
	w.must(yaml.Unmarshal([]byte(text), &obj.Object))
	w.must(w.hub.Create(w.Context(), obj))
	return obj
}

// written waits until the hub's API server or controllers have filled in a field.
func (w *world) written(obj *unstructured.Unstructured, path ...string) {
	w.Helper()
	w.eventually(fmt.Sprintf("%s of %s %s on the hub", strings.Join(path, "."), obj.GetKind(), obj.GetName()), func() error {
		if err := w.hub.Get(w.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
			return err
		}
		if !has(obj, path...) {
			return errors.New("not written yet")
		}
		return nil
	})
}

func has(obj *unstructured.Unstructured, path ...string) bool {
	value, found, err := unstructured.NestedFieldNoCopy(obj.Object, path...)
	list, isList := value.([]any)
	return err == nil && found && (!isList || len(list) > 0)
}

// carried is what of an object of the hub travels.
func (w *world) carried(obj *unstructured.Unstructured) string {
	w.Helper()
	w.must(w.hub.Get(w.Context(), client.ObjectKeyFromObject(obj), obj))
	if why, _ := selection.WhyLeftOut(obj); why != "" {
		w.Fatalf("%s %s is left out: %s", obj.GetKind(), obj.GetName(), why)
	}
	raw, err := selection.Manifest(obj)
	w.must(err)
	return string(raw)
}

// applied waits until every manifest of a Work is applied.
func (w *world) applied(name string) {
	w.Helper()
	w.eventually("work "+name+" to be applied", func() error {
		work := w.readWork(name)
		if c := delivery.Current(work.Status.Conditions, v1beta1.ConditionApplied, work.Generation); c == nil || c.Status != metav1.ConditionTrue {
			var told []string
			for _, m := range work.Status.ManifestConditions {
				for _, c := range m.Conditions {
					told = append(told, fmt.Sprintf("%s %s: %s=%s (%s): %s", m.Identifier.Kind, m.Identifier.Name, c.Type, c.Status, c.Reason, c.Message))
				}
			}
			return fmt.Errorf("it is %+v; %s", c, strings.Join(told, "; "))
		}
		return nil
	})
}

// A claim and its volume, bound on the hub, bind on the member, and the volume, whose data would be deleted, stays the
// one it is.
//
// It is the case bound-pvc-and-pv.
func TestBoundPVCAndPV(t *testing.T) {
	for kind, s := range map[string]*v1beta1.ApplyStrategy{
		"client-side": strategy(),
		"server-side": strategy(func(s *v1beta1.ApplyStrategy) { s.Type = v1beta1.ApplyStrategyTypeServerSideApply }),
	} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			name := "bound-" + kind
			w.onHub(`{apiVersion: v1, kind: Namespace, metadata: {name: ` + name + `}}`)
			pv := w.onHub(`{apiVersion: v1, kind: PersistentVolume, metadata: {name: ` + name + `}, spec: {capacity: {storage: 1Gi},
  accessModes: [ReadWriteOnce], storageClassName: ` + name + `, persistentVolumeReclaimPolicy: Delete, hostPath: {path: /var/example}}}`)
			pvc := w.onHub(`{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c, namespace: ` + name + `}, spec: {
  accessModes: [ReadWriteOnce], storageClassName: ` + name + `, resources: {requests: {storage: 1Gi}}}}`)
			w.written(pv, "spec", "claimRef", "uid")
			w.written(pvc, "spec", "volumeName")
			w.written(pvc, "metadata", "annotations", "pv.kubernetes.io/bind-completed")

			manifests := []string{`{apiVersion: v1, kind: Namespace, metadata: {name: ` + name + `}}`, w.carried(pv), w.carried(pvc)}
			w.work(name, s, manifests...)
			claim, volume := "v1 PersistentVolumeClaim "+name+"/c", "v1 PersistentVolume "+name
			w.value(claim, "Bound", "status", "phase")
			w.value(volume, "Bound", "status", "phase")
			w.settled(name, metav1.ConditionTrue, metav1.ConditionTrue)
			first := w.mustObject(volume).GetUID()
			manifests[1] = strings.Replace(manifests[1], `"metadata":{`, `"metadata":{"labels":{"again":"yes"},`, 1)
			w.edit(name, manifests...)
			w.value(volume, "yes", "metadata", "labels", "again")
			w.settled(name, metav1.ConditionTrue, metav1.ConditionTrue)
			w.value(claim, "Bound", "status", "phase")
			if got := w.mustObject(volume).GetUID(); got != first {
				t.Errorf("the volume was made again: %s, then %s", first, got)
			}
		})
	}
}

// A volume that the user has reserved for a claim, and a claim that the user has bound to a volume, keep that.
func TestReservedVolumeTravels(t *testing.T) {
	w := newWorld(t)
	w.onHub(`{apiVersion: v1, kind: Namespace, metadata: {name: reserved}}`)
	// Each pair has a class of its own: a claim that is seen before the volume that is reserved for it may take any other
	// of its class.
	volume := func(name, class, more string) *unstructured.Unstructured {
		return w.onHub(`{apiVersion: v1, kind: PersistentVolume, metadata: {name: ` + name + `}, spec: {` + more +
			`capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], storageClassName: ` + class + `, hostPath: {path: /var/example}}}`)
	}
	claim := func(name, class, more string) *unstructured.Unstructured {
		return w.onHub(`{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: ` + name + `, namespace: reserved}, spec: {` + more +
			`accessModes: [ReadWriteOnce], storageClassName: ` + class + `, resources: {requests: {storage: 1Gi}}}}`)
	}
	pv, other := volume("reserved", "reserved", "claimRef: {namespace: reserved, name: c}, "), volume("chosen", "chosen", "")
	pvc, named := claim("c", "reserved", ""), claim("d", "chosen", "volumeName: chosen, ")
	for _, obj := range []*unstructured.Unstructured{pv, other} {
		w.written(obj, "spec", "claimRef", "uid")
	}
	for _, obj := range []*unstructured.Unstructured{pvc, named} {
		w.written(obj, "metadata", "annotations", "pv.kubernetes.io/bind-completed")
	}
	w.work("reserved", strategy(), `{apiVersion: v1, kind: Namespace, metadata: {name: reserved}}`, w.carried(named), w.carried(pvc), w.carried(other), w.carried(pv))
	w.value("v1 PersistentVolumeClaim reserved/c", "Bound", "status", "phase")
	w.value("v1 PersistentVolumeClaim reserved/d", "Bound", "status", "phase")
	w.value("v1 PersistentVolumeClaim reserved/c", "reserved", "spec", "volumeName")
	w.value("v1 PersistentVolumeClaim reserved/d", "chosen", "spec", "volumeName")
	w.settled("reserved", metav1.ConditionTrue, metav1.ConditionTrue)
}

// travellers are objects of the hub, each with a field that the hub's API server or its controllers write, and that
// stays there. The controllers are the real ones.
var travellers = []struct {
	text  string
	wrote []string
}{
	{`{apiVersion: v1, kind: Service, metadata: {name: web, namespace: travel}, spec: {type: NodePort, selector: {app: web}, ports: [{port: 80}]}}`,
		[]string{"spec", "clusterIP"}},
	{`{apiVersion: v1, kind: Service, metadata: {name: plain, namespace: travel}, spec: {ports: [{port: 80}]}}`, []string{"spec", "ipFamilies"}},
	{`{apiVersion: v1, kind: Service, metadata: {name: modest, namespace: travel}, spec: {ports: [{port: 80}]}}`, []string{"spec", "ipFamilyPolicy"}},
	{`{apiVersion: batch/v1, kind: Job, metadata: {name: j, namespace: travel}, spec: {suspend: true, template: {spec: {restartPolicy: Never,
  containers: [{name: c, image: example.com/c}]}}}}`, []string{"metadata", "labels", "controller-uid"}},
	{`{apiVersion: batch/v1, kind: Job, metadata: {name: k, namespace: travel}, spec: {suspend: true, template: {spec: {restartPolicy: Never,
  containers: [{name: c, image: example.com/c}]}}}}`, []string{"spec", "selector", "matchLabels", "batch.kubernetes.io/controller-uid"}},
	{`{apiVersion: autoscaling/v1, kind: HorizontalPodAutoscaler, metadata: {name: h, namespace: travel}, spec: {maxReplicas: 3,
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: absent}}}`, []string{"metadata", "annotations", "autoscaling.alpha.kubernetes.io/conditions"}},
	{`{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: travel}, spec: {replicas: 0, selector: {matchLabels: {app: web}},
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: example.com/c}]}}}}`,
		[]string{"metadata", "annotations", "deployment.kubernetes.io/revision"}},
	{`{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: d, namespace: travel}, spec: {selector: {matchLabels: {app: d}},
  template: {metadata: {labels: {app: d}}, spec: {containers: [{name: c, image: example.com/c}]}}}}`,
		[]string{"metadata", "annotations", "deprecated.daemonset.template.generation"}},
	{`{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: travel-all}, aggregationRule: {clusterRoleSelectors:
  [{matchLabels: {kubernetes.io/bootstrapping: rbac-defaults}}]}}`, []string{"rules"}},
	{`{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c, namespace: travel}, spec: {accessModes: [ReadWriteOnce], storageClassName: none,
  resources: {requests: {storage: 1Gi}}}}`, []string{"metadata", "finalizers"}},
	{`{apiVersion: v1, kind: ConfigMap, metadata: {name: hold, namespace: travel, finalizers: [example.com/hub-controller]}, data: {a: b}}`,
		[]string{"metadata", "finalizers"}},
}

// What describes the hub does not travel; and what does is applied on a cluster whose own controllers fill in the
// rest.
func TestFieldsOfOneClusterStay(t *testing.T) {
	w := newWorld(t)
	w.onHub(`{apiVersion: v1, kind: Namespace, metadata: {name: travel}}`)
	manifests := []string{`{apiVersion: v1, kind: Namespace, metadata: {name: travel}}`}
	for _, traveller := range travellers {
		obj := w.onHub(traveller.text)
		w.written(obj, traveller.wrote...)
		text := w.carried(obj)
		manifests = append(manifests, text)
		sent := &unstructured.Unstructured{}
		w.must(sent.UnmarshalJSON([]byte(text)))
		if has(sent, traveller.wrote...) {
			t.Errorf("%s %s: %s is carried", obj.GetKind(), obj.GetName(), strings.Join(traveller.wrote, "."))
		}
		if controllers := obj.GetFinalizers(); len(controllers) > 0 {
			obj.SetFinalizers(nil)
			w.must(w.hub.Patch(w.Context(), obj, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))))
		}
	}
	w.work("travel", strategy(), manifests...)
	w.applied("travel")
	w.value("v1 Service travel/plain", "SingleStack", "spec", "ipFamilyPolicy")
}

// Families that a user chose are not the hub's own choice.
func TestChosenFamiliesTravel(t *testing.T) {
	w := newWorld(t)
	w.onHub(`{apiVersion: v1, kind: Namespace, metadata: {name: families}}`)
	chosen := w.onHub(`{apiVersion: v1, kind: Service, metadata: {name: web, namespace: families}, spec: {ipFamilyPolicy: PreferDualStack, ports: [{port: 80}]}}`)
	w.written(chosen, "spec", "ipFamilies")
	service := &unstructured.Unstructured{}
	w.must(service.UnmarshalJSON([]byte(w.carried(chosen))))
	if policy, _, _ := unstructured.NestedString(service.Object, "spec", "ipFamilyPolicy"); policy != "PreferDualStack" || has(service, "spec", "ipFamilies") {
		t.Errorf("carried: %v", service.Object["spec"])
	}
}

// A Service's endpoints: those of a controller stay, those that a user made travel.
//
// It is the case manual-endpoints-not-carried.
func TestManualEndpointsNotCarried(t *testing.T) {
	w := newWorld(t)
	w.onHub(`{apiVersion: v1, kind: Namespace, metadata: {name: manual}}`)
	w.onHub(`{apiVersion: v1, kind: Service, metadata: {name: legacy-db, namespace: manual}, spec: {ports: [{port: 5432}]}}`)
	legacy := w.onHub(`{apiVersion: v1, kind: Endpoints, metadata: {name: legacy-db, namespace: manual}, subsets: [{addresses: [{ip: 192.0.2.10}], ports: [{port: 5432}]}]}`)
	w.onHub(`{apiVersion: v1, kind: Service, metadata: {name: web, namespace: manual}, spec: {selector: {app: web}, ports: [{port: 80}]}}`)
	made := &unstructured.Unstructured{}
	made.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Endpoints"))
	made.SetNamespace("manual")
	made.SetName("web")
	w.written(made, "metadata", "labels")
	rules, err := selection.NewRules(selection.Config{})
	w.must(err)
	if !rules.Never(made.GroupVersionKind().GroupKind(), &selection.Object{Namespace: "manual", Name: "web", Labels: made.GetLabels()}) {
		t.Errorf("Endpoints of the controller are selected: %v", made.Object)
	}
	made.SetLabels(nil)
	if why, _ := selection.WhyLeftOut(made); why == "" {
		t.Errorf("without the label, as before Kubernetes 1.33, Endpoints of the controller are carried: %v", made.Object)
	}
	w.work("manual", strategy(), `{apiVersion: v1, kind: Namespace, metadata: {name: manual}}`,
		`{apiVersion: v1, kind: Service, metadata: {name: legacy-db, namespace: manual}, spec: {ports: [{port: 5432}]}}`, w.carried(legacy))
	w.value("v1 Endpoints manual/legacy-db", "[map[addresses:[map[ip:192.0.2.10]] ports:[map[port:5432 protocol:TCP]]]]", "subsets")
	w.applied("manual")
}
