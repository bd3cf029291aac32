package stage

import (
	"fmt"
	"strings"
	"time"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// approval says whether an approval task is done, and sees to it that there is somebody to ask.
func (d *decision) approval(s *Stage, task *Task, kind string) (bool, error) {
	if task.Done {
		return true, nil
	}
	request, ok := d.Requests[task.Request]
	task.Asked = true
	switch {
	case !ok:
		d.step.Ask = append(d.step.Ask, Ask{Name: task.Request, Stage: s.Name, Task: kind})
		return false, nil
	case request.Run != d.Run || request.Stage != s.Name:
		return false, mistake("approval request %s belongs to stage %q of run %q; delete it and make a new run", task.Request, request.Stage, request.Run)
	case !request.Approved:
		return false, nil
	}
	d.step.Accept = append(d.step.Accept, task.Request)
	task.Done = true
	return true, nil
}

// end waits for the tasks after a stage, all of whose clusters are done.
func (d *decision) end(s *Stage, config v1beta1.StageConfig) error {
	var waits []string
	for i := range s.After {
		task := &s.After[i]
		if task.Type == v1beta1.StageTaskApproval {
			passed, err := d.approval(s, task, contract.TaskAfterStage)
			if err != nil {
				return err
			}
			if !passed {
				waits = append(waits, "approval request "+task.Request)
			}
			continue
		}
		if s.Phase != Waiting && s.Phase != Stopped {
			s.at(Waiting, "", d.Now) // the clock of the wait
		}
		if left := waitOf(config) - d.Now.Sub(s.Since); !task.Done && left > 0 {
			d.again(left)
			waits = append(waits, "its wait time to pass")
			continue
		}
		task.Done = true
	}
	if len(d.relapsed) > 0 {
		waits = append(waits, brief.List(d.relapsed, 3)+" to be healthy again")
	}
	if len(waits) > 0 {
		text := strings.Join(waits, " and ")
		s.at(Waiting, "All clusters are done; waits for "+text, d.Now)
		d.run(Waiting, fmt.Sprintf("All clusters of stage %s are done; it waits for %s", s.Name, text))
		return nil
	}
	s.Cause = "All clusters and tasks are done"
	if failed := failedOf(s.Clusters); len(failed) > 0 {
		s.Cause += "; within the failure budget have failed: " + brief.List(failed, 10)
	}
	s.at(Succeeded, s.Cause, d.Now)
	d.run(Active, fmt.Sprintf("Stage %s is done", s.Name))
	d.more = true
	return nil
}

func waitOf(config v1beta1.StageConfig) time.Duration {
	for _, t := range config.AfterStageTasks {
		if t.Type == v1beta1.StageTaskTimedWait && t.WaitTime != nil {
			return t.WaitTime.Duration
		}
	}
	return 0
}
