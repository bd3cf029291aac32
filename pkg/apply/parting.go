package apply

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Fate is what happens to an object that its Work no longer wants, or that is there when its Work goes.
type Fate string

// The fates.
const (
	// Forget: the object is not there, not ours, or wanted under another name. There is nothing to do.
	Forget Fate = "Forget"
	// Going: it is ours and on its way out already.
	Going Fate = "Going"
	// Delete it, under the condition that it is as it was read, with what it owns.
	Delete Fate = "Delete"
	// LetGo leaves it to the cluster: the patch takes off our owner reference and the annotations that describe how it was placed.
	LetGo Fate = "LetGo"
	// Disown leaves it to its other owners or to another Work: the patch takes off our owner reference.
	Disown Fate = "Disown"
	// Hold leaves it as it is, in the ledger, until the member's owner releases it. The patch, if there is one, marks it.
	Hold Fate = "Hold"
	// Stay leaves it as it is, in the ledger, for the reason in Why.
	Stay Fate = "Stay"
	// Look: find out what goes with the object, and decide again.
	Look Fate = "Look"
	// Fill: ask the API server what creating Object would make of it, without doing it, and decide again with its answer.
	Fill Fate = "Fill"
)

// Departure is the decision about one object.
type Departure struct {
	Fate Fate
	// Why and Holds are the reason of Stay, and of a LetGo that only the annotation keep asks for, and what in the object is the cause.
	Why   string
	Holds []string
	// Type and Body are the patch of LetGo, Disown and Hold. It holds for the object as it was read.
	Type types.PatchType
	Body []byte
	// Object is what to fill in.
	Object *unstructured.Unstructured
}

// Parting is all that decides about an object which its Work no longer wants, or which is there when its Work goes.
type Parting struct {
	// Entry is what the ledger has of the object.
	Entry Entry
	// Live is the object on the member; nil if there is none.
	Live *unstructured.Unstructured
	// Owner is the AppliedWork.
	Owner Owner
	// Strategy is the Work's.
	Strategy *v1beta1.DeleteStrategy
	// Ends: the Work goes, with all that it placed. Manifest is what it has of the object, if that can be read.
	Ends     bool
	Manifest *unstructured.Unstructured
	// Stamp is that of the Work that stays. If the object was placed by a later state of the Work, or by another Work of its name, then
	// the hub went back in time, and what the Work lacks means nothing. Nor does what a Work lacks that another client took manifests
	// out of.
	Stamp Stamp
	// Wanted are the UIDs of objects that are still wanted, under whatever name. Elsewhere: another Work wants this one.
	Wanted    sets.Set[types.UID]
	Elsewhere bool
	// Inside is the answer to Look, Filled that to Fill; nil if there was none yet.
	Inside *Inside
	Filled *Filled
}

// Inside is what goes with an object when that is deleted.
type Inside struct {
	// Strangers were not placed. What cannot be seen is among them.
	Strangers []string
	// Kept bear the annotation that forbids the agent to delete them.
	Kept []string
	// Held stay until the member's owner releases them.
	Held []string
}

// Filled is what an API server made of a manifest; without an Object, it refused.
type Filled struct{ Object *unstructured.Unstructured }

// Part decides about one object that leaves its Work, or whose Work goes. Only what this AppliedWork owns is touched. What is held
// stays so until the member's owner releases it, however far the hub has come since.
func Part(p Parting) (Departure, error) {
	live := p.Live
	switch {
	case live == nil || !p.Owner.Owns(live) || p.Wanted.Has(live.GetUID()):
		return Departure{Fate: Forget}, nil
	case live.GetDeletionTimestamp() != nil:
		return Departure{Fate: Going}, nil
	case p.Elsewhere:
		return p.disown()
	case p.Ends && p.Strategy.Abandons():
		return p.letGo("")
	case p.held() && p.Ends:
		return Departure{Fate: Stay, Why: "an earlier Work placed it"}, nil
	case p.held():
		return p.hold()
	case p.kept():
		return p.letGo("annotation " + contract.AnnotationKeep + " is set")
	case len(without(live, p.Owner)) > 0:
		return p.disown()
	}
	return p.spare()
}

// held says whether the object must stay until the member's owner releases it.
func (p Parting) held() bool {
	switch p.Live.GetAnnotations()[contract.AnnotationHeld] {
	case contract.HeldRelease:
		return false
	case contract.HeldYes:
		return true
	}
	return p.Entry.Held || !p.Ends && (p.Stamp.Incomplete || p.Stamp.older(p.Live))
}

// kept says whether the object's annotation forbids to delete it, there or in the manifest.
func (p Parting) kept() bool {
	return Keeps(p.Live.GetAnnotations()) || p.Manifest != nil && Keeps(p.Manifest.GetAnnotations())
}

// Keeps says whether annotations forbid the agent to delete the object that bears them. Every value but false does: a mistyped one must not
// cost what it was meant to protect.
func Keeps(annotations map[string]string) bool {
	value, there := annotations[contract.AnnotationKeep]
	keeps, err := strconv.ParseBool(value)
	return there && (keeps || err != nil)
}

// spare decides about an object that is ours alone: it is deleted, but not with it what was not placed.
func (p Parting) spare() (Departure, error) {
	kind := p.Live.GroupVersionKind().GroupKind()
	taken := TakenOver(p.Live) || p.Entry.TakenOver
	switch {
	case taken && precious(kind):
		return p.letGo("")
	case kind == NamespaceKind || kind == DefinitionKind:
		return p.spareHolder(taken)
	case taken:
		return p.spareMore()
	}
	return Departure{Fate: Delete}, nil
}

