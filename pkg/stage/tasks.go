package stage

import (
	"strings"
	"time"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// approval returns whether an approval task is done. It asks for a request if there is none.
func (f *forward) approval(s *Stage, task *Task, kind string) (bool, error) {
	if task.Done {
		return true, nil
	}
	request, ok := f.Requests[task.Request]
	task.Asked = true
	switch {
	case !ok:
		f.step.Ask = append(f.step.Ask, Ask{Name: task.Request, Stage: s.Name, Task: kind})
		return false, nil
	case request.Run != f.Run || request.Stage != s.Name:
		return false, mistake("approval request %s belongs to stage %q of run %q; delete it and create a new run", task.Request, request.Stage, request.Run)
	case !request.Approved:
		return false, nil
	}
	f.step.Accept = append(f.step.Accept, task.Request)
	task.Done = true
	return true, nil
}

// end waits for the tasks after a stage whose clusters are all done. ended is whether the stage has ended.
func (f *forward) end(s *Stage, config v1beta1.StageConfig) (ended bool, err error) {
	var waits []string
	for i := range s.After {
		task := &s.After[i]
		if task.Type == v1beta1.StageTaskApproval {
			passed, err := f.approval(s, task, contract.TaskAfterStage)
			if err != nil {
				return false, err
			}
			if !passed {
				waits = append(waits, "approval request "+task.Request)
			}
			continue
		}
		if s.Phase != Waiting && s.Phase != Stopped {
			s.set(Waiting, "", f.Now) // the wait counts from here
		}
		if left := waitOf(config) - f.Now.Sub(s.Since); !task.Done && left > 0 {
			f.again(left)
			waits = append(waits, "the wait time to pass")
			continue
		}
		task.Done = true
	}
	if len(f.relapsed) > 0 {
		waits = append(waits, brief.List(f.relapsed, 3)+" to be healthy again")
	}
	if len(waits) > 0 {
		text := strings.Join(waits, " and ")
		s.set(Waiting, "All clusters are done; waiting for "+text, f.Now)
		f.set(Waiting, "All clusters of stage %s are done; waiting for %s", s.Name, text)
		return false, nil
	}
	s.Cause = "All clusters and tasks are done"
	if failed := inPhase(s.Clusters, Failed); len(failed) > 0 {
		s.Cause += "; failed within the budget: " + brief.List(failed, 10)
	}
	s.set(Succeeded, s.Cause, f.Now)
	f.set(Active, "Stage %s is done", s.Name)
	return true, nil
}

func waitOf(config v1beta1.StageConfig) time.Duration {
	for _, t := range config.AfterStageTasks {
		if t.Type == v1beta1.StageTaskTimedWait && t.WaitTime != nil {
			return t.WaitTime.Duration
		}
	}
	return 0
}
