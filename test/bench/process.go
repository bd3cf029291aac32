package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// writes are API writes by verb, counted at an agent's own clients, towards one API server.
type writes map[string]float64

func (w writes) total() float64 {
	var sum float64
	for _, n := range w {
		sum += n
	}
	return sum
}

func (w writes) minus(before writes) writes {
	out := writes{}
	for verb, n := range w {
		if d := n - before[verb]; d != 0 {
			out[verb] = d
		}
	}
	return out
}

func (w writes) plus(other writes) writes {
	out := writes{}
	for verb, n := range w {
		out[verb] += n
	}
	for verb, n := range other {
		out[verb] += n
	}
	return out
}

// scrape reads how many writes an agent has sent to each host, from its metrics.
func scrape(ctx context.Context, url string) (map[string]writes, error) {
	out, err := scrapeAll(ctx, url)
	for _, methods := range out {
		delete(methods, http.MethodGet)
	}
	return out, err
}

// scrapeAll is the same for all requests: reads have the method GET.
func scrapeAll(ctx context.Context, url string) (map[string]writes, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	families, err := metricsOf(ctx, http.DefaultClient, url)
	if err != nil {
		return nil, err
	}
	out := map[string]writes{}
	for _, m := range families["rest_client_requests_total"].GetMetric() {
		host := label(m, "host")
		if out[host] == nil {
			out[host] = writes{}
		}
		out[host][label(m, "method")] += m.GetCounter().GetValue()
	}
	return out, nil
}

// metricsOf reads the metrics of a process, by name.
func metricsOf(ctx context.Context, c *http.Client, url string) (map[string]*dto.MetricFamily, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("read metrics of %s: %s", url, resp.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("parse metrics of %s: %w", url, err)
	}
	return families, nil
}

func label(m *dto.Metric, name string) string {
	for _, pair := range m.GetLabel() {
		if pair.GetName() == name {
			return pair.GetValue()
		}
	}
	return ""
}

// usage is the resource usage of a process so far.
type usage struct {
	CPUSeconds  float64 `json:"cpuSeconds"`
	PeakMiB     float64 `json:"peakMiB"`
	ResidentMiB float64 `json:"residentMiB,omitempty"`
}

// ticksPerSecond is USER_HZ, which is always 100 in /proc.
const ticksPerSecond = 100

// usageOf reads from /proc the CPU seconds of a process, its peak resident memory and its current resident memory.
func usageOf(pid int) (usage, error) {
	var u usage
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	// The fields after the command's closing parenthesis; utime and stime are the 12th and 13th of them.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return u, err
		}
		u.CPUSeconds += ticks / ticksPerSecond
	}
	status, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	defer status.Close()
	for lines := bufio.NewScanner(status); lines.Scan(); {
		for prefix, to := range map[string]*float64{"VmHWM:": &u.PeakMiB, "VmRSS:": &u.ResidentMiB} {
			if kib, ok := strings.CutPrefix(lines.Text(), prefix); ok {
				n, err := strconv.ParseFloat(strings.Fields(kib)[0], 64)
				if err != nil {
					return u, err
				}
				*to = n / 1024
			}
		}
	}
	return u, nil
}

// resetPeak resets the peak resident memory of a process.
func resetPeak(pid int) error {
	const resetHighWater = "5" // proc(5), clear_refs
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte(resetHighWater), 0)
}

// profile starts writing a profile to a file, if profiles are requested; stop waits for its end.
func (b *bench) profile(ctx context.Context, what, file string) (stop func() error, err error) {
	if b.profiles == "" {
		return func() error { return nil }, nil
	}
	if err := os.MkdirAll(b.profiles, 0o755); err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() {
		data, err := b.profiled(ctx, what)
		if err == nil {
			err = os.WriteFile(b.profiles+"/"+file, data, 0o644)
		}
		done <- err
	}()
	return func() error { return <-done }, nil
}

func (b *bench) profiled(ctx context.Context, what string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.fleet.AgentProfilesURL(b.fleet.Hub())+what, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("profile the hub agent: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("profile the hub agent: %s", resp.Status)
	}
	return io.ReadAll(resp.Body)
}

// availableMiB is how much memory is available without swapping.
func availableMiB() (float64, error) {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if kib, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
			n, err := strconv.ParseFloat(strings.Fields(kib)[0], 64)
			return n / 1024, err
		}
	}
	return 0, errors.New("/proc/meminfo has no MemAvailable")
}

// processorTime is the total and the idle time of the machine's processors, in ticks.
type processorTime struct{ all, idle float64 }

// spentByProcessors reads the time since the machine was started.
func spentByProcessors() (processorTime, error) {
	var t processorTime
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return t, err
	}
	first, _, _ := strings.Cut(string(data), "\n")
	for i, field := range strings.Fields(first)[1:9] { // user nice system idle iowait irq softirq steal
		n, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return t, fmt.Errorf("read /proc/stat: %w", err)
		}
		t.all += n
		if i == 3 || i == 4 {
			t.idle += n
		}
	}
	return t, nil
}
