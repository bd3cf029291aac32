package member

import (
	"context"
	"fmt"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
)

// whoami requests the agent's own ServiceAccount from this cluster's API server, until it answers or ctx ends. A user
// that is no ServiceAccount, or lacks the permission, has none to protect.
func whoami(ctx context.Context, cfg *rest.Config) (types.NamespacedName, error) {
	clients, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return types.NamespacedName{}, fmt.Errorf("make a client to get the agent's own ServiceAccount: %w", err)
	}
	var user string
	err = wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		review, err := clients.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err == nil {
			user = review.Status.UserInfo.Username
			return true, nil
		}
		final := apierrors.IsForbidden(err) || apierrors.IsNotFound(err)
		ctrl.LoggerFrom(ctx).Error(err, "Failed to get the agent's own ServiceAccount", "final", final)
		return final, nil
	})
	if err != nil {
		return types.NamespacedName{}, fmt.Errorf("get the agent's own ServiceAccount: %w", err)
	}
	return serviceAccount(user), nil
}

// serviceAccount is the ServiceAccount with this user name; empty for users of other kinds.
func serviceAccount(user string) types.NamespacedName {
	name, ok := strings.CutPrefix(user, "system:serviceaccount:")
	if !ok {
		return types.NamespacedName{}
	}
	namespace, name, _ := strings.Cut(name, ":")
	return types.NamespacedName{Namespace: namespace, Name: name}
}
