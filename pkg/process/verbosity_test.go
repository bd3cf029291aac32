package process

import (
	"flag"
	"testing"

	"k8s.io/klog/v2"
)

func TestVerbosityIsCapped(t *testing.T) {
	flags := flag.NewFlagSet("test", flag.ContinueOnError)
	klog.InitFlags(flags)
	t.Cleanup(func() {
		for name, value := range map[string]string{"v": "0", "vmodule": ""} {
			if err := flags.Set(name, value); err != nil {
				t.Error(err)
			}
		}
	})
	for _, tc := range []struct {
		v, vmodule         string
		wantV, wantVmodule string
		capped             bool
	}{
		{v: "2", wantV: "2"},
		{v: "7", vmodule: "request=7", wantV: "7", wantVmodule: "request=7"},
		{v: "8", wantV: "7", capped: true},
		{v: "100", vmodule: "a*=1,request=9,round_trippers=10", wantV: "7", wantVmodule: "a*=1,request=7,round_trippers=7", capped: true},
		{v: "0", vmodule: "request=9", wantV: "0", wantVmodule: "request=7", capped: true},
	} {
		for name, value := range map[string]string{"v": tc.v, "vmodule": tc.vmodule} {
			if err := flags.Set(name, value); err != nil {
				t.Fatal(err)
			}
		}
		capped, err := CapVerbosity(flags)
		if err != nil || capped != tc.capped {
			t.Errorf("-v=%s -vmodule=%s: capped %t, error %v", tc.v, tc.vmodule, capped, err)
		}
		if v, vmodule := flags.Lookup("v").Value.String(), flags.Lookup("vmodule").Value.String(); v != tc.wantV || vmodule != tc.wantVmodule {
			t.Errorf("-v=%s -vmodule=%s became %s and %s; want %s and %s", tc.v, tc.vmodule, v, vmodule, tc.wantV, tc.wantVmodule)
		}
		if klog.V(8).Enabled() {
			t.Errorf("-v=%s: level 8 is logged", tc.v)
		}
	}
}
