package validate

import (
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// UpdateRun returns what is wrong in an update run by itself.
func UpdateRun(run v1beta1.UpdateRunObject) field.ErrorList {
	return append(SnapshotIndex(run.GetSpec().ResourceSnapshotIndex), ResumeFrom(run)...)
}

// SnapshotIndex refuses what cannot be the index of a resource snapshot; empty stands for the resources as they are.
func SnapshotIndex(text string) field.ErrorList {
	if n, err := strconv.Atoi(text); text == "" || err == nil && n >= 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(specPath.Child("resourceSnapshotIndex"), text, fmt.Sprintf("spec.resourceSnapshotIndex %q is not a number from 0", text))}
}

// ResumeFrom refuses a run that goes on from itself.
func ResumeFrom(run v1beta1.UpdateRunObject) field.ErrorList {
	name := run.GetSpec().ResumeFrom
	if name == "" || name != run.GetName() {
		return nil
	}
	return field.ErrorList{field.Invalid(specPath.Child("resumeFrom"), name,
		"that is the run itself; name an earlier run of the placement that has ended without finishing")}
}

// UpdateStrategy returns what is wrong in an update strategy.
func UpdateStrategy(spec *v1beta1.UpdateStrategySpec) field.ErrorList {
	wrong := stageNames(spec.Stages)
	for i, stage := range spec.Stages {
		wrong = append(wrong, Stage(stage, stagesPath.Index(i))...)
	}
	if spec.FailurePolicy != nil {
		wrong = append(wrong, share(spec.FailurePolicy.FailureBudget, specPath.Child("failurePolicy", "failureBudget"), "failureBudget of the failurePolicy: ")...)
	}
	return wrong
}

var stagesPath = specPath.Child("stages")

// stageNames makes sure that a name means one stage: approval requests, tasks and limits go by it.
func stageNames(stages []v1beta1.StageConfig) (wrong field.ErrorList) {
	duplicates(stages, func(s v1beta1.StageConfig) string { return s.Name }, func(i int) {
		wrong = append(wrong, field.Invalid(stagesPath.Index(i).Child("name"), stages[i].Name,
			fmt.Sprintf("the update strategy has two stages named %s; give each a name of its own", stages[i].Name)))
	})
	return wrong
}

// Stage returns what is wrong in a stage. Each detail names the stage.
func Stage(s v1beta1.StageConfig, path *field.Path) field.ErrorList {
	wrong := append(beforeTasks(s, path.Child("beforeStageTasks")), afterTasks(s, path.Child("afterStageTasks"))...)
	wrong = append(wrong, selectorIn(path, s.LabelSelector, fmt.Sprintf("labelSelector of stage %s: ", s.Name))...)
	wrong = append(wrong, share(s.MaxConcurrency, path.Child("maxConcurrency"), fmt.Sprintf("maxConcurrency of stage %s: ", s.Name))...)
	return append(wrong, share(s.FailureBudget, path.Child("failureBudget"), fmt.Sprintf("failureBudget of stage %s: ", s.Name))...)
}

func beforeTasks(s v1beta1.StageConfig, path *field.Path) (wrong field.ErrorList) {
	if n := len(s.BeforeStageTasks); n > 1 {
		wrong = append(wrong, field.Invalid(path, n, fmt.Sprintf("stage %s has %d beforeStageTasks; one is allowed", s.Name, n)))
	}
	for i, task := range s.BeforeStageTasks {
		if task.Type != v1beta1.StageTaskApproval || task.WaitTime != nil {
			wrong = append(wrong, field.Invalid(path.Index(i), task,
				fmt.Sprintf("beforeStageTasks of stage %s: only an Approval without waitTime is allowed", s.Name)))
		}
	}
	return wrong
}

func afterTasks(s v1beta1.StageConfig, path *field.Path) (wrong field.ErrorList) {
	types := sets.New[v1beta1.StageTaskType]()
	for i, task := range s.AfterStageTasks {
		at := path.Index(i)
		if types.Has(task.Type) {
			wrong = append(wrong, field.Invalid(at.Child("type"), task.Type, fmt.Sprintf("afterStageTasks of stage %s: two of type %s", s.Name, task.Type)))
		}
		types.Insert(task.Type)
		if task.Type == v1beta1.StageTaskTimedWait && (task.WaitTime == nil || task.WaitTime.Duration <= 0) {
			wrong = append(wrong, field.Invalid(at.Child("waitTime"), task.WaitTime,
				fmt.Sprintf("afterStageTasks of stage %s: the waitTime of a TimedWait must be more than 0", s.Name)))
		}
	}
	return wrong
}
