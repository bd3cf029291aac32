package localfleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// stateName is the file that marks a folder as a fleet's: it has the last configuration.
const stateName = "fleet.json"

// lockName is the file that is locked while a command starts or stops the fleet.
const lockName = ".lock"

// state is the content of the file.
type state struct {
	Config Config `json:"config"`
	// Finished is whether the start finished: no command was interrupted before its members had joined.
	Finished bool `json:"finished"`
}

// loadState returns nil if dir has no fleet.
func loadState(dir string) (*state, error) {
	data, err := os.ReadFile(filepath.Join(dir, stateName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // no fleet is an answer
	}
	var known state
	if err == nil {
		err = json.Unmarshal(data, &known) //nolint:forbidigo // our own file
	}
	if err != nil {
		return nil, fmt.Errorf("read the configuration of the fleet in %s: %w", dir, err)
	}
	return &known, nil
}

func (s state) save(dir string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("describe the fleet: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, stateName), data, filePermission); err != nil {
		return fmt.Errorf("save the fleet's configuration: %w", err)
	}
	return nil
}

func sameConfig(a, b Config) bool {
	left, errLeft := json.Marshal(a)
	right, errRight := json.Marshal(b)
	return errLeft == nil && errRight == nil && bytes.Equal(left, right)
}

// lock excludes other commands from the folder until unlock. The system releases it with the process, so it cannot be
// left behind.
func lock(dir string) (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, filePermission)
	if err != nil {
		return nil, fmt.Errorf("lock folder %s: %w", dir, err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errors.New("another command is starting or stopping this fleet; wait until it ends")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock folder %s: %w", dir, err), file.Close())
	}
	return func() { file.Close() }, nil
}

// processes are the programs of the fleet.
func (f *Fleet) processes() []program {
	var programs []program
	for _, c := range f.clusters {
		programs = append(programs, f.serverProgram(c))
		if !c.Agent.Stopped {
			programs = append(programs, f.agentProgram(c))
		}
	}
	return programs
}

// recall finds the running processes of an earlier command.
func (f *Fleet) recall() {
	for _, c := range f.clusters {
		c.server = recall(f.serverProgram(c))
		c.agent = recall(f.agentProgram(c))
	}
}

// running counts the running ones.
func (f *Fleet) running() int {
	n := 0
	for _, c := range f.clusters {
		if c.server != nil && c.server.running() {
			n++
		}
		if c.agent != nil && c.agent.running() && !c.Agent.Stopped {
			n++
		}
	}
	return n
}

// ErrNoFleet means that a folder has no fleet.
var ErrNoFleet = errors.New("no fleet here")

// Down stops the fleet in dir that an earlier command started, and deletes its state unless keep is set. It returns
// ErrNoFleet if there is none.
func Down(ctx context.Context, dir string, keep bool, progress func(Event)) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("find folder %s: %w", dir, err)
	}
	was, err := loadState(dir)
	if err != nil {
		return err
	}
	if was == nil {
		return fmt.Errorf("%s: %w", dir, ErrNoFleet)
	}
	f := &Fleet{options: Options{Config: was.Config, Dir: dir, Detached: true, Progress: progress}}
	// This includes clusters of an earlier configuration that the last one does not name.
	names, err := clusterFolders(dir, was.Config)
	if err != nil {
		return err
	}
	for _, name := range names {
		f.clusters = append(f.clusters, &cluster{Cluster: Cluster{Name: name}, dir: filepath.Join(dir, name)})
	}
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	f.recall()
	if err := f.Stop(ctx); err != nil || keep {
		return err
	}
	return remove(dir, names)
}

// clusterFolders are the folders in dir that this package created.
func clusterFolders(dir string, config Config) ([]string, error) {
	names := []string{config.Hub.Name}
	for _, member := range config.Members {
		names = append(names, member.Name)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read folder %s: %w", dir, err)
	}
	for _, entry := range entries {
		_, err := os.Stat(filepath.Join(dir, entry.Name(), describedAs))
		if err == nil && !slices.Contains(names, entry.Name()) {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

// remove deletes the files that this package created in dir, and dir itself if nothing else is in it.
func remove(dir string, clusters []string) error {
	var errs []error
	for _, name := range append(clusters, kubeconfigName, stateName, lockName) {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, name)))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("delete the fleet's state: %w", err)
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, syscall.EEXIST) {
		return fmt.Errorf("delete folder %s: %w", dir, err)
	}
	return nil
}
