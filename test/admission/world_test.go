// Package admission writes to a hub whose agent serves admission webhooks, as an administrator, a user and the
// identity of a member, and asserts what the hub answers. RBAC allows all of them everything, so that admission alone
// decides.
package admission

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/pkg/admission/webhook"
	"github.com/flagship-fleet/flagship/pkg/decode"
	"github.com/flagship-fleet/flagship/pkg/localfleet"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// actor is one who writes to the hub.
type actor struct {
	name string
	client.Client
}

var (
	// master is in group system:masters.
	master actor
	// user is in no group but system:authenticated.
	user actor
	// identity is the user that MemberCluster fleetCluster names.
	identity actor
)

const (
	userName     = "test-user"
	identityName = "fleet-cluster-identity"
)

func connect(ctx context.Context) error {
	config, err := local.RestConfig(local.Hub())
	if err != nil {
		return err
	}
	config.QPS = -1
	config.WarningHandler = rest.NoWarnings{}
	scheme := apis.Scheme()
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		return err
	}
	for who, as := range map[*actor]rest.ImpersonationConfig{
		&master:   {UserName: "master", Groups: []string{"system:masters"}},
		&user:     {UserName: userName, Groups: []string{"system:authenticated"}},
		&identity: {UserName: identityName, Groups: []string{"system:authenticated"}},
	} {
		config := rest.CopyConfig(config)
		config.Impersonate = as
		c, err := client.New(config, client.Options{Scheme: scheme})
		if err != nil {
			return fmt.Errorf("connect as %s: %w", as.UserName, err)
		}
		*who = actor{name: as.UserName, Client: c}
	}
	err = master.Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "everyone-here"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects: []rbacv1.Subject{
			{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: userName},
			{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: identityName},
		},
	})
	if err != nil {
		return fmt.Errorf("grant rights: %w", err)
	}
	return testworld.Until(ctx, testworld.Long, "the webhooks", inForce)
}

// inForce is nil when the API server calls the webhooks of the agent, and the guard rail, and refuses what no agent
// answers.
func inForce(ctx context.Context) error {
	nameless := object(`{apiVersion: placement.kubernetes-fleet.io/v1beta1, kind: ClusterResourceOverride, metadata: {name: probe}, spec: {
		clusterResourceSelectors: [{group: "", version: v1, kind: Namespace, name: ""}],
		policy: {overrideRules: [{clusterSelector: {clusterSelectorTerms: []}, overrideType: Delete}]}}}`)
	guarded := object(`{apiVersion: v1, kind: Namespace, metadata: {name: fleet-probe}}`)
	validating := &admissionv1.ValidatingWebhookConfiguration{}
	if err := master.Get(ctx, types.NamespacedName{Name: webhook.ValidatingName}, validating); err != nil {
		return err
	}
	for _, w := range validating.Webhooks {
		if *w.FailurePolicy != admissionv1.Fail {
			return fmt.Errorf("the failure policy of %s is %s", w.Name, *w.FailurePolicy)
		}
	}
	return errors.Join(
		refusal(master.Create(ctx, nameless, client.DryRunAll), "resource name is required for resource selection"),
		refusal(user.Create(ctx, guarded, client.DryRunAll), "is not allowed to CREATE resource /v1, Kind=Namespace"),
	)
}

// object is one object in YAML. Tabs stand for spaces.
func object(text string) *unstructured.Unstructured {
	asJSON, err := yaml.YAMLToJSONStrict([]byte(strings.ReplaceAll(text, "\t", "  ")))
	if err != nil {
		panic(fmt.Sprintf("%v in:\n%s", err, text)) // a test's own text
	}
	obj, err := decode.Object(asJSON)
	if err != nil {
		panic(fmt.Sprintf("%v in:\n%s", err, text))
	}
	return obj
}

// refusal is nil if err is an answer of admission or of the schema that has all the parts.
func refusal(err error, parts ...string) error {
	if err == nil {
		return errors.New("the hub allows it")
	}
	if !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) {
		return fmt.Errorf("no refusal: %w", err)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			return fmt.Errorf("refused without %q: %w", part, err)
		}
	}
	return nil
}

// write is one request.
type write func(ctx context.Context, who actor, dry bool) error

