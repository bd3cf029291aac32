package logs

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"go.uber.org/zap"
	"k8s.io/klog/v2"
)

var errDisk = errors.New("no space")

func TestAPartCannotEndTheProcess(t *testing.T) {
	for name, die := range map[string]func(l *Log){
		"klog": func(*Log) { klog.Fatalf("PostStartHook %q failed", "some-hook") },
		"zap":  func(l *Log) { l.Zap().Fatal("disk gone", zap.Error(errDisk)) },
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			l := Open(&out, 0)
			go die(l)
			want := map[string]string{"klog": `PostStartHook "some-hook" failed`, "zap": "etcd: disk gone: no space"}[name]
			if err := <-l.Fatal(); !strings.Contains(err.Error(), want) {
				t.Errorf("error %q, want one with %q", err, want)
			}
			if strings.Contains(out.String(), "goroutine ") {
				t.Errorf("stacks in the log: %.500s", out.String())
			}
		})
	}
}

func TestQuietWithoutVerbosity(t *testing.T) {
	for verbosity, want := range map[int]int{0: 2, 1: 4} {
		var out bytes.Buffer
		l := Open(&out, verbosity)
		klog.Info("step")
		klog.Warning("Skipping API apps/v1beta1 because it has no resources.")
		klog.Error("real trouble")
		l.Printf("ready")
		if got := strings.Count(out.String(), "\n"); got != want {
			t.Errorf("verbosity %d: %d lines, want %d:\n%s", verbosity, got, want, out.String())
		}
		l.Ending()
		klog.Error("connection refused")
		if complains := strings.Contains(out.String(), "refused"); complains != (verbosity > 0) {
			t.Errorf("verbosity %d: complains at the end: %t", verbosity, complains)
		}
	}
}
