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

// Fate is the decision about an object that has left its Work, or whose Work is deleted.
type Fate string

// The fates.
const (
	// Forget: the object does not exist, is not ours, or is listed under another name. Nothing needs to be done.
	Forget Fate = "Forget"
	// Going: it is ours and being deleted already.
	Going Fate = "Going"
	// Delete it, if it has not changed since the read, with its dependents.
	Delete Fate = "Delete"
	// LetGo releases it to the cluster: the patch removes our owner reference and the annotations that describe how it
	// was placed.
	LetGo Fate = "LetGo"
	// Disown leaves it to its other owners or to another Work: the patch removes our owner reference.
	Disown Fate = "Disown"
	// Hold keeps it, and its ledger entry, until the member's owner releases it. The patch, if any, marks it.
	Hold Fate = "Hold"
	// Stay keeps it, and its ledger entry, for the reason in Why.
	Stay Fate = "Stay"
	// Look: list what would be deleted with the object, and decide again.
	Look Fate = "Look"
	// Fill: make a dry run of creating Object, and decide again with the answer.
	Fill Fate = "Fill"
)

// Departure is the decision about one object.
type Departure struct {
	Fate Fate
	// Why is the reason of Stay, and of a LetGo because of the annotation keep; Holds are the objects that cause it.
	Why   string
	Holds []string
	// Type and Body are the patch of LetGo, Disown and Hold. It is bound to the version that was read.
	Type types.PatchType
	Body []byte
	// Object is the object for Fill.
	Object *unstructured.Unstructured
}

// Parting is the input of the decision about an object that has left its Work, or whose Work is deleted.
type Parting struct {
	// Entry is the object's entry in the ledger.
	Entry Entry
	// Live is the object on the member; nil if there is none.
	Live *unstructured.Unstructured
	// Owner is the AppliedWork.
	Owner Owner
	// Strategy is the Work's.
	Strategy *v1beta1.DeleteStrategy
	// Ends: the Work is deleted. Manifest is the Work's manifest of the object, if it can be decoded.
	Ends     bool
	Manifest *unstructured.Unstructured
	// Stamp is the Work's. If a later state of the Work, or another Work of its name, placed the object, then the hub
	// went back in time, and the absence of the object from the Work is no reason to remove it. The same holds if
	// another client removed manifests from the Work.
	Stamp Stamp
	// Wanted are the UIDs of objects that are still listed, under any name. Elsewhere: another Work lists this one.
	Wanted    sets.Set[types.UID]
	Elsewhere bool
	// Staying are objects of the Work that stay and would be deleted with this one.
	Staying []string
	// Inside is the answer to Look, Filled the answer to Fill; nil if there was none yet.
	Inside *Inside
	Filled *Filled
}

// Inside are the objects that would be deleted with an object.
type Inside struct {
	// Strangers are objects that the fleet did not place, and kinds that the agent may not list.
	Strangers []string
	// Kept have the annotation that forbids the agent to delete them.
	Kept []string
	// Held stay until the member's owner releases them.
	Held []string
}

// Filled is the result of a dry run of a creation; without an Object, the API server refused.
type Filled struct{ Object *unstructured.Unstructured }

// Part decides about one object that has left its Work, or whose Work is deleted. It changes only objects that this
// AppliedWork owns. A held object stays held until the member's owner releases it, whatever the hub's state.
func Part(p Parting) (Departure, error) {
	what, err := p.part()
	if what.Fate == Delete && len(p.Staying) > 0 {
		what = Departure{Fate: Stay, Why: "it contains objects that stay", Holds: p.Staying}
	}
	return what, err
}

func (p Parting) part() (Departure, error) {
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

// held reports whether the object must stay until the member's owner releases it.
func (p Parting) held() bool {
	switch p.Live.GetAnnotations()[contract.AnnotationHeld] {
	case contract.HeldRelease:
		return false
	case contract.HeldYes:
		return true
	}
	return p.Entry.Held || !p.Ends && (p.Stamp.Incomplete || p.Stamp.older(p.Live))
}

// kept reports whether an annotation forbids deleting the object, on the object or in the manifest.
func (p Parting) kept() bool {
	return Keeps(p.Live.GetAnnotations()) || p.Manifest != nil && Keeps(p.Manifest.GetAnnotations())
}

// Keeps reports whether annotations forbid the agent to delete their object. Every value except false does: a typing
// mistake must not cost the object.
func Keeps(annotations map[string]string) bool {
	value, there := annotations[contract.AnnotationKeep]
	keeps, err := strconv.ParseBool(value)
	return there && (keeps || err != nil)
}

// spare decides about an object that is ours alone: it is deleted, unless objects would be deleted with it that the
// fleet did not place.
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

// spareHolder decides about a namespace or a definition, with which all of its objects would be deleted.
func (p Parting) spareHolder(taken bool) (Departure, error) {
	if p.Inside == nil {
		return Departure{Fate: Look}, nil
	}
	all := !taken && p.Strategy != nil && p.Strategy.ForeignContent == v1beta1.ForeignContentPolicyDelete
	switch {
	case len(p.Inside.Kept) > 0:
		return p.letGo("it contains objects with annotation "+contract.AnnotationKeep, p.Inside.Kept...)
	case len(p.Inside.Held) == 0 && (len(p.Inside.Strangers) == 0 || all):
		return Departure{Fate: Delete}, nil
	case taken:
		return p.letGo("")
	case len(p.Inside.Held) > 0:
		return Departure{Fate: Stay, Why: "it contains objects that an earlier Work placed", Holds: p.Inside.Held}, nil
	}
	return Departure{Fate: Stay, Why: "it contains objects that the fleet did not place", Holds: p.Inside.Strangers}, nil
}

// spareMore decides about an object that was taken over: it is released if it has content that the fleet did not
// place. A dry run shows the API server's defaults; if there is none, the object counts as having such content.
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

// letGo removes our owner reference and the annotations that describe how the object was placed. If only the manifest
// has the annotation keep, the object gets it: the decision about its namespace or definition comes next and needs it.
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

// TakenOver reports whether a live object was on the cluster before the fleet placed it.
func TakenOver(live *unstructured.Unstructured) bool {
	return live.GetAnnotations()[contract.AnnotationTakenOver] != ""
}

// takesOver reports whether the object was, or now becomes, one that existed before the fleet placed it.
func (in Input) takesOver(c claim) bool {
	return TakenOver(in.Live) || c.takeOver && len(c.dropped) == 0 && !in.inherited()
}

// The kinds whose objects contain others, which are deleted with them.
var (
	NamespaceKind  = schema.GroupKind{Kind: "Namespace"}
	DefinitionKind = schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}
)

// precious reports whether objects of a kind that were taken over always stay: their deletion would lose data that
// cannot be placed again.
func precious(kind schema.GroupKind) bool {
	switch kind {
	case DefinitionKind, schema.GroupKind{Kind: "PersistentVolume"}, schema.GroupKind{Kind: "PersistentVolumeClaim"}:
		return true
	}
	return false
}

// extra reports whether a live object has content, beside metadata and status, that placed does not have.
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
