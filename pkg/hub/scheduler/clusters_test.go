package scheduler

import (
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

func reacts(s *scene) {
	fifth := "m5-" + s.key.Name
	s.join(fifth, false)
	s.place(contract.FinalizerScheduler)
	s.use(pickN(), 4)
	s.await("m1=Scheduled m2=Scheduled m3=Scheduled", "m1 m2 m3 "+unfulfilledReason)
	s.heartbeat("m2")
	s.quiet("a heartbeat")
	s.heartbeat(fifth)
	s.await("m1=Scheduled m2=Scheduled m3=Scheduled "+fifth+"=Scheduled", "m1 m2 m3 "+fifth+" "+fulfilledReason)

	var cluster clusterv1beta1.MemberCluster
	s.Must(s.Client.Get(s.Context(), types.NamespacedName{Name: fifth}, &cluster))
	s.edit(&cluster, func(c client.Object) { c.SetFinalizers([]string{"example.com/leaving"}) })
	s.Must(s.Client.Delete(s.Context(), &cluster))
	s.quiet("a cluster begins to leave")
	// Something else makes the scheduler decide while it is leaving.
	s.edit(s.policy(), func(p client.Object) {
		p.SetAnnotations(map[string]string{contract.AnnotationGeneration: "8", contract.AnnotationNumberOfClusters: "5"})
	})
	s.await("m1=Scheduled m2=Scheduled m3=Scheduled "+fifth+"=Scheduled", "m1 m2 m3 "+fifth+" "+unfulfilledReason)
	s.Must(s.Client.Get(s.Context(), types.NamespacedName{Name: fifth}, &cluster))
	s.edit(&cluster, func(c client.Object) { c.SetFinalizers(nil) })
	s.await("m1=Scheduled m2=Scheduled m3=Scheduled "+fifth+"=Unscheduled", "m1 m2 m3 "+unfulfilledReason)
}
