package applier

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func (w *world) pods(namespace string) []corev1.Pod {
	w.Helper()
	var list corev1.PodList
	w.must(w.member.List(w.Context(), &list, client.InNamespace(namespace)))
	return list.Items
}

func (w *world) awaitPods(namespace string, want int) {
	w.Helper()
	w.eventually(fmt.Sprintf("%d pods in %s", want, namespace), func() error {
		if got := w.pods(namespace); len(got) != want {
			return fmt.Errorf("there are %d", len(got))
		}
		return nil
	})
}

// A Job and a ReplicationController that leave a placement leave no pods behind. The pods fit no node: those that run
// end at once.
//
// It is the case job-pods-orphaned.
func TestJobPodsOrphaned(t *testing.T) {
	w := newWorld(t)
	const template = `template: {metadata: {labels: {app: j}}, spec: {restartPolicy: %s, nodeSelector: {there-is: none}, containers: [{name: c, image: c:1}]}}`
	job := `{apiVersion: batch/v1, kind: Job, metadata: {namespace: job-pods, name: j}, spec: {parallelism: 2, completions: 2, ` +
		fmt.Sprintf(template, "Never") + `}}`
	rc := `{apiVersion: v1, kind: ReplicationController, metadata: {namespace: job-pods, name: r}, spec: {replicas: 1, selector: {app: j}, ` +
		fmt.Sprintf(template, "Always") + `}}`
	w.work("job-pods", nil, namespaceText("job-pods"), job, rc)
	w.settled("job-pods", yes, yes)
	w.awaitPods("job-pods", 3)
	w.edit("job-pods", namespaceText("job-pods"))
	w.settled("job-pods", yes, yes)
	w.gone("batch/v1 Job job-pods/j")
	w.gone("v1 ReplicationController job-pods/r")
	w.awaitPods("job-pods", 0)
}

func statefulSet(name, strategy, image string) string {
	return fmt.Sprintf(`{apiVersion: apps/v1, kind: StatefulSet, metadata: {namespace: sets, name: %[1]s}, spec: {replicas: 3, serviceName: %[1]s,
	  updateStrategy: %[2]s, podManagementPolicy: Parallel, selector: {matchLabels: {app: %[1]s}}, template: {metadata: {labels: {app: %[1]s}},
	  spec: {terminationGracePeriodSeconds: 0, containers: [{name: c, image: "db:%[3]s"}]}}}}`, name, strategy, image)
}

// A StatefulSet is available when all that its update strategy moves is moved, and its pods are up.
//
// It is the case statefulset-ondelete-never-available.
func TestStatefulsetOndeleteNeverAvailable(t *testing.T) {
	w := newWorld(t)
	const onDelete, partition = "{type: OnDelete}", "{type: RollingUpdate, rollingUpdate: {partition: 2}}"
	w.work("sets", nil, namespaceText("sets"), statefulSet("ondel", onDelete, "1"), statefulSet("part", partition, "1"))
	w.settled("sets", yes, yes)
	w.edit("sets", namespaceText("sets"), statefulSet("ondel", onDelete, "2"), statefulSet("part", partition, "1"))
	w.settled("sets", yes, no)
	w.availability("sets", "ondel", no, "OnDelete") // its controller has seen the edit
	for _, pod := range w.pods("sets") {
		if pod.Labels["app"] == "ondel" {
			w.must(w.member.Delete(w.Context(), &pod))
		}
	}
	w.settled("sets", yes, yes)
	w.edit("sets", namespaceText("sets"), statefulSet("ondel", onDelete, "2"), statefulSet("part", partition, "2"))
	w.settled("sets", yes, yes)
	moved := 0
	for _, pod := range w.pods("sets") {
		if pod.Labels["app"] == "part" && pod.Spec.Containers[0].Image == "db:2" {
			moved++
		}
	}
	if moved != 1 {
		t.Errorf("%d pods of the set with a partition are moved; want 1", moved)
	}
}
