package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/cli-runtime/pkg/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/yaml"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/cli/naming"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/decode"
	"github.com/flagship-fleet/flagship/pkg/report"
)

func newWhich(streams genericiooptions.IOStreams) *cobra.Command {
	flags := genericclioptions.NewConfigFlags(true)
	var output string
	cmd := &cobra.Command{
		Use:   "which (TYPE NAME | TYPE/NAME ...)",
		Short: "Say why an object is on a member cluster, and who changed it there",
		Long: `Say why objects are on a member cluster: the placement, the resource snapshot and the overrides that put them there, the Work that
carried them, when they were applied, and who has changed them since. Run it against the member cluster.`,
		Example: `  # Why is this config map here?
  kubectl fleet which configmap/settings -n shop

  # The same for several objects of a member, for a program to read
  kubectl fleet which deployments/web services/web -n shop --context member-1 -o json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains([]string{"", "json", "yaml"}, output) {
				return fmt.Errorf("--output is %q; it can be json or yaml, or be left out", output)
			}
			answers, err := which(cmd.Context(), flags, args)
			return errors.Join(printAnswers(streams.Out, output, answers, time.Now()), err)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "json or yaml; by default, text for people")
	flags.AddFlags(cmd.Flags())
	return cmd
}

// answer is what there is to say about one object.
type answer struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
	// Placed says that a fleet put the object there; else nothing follows but Changes.
	Placed bool `json:"placed"`
	// Hub is the address of the hub, Placement <namespace>/<name> or a name alone.
	Hub       string `json:"hub,omitempty"`
	Placement string `json:"placement,omitempty"`
	// Snapshot is the revision that last changed the object on this cluster; later ones left it as it is.
	Snapshot  string   `json:"snapshot,omitempty"`
	Overrides []string `json:"overrides,omitempty"`
	// Work is <namespace>/<name> on the hub; its AppliedWork here has the same name.
	Work    string       `json:"work,omitempty"`
	Applied *metav1.Time `json:"applied,omitempty"`
	// Held says why it is kept although nobody asks for it any more.
	Held    string   `json:"held,omitempty"`
	Changes []edited `json:"changes,omitempty"`
}

// edited is what somebody else wrote into the object.
type edited struct {
	By   string       `json:"by"`
	When *metav1.Time `json:"when,omitempty"`
	// Drift: some of the fields are the manifest's.
	Drift  bool     `json:"drift"`
	Fields []string `json:"fields"`
}

// which asks the member cluster. What could be answered is returned beside the error.
func which(ctx context.Context, flags *genericclioptions.ConfigFlags, args []string) ([]answer, error) {
	namespace, _, err := flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	config, err := flags.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	cluster, err := client.New(config, client.Options{Scheme: apis.Scheme()})
	if err != nil {
		return nil, fmt.Errorf("reach the member cluster: %w", err)
	}
	var answers []answer
	err = resource.NewBuilder(flags).Unstructured().NamespaceParam(namespace).DefaultNamespace().
		ResourceTypeOrNameArgs(false, args...).ContinueOnError().Flatten().Latest().Do().
		Visit(func(info *resource.Info, err error) error {
			if err != nil {
				return err
			}
			obj, ok := info.Object.(*unstructured.Unstructured)
			if !ok {
				return fmt.Errorf("read %s: got %T", info.Name, info.Object)
			}
			ledger, err := ledgerOf(ctx, cluster, obj)
			answers = append(answers, answerOf(obj, ledger))
			return err
		})
	return answers, err
}

// ledgerOf reads the AppliedWork that owns an object; nil if none does. Without the right to read it, its name is all there is to say.
func ledgerOf(ctx context.Context, cluster client.Client, obj *unstructured.Unstructured) (*v1beta1.AppliedWork, error) {
	for _, ref := range obj.GetOwnerReferences() {
		if ref.Kind != "AppliedWork" || !strings.HasPrefix(ref.APIVersion, v1beta1.GroupVersion.Group+"/") {
			continue
		}
		out := &v1beta1.AppliedWork{}
		err := cluster.Get(ctx, types.NamespacedName{Name: ref.Name}, out)
		out.Name = ref.Name
		if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
			return out, nil
		}
		return out, err
	}
	return nil, nil
}

func answerOf(obj *unstructured.Unstructured, ledger *v1beta1.AppliedWork) answer {
	a := answer{APIVersion: obj.GetAPIVersion(), Kind: obj.GetKind(), Namespace: obj.GetNamespace(), Name: obj.GetName()}
	if ledger == nil {
		return a
	}
	notes := obj.GetAnnotations()
	a.Placed = true
	a.Hub, a.Placement = notes[contract.AnnotationPlacedHub], notes[contract.AnnotationPlacedBy]
	a.Snapshot = notes[contract.AnnotationPlacedRevision]
	if names := notes[contract.AnnotationPlacedOverrides]; names != "" {
		a.Overrides = strings.Split(names, ",")
	}
	a.Work = strings.TrimPrefix(ledger.Spec.WorkNamespace+"/"+ledger.Name, "/")
	for _, entry := range obj.GetManagedFields() {
		if entry.Manager == contract.ManagerMember && entry.Subresource == "" && (a.Applied == nil || a.Applied.Before(entry.Time)) {
			a.Applied = entry.Time
		}
	}
	for _, c := range ledger.Status.Conditions {
		if c.Type == report.ConditionHeld {
			a.Held = c.Message
		}
	}
	if notes[contract.AnnotationHeld] == contract.HeldYes {
		a.Held = fmt.Sprintf("The Work does not list it any more, but an older state of the hub may be why; annotate it %s=%s to have it removed",
			contract.AnnotationHeld, contract.HeldRelease)
	}
	a.Changes = changesOf(obj)
	return a
}

// changesOf lists what others have written into an object, latest first. What its controllers say in its status is not meant.
func changesOf(obj *unstructured.Unstructured) []edited {
	var manifest map[string]any
	if text := obj.GetAnnotations()[contract.AnnotationLastApplied]; text != "" {
		_ = decode.JSON([]byte(text), &manifest) // spoiled by hand: then nothing is known of it
	}
	var out []edited
	for _, entry := range obj.GetManagedFields() {
		if entry.Manager == contract.ManagerMember || entry.Subresource == "status" || entry.FieldsV1 == nil {
			continue
		}
		set := &fieldpath.Set{}
		if set.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes())) != nil {
			continue
		}
		c := edited{By: entry.Manager, When: entry.Time}
		if entry.Subresource != "" {
			c.By += " (" + entry.Subresource + ")"
		}
		set.Leaves().Iterate(func(p fieldpath.Path) {
			c.Fields = append(c.Fields, strings.TrimPrefix(p.String(), "."))
			c.Drift = c.Drift || says(manifest, p)
		})
		if len(c.Fields) > 0 {
			slices.Sort(c.Fields)
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(x, y edited) int { return cmp.Compare(unix(y.When), unix(x.When)) })
	return out
}

func unix(t *metav1.Time) int64 {
	if t == nil {
		return 0
	}
	return t.Unix()
}

// says is whether a manifest sets the field at path.
func says(in any, path fieldpath.Path) bool {
	for _, step := range path {
		switch {
		case step.FieldName != nil:
			fields, _ := in.(map[string]any)
			next, ok := fields[*step.FieldName]
			if !ok {
				return false
			}
			in = next
		case step.Key != nil || step.Value != nil:
			items, _ := in.([]any)
			at := slices.IndexFunc(items, func(item any) bool { return fits(item, step) })
			if at < 0 {
				return false
			}
			in = items[at]
		default:
			return false
		}
	}
	return in != nil
}

// fits is whether a list element is the one that a step of a path means.
func fits(item any, step fieldpath.PathElement) bool {
	if step.Value != nil {
		return fmt.Sprint(item) == fmt.Sprint((*step.Value).Unstructured())
	}
	fields, ok := item.(map[string]any)
	for _, key := range *step.Key {
		value, set := fields[key.Name]
		ok = ok && (!set || fmt.Sprint(value) == fmt.Sprint(key.Value.Unstructured())) // a key that is left out has a default
	}
	return ok
}

func printAnswers(out io.Writer, format string, answers []answer, now time.Time) error {
	if len(answers) == 0 {
		return nil
	}
	var data []byte
	var err error
	switch format {
	case "json":
		data, err = json.MarshalIndent(answers, "", "  ")
		data = append(data, '\n')
	case "yaml":
		data, err = yaml.Marshal(answers)
	default:
		return printText(out, answers, now)
	}
	if err != nil {
		return err
	}
	_, err = out.Write(data)
	return err
}

func printText(out io.Writer, answers []answer, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i, a := range answers {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s %s\n", a.Kind, naming.Object(types.NamespacedName{Namespace: a.Namespace, Name: a.Name}))
		if !a.Placed {
			fmt.Fprintln(w, "  No fleet placed it here: no AppliedWork owns it.")
			continue
		}
		line := func(title, text string) {
			if text != "" {
				fmt.Fprintf(w, "  %s\t%s\n", title, text)
			}
		}
		line("Placement", cmp.Or(a.Placement, "(not said: applied by an agent that did not yet say so)"))
		line("Hub", a.Hub)
		line("Snapshot", a.Snapshot)
		line("Overrides", cmp.Or(strings.Join(a.Overrides, ", "), "none"))
		line("Work", a.Work)
		line("Applied", ago(a.Applied, now))
		line("Held", a.Held)
		for _, c := range a.Changes {
			title := "Also set"
			if c.Drift {
				title = "Drifted"
			}
			line(title, fmt.Sprintf("by %s, %s: %s", c.By, ago(c.When, now), few(c.Fields)))
		}
		if len(a.Changes) == 0 {
			line("Changes", "none by anybody else")
		}
	}
	return w.Flush()
}

func ago(t *metav1.Time, now time.Time) string {
	if t == nil {
		return "at an unknown time"
	}
	return fmt.Sprintf("%s (%s ago)", t.UTC().Format(time.RFC3339), duration.HumanDuration(max(0, now.Sub(t.Time))))
}

// mostFields is how many fields of a change are named.
const mostFields = 5

func few(fields []string) string {
	if len(fields) <= mostFields {
		return strings.Join(fields, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(fields[:mostFields], ", "), len(fields)-mostFields)
}
