package applier

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// surplusCases are manifests, and what an earlier agent has left in their objects. gone are the paths of that.
var surplusCases = map[string]struct {
	manifest string
	left     func(map[string]any)
	gone     []string
}{
	"a port": {service(udp), func(o map[string]any) {
		with(o, "spec.ports", func(l []any) []any { return append(l, parse(tcp)) })
	}, []string{"spec.ports.1"}},
	"a variable": {environment("{name: A, value: a}"), func(o map[string]any) {
		with(o, template+"containers.0.env", func(l []any) []any { return append(l, parse("{name: B, value: b}")) })
	}, []string{template + "containers.0.env.1"}},
	"all variables": {merged("containers: [{name: c, image: i}]"), func(o map[string]any) {
		container, _ := at(o, template+"containers.0").(map[string]any)
		container["env"] = []any{parse("{name: B, value: b}")}
	}, []string{template + "containers.0.env"}},
	"a key": {configMap("merges", "NAME", "a"), func(o map[string]any) {
		data, _ := o["data"].(map[string]any)
		data["left"] = "x"
	}, []string{"data.left"}},
	"an item of a custom list": {gadget("items: [{name: a}]"), func(o map[string]any) {
		with(o, "spec.items", func(l []any) []any { return append(l, parse("{name: b, weight: 1}")) })
	}, []string{"spec.items.1"}},
}

// What an earlier agent wrote and the manifest does not have goes, though the last manifest on record did not have it
// either; what others wrote stays.
func TestFieldsOfAnEarlierAgentAreRemoved(t *testing.T) {
	w := newWorld(t)
	const ns = "leftovers"
	w.onMember(namespaceText(ns))
	w.serveGadgets()
	manifests := map[string]string{}
	for name, c := range surplusCases {
		manifests[name] = strings.ReplaceAll(c.manifest, "namespace: merges", "namespace: "+ns)
	}
	cases := w.lay("l", manifests, map[string]*v1beta1.ApplyStrategy{"client": strategy(), "server": strategy(serverSide), "ifnotdrifted": strategy(ifNotDrifted)})
	w.mutateAll(cases, func(name string) mutation {
		return func(w *world, obj *unstructured.Unstructured) error {
			obj.SetLabels(map[string]string{"theirs": "x"})
			if err := w.member.Update(w.Context(), obj, client.FieldOwner("others")); err != nil {
				return err
			}
			surplusCases[name].left(obj.Object)
			return w.member.Update(w.Context(), obj, client.FieldOwner(contract.ManagerMember))
		}
	})
	w.eventually("what was left to go", func() error {
		var all error
		for key, c := range cases {
			if err := w.member.Get(t.Context(), client.ObjectKeyFromObject(c.obj), c.obj); err != nil {
				return err
			}
			for _, path := range surplusCases[key[:strings.LastIndex(key, ", ")]].gone {
				if got := at(c.obj.Object, path); got != nil {
					all = errors.Join(all, fmt.Errorf("%s: %s is %v", key, path, got))
				}
			}
			if c.obj.GetLabels()["theirs"] != "x" {
				all = errors.Join(all, fmt.Errorf("%s: the label of others is gone", key))
			}
			all = errors.Join(all, w.isApplied(c.work))
		}
		return all
	})
	w.quiet(2 * time.Second)
	w.writes.take()
	w.restart()
	w.quiet(2 * time.Second)
	if got := w.writes.member.Take(); len(got) > 0 { // a Deployment may be observed late, and its Work reported
		t.Errorf("a restart wrote %q", got)
	}
}

// An object that was there before is taken over with a name twice in its environment; what its manager alone has set
// stays.
func TestTwinsAreTakenOver(t *testing.T) {
	w := newWorld(t)
	const ns = "twins"
	w.onMember(namespaceText(ns))
	web := func(name, env string) string {
		return strings.NewReplacer("namespace: merges", "namespace: "+ns, "NAME", name).Replace(environment(env))
	}
	strategies := map[string]*v1beta1.ApplyStrategy{"client": strategy(), "server": strategy(serverSide), "unforced": strategy(func(s *v1beta1.ApplyStrategy) {
		s.Type = v1beta1.ApplyStrategyTypeServerSideApply
	})}
	const before, twins, later = "{name: A, value: a}, {name: DEBUG, value: x}", "{name: A, value: a}, {name: A, value: b}", "{name: B, value: c}, {name: A, value: b}, {name: A, value: a}"
	for name, s := range strategies {
		obj := &unstructured.Unstructured{}
		w.must(yaml.Unmarshal([]byte(web(name, before)), &obj.Object))
		w.must(w.member.Create(t.Context(), obj, client.FieldOwner("kubectl-client-side-apply")))
		w.work(name, s, web(name, twins))
	}
	has := func(want string) {
		for name := range strategies {
			w.eventually(name+" to have "+want, func() error {
				var got []string
				env, _ := at(w.mustObject("apps/v1 Deployment "+ns+"/"+name).Object, template+"containers.0.env").([]any)
				for _, item := range env {
					got = append(got, fmt.Sprint(item.(map[string]any)["name"], "=", item.(map[string]any)["value"]))
				}
				if strings.Join(got, " ") != want {
					return fmt.Errorf("it has %v, %w", got, w.isApplied(name))
				}
				return w.isApplied(name)
			})
		}
	}
	has("A=a A=b DEBUG=x")
	for name := range strategies {
		w.edit(name, web(name, later))
	}
	has("B=c A=b A=a DEBUG=x")
	w.quiet(time.Second)
	// Another manager owns the image now. Without force, that is a conflict, as with every server-side apply.
	for name := range strategies {
		w.must(retry.RetryOnConflict(retry.DefaultBackoff, func() error {
			obj := w.mustObject("apps/v1 Deployment " + ns + "/" + name)
			container, _ := at(obj.Object, template+"containers.0").(map[string]any)
			container["image"] = "theirs"
			return w.member.Update(t.Context(), obj, client.FieldOwner("others"))
		}))
	}
	for name := range strategies {
		w.eventually(name+" to be undone, or refused", func() error {
			image := at(w.mustObject("apps/v1 Deployment "+ns+"/"+name).Object, template+"containers.0.image")
			err := w.isApplied(name)
			if name == "unforced" && (image != "theirs" || err == nil || !strings.Contains(err.Error(), "others")) || name != "unforced" && (image != "i" || err != nil) {
				return fmt.Errorf("the image is %v, %w", image, err)
			}
			return nil
		})
	}
}