// spareHolder decides about a namespace or a definition, with which all that is in it, or of its kind, would go.
func (p Parting) spareHolder(taken bool) (Departure, error) {
	if p.Inside == nil {
		return Departure{Fate: Look}, nil
	}
	all := !taken && p.Strategy != nil && p.Strategy.ForeignContent == v1beta1.ForeignContentPolicyDelete
	switch {
	case len(p.Inside.Kept) > 0:
		return p.letGo("with it would go what annotation "+contract.AnnotationKeep+" is set on", p.Inside.Kept...)
	case len(p.Inside.Held) == 0 && (len(p.Inside.Strangers) == 0 || all):
		return Departure{Fate: Delete}, nil
	case taken:
		return p.letGo("")
	case len(p.Inside.Held) > 0:
		return Departure{Fate: Stay, Why: "with it would go what an earlier Work placed", Holds: p.Inside.Held}, nil
	}
	return Departure{Fate: Stay, Why: "it holds what was not placed", Holds: p.Inside.Strangers}, nil
}

// spareMore decides about an object that was taken over: it is let go if it has content that was not placed. What the API server fills
// in is asked of it; if that cannot be found out, the object has.
func (p Parting) spareMore() (Departure, error) {
	placed := lastApplied(p.Live)
	if p.Manifest != nil {
		placed = Sanitise(p.Manifest)
	}
	switch {
	case placed == nil:
		return p.letGo("")
	case !extra(placed, p.Live):
		return Departure{Fate: Delete}, nil
	case p.Filled == nil:
		like := placed.DeepCopy()
		like.SetName("")
		like.SetGenerateName("defaults-")
		return Departure{Fate: Fill, Object: like}, nil
	case p.Filled.Object == nil || extra(p.Filled.Object, p.Live):
		return p.letGo("")
	}
	return Departure{Fate: Delete}, nil
}

// letGo takes off our owner reference and the annotations that describe how the object was placed. If only the manifest says that the object
// is kept, the object says so from now on: it may be in a namespace, or of a kind, that is decided about next.
func (p Parting) letGo(why string, holds ...string) (Departure, error) {
	patch := ownerPatch(p.Live, without(p.Live, p.Owner))
	ours := slices.Concat(stamps, []string{contract.AnnotationSpecHash, contract.AnnotationLastApplied, contract.AnnotationTakenOver})
	for _, key := range ours {
		if _, there := p.Live.GetAnnotations()[key]; there {
			patch = append(patch, map[string]any{"op": "remove", "path": "/metadata/annotations/" + pointer.Replace(key)})
		}
	}
	if p.Manifest != nil && Keeps(p.Manifest.GetAnnotations()) && !Keeps(p.Live.GetAnnotations()) {
		if p.Live.GetAnnotations() == nil {
			patch = append(patch, map[string]any{"op": "add", "path": "/metadata/annotations", "value": map[string]any{}})
		}
		patch = append(patch, map[string]any{"op": "add", "path": "/metadata/annotations/" + pointer.Replace(contract.AnnotationKeep),
			"value": p.Manifest.GetAnnotations()[contract.AnnotationKeep]})
	}
	out, err := jsonPatch(LetGo, patch)
	out.Why, out.Holds = why, holds
	return out, err
}

func (p Parting) disown() (Departure, error) {
	return jsonPatch(Disown, ownerPatch(p.Live, without(p.Live, p.Owner)))
}

func (p Parting) hold() (Departure, error) {
	body, err := hold(p.Live)
	return Departure{Fate: Hold, Type: types.MergePatchType, Body: body}, err
}

func jsonPatch(fate Fate, patch []map[string]any) (Departure, error) {
	body, err := json.Marshal(patch)
	if err != nil {
		return Departure{}, fmt.Errorf("encode patch: %w", err)
	}
	return Departure{Fate: fate, Type: types.JSONPatchType, Body: body}, nil
}

// pointer escapes a key for a path of JSON Patch.
var pointer = strings.NewReplacer("~", "~0", "/", "~1")

// TakenOver says whether a live object was on the cluster before it was placed.
func TakenOver(live *unstructured.Unstructured) bool {
	return live.GetAnnotations()[contract.AnnotationTakenOver] != ""
}

// takesOver says whether the object is, or becomes, one that was not placed by the fleet in the first place.
func (in Input) takesOver(c claim) bool {
	return TakenOver(in.Live) || c.takeOver && len(c.dropped) == 0 && !in.inherited()
}

// The kinds whose objects take others along when they are deleted.
var (
	NamespaceKind  = schema.GroupKind{Kind: "Namespace"}
	DefinitionKind = schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}
)

// precious says whether objects of a kind that were taken over stay, whatever they hold: with them goes data that cannot be placed again.
func precious(kind schema.GroupKind) bool {
	switch kind {
	case DefinitionKind, schema.GroupKind{Kind: "PersistentVolume"}, schema.GroupKind{Kind: "PersistentVolumeClaim"}:
		return true
	}
	return false
}

// extra says whether a live object holds content, beside metadata and status, that placed does not have.
func extra(placed, live *unstructured.Unstructured) bool {
	for key, value := range live.Object {
		if key == "apiVersion" || key == "kind" || key == "metadata" || key == "status" {
			continue
		}
		if more(placed.Object[key], value) {
			return true
		}
	}
	return false
}

func more(placed, live any) bool {
	switch l := live.(type) {
	case map[string]any:
		p, _ := placed.(map[string]any)
		for key, value := range l {
			if more(p[key], value) {
				return true
			}
		}
		return false
	case []any:
		p, _ := placed.([]any)
		if len(l) > len(p) {
			return true
		}
		for i, value := range l {
			if more(p[i], value) {
				return true
			}
		}
		return false
	}
	return live != nil && placed == nil
}
