package test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

func TestStopLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, signal := range map[string]os.Signal{"SIGTERM": syscall.SIGTERM, "Ctrl-C": os.Interrupt} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := start(t, t.TempDir(), "name: stopped")
			if len(c.temporaryFolders(t)) == 0 {
				t.Error("no state in the temporary folder: this test would not notice what is left there")
			}
			c.stop(t, signal)
			c.checkNothingLeft(t)
		})
	}
}

// A start has moments at which Kubernetes' parts react badly to being told to end; each is waited for, then the signal
// is sent.
func TestStopDuringStartLeavesNothing(t *testing.T) {
	t.Parallel()
	begun := regexp.MustCompile(`at https://(\S+)`)
	for name, reached := range map[string]func(p *process) bool{
		"folder": func(p *process) bool { return exists(p, "") },
		"log":    func(p *process) bool { return begun.MatchString(p.log.String()) },
		"etcd":   func(p *process) bool { return exists(p, "etcd:1") },
		"API server": func(p *process) bool {
			address := begun.FindStringSubmatch(p.log.String())
			return address != nil && answers(address[1])
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := run(t, t.TempDir(), "name: interrupted")
			eventually(t, func() error {
				if !reached(p) {
					return errors.New("that moment has not come")
				}
				return nil
			})
			p.stop(t, syscall.SIGTERM)
			p.checkNothingLeft(t)
			if strings.Contains(p.log.String(), "goroutine ") {
				t.Errorf("stacks in the log:\n%.2000s", p.log)
			}
		})
	}
}

// exists says whether the state folder has a file.
func exists(p *process, file string) bool {
	found, err := filepath.Glob(filepath.Join(p.temp, "embedded-cluster-*", file))
	return err == nil && len(found) > 0
}

// answers says whether there is an API server at address, in whatever state. The port alone is open from the start.
func answers(address string) bool {
	client := http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // whoever it is
		DisableKeepAlives: true,
	}, Timeout: 10 * time.Second}
	response, err := client.Get("https://" + address + "/livez")
	if err != nil {
		return false
	}
	return response.Body.Close() == nil
}

func TestKillLeavesOnlyFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	killed := start(t, dir, "name: killed\nscheduler: false")
	killed.kill()
	killed.checkNoProcess(t)
	left := killed.temporaryFolders(t)
	if len(left) != 1 {
		t.Errorf("left in the temporary folder: %v, want the one state folder", left)
	}
	// The kubeconfig of the killed cluster does not pass for that of the next one for long.
	next := run(t, dir, "name: next\nscheduler: false")
	eventually(t, func() error {
		if data, err := os.ReadFile(next.kubeconfig); err == nil && strings.Contains(string(data), "name: killed") {
			return errors.New("the kubeconfig is still the killed cluster's")
		}
		return nil
	})
	select {
	case <-next.ended:
		t.Errorf("the next cluster ended\n%s", next.log)
	default:
	}
}

func TestDataFolderSurvives(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	again := func() cluster { return start(t, dir, "name: kept", "--data-dir", data) }

	first := again()
	kept := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept"}, Data: map[string]string{"key": "value"}}
	if _, err := first.CoreV1().ConfigMaps("default").Create(t.Context(), kept, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	identity := readFile(t, first.kubeconfig)

	// While it runs, nobody else gets the folder, nor harms the kubeconfig by trying.
	if said, want := run(t, dir, "name: kept", "--data-dir", data).failure(t), fmt.Sprint(first.cmd.Process.Pid); !strings.Contains(said, want) {
		t.Errorf("a second cluster in the folder: %q, want the process id %s in it", said, want)
	}
	readFile(t, first.kubeconfig)

	for _, end := range []func(cluster){
		func(c cluster) { c.stop(t, syscall.SIGTERM) },
		func(c cluster) { c.kill() },
	} {
		end(first)
		second := again()
		if now := readFile(t, second.kubeconfig); now != identity {
			t.Errorf("kubeconfig before:\n%s\nafter the restart:\n%s", identity, now)
		}
		found, err := second.CoreV1().ConfigMaps("default").Get(t.Context(), "kept", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if found.Data["key"] != "value" {
			t.Errorf("ConfigMap after the restart: %v", found.Data)
		}
		first = second
	}
}

func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	one, other := run(t, t.TempDir(), "name: twin"), run(t, t.TempDir(), "name: twin")
	var clusters []cluster
	for _, p := range []*process{one, other} {
		c, err := p.ready()
		if err != nil {
			t.Fatal(err)
		}
		clusters = append(clusters, c)
	}
	namespace := clusters[0].namespace(t)
	if _, err := clusters[1].CoreV1().Namespaces().Get(t.Context(), namespace, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("one cluster's namespace in the other: %v", err)
	}
	// Neither believes the other's administrator.
	mixed := *clusters[0].config
	mixed.Host = clusters[1].config.Host
	client, err := kubernetes.NewForConfig(&mixed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); err == nil {
		t.Error("one cluster's kubeconfig works on the other")
	}
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	taken := fmt.Sprint(listener.Addr().(*net.TCPAddr).Port)

	for name, test := range map[string]struct {
		config string
		// folder is a state folder to start in.
		folder func(t *testing.T) string
		want   []string
	}{
		"port taken":    {config: "name: a\nport: " + taken, want: []string{"127.0.0.1:" + taken, "taken"}},
		"unknown field": {config: "name: a\nnodes: [{count: 1, colour: red}]", want: []string{"cluster.yaml", `unknown field "nodes[0].colour"`}},
		"feature gate":  {config: "name: a\nfeatureGates: {NoSuchGate: true}", want: []string{"featureGates", "NoSuchGate"}},
		"API server":    {config: "name: a\nserviceCIDR: 10.0.0.0/30", want: []string{"API server: ", "service"}},
		"etcd":          {config: "name: a", folder: damagedFolder, want: []string{"embedded-cluster: etcd: ", "database"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var args []string
			if test.folder != nil {
				args = []string{"--data-dir", test.folder(t)}
			}
			p := run(t, t.TempDir(), test.config, args...)
			said := p.failure(t)
			for _, want := range test.want {
				if !strings.Contains(said, want) {
					t.Errorf("said %q, want %q in it", said, want)
				}
			}
			p.checkNothingLeft(t)
		})
	}
}

// damagedFolder is a state folder whose database cannot be read.
func damagedFolder(t *testing.T) string {
	dir := t.TempDir()
	for _, name := range []string{"snap/db", "wal/0000000000000000-0000000000000000.wal"} {
		path := filepath.Join(dir, "etcd/member", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("no database"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
