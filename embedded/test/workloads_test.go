package test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

var app = map[string]string{"app": "test"}

const image = "registry.example/team/app:v1"

func pods(spec corev1.PodSpec) corev1.PodTemplateSpec {
	if spec.Containers == nil {
		spec.Containers = []corev1.Container{{Name: "app", Image: image}}
	}
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: app}, Spec: spec}
}

func deployment(replicas int32, spec corev1.PodSpec) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "app"},
		Spec:       appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: app}, Template: pods(spec)},
	}
}

func TestDeploymentBecomesAvailable(t *testing.T) {
	t.Parallel()
	c := workers.get(t)
	namespace := c.namespace(t)
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "app"},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, Selector: app,
			Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
		},
	}
	if _, err := c.CoreV1().Services(namespace).Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	wanted := deployment(3, corev1.PodSpec{
		InitContainers: []corev1.Container{{Name: "init", Image: image}},
		Containers:     []corev1.Container{{Name: "app", Image: image}, {Name: "sidecar", Image: image}},
		ReadinessGates: []corev1.PodReadinessGate{{ConditionType: "example.com/gate"}},
	})
	if _, err := c.AppsV1().Deployments(namespace).Create(t.Context(), wanted, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		got, err := c.AppsV1().Deployments(namespace).Get(t.Context(), "app", metav1.GetOptions{})
		if err == nil && got.Status.AvailableReplicas != 3 {
			return fmt.Errorf("deployment: %+v", got.Status)
		}
		return err
	})
	eventually(t, func() error {
		slice, err := c.DiscoveryV1().EndpointSlices(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=app"})
		if err != nil {
			return err
		}
		addresses := map[string]bool{}
		for _, item := range slice.Items {
			for _, endpoint := range item.Endpoints {
				addresses[endpoint.Addresses[0]] = *endpoint.Conditions.Ready
			}
		}
		if len(addresses) != 3 {
			return fmt.Errorf("the service's endpoints: %v, want three addresses", addresses)
		}
		return nil
	})
	got, err := c.CoreV1().Services(namespace).Get(t.Context(), "app", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got.Spec.ClusterIP, "10.96.") || len(got.Status.LoadBalancer.Ingress) > 0 {
		t.Errorf("service: address %s, load balancer %v; want one of 10.96.0.0/16, and none", got.Spec.ClusterIP, got.Status.LoadBalancer)
	}
}

func TestBrokenImageNeverGetsReady(t *testing.T) {
	t.Parallel()
	c := workers.get(t)
	namespace := c.namespace(t)
	broken := deployment(1, corev1.PodSpec{Containers: []corev1.Container{
		{Name: "app", Image: image}, {Name: "sidecar", Image: "registry.example/team/broken-sidecar:v1"},
	}})
	broken.Spec.ProgressDeadlineSeconds = ptr.To[int32](1)
	if _, err := c.AppsV1().Deployments(namespace).Create(t.Context(), broken, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		list, err := c.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, pod := range list.Items {
			for _, status := range pod.Status.ContainerStatuses {
				if status.State.Waiting != nil && status.State.Waiting.Reason == "ErrImagePull" {
					return nil
				}
			}
		}
		return fmt.Errorf("no pod says that an image cannot be pulled, out of %d", len(list.Items))
	})
	eventually(t, func() error {
		got, err := c.AppsV1().Deployments(namespace).Get(t.Context(), "app", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if got.Status.ReadyReplicas > 0 {
			t.Fatalf("deployment: %+v", got.Status)
		}
		if !slices.ContainsFunc(got.Status.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Reason == "ProgressDeadlineExceeded" }) {
			return fmt.Errorf("deployment still tries: %+v", got.Status)
		}
		return nil
	})

	repair := []byte(`{"spec":{"template":{"spec":{"containers":[{"name":"sidecar","image":"` + image + `"}]}}}}`)
	if _, err := c.AppsV1().Deployments(namespace).Patch(t.Context(), "app", types.StrategicMergePatchType, repair, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		got, err := c.AppsV1().Deployments(namespace).Get(t.Context(), "app", metav1.GetOptions{})
		if err == nil && (got.Status.AvailableReplicas != 1 || got.Status.Replicas != 1) {
			return fmt.Errorf("repaired deployment: %+v", got.Status)
		}
		return err
	})
}

