// Command vuln reports which known vulnerabilities the code of Go modules reaches, and fails if one of them is not
// excused.
//
//	vuln -excuses FILE MODULE-DIR...
//
// It runs golang.org/x/vuln's govulncheck, which analyses call graphs, on each module. The database is built from the
// reports in the module golang.org/x/vulndb, so that the result depends only on this module's go.mod. To add newer
// vulnerabilities, run "go get golang.org/x/vulndb@master" here.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/vuln/scan"
)

func main() {
	excuses := flag.String("excuses", "", "file with the vulnerabilities to ignore, one on each line: <id> <last day, YYYY-MM-DD> <reason>")
	flag.Parse()
	if err := run(context.Background(), *excuses, flag.Args()); err != nil {
		fmt.Fprintf(os.Stderr, "vuln: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, excusesFile string, modules []string) error {
	if len(modules) == 0 {
		return errors.New("name the directory of at least one module")
	}
	text, err := os.ReadFile(excusesFile)
	if err != nil {
		return fmt.Errorf("read the excuses: %w", err)
	}
	excused, err := parseExcuses(string(text), time.Now())
	if err != nil {
		return fmt.Errorf("%s: %w", excusesFile, err)
	}
	database, err := makeDatabase(ctx)
	if err != nil {
		return err
	}
	defer os.RemoveAll(database)
	reached := map[string]finding{}
	for _, module := range modules {
		found, err := check(ctx, database, module)
		if err != nil {
			return fmt.Errorf("check module %s: %w", module, err)
		}
		maps.Copy(reached, found)
	}
	return judge(reached, excused)
}

// makeDatabase writes the database for govulncheck to a new directory, from the reports in the vulndb module.
func makeDatabase(ctx context.Context) (string, error) {
	reports, err := reports(ctx)
	if err != nil {
		return "", err
	}
	folder, err := os.MkdirTemp("", "vulndb-")
	if err != nil {
		return "", err
	}
	if out, err := exec.CommandContext(ctx, "go", "tool", "indexdb", "-vulns", reports, "-out", folder).CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("build a database from %s: %w: %s", reports, err, out), os.RemoveAll(folder))
	}
	return folder, nil
}

// reports returns the directory of the reports. It downloads their module, which no build needs.
func reports(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "mod", "download", "-json", "golang.org/x/vulndb").Output()
	var module struct{ Dir, Error string }
	if problem := json.Unmarshal(out, &module); err == nil {
		err = problem
	}
	if err != nil {
		return "", fmt.Errorf("download the module with the reports: %w %s", err, module.Error)
	}
	return filepath.Join(module.Dir, "data", "osv"), nil
}

// finding is a vulnerability that code reaches.
type finding struct {
	fixed string
	// calls is the call path from the module's code to the vulnerable function.
	calls []string
}

// message is the used part of a line of govulncheck's output; see golang.org/x/vuln/internal/govulncheck.
type message struct {
	Finding *struct {
		OSV   string `json:"osv"`
		Fixed string `json:"fixed_version"`
		Trace []struct {
			Module   string `json:"module"`
			Package  string `json:"package"`
			Function string `json:"function"`
			Receiver string `json:"receiver"`
		} `json:"trace"`
	} `json:"finding"`
}

// check returns the vulnerabilities whose functions a module's code calls, by their ids.
func check(ctx context.Context, database, module string) (map[string]finding, error) {
	dir, err := filepath.Abs(module)
	if err != nil {
		return nil, err
	}
	var answer bytes.Buffer
	begin := time.Now()
	cmd := scan.Command(ctx, "-C", dir, "-db", "file://"+filepath.ToSlash(database), "-format", "json", "./...")
	cmd.Stdout = &answer
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if err := cmd.Wait(); err != nil {
		return nil, err
	}
	fmt.Printf("%s: checked in %s\n", dir, time.Since(begin).Round(time.Second))
	return reachedIn(&answer)
}

func reachedIn(answer io.Reader) (map[string]finding, error) {
	reached := map[string]finding{}
	for decoder := json.NewDecoder(answer); ; {
		var m message
		if err := decoder.Decode(&m); errors.Is(err, io.EOF) {
			return reached, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the output of govulncheck: %w", err)
		}
		// The first frame of a trace is the vulnerable code; without a function, it is only required or imported.
		if m.Finding == nil || len(m.Finding.Trace) == 0 || m.Finding.Trace[0].Function == "" {
			continue
		}
		f := finding{fixed: m.Finding.Fixed}
		for _, frame := range slices.Backward(m.Finding.Trace) {
			parts := slices.DeleteFunc([]string{frame.Package, frame.Receiver, frame.Function}, func(part string) bool { return part == "" })
			f.calls = append(f.calls, strings.Join(parts, "."))
		}
		if known, ok := reached[m.Finding.OSV]; !ok || len(f.calls) < len(known.calls) {
			reached[m.Finding.OSV] = f
		}
	}
}

// parseExcuses reads lines of <id> <last day> <reason>. It skips empty lines and comments, which start with #. A last
// day in the past is an error.
func parseExcuses(text string, now time.Time) (map[string]bool, error) {
	excused := map[string]bool{}
	lines := bufio.NewScanner(strings.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 3 {
			return nil, fmt.Errorf("line %d: want an id, a last day and a reason", n)
		}
		last, err := time.Parse(time.DateOnly, fields[1])
		if err != nil {
			return nil, fmt.Errorf("line %d: last day: %w", n, err)
		}
		if now.After(last.AddDate(0, 0, 1)) {
			return nil, fmt.Errorf("line %d: the excuse for %s expired on %s: review it", n, fields[0], fields[1])
		}
		excused[fields[0]] = true
	}
	return excused, lines.Err()
}

// judge returns an error for reached vulnerabilities without an excuse, and for excuses that are not needed.
func judge(reached map[string]finding, excused map[string]bool) error {
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(reached)) {
		f := reached[id]
		if excused[id] {
			fmt.Printf("%s: reached, and excused\n", id)
			continue
		}
		fixed := "not fixed yet"
		if f.fixed != "" {
			fixed = "fixed in " + f.fixed
		}
		errs = append(errs, fmt.Errorf("%s (https://pkg.go.dev/vuln/%s), %s, is reached:\n\t%s", id, id, fixed, strings.Join(f.calls, "\n\t")))
	}
	for _, id := range slices.Sorted(maps.Keys(excused)) {
		if _, ok := reached[id]; !ok {
			errs = append(errs, fmt.Errorf("%s is excused but no longer reached: delete its line", id))
		}
	}
	if len(errs) == 0 {
		fmt.Println("no known vulnerability is reached")
	}
	return errors.Join(errs...)
}
