package validate

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// Replicas returns what is wrong in a policy for replicas.
func Replicas(p *v1beta1.ReplicaPolicy, path *field.Path) (wrong field.ErrorList) {
	if p == nil {
		return nil
	}
	for i, w := range p.Weights {
		for _, mistake := range LabelSelector(&w.ClusterSelector, nil) {
			wrong = append(wrong, field.Invalid(path.Child("weights").Index(i).Child("clusterSelector"), field.OmitValueType{}, mistake.Error()))
		}
	}
	if least, most := ptr.Deref(p.MinPerCluster, 0), p.MaxPerCluster; most != nil && least > *most {
		wrong = append(wrong, field.Invalid(path.Child("minPerCluster"), least, fmt.Sprintf("it must not be greater than maxPerCluster, which is %d", *most)))
	}
	duplicates(p.Kinds, func(k v1beta1.ReplicaKind) v1beta1.ReplicaKind { return k }, func(i int) {
		wrong = append(wrong, field.Duplicate(path.Child("kinds").Index(i), p.Kinds[i].Kind))
	})
	return wrong
}