func TestStatefulSetWithClaimsGetsReady(t *testing.T) {
	t.Parallel()
	c := workers.get(t)
	namespace := c.namespace(t)
	set := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "db"},
		Spec: appsv1.StatefulSetSpec{
			Replicas: ptr.To[int32](2), ServiceName: "db",
			Selector: &metav1.LabelSelector{MatchLabels: app},
			Template: pods(corev1.PodSpec{Containers: []corev1.Container{{
				Name: "db", Image: image, VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data"}},
			}}}),
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{*claim("data")},
		},
	}
	if _, err := c.AppsV1().StatefulSets(namespace).Create(t.Context(), set, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		got, err := c.AppsV1().StatefulSets(namespace).Get(t.Context(), "db", metav1.GetOptions{})
		if err == nil && (got.Status.AvailableReplicas != 2 || got.Status.UpdatedReplicas != 2) {
			return fmt.Errorf("stateful set: %+v", got.Status)
		}
		return err
	})
	for _, name := range []string{"data-db-0", "data-db-1"} {
		c.volumeOf(t, namespace, name)
	}
}

func TestVolumesGoWithTheirClaims(t *testing.T) {
	t.Parallel()
	c := workers.get(t)
	namespace := c.namespace(t)
	claims := c.CoreV1().PersistentVolumeClaims(namespace)
	if _, err := claims.Create(t.Context(), claim("data"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	volume := c.volumeOf(t, namespace, "data")
	if err := claims.Delete(t.Context(), "data", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.awaitGone(t, volume)
}

// claim asks the default storage class for a volume.
func claim(name string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
}

// volumeOf waits until a claim is bound.
func (c cluster) volumeOf(t *testing.T, namespace, name string) (volume string) {
	t.Helper()
	eventually(t, func() error {
		got, err := c.CoreV1().PersistentVolumeClaims(namespace).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if class := got.Spec.StorageClassName; class == nil || *class != "standard" || got.Status.Phase != corev1.ClaimBound {
			return fmt.Errorf("claim %s: %+v, %+v", name, got.Spec, got.Status)
		}
		volume = got.Spec.VolumeName
		return nil
	})
	return volume
}

func (c cluster) awaitGone(t *testing.T, volume string) {
	t.Helper()
	eventually(t, func() error {
		got, err := c.CoreV1().PersistentVolumes().Get(t.Context(), volume, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("volume is still there: %+v", got.Status)
		}
		return err
	})
}

func TestDaemonSetsRunOnTheNodesTheySelect(t *testing.T) {
	t.Parallel()
	c := workers.get(t)
	toGPUs := []corev1.Toleration{{Key: "example.com/gpu", Operator: corev1.TolerationOpExists}}
	for name, test := range map[string]struct {
		spec corev1.PodSpec
		want []string
	}{
		"all":     {corev1.PodSpec{Tolerations: toGPUs}, []string{"gpu-0", "win-0", "workers-node-0", "workers-node-1"}},
		"untaint": {corev1.PodSpec{}, []string{"win-0", "workers-node-0", "workers-node-1"}},
		"windows": {corev1.PodSpec{NodeSelector: map[string]string{"kubernetes.io/os": "windows"}}, []string{"win-0"}},
		"zone":    {corev1.PodSpec{NodeSelector: map[string]string{"example.com/zone": "a"}}, []string{"workers-node-0", "workers-node-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := c.namespace(t)
			set := &appsv1.DaemonSet{
				ObjectMeta: metav1.ObjectMeta{Name: "agent"},
				Spec:       appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: app}, Template: pods(test.spec)},
			}
			if _, err := c.AppsV1().DaemonSets(namespace).Create(t.Context(), set, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() error {
				got, err := c.AppsV1().DaemonSets(namespace).Get(t.Context(), "agent", metav1.GetOptions{})
				want := int32(len(test.want))
				if err == nil && (got.Status.DesiredNumberScheduled != want || got.Status.NumberAvailable != want) {
					return fmt.Errorf("daemon set: %+v, want %d", got.Status, want)
				}
				return err
			})
			list, err := c.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var nodes []string
			for _, pod := range list.Items {
				nodes = append(nodes, pod.Spec.NodeName)
			}
			slices.Sort(nodes)
			if !slices.Equal(nodes, test.want) {
				t.Errorf("pods are on %v, want %v", nodes, test.want)
			}
		})
	}
}

func TestCapacityIsRespected(t *testing.T) {
	t.Parallel()
	c := workers.get(t)
	namespace := c.namespace(t)
	wanted := deployment(2, corev1.PodSpec{
		Tolerations: []corev1.Toleration{{Key: "example.com/gpu", Operator: corev1.TolerationOpExists}},
		Containers: []corev1.Container{{Name: "app", Image: image, Resources: corev1.ResourceRequirements{
			Limits: corev1.ResourceList{"example.com/gpu": resource.MustParse("1")},
		}}},
	})
	if _, err := c.AppsV1().Deployments(namespace).Create(t.Context(), wanted, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		list, err := c.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		var running, refused int
		for _, pod := range list.Items {
			if pod.Status.Phase == corev1.PodRunning && pod.Spec.NodeName == "gpu-0" {
				running++
			}
			for _, condition := range pod.Status.Conditions {
				if condition.Reason == corev1.PodReasonUnschedulable {
					refused++
				}
			}
		}
		if running != 1 || refused != 1 {
			return fmt.Errorf("%d pods run and %d are refused, want one each for the one GPU", running, refused)
		}
		return nil
	})
}

