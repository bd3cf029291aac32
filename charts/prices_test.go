package charts_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/flagship-fleet/flagship/charts"
)

func TestMemberGetsItsPrices(t *testing.T) {
	const must = "{config: {hubURL: 'https://hub', memberClusterName: m}, "
	objects := render(t, charts.MemberAgent, must+`propertyProvider: azure, prices: {prices: {small: 0.5}},
  volumes: [{name: own, emptyDir: {}}], volumeMounts: [{name: own, mountPath: /own}]}`)
	deployment := get[appsv1.Deployment](t, objects, "Deployment/member-agent")
	expect(t, "flag", flags(t, deployment), map[string]string{"property-provider": "azure", "price-file": "/etc/flagship/prices/prices.yaml"})
	list := get[corev1.ConfigMap](t, objects, "ConfigMap/member-agent-prices")
	var prices map[string]map[string]float64
	if err := yaml.Unmarshal([]byte(list.Data["prices.yaml"]), &prices); err != nil || prices["prices"]["small"] != 0.5 {
		t.Errorf("the list is %q: %v", list.Data, err)
	}
	mounts, volumes := container(t, deployment).VolumeMounts, deployment.Spec.Template.Spec.Volumes
	if len(mounts) != 3 || len(volumes) != 3 || mounts[2].Name != volumes[2].Name || mounts[2].MountPath != "/etc/flagship/prices" ||
		volumes[2].ConfigMap.Name != list.Name {
		t.Errorf("mounts %+v, volumes %+v", mounts, volumes)
	}

	objects = render(t, charts.MemberAgent, must+"propertyProvider: azure}")
	deployment = get[appsv1.Deployment](t, objects, "Deployment/member-agent")
	if _, given := flags(t, deployment)["price-file"]; given || objects["ConfigMap/member-agent-prices"] != nil {
		t.Error("without prices there is a price file")
	}
}

// The hub may have sent Secrets: the agent keeps the copy in memory.
func TestMemberKeepsACopyInMemory(t *testing.T) {
	deployment := get[appsv1.Deployment](t, render(t, charts.MemberAgent, member), "Deployment/member-agent")
	expect(t, "flag", flags(t, deployment), map[string]string{"hub-copy-dir": "/var/run/flagship/hub"})
	mounts, volumes := container(t, deployment).VolumeMounts, deployment.Spec.Template.Spec.Volumes
	if len(mounts) != 1 || len(volumes) != 1 || mounts[0].Name != volumes[0].Name || mounts[0].MountPath != "/var/run/flagship" ||
		volumes[0].EmptyDir == nil || volumes[0].EmptyDir.Medium != corev1.StorageMediumMemory {
		t.Errorf("mounts %+v, volumes %+v", mounts, volumes)
	}
	deployment = get[appsv1.Deployment](t, render(t, charts.MemberAgent, member+"\nhubCopy: false"), "Deployment/member-agent")
	if _, given := flags(t, deployment)["hub-copy-dir"]; given || len(deployment.Spec.Template.Spec.Volumes) != 0 {
		t.Error("there is a copy though none is wanted")
	}
}
