package member_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// weakPoints are the rows of section 9 of the member agent's contract (member.md), the requirement of each, and the
// tests that verify it. Where a test has subtests, the remark names the relevant one.
var weakPoints = []struct {
	row   int
	asks  string
	tests []string
}{
	{1, "what cannot be mapped is still wanted", []string{"applier.TestIncidentGroupVanishes", "apply.TestLeftOver"}},
	{2, "left-overs do not depend on conditions", []string{"applier.TestFromReportDiffToApplyAndBack"}},
	{3, "what leaves while only comparing is removed afterwards", []string{"applier.TestFromReportDiffToApplyAndBack"}},
	{4, "comparing claims nothing", []string{"applier.TestReportDiffTouchesNothing"}},
	{5, "a failed removal stops nothing else", []string{"applier.TestAFailedRemovalStopsNothingElse"}},
	{6, "another version is the same object", []string{"apply.TestLeftOver"}},
	{7, "what cannot be applied is reported once", []string{"applier.TestRestartWritesNothing", "report.TestManifestsKeepTheirTimes"}},
	{8, "co-owners survive a JSON merge", []string{"apply.TestDecide", "applier.TestCoOwnedObjectSurvives"}},
	{9, "no stale base of a merge after server-side apply", []string{"applier.TestServerSideApply", "apply.TestDecide"}},
	{10, "one field manager", []string{"applier.TestTakeOver"}},
	{11, "what is being deleted is waited for", []string{"applier.TestTerminatingObjectsAreAwaited", "apply.TestDecide"}},
	{12, "only references to our AppliedWork are ours", []string{"apply.TestReferencesThatLookLikeOurs", "apply.TestPart"}},
	{13, "heartbeats do not depend on health or properties", []string{"joiner.TestHeartbeatDoesNotDependOnFacts"}},
	{14, "a call that hangs gives its place back", []string{"property.TestHangingProviderDelaysNothing"}},
	{15, "what the provider could not read is read later", []string{"property.TestPriceFileIsReadAgain"}},
	{16, "without its side of the hub the agent ends", []string{"member.TestMemberAgent"}}, // EndsWhenItCannotGoOn
	{17, "a namespace that was left out comes in", []string{"property.TestNamespacesAreLimited"}},
	{18, "all pods count, whole", []string{"property.TestPodTakes", "member.TestMemberAgent"}},           // Reports/Resources
	{19, "the certificate authority is what the documentation says", []string{"member.TestMemberAgent"}}, // Reports/WhatAzureClustersReport
	{20, "a silent cluster is noticed by a timer", []string{"profiler.TestProfiles"}},
	{21, "an empty token is never used", []string{"hublink.TestTokenOfEveryRequestIsTheNewest"}},
	{22, "a rotated Secret is used at once", []string{"hublink.TestSecretTokens", "member.TestMemberAgent"}}, // TokenIsRotated
	{23, "availability comes by event", []string{"applier.TestWorkload", "applier.TestAvailabilityByRule"}},
	{24, "drift comes by event", []string{"applier.TestDriftIsReported", "applier.TestMemberEditsAreUndone"}},
	{25, "kinds and namespaces are waited for by event", []string{"applier.TestKindAndObjectInOneWork", "applier.TestKindFromAnotherWork"}},
	{26, "the end of a deletion comes by event", []string{"applier.TestWriteBudget"}}, // it looks at nothing again by itself
	{27, "what is unchanged is neither read nor written", []string{"applier.TestUnchangedObjectsAreNotRead"}},
	{28, "one write to the hub for each generation", []string{"applier.TestWriteBudget"}},
	{29, "times move only with what they are about", []string{"applier.TestDriftsAreKeptAndReported"}},
	{30, "after a restart, news first", []string{"applier.TestWorksAreRanked"}},
	{31, "joining wakes what waited for it", []string{"applier.TestJoinAndLeave"}},
	{32, "little is kept of pods", []string{"property.TestOfObjectsLittleIsKept"}},
}

// Every row has a test, and every test that is named exists.
func TestWeakPointsHaveTests(t *testing.T) {
	there := map[string]bool{}
	for _, dir := range []string{".", "applier", "hublink", "joiner", "property", "../apply", "../report", "../hub/profiler"} {
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, declared := range parsed.Decls {
				if f, ok := declared.(*ast.FuncDecl); ok {
					there[strings.TrimSuffix(parsed.Name.Name, "_test")+"."+f.Name.Name] = true
				}
			}
		}
	}
	for i, point := range weakPoints {
		if point.row != i+1 || len(point.tests) == 0 {
			t.Errorf("row %d (%s) is at place %d with %d tests", point.row, point.asks, i+1, len(point.tests))
		}
		for _, name := range point.tests {
			if !there[name] {
				t.Errorf("row %d (%s): there is no %s", point.row, point.asks, name)
			}
		}
	}
}