func TestJobCompletes(t *testing.T) {
	t.Parallel()
	c := workers.get(t)
	namespace := c.namespace(t)
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "task"},
		Spec: batchv1.JobSpec{
			Completions: ptr.To[int32](3), Parallelism: ptr.To[int32](2),
			Template: pods(corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever}),
		},
	}
	if _, err := c.BatchV1().Jobs(namespace).Create(t.Context(), job, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		got, err := c.BatchV1().Jobs(namespace).Get(t.Context(), "task", metav1.GetOptions{})
		if err == nil && (got.Status.CompletionTime == nil || got.Status.Succeeded != 3) {
			return fmt.Errorf("job: %+v", got.Status)
		}
		return err
	})
}

func TestNamespaceDeletionFinishes(t *testing.T) {
	t.Parallel()
	c := workers.get(t)
	namespace := c.namespace(t)
	if _, err := c.CoreV1().PersistentVolumeClaims(namespace).Create(t.Context(), claim("data"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	volume := c.volumeOf(t, namespace, "data")
	mounting := deployment(1, corev1.PodSpec{Volumes: []corev1.Volume{{
		Name:         "data",
		VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}},
	}}})
	if _, err := c.AppsV1().Deployments(namespace).Create(t.Context(), mounting, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		got, err := c.AppsV1().Deployments(namespace).Get(t.Context(), "app", metav1.GetOptions{})
		if err == nil && got.Status.AvailableReplicas != 1 {
			return fmt.Errorf("deployment: %+v", got.Status)
		}
		return err
	})
	if err := c.CoreV1().Namespaces().Delete(t.Context(), namespace, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		got, err := c.CoreV1().Namespaces().Get(t.Context(), namespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("namespace is still there: %+v", got.Status)
		}
		return err
	})
	c.awaitGone(t, volume)
}
