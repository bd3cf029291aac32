package applier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// From the case fight-without-backoff-or-report: a controller of the member insists on its own value.
func TestFightWithoutBackoffOrReport(t *testing.T) {
	// The clock stands still but for what the test adds: the first writes come within a minute, and no pause ends.
	var later atomic.Int64
	began := time.Now()
	w := newWorld(t, func(a *Applier) { a.Now = func() time.Time { return began.Add(time.Duration(later.Load())) } })
	const ns, account = "fight", "{apiVersion: v1, kind: ServiceAccount, metadata: {namespace: fight, name: builder}, automountServiceAccountToken: false}"
	w.work(ns, nil, namespaceText(ns), account)
	w.settled(ns, yes, yes)
	ctx, cancel := context.WithCancel(t.Context())
	insisted := make(chan int, 1)
	w.writes.take()
	go func() {
		n := 0
		for ; ctx.Err() == nil; testworld.Pause() {
			obj := &corev1.ServiceAccount{}
			if w.member.Get(ctx, types.NamespacedName{Namespace: ns, Name: "builder"}, obj) == nil && !ptr.Deref(obj.AutomountServiceAccountToken, true) {
				obj.AutomountServiceAccountToken = ptr.To(true)
				if w.member.Update(ctx, obj, client.FieldOwner("registry-operator")) == nil {
					n++
				}
			}
		}
		insisted <- n
	}()
	w.reads(ns, 1, v1beta1.ConditionApplied, v1beta1.ReasonManifestApplyFailed)
	for _, words := range []string{`manager "registry-operator"`, "/automountServiceAccountToken", "at most once a minute"} {
		w.message(ns, "builder", v1beta1.ConditionApplied, words)
	}
	testworld.AwaitEvents(t, w.member, ns, "an event", func(events []corev1.Event) bool {
		return slices.ContainsFunc(events, func(e corev1.Event) bool { return e.Reason == reasonChangedBack && e.InvolvedObject.Name == "builder" })
	})
	w.quiet(3 * time.Second)
	patches := 0
	for _, write := range w.writes.member.Take() {
		if strings.HasPrefix(write, "PATCH ") && strings.HasSuffix(write, "/serviceaccounts/builder") {
			patches++
		}
	}
	if patches == 0 || patches > 6 {
		t.Errorf("%d patches before the agent cooled down", patches)
	}
	cancel()
	if n := <-insisted; n < patches {
		t.Errorf("the other writer has insisted %d times", n)
	}
	// The other writer is gone: the object is written once more, and when it has stayed so it counts as applied.
	for range 3 {
		later.Add(int64(2 * time.Minute))
		w.agent.wake(priorityIntent, ns)
		w.eventually("the object to be written", func() error {
			obj := w.mustObject("v1 ServiceAccount fight/builder")
			if obj.Object["automountServiceAccountToken"] != false {
				return fmt.Errorf("it is %v", obj.Object)
			}
			return nil
		})
	}
	w.eventually("all to be calm", func() error {
		w.agent.wake(priorityIntent, ns)
		if err := w.isApplied(ns); err != nil || len(w.readWork(ns).Status.ManifestConditions) < 2 {
			return errors.Join(errors.New("it is not"), err)
		}
		if c := w.readWork(ns).Status.ManifestConditions[1].Conditions[0]; c.Reason != v1beta1.ReasonManifestApplied {
			return fmt.Errorf("%s: %s", c.Reason, c.Message)
		}
		return nil
	})
}
