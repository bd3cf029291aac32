package controlplane

import (
	"context"
	"fmt"

	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	controlleroptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"
)

// The controllers left out need a real machine behind a node, or serve features that nothing here turns on; those named
// first would act against the simulation (mark nodes lost, wait for volumes to be attached).
const controllers = "*" +
	",-node-lifecycle-controller,-node-ipam-controller,-persistentvolume-attach-detach-controller" +
	",-persistentvolume-expander-controller,-ttl-controller" +
	",-certificatesigningrequest-signing-controller,-certificatesigningrequest-approving-controller" +
	",-certificatesigningrequest-cleaner-controller,-podcertificaterequest-cleaner-controller" +
	",-kube-apiserver-serving-clustertrustbundle-publisher-controller" +
	",-device-taint-eviction-controller,-resourceclaim-controller" +
	",-storageversion-garbage-collector-controller,-storage-version-migrator-controller" +
	",-legacy-serviceaccount-token-cleaner-controller,-selinux-warning-controller"

// The API server here has no other tenants to be protected from the control plane.
const qps, burst = "500", "1000"

func newControllerManagerOptions(settings Settings, kubeconfig string) (*controlleroptions.KubeControllerManagerOptions, error) {
	opts, err := controlleroptions.NewKubeControllerManagerOptions()
	if err != nil {
		return nil, fmt.Errorf("default its options: %w", err)
	}
	flags := opts.Flags(controllermanager.KnownControllers(), controllermanager.ControllersDisabledByDefault(), controllermanager.ControllerAliases())
	err = parse(flags, map[string]string{
		"kubeconfig":                       kubeconfig,
		"secure-port":                      "0",
		"leader-elect":                     "false",
		"profiling":                        "false",
		"controllers":                      controllers,
		"use-service-account-credentials":  "true",
		"service-account-private-key-file": settings.PKI.ServiceAccountSigningKey,
		"root-ca-file":                     settings.PKI.CA,
		"service-cluster-ip-range":         settings.Config.ServiceCIDR,
		"kube-api-qps":                     qps,
		"kube-api-burst":                   burst,
	})
	return opts, err
}

func runControllerManager(ctx context.Context, opts *controlleroptions.KubeControllerManagerOptions) error {
	config, err := opts.Config(ctx, controllermanager.KnownControllers(), controllermanager.ControllersDisabledByDefault(), controllermanager.ControllerAliases())
	if err != nil {
		return fmt.Errorf("complete its options: %w", err)
	}
	return controllermanager.Run(ctx, config.Complete())
}

func newSchedulerOptions(kubeconfig string) (*scheduleroptions.Options, error) {
	opts := scheduleroptions.NewOptions()
	err := parse(*opts.Flags, map[string]string{
		"kubeconfig":     kubeconfig,
		"secure-port":    "0",
		"leader-elect":   "false",
		"profiling":      "false",
		"kube-api-qps":   qps,
		"kube-api-burst": burst,
	})
	return opts, err
}

func runScheduler(ctx context.Context, opts *scheduleroptions.Options) error {
	config, instance, err := scheduler.Setup(ctx, opts)
	if err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	return scheduler.Run(ctx, config, instance)
}