func options[T any](dry bool, option T) []T {
	if dry {
		return []T{option}
	}
	return nil
}

// creates creates an object.
func creates(obj *unstructured.Unstructured) write {
	return func(ctx context.Context, who actor, dry bool) error {
		return who.Create(ctx, obj.DeepCopy(), options[client.CreateOption](dry, client.DryRunAll)...)
	}
}

// deletes deletes an object.
func deletes(obj *unstructured.Unstructured) write {
	return func(ctx context.Context, who actor, dry bool) error {
		return who.Delete(ctx, obj.DeepCopy(), options[client.DeleteOption](dry, client.DryRunAll)...)
	}
}

// patches merges JSON into an object.
func patches(obj *unstructured.Unstructured, patch string) write {
	return func(ctx context.Context, who actor, dry bool) error {
		return who.Patch(ctx, obj.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(patch)), options[client.PatchOption](dry, client.DryRunAll)...)
	}
}

// patchesStatus merges JSON into an object's status.
func patchesStatus(obj *unstructured.Unstructured, patch string) write {
	return func(ctx context.Context, who actor, dry bool) error {
		var options []client.SubResourcePatchOption
		if dry {
			options = append(options, client.DryRunAll)
		}
		return who.Status().Patch(ctx, obj.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(patch)), options...)
	}
}

// all does one request after the other.
func all(writes ...write) write {
	return func(ctx context.Context, who actor, dry bool) error {
		for _, w := range writes {
			if err := w(ctx, who, dry); err != nil {
				return err
			}
		}
		return nil
	}
}

// refused tries a request until it is refused with all the parts: the agent knows of objects that were written just
// before a moment later. Nothing is stored.
func refused(t *testing.T, who actor, what write, parts ...string) {
	t.Helper()
	testworld.Await(t, testworld.Soon, "a refusal of what "+who.name+" writes", func(ctx context.Context) error {
		return refusal(what(ctx, who, true), parts...)
	})
}

// allowed does a request, once.
func allowed(t *testing.T, who actor, what write) {
	t.Helper()
	if err := what(t.Context(), who, false); err != nil {
		t.Errorf("%s: %v", who.name, err)
	}
}

// given creates an object as master, and deletes it after the test.
func given(t *testing.T, obj *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	testworld.Await(t, testworld.Soon, "a place for "+obj.GetKind()+" "+obj.GetName(), func(ctx context.Context) error {
		return master.Create(ctx, obj.DeepCopy())
	})
	t.Cleanup(func() { removed(t, obj) })
	return obj
}

// removed deletes an object as master and waits until it is gone.
func removed(t *testing.T, obj *unstructured.Unstructured) {
	t.Helper()
	testworld.Await(t, testworld.Soon, "the end of "+obj.GetKind()+" "+obj.GetName(), func(ctx context.Context) error {
		err := master.Delete(ctx, obj.DeepCopy())
		switch {
		case err == nil:
			return errors.New("it is there")
		case apierrors.IsNotFound(err):
			return nil
		}
		return err
	})
}

// restart runs the agent with other values of its chart, and returns when its webhooks answer.
func restart(t *testing.T, agent localfleet.Agent, ready func(context.Context) error) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if err := local.ConfigureAgent(ctx, local.Hub(), agent); err != nil {
		t.Fatal(err)
	}
	if err := local.StopAgent(ctx, local.Hub()); err != nil {
		t.Fatal(err)
	}
	if err := local.StartAgent(ctx, local.Hub()); err != nil {
		t.Fatal(err)
	}
	testworld.Await(t, testworld.Long, "the agent", ready)
}

// deletesAll deletes every object of a kind, in dry runs alone.
func deletesAll(kind *unstructured.Unstructured) write {
	return func(ctx context.Context, who actor, _ bool) error {
		return who.DeleteAllOf(ctx, kind.DeepCopy(), client.DryRunAll)
	}
}

func scales(obj *unstructured.Unstructured) write {
	return func(ctx context.Context, who actor, dry bool) error {
		patch := client.RawPatch(types.MergePatchType, []byte(`{"spec": {"replicas": 0}}`))
		return who.SubResource("scale").Patch(ctx, obj.DeepCopy(), patch, options[client.SubResourcePatchOption](dry, client.DryRunAll)...)
	}
}
