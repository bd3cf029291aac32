package localfleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mounted is the local folder for a mount path of a pod.
type mounted struct{ path, local string }

// mountFiles writes the ConfigMaps and Secrets that the pod mounts to the cluster's folder, as the kubelet does for a
// container, and creates a folder for each empty volume. Volumes of other kinds are skipped. It waits for an object
// that does not exist yet, until ctx ends.
func (c *cluster) mountFiles(ctx context.Context, pod *corev1.PodSpec) ([]mounted, error) {
	var out []mounted
	for _, mount := range pod.Containers[0].VolumeMounts {
		for _, volume := range pod.Volumes {
			if volume.Name != mount.Name {
				continue
			}
			local := filepath.Join(c.path(agentFiles), volume.Name)
			ok, err := c.awaitVolume(ctx, volume, local)
			if err != nil {
				return nil, fmt.Errorf("mount volume %s for the agent of cluster %s: %w", volume.Name, c.Name, err)
			}
			if ok {
				out = append(out, mounted{strings.TrimSuffix(mount.MountPath, "/"), filepath.Join(local, mount.SubPath)})
			}
		}
	}
	return out, nil
}

// awaitVolume is writeVolume, again until the object of the volume exists.
func (c *cluster) awaitVolume(ctx context.Context, volume corev1.Volume, dir string) (ok bool, err error) {
	for {
		if ok, err = c.writeVolume(ctx, volume, dir); !apierrors.IsNotFound(err) {
			return ok, err
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return false, err
		}
	}
}

// writeVolume writes a volume to dir; it returns false for volumes of other kinds.
func (c *cluster) writeVolume(ctx context.Context, volume corev1.Volume, dir string) (bool, error) {
	kube, err := c.clientset()
	if err != nil {
		return false, err
	}
	files, items, optional := map[string][]byte{}, []corev1.KeyToPath(nil), (*bool)(nil)
	switch {
	case volume.ConfigMap != nil:
		items, optional = volume.ConfigMap.Items, volume.ConfigMap.Optional
		var found *corev1.ConfigMap
		if found, err = kube.CoreV1().ConfigMaps(c.chart.Namespace).Get(ctx, volume.ConfigMap.Name, metav1.GetOptions{}); err == nil {
			for name, text := range found.Data {
				files[name] = []byte(text)
			}
			for name, data := range found.BinaryData {
				files[name] = data
			}
		}
	case volume.Secret != nil:
		items, optional = volume.Secret.Items, volume.Secret.Optional
		var found *corev1.Secret
		if found, err = kube.CoreV1().Secrets(c.chart.Namespace).Get(ctx, volume.Secret.SecretName, metav1.GetOptions{}); err == nil {
			files = found.Data
		}
	case volume.EmptyDir != nil:
	default:
		return false, nil
	}
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		err = nil
	}
	if err != nil {
		return false, err
	}
	if len(items) > 0 {
		if files, err = picked(files, items); err != nil {
			return false, err
		}
	}
	return true, writeFiles(dir, files)
}

// picked are the files that a volume selects, by their paths in it.
func picked(files map[string][]byte, items []corev1.KeyToPath) (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, item := range items {
		data, ok := files[item.Key]
		if !ok {
			return nil, fmt.Errorf("the object has no key %q", item.Key)
		}
		out[item.Path] = data
	}
	return out, nil
}

// writeFiles replaces each file atomically, because a running agent may read it.
func writeFiles(dir string, files map[string][]byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for name, data := range files {
		if !filepath.IsLocal(name) {
			return errors.New("file " + name + " is outside of its volume")
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := writeSecretFile(path+".new", string(data)); err != nil {
			return err
		}
		if err := os.Rename(path+".new", path); err != nil {
			return err
		}
	}
	return nil
}

// localPaths are the arguments of a container with its mount paths replaced by the local folders.
func localPaths(args []string, mounts []mounted) []string {
	out := make([]string, len(args))
	for i, arg := range args {
		name, value, isFlag := strings.Cut(arg, "=")
		if !isFlag {
			name, value = "", arg
		} else {
			name += "="
		}
		out[i] = name + localPath(value, mounts)
	}
	return out
}

func localPath(value string, mounts []mounted) string {
	for _, m := range mounts {
		if rest, below := strings.CutPrefix(value, m.path); below && (rest == "" || rest[0] == '/') {
			return m.local + rest
		}
	}
	return value
}
