package localfleet

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestPathsOfMounts(t *testing.T) {
	mounts := []mounted{{"/etc/flagship/prices", "/fleet/files/prices"}, {"/config/token", "/fleet/files/token/value"}}
	got := localPaths([]string{"--price-file=/etc/flagship/prices/prices.yaml", "--dir=/etc/flagship/prices", "--other=/etc/flagship/prices-of-others", "/config/token", "--v=2"}, mounts)
	want := []string{"--price-file=/fleet/files/prices/prices.yaml", "--dir=/fleet/files/prices", "--other=/etc/flagship/prices-of-others", "/fleet/files/token/value", "--v=2"}
	if !slices.Equal(got, want) {
		t.Errorf("%v; want %v", got, want)
	}
}

func TestFilesOfAVolume(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "volume")
	files := map[string][]byte{"a": []byte("1"), "b": []byte("2")}
	some, err := picked(files, []corev1.KeyToPath{{Key: "b", Path: "deep/c"}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := writeFiles(dir, some); err != nil {
			t.Fatal(err)
		}
	}
	if data, err := os.ReadFile(filepath.Join(dir, "deep", "c")); err != nil || string(data) != "2" {
		t.Errorf("%q, %v", data, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "a")); !os.IsNotExist(err) {
		t.Errorf("a file that is not mounted: %v", err)
	}
	if err := writeFiles(dir, map[string][]byte{"../out": nil}); err == nil {
		t.Error("a file outside of the volume was written")
	}
	if _, err := picked(files, []corev1.KeyToPath{{Key: "none", Path: "x"}}); err == nil {
		t.Error("a key that is not there was mounted")
	}
}
