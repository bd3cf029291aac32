// Package simulation plays what a cluster without machines lacks: nodes, the kubelets that run pods on them, and a
// storage provisioner. Pods become ready, fail to pull or complete by the stages in stages/*.yaml, which kwok plays.
package simulation

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io/fs"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/kwok/pkg/apis/internalversion"
	kwokconfig "sigs.k8s.io/kwok/pkg/config"
	"sigs.k8s.io/kwok/pkg/kwok/controllers"

	"github.com/flagship-fleet/flagship/embedded/internal/config"
)

//go:embed stages/*.yaml
var stageFiles embed.FS

// Start registers the nodes, makes the storage class, and starts to play kubelets and provisioner until ctx ends. It
// returns when every node is registered.
func Start(ctx context.Context, cfg *rest.Config, nodes []config.NodeSet) error {
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return fmt.Errorf("reach the API server: %w", err)
	}
	if err := registerNodes(ctx, client, nodes); err != nil {
		return err
	}
	if err := startProvisioner(ctx, client); err != nil {
		return err
	}
	return startKubelets(ctx, client)
}

func startKubelets(ctx context.Context, client kubernetes.Interface) error {
	stages, err := loadStages()
	if err != nil {
		return err
	}
	const parallel = 4
	controller, err := controllers.NewController(controllers.Config{
		Clock:                    clock.RealClock{},
		TypedClient:              client,
		RESTClient:               client.CoreV1().RESTClient(),
		ManageAllNodes:           true,
		CIDR:                     "10.0.0.0/16",
		NodeIP:                   nodeAddress,
		LocalStages:              stages,
		PodPlayStageParallelism:  parallel,
		NodePlayStageParallelism: parallel,
		// Nobody watches node leases here: the node lifecycle controller is off. So none are written.
		NodeLeaseDurationSeconds:  0,
		PodsOnNodeSyncParallelism: parallel,
		ID:                        "embedded-cluster",
	})
	if err != nil {
		return fmt.Errorf("simulated kubelets: %w", err)
	}
	if err := controller.Start(ctx); err != nil {
		return fmt.Errorf("start the simulated kubelets: %w", err)
	}
	return nil
}

// loadStages reads the stages that are built into the program, grouped by the kind they are about.
func loadStages() (map[internalversion.StageResourceRef][]*internalversion.Stage, error) {
	out := map[internalversion.StageResourceRef][]*internalversion.Stage{}
	err := fs.WalkDir(stageFiles, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := stageFiles.ReadFile(path)
		if err != nil {
			return err
		}
		for _, document := range bytes.Split(data, []byte("\n---\n")) {
			stage, err := kwokconfig.UnmarshalWithType[*internalversion.Stage](document)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			out[stage.Spec.ResourceRef] = append(out[stage.Spec.ResourceRef], stage)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the stages of simulated pods: %w", err)
	}
	return out, nil
}
